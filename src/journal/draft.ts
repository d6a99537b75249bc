/** One batch in the making, with the state that its records so far would leave. */
import { invariant } from '../errors.ts'
import { LOG_LIMITS, meteredBytes, placed } from '../log/log.ts'
import type { AppendBatch, AppendRecord } from '../log/log.ts'
import { withOperationId } from './envelope.ts'
import type { LogState, Rules } from './state.ts'

/** What the operation id adds to a batch's first record, at most. */
const OPERATION_BYTES = 64
/** Of them, what is not its value: 2 bytes, and its name. */
const OPERATION_OVERHEAD = 4

/** A batch, and the id by which it is recognised in the log. */
export type MarkedBatch = AppendBatch & { readonly operation: string }

/** Whether these records can be one batch. */
export function fitsInBatch(records: readonly AppendRecord[]): boolean {
  const bytes = records.reduce((sum, record) => sum + meteredBytes(record), OPERATION_BYTES)
  return records.length <= LOG_LIMITS.maxBatchRecords && bytes <= LOG_LIMITS.maxBatchBytes
}

export class Draft<Life> {
  readonly #rules: Rules<Life>
  readonly #from: LogState<Life>
  /** For the records' timestamps, in ms: only the log's own count. */
  readonly #now: number
  readonly #records: AppendRecord[] = []
  #state: LogState<Life>
  #bytes = OPERATION_BYTES

  constructor(rules: Rules<Life>, state: LogState<Life>, now: number) {
    this.#rules = rules
    this.#from = state
    this.#state = state
    this.#now = now
  }

  /** As the constructor, but begins with a checkpoint when one is due, unless it does not fit. */
  static begin<Life>(rules: Rules<Life>, state: LogState<Life>, now: number): Draft<Life> {
    const draft = new Draft(rules, state, now)
    if (isCheckpointDue(state)) draft.add(checkpoint(rules, state))
    return draft
  }

  /** What the records would leave. */
  get state(): LogState<Life> {
    return this.#state
  }

  /** What its batch will leave, but for the timestamps that only the log gives. */
  get after(): LogState<Life> {
    if (this.isEmpty) return this.#state
    const { records, bytes } = this.#state.sinceCheckpoint
    // The operation id counts too, when it comes to the next checkpoint.
    return { ...this.#state, sinceCheckpoint: { records, bytes: bytes + OPERATION_BYTES } }
  }

  get isEmpty(): boolean {
    return this.#records.length === 0
  }

  /** Adds all the records or none; false when they do not fit. */
  add(records: readonly AppendRecord[]): boolean {
    const bytes = records.reduce((sum, record) => sum + meteredBytes(record), this.#bytes)
    const count = this.#records.length + records.length
    if (count > LOG_LIMITS.maxBatchRecords || bytes > LOG_LIMITS.maxBatchBytes) return false
    let state = this.#state
    for (const record of records) {
      state = this.#rules.apply(state, placed(record, state.nextSeq, this.#now))
    }
    this.#state = state
    this.#bytes = bytes
    this.#records.push(...records)
    return true
  }

  /** The batch, conditional on the state it was begun with. */
  toBatch(operation: string): MarkedBatch {
    const fits = Buffer.byteLength(operation) + OPERATION_OVERHEAD <= OPERATION_BYTES
    invariant(fits, 'what was composed leaves room for the operation id')
    const marked = this.#records.findIndex(({ kind }) => kind === 'data')
    const { nextSeq, fencingToken } = this.#from
    return {
      records: this.#records.map((record, index) =>
        index === marked ? withOperationId(record, operation) : record,
      ),
      matchSeqNum: nextSeq,
      fencingToken,
      operation,
    }
  }
}

/**
 * Whether the next batch begins with a checkpoint: as soon as a page from the last one is full.
 *
 * So one page holds all there is from a checkpoint up to the last batch, and that batch is no
 * longer than a second one: opening a log reads its last record and at most two pages.
 */
export function isCheckpointDue({ incarnation, sinceCheckpoint }: LogState<unknown>): boolean {
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
