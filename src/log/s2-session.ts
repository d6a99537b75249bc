/**
 * One read session: the SDK's single records gathered into batches again.
 *
 * Owns the session from opening to end and calls nobody afterwards. Does not reconnect, and does
 * not judge a gap: the records after one start a new batch.
 */
import type { ReadRecord, S2Stream } from '@s2-dev/streamstore'
import type { LogRecord, ReadSession, ReadSessionHandlers, SeqNum } from './log.ts'
import { fromS2Record } from './s2-records.ts'

/** The part of the SDK's read session that is used here. */
export type RecordSource = {
  readonly reader: RecordReader
  /** Whether all records before the tail reported last were given to the reader. */
  isCaughtUp(): boolean
  /** Resolves with that tail as soon as this is so, also when no record is to come. */
  caughtUp(): Promise<{ readonly seqNum: SeqNum }>
}

type RecordReader = {
  read(): Promise<
    | { done: false; value: ReadRecord<'bytes'> }
    | { done: true; value?: ReadRecord<'bytes'> | undefined }
  >
  cancel(): Promise<void>
}

/** Where a session gets its records and whom it tells of its end. */
export type SessionHooks = {
  readonly open: () => Promise<RecordSource>
  /** Called once when nothing more is read, after a cancel too, with the error as it was thrown. */
  readonly closed: (cause: unknown) => void
  /** Turns what ended the session into the error its owner is told. */
  readonly failure: (cause: unknown) => unknown
}

/** Opens the SDK's session. It connects with the first read, and fails with it. */
export async function openRecordSource(stream: S2Stream, from: SeqNum): Promise<RecordSource> {
  const session = await stream.readSession({ start: { from: { seqNum: from } } }, { as: 'bytes' })
  return {
    reader: session.getReader(),
    isCaughtUp: () => session.isCaughtUp(),
    caughtUp: () => session.caughtUp(),
  }
}

/** A batch this large is handed over at once, to bound how long the event loop is held. */
const MAX_RECORDS = 500
const MAX_BYTES = 1024 * 1024

/** Follows one stream by one attempt. A handler that throws ends its session. */
export class S2ReadSession implements ReadSession {
  readonly #handlers: ReadSessionHandlers
  readonly #hooks: SessionHooks
  #phase: 'open' | 'over' = 'open'
  #reader: RecordReader | undefined
  #pending: LogRecord[] = []
  #pendingBytes = 0
  #flushing: NodeJS.Immediate | undefined
  #next: SeqNum
  #announcedTail: SeqNum | undefined
  #awaitsTail = false

  constructor(from: SeqNum, handlers: ReadSessionHandlers, hooks: SessionHooks) {
    this.#next = from
    this.#handlers = handlers
    this.#hooks = hooks
    void this.#run()
  }

  cancel(): void {
    if (this.#isOver()) return
    this.#phase = 'over'
    clearImmediate(this.#flushing)
    this.#pending = []
    // A source that has failed already refuses to be cancelled: it is over, too.
    this.#reader?.cancel().catch(() => undefined)
  }

  /** Ends the session for a reason of ours: the owner gets what was read and the cause. */
  end(cause: unknown): void {
    if (this.#isOver()) return
    this.#flush()
    if (this.#isOver()) return
    this.cancel()
    this.#handlers.onEnd(cause)
  }

  async #run(): Promise<void> {
    let cause: unknown
    try {
      await this.#follow()
    } catch (error) {
      cause = error
    }
    this.#hooks.closed(cause)
    this.end(cause === undefined ? undefined : this.#hooks.failure(cause))
  }

  async #follow(): Promise<void> {
    const source = await this.#hooks.open()
    const { reader } = source
    this.#reader = reader
    if (this.#isOver()) {
      await reader.cancel()
      return
    }
    for (;;) {
      this.#awaitTail(source)
      const { done, value } = await reader.read()
      if (done || this.#isOver()) return
      this.#take(fromS2Record(value))
      // Not `lastObservedTail()`: it may be ahead of what was read.
      if (source.isCaughtUp()) this.#caughtUp(this.#next)
    }
  }

  // For the tail that no record reaches: when there is none, or when the rest was trimmed.
  #awaitTail(source: RecordSource): void {
    if (this.#awaitsTail) return
    this.#awaitsTail = true
    source.caughtUp().then(
      ({ seqNum }) => {
        this.#awaitsTail = false
        // The record that reaches the tail may be on its way from the reader still.
        if (seqNum <= this.#next) this.#caughtUp(seqNum)
        else setImmediate(() => this.#caughtUp(seqNum))
      },
      // The reader fails or ends at the same time, and says why.
      () => undefined,
    )
  }

  #take(record: LogRecord): void {
    if (record.seqNum !== this.#next) this.#flush()
    this.#next = record.seqNum + 1
    this.#pending.push(record)
    this.#pendingBytes += record.kind === 'data' ? record.body.length : 0
    if (this.#pending.length >= MAX_RECORDS || this.#pendingBytes >= MAX_BYTES) this.#flush()
    // The SDK hands out a whole batch within one turn of the event loop.
    else this.#flushing ??= setImmediate(() => this.#flush())
  }

  #caughtUp(tail: SeqNum): void {
    this.#flush()
    if (tail < this.#next || tail === this.#announcedTail) return
    this.#next = tail
    this.#announcedTail = tail
    this.#deliver(() => this.#handlers.onCaughtUp(tail))
  }

  #flush(): void {
    clearImmediate(this.#flushing)
    this.#flushing = undefined
    const records = this.#pending
    if (records.length === 0) return
    this.#pending = []
    this.#pendingBytes = 0
    this.#deliver(() => this.#handlers.onRecords(records))
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

  #isOver(): boolean {
    return this.#phase === 'over'
  }
}
