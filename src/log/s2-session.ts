/**
 * One read session: what its source sends, handed over as the port promises.
 *
 * Owns the session from opening to end and calls nobody afterwards. Does not reconnect, and does
 * not judge a gap: the records after one start a new batch.
 */
import type { LogRecord, ReadSession, ReadSessionHandlers, SeqNum } from './log.ts'
import type { ReadSourceEvents } from './s2-read-source.ts'
import type { ReadBatch } from './s2-read-wire.ts'

/** The part of a `ReadSource` that is used here. */
export type BatchSource = { cancel(): void }

/** Where a session gets its records and whom it tells of its end. */
export type SessionHooks = {
  readonly open: (events: ReadSourceEvents) => Promise<BatchSource>
  /** Called once when nothing more is read, after a cancel too, with the error as it was thrown. */
  readonly closed: (cause: unknown) => void
  /** Turns what ended the session into the error its owner is told. */
  readonly failure: (cause: unknown) => unknown
}

/**
 * Most records of one call: readers get them as one event. Their bytes are bounded by what a
 * source reads in one turn of the event loop.
 */
const MAX_RECORDS = 500

/** Follows one stream by one attempt. A handler that throws ends its session. */
export class S2ReadSession implements ReadSession {
  readonly #handlers: ReadSessionHandlers
  readonly #hooks: SessionHooks
  #phase: 'open' | 'over' = 'open'
  #source: BatchSource | undefined
  /** Without a gap. */
  #pending: LogRecord[] = []
  #flushing: NodeJS.Immediate | undefined
  #next: SeqNum
  /** The tail, once everything before it has come. */
  #tail: SeqNum | undefined
  #announcedTail: SeqNum | undefined

  constructor(from: SeqNum, handlers: ReadSessionHandlers, hooks: SessionHooks) {
    this.#next = from
    this.#handlers = handlers
    this.#hooks = hooks
    void this.#open()
  }

  cancel(): void {
    this.#close(undefined)
  }

  /** Ends the session for a reason of ours: the owner gets what was read and the cause. */
  end(cause: unknown): void {
    this.#end(cause, () => cause)
  }

  async #open(): Promise<void> {
    const failed = (cause: unknown): void => {
      this.#end(cause, this.#hooks.failure)
    }
    try {
      const onBatch = (batch: ReadBatch): void => this.#take(batch)
      this.#source = await this.#hooks.open({ onBatch, onEnd: failed })
    } catch (error) {
      failed(error)
    }
    if (this.#isOver()) this.#source?.cancel()
  }

  #take({ records, tail }: ReadBatch): void {
    if (this.#isOver()) return
    for (const record of records) {
      const isFull = this.#pending.length >= MAX_RECORDS
      if (record.seqNum !== this.#next || isFull) this.#handOver(false)
      if (this.#isOver()) return
      this.#next = record.seqNum + 1
      this.#pending.push(record)
    }
    this.#tail = tail !== undefined && isReached(records, tail) ? tail : undefined
    // What comes in one turn of the event loop is handed over together, after it was acknowledged:
    // a hub wakes its readers once for it.
    this.#flushing ??= setImmediate(() => this.#flush())
  }

  #flush(): void {
    this.#flushing = undefined
    const tail = this.#tail
    // S2 says where the tail is with whole batches only.
    const isAtTail = tail !== undefined && tail >= this.#next
    this.#handOver(isAtTail)
    if (!isAtTail || tail === this.#announcedTail) return
    this.#next = tail
    this.#announcedTail = tail
    this.#deliver(() => this.#handlers.onCaughtUp(tail))
  }

  #handOver(upToTail: boolean): void {
    const records = this.#pending
    if (records.length === 0) return
    this.#pending = []
    this.#deliver(() => this.#handlers.onRecords(records, upToTail))
  }

  #deliver(call: () => void): void {
    if (this.#isOver()) return
    try {
      call()
    } catch (error) {
      this.#pending = []
      this.end(error)
    }
  }

  #end(cause: unknown, failure: (cause: unknown) => unknown): void {
    if (this.#isOver()) return
    this.#handOver(false)
    if (this.#isOver()) return
    this.#close(cause)
    this.#handlers.onEnd(cause === undefined ? undefined : failure(cause))
  }

  #close(cause: unknown): void {
    if (this.#isOver()) return
    this.#phase = 'over'
    clearImmediate(this.#flushing)
    this.#pending = []
    this.#source?.cancel()
    this.#hooks.closed(cause)
  }

  #isOver(): boolean {
    return this.#phase === 'over'
  }
}

/** Whether nothing is missing before the tail. One that no record reaches is: the rest was trimmed. */
function isReached(records: readonly LogRecord[], tail: SeqNum): boolean {
  const last = records.at(-1)
  return last === undefined || last.seqNum + 1 === tail
}
