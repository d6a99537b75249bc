/**
 * Group commit: turns waiting commands into one conditional batch. PURE.
 *
 * Each command is judged against the state that the commands before it would leave. Nothing that
 * was decided here may be answered before the batch it depends on is durable.
 */
import { GatewayError, RequestError } from '../errors.ts'
import { LOG_LIMITS, meteredBytes } from '../log/log.ts'
import type { AppendBatch, AppendRecord } from '../log/log.ts'
import { encodeCheckpoint, withOperationId } from './codec.ts'
import { refuse } from './command.ts'
import type { Command, Decision } from './command.ts'
import { apply, snapshot } from './state.ts'
import type { StreamState } from './state.ts'

/**
 * A checkpoint is due after this much: opening a stream reads the last record, then at most two
 * pages, because a page holds 1,000 records or 1 MiB and one batch may still follow.
 */
const CHECKPOINT_RECORDS = 900
const CHECKPOINT_BYTES = 512 * 1024
/** What the operation id adds to a batch's first record: 2 bytes, its name and its value. */
const OPERATION_BYTES = 64

export type Composition = {
  /** Undefined when no command wants to write. */
  readonly batch: AppendBatch | undefined
  /** What each of the first commands came to; the others wait for the next batch. */
  readonly decisions: readonly Decision<unknown>[]
}

type Draft = { state: StreamState; readonly records: AppendRecord[]; bytes: number }

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
  const draft: Draft = { state, records: [], bytes: OPERATION_BYTES }
  if (isCheckpointDue(state)) add(draft, [encodeCheckpoint(snapshot(state))], now)
  const decisions: Decision<unknown>[] = []
  for (const command of commands) {
    const decision = decide(command, draft.state, now)
    if (decision.kind === 'write' && !add(draft, decision.records, now)) {
      // What fits in no batch at all is refused; what does not fit in this one waits.
      if (draft.records.length > 0) break
      decisions.push(refuse(tooLarge(decision.records)))
      continue
    }
    decisions.push(decision)
    if (decision.kind === 'write' && decision.endsBatch === true) break
  }
  return { batch: toBatch(state, draft.records, operation), decisions }
}

function isCheckpointDue({ incarnation, sinceCheckpoint }: StreamState): boolean {
  const { records, bytes } = sinceCheckpoint
  return incarnation !== undefined && (records >= CHECKPOINT_RECORDS || bytes >= CHECKPOINT_BYTES)
}

function decide(command: Command<unknown>, state: StreamState, now: number): Decision<unknown> {
  try {
    return command(state, now)
  } catch (error) {
    if (error instanceof GatewayError) return refuse(error)
    throw error
  }
}

/** Adds all the records or none; false when they do not fit. */
function add(draft: Draft, records: readonly AppendRecord[], timestamp: number): boolean {
  const bytes = records.reduce((sum, record) => sum + meteredBytes(record), draft.bytes)
  const count = draft.records.length + records.length
  if (count > LOG_LIMITS.maxBatchRecords || bytes > LOG_LIMITS.maxBatchBytes) return false
  for (const record of records) {
    draft.state = apply(draft.state, { ...record, seqNum: draft.state.nextSeq, timestamp })
    draft.records.push(record)
  }
  draft.bytes = bytes
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
