/**
 * Group commit: turns waiting commands into one conditional batch. PURE.
 *
 * Each command is judged against the state that the commands before it would leave. Nothing that
 * was decided here may be answered before the batch it depends on is durable.
 */
import { RequestError } from '../errors.ts'
import { LOG_LIMITS, meteredBytes } from '../log/log.ts'
import type { AppendBatch, AppendRecord } from '../log/log.ts'
import { encodeCheckpoint, withOperationId } from './codec.ts'
import { refuse } from './command.ts'
import type { Command, Decision } from './command.ts'
import { apply, snapshot } from './state.ts'
import type { StreamState } from './state.ts'

/** What the operation id adds to a batch's first record: 2 bytes, its name and its value. */
const OPERATION_BYTES = 64

export type Composition = {
  /** Undefined when no command wants to write. */
  readonly batch: AppendBatch | undefined
  /** What each of the first commands came to; the others wait for the next batch. */
  readonly decisions: readonly Decision<unknown>[]
}

type Draft = { state: StreamState; bytes: number; readonly records: AppendRecord[] }

/**
 * Composes the next batch from the commands that wait, in their order.
 *
 * @param operation unique id by which the batch is recognised in the log
 */
export function compose(
  state: StreamState,
  commands: readonly Command<unknown>[],
  { now, operation }: { readonly now: number; readonly operation: string },
): Composition {
  const draft: Draft = { state, bytes: OPERATION_BYTES, records: [] }
  if (isCheckpointDue(state)) add(draft, [encodeCheckpoint(snapshot(state))], now)
  const decisions: Decision<unknown>[] = []
  for (const command of commands) {
    const decision = take(command, draft, now)
    if (decision === undefined) break
    decisions.push(decision)
    if (decision.kind === 'write' && decision.alone === true) break
  }
  // A checkpoint goes with a write, or before the one that does not fit behind it; never alone.
  const isNeeded = decisions.length === 0 || decisions.some(({ kind }) => kind === 'write')
  const records = isNeeded ? draft.records : []
  return { batch: toBatch(state, records, operation), decisions }
}

/**
 * Whether the next batch begins with a checkpoint: as soon as a page from the last one is full.
 *
 * So one page holds all there is from a checkpoint up to the last batch, and that batch is no
 * longer than a second one: opening a stream reads its last record and at most two pages.
 */
function isCheckpointDue({ incarnation, sinceCheckpoint }: StreamState): boolean {
  const { records, bytes } = sinceCheckpoint
  const { maxBatchRecords, maxBatchBytes } = LOG_LIMITS
  return incarnation !== undefined && (records >= maxBatchRecords || bytes >= maxBatchBytes)
}

/** Decides a command and adds its records to the draft; undefined when it waits for the next. */
function take(command: Command<unknown>, draft: Draft, now: number): Decision<unknown> | undefined {
  const begun = draft.records.length > 0
  try {
    const decision = command(draft.state, now)
    if (decision.kind !== 'write') return decision
    if (begun && decision.alone === true) return undefined
    if (add(draft, decision.records, now)) return decision
    // What fits in no batch at all is refused; what does not fit in this one waits.
    return begun ? undefined : refuse(tooLarge(decision.records))
  } catch (error) {
    // One that breaks fails by itself, and not the others of its batch.
    return refuse(error instanceof Error ? error : new Error(String(error)))
  }
}

/** Adds all the records or none; false when they do not fit. */
function add(draft: Draft, records: readonly AppendRecord[], timestamp: number): boolean {
  const bytes = records.reduce((sum, record) => sum + meteredBytes(record), draft.bytes)
  const count = draft.records.length + records.length
  if (count > LOG_LIMITS.maxBatchRecords || bytes > LOG_LIMITS.maxBatchBytes) return false
  let { state } = draft
  for (const record of records) {
    state = apply(state, { ...record, seqNum: state.nextSeq, timestamp })
  }
  draft.state = state
  draft.bytes = bytes
  draft.records.push(...records)
  return true
}

function tooLarge(records: readonly AppendRecord[]): RequestError {
  return records.length > LOG_LIMITS.maxBatchRecords
    ? new RequestError('too_many_messages', 'one request holds more messages than can be atomic')
    : new RequestError('payload_too_large', 'the body is larger than one atomic append')
}

function toBatch(
  { nextSeq, fencingToken }: StreamState,
  records: readonly AppendRecord[],
  operation: string,
): AppendBatch | undefined {
  if (records.length === 0) return undefined
  const marked = records.findIndex(({ kind }) => kind === 'data')
  return {
    records: records.map((record, index) =>
      index === marked ? withOperationId(record, operation) : record,
    ),
    matchSeqNum: nextSeq,
    fencingToken,
  }
}
