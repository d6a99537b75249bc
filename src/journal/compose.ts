/**
 * Group commit: turns waiting commands into one conditional batch. PURE.
 *
 * Each command is judged against the state that the commands before it would leave. Nothing that
 * was decided here may be answered before the batch it depends on is durable.
 */
import { RequestError } from '../errors.ts'
import { LOG_LIMITS, meteredBytes } from '../log/log.ts'
import type { AppendBatch, AppendRecord } from '../log/log.ts'
import { refuse } from './command.ts'
import type { Command, Decision } from './command.ts'
import { withOperationId } from './envelope.ts'
import type { LogState, Rules } from './state.ts'

/** What the operation id adds to a batch's first record: 2 bytes, its name and its value. */
const OPERATION_BYTES = 64

export type Composition = {
  /** Undefined when no command wants to write. */
  readonly batch: AppendBatch | undefined
  /** What each of the first commands came to; the others wait for the next batch. */
  readonly decisions: readonly Decision<unknown>[]
}

type Draft<Life> = {
  readonly rules: Rules<Life>
  state: LogState<Life>
  bytes: number
  readonly records: AppendRecord[]
}

/**
 * Composes the next batch from the commands that wait, in their order.
 *
 * @param operation unique id by which the batch is recognised in the log
 */
export function compose<Life>(
  rules: Rules<Life>,
  state: LogState<Life>,
  commands: readonly Command<Life, unknown>[],
  { now, operation }: { readonly now: number; readonly operation: string },
): Composition {
  const draft: Draft<Life> = { rules, state, bytes: OPERATION_BYTES, records: [] }
  if (isCheckpointDue(state)) add(draft, checkpoint(rules, state), now)
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
 * longer than a second one: opening a log reads its last record and at most two pages.
 */
function isCheckpointDue({ incarnation, sinceCheckpoint }: LogState<unknown>): boolean {
  const { records, bytes } = sinceCheckpoint
  const { maxBatchRecords, maxBatchBytes } = LOG_LIMITS
  return incarnation !== undefined && (records >= maxBatchRecords || bytes >= maxBatchBytes)
}

/** The checkpoint, and behind it the trim of what it stands for: both fit in the batch or none. */
function checkpoint<Life>(rules: Rules<Life>, state: LogState<Life>): AppendRecord[] {
  const records = [rules.checkpoint(state)]
  if (rules.trims) records.push({ kind: 'trim', before: state.nextSeq })
  return records
}

/** Decides a command and adds its records to the draft; undefined when it waits for the next. */
function take<Life>(
  command: Command<Life, unknown>,
  draft: Draft<Life>,
  now: number,
): Decision<unknown> | undefined {
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
function add<Life>(
  draft: Draft<Life>,
  records: readonly AppendRecord[],
  timestamp: number,
): boolean {
  const bytes = records.reduce((sum, record) => sum + meteredBytes(record), draft.bytes)
  const count = draft.records.length + records.length
  if (count > LOG_LIMITS.maxBatchRecords || bytes > LOG_LIMITS.maxBatchBytes) return false
  let { state } = draft
  for (const record of records) {
    state = draft.rules.apply(state, { ...record, seqNum: state.nextSeq, timestamp })
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
  { nextSeq, fencingToken }: LogState<unknown>,
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
