/**
 * One reader that follows a stream of the embedded log: the past in pages, then every batch as it
 * becomes durable.
 */
import type { Follower, OpenStream } from './embedded-stream.ts'
import {
  BeyondTailError,
  LOG_LIMITS,
  type LogRecord,
  type ReadLimits,
  type ReadSession,
  type ReadSessionHandlers,
  type SeqNum,
} from './log.ts'

const BACKLOG_PAGE: ReadLimits = {
  maxRecords: LOG_LIMITS.maxBatchRecords,
  maxBytes: LOG_LIMITS.maxBatchBytes,
}

type Phase =
  | { readonly kind: 'reading' }
  | { readonly kind: 'following'; readonly heartbeat: NodeJS.Timeout; readonly leave: () => void }
  | { readonly kind: 'over' }

export class FollowSession implements ReadSession, Follower {
  readonly #handlers: ReadSessionHandlers
  readonly #heartbeatMs: number
  #position: SeqNum
  #phase: Phase = { kind: 'reading' }

  constructor(from: SeqNum, handlers: ReadSessionHandlers, heartbeatMs: number) {
    this.#position = from
    this.#handlers = handlers
    this.#heartbeatMs = heartbeatMs
  }

  /**
   * Runs the session on its stream and resolves once it is over.
   *
   * @throws BeyondTailError it starts past the tail
   */
  async run(stream: OpenStream): Promise<void> {
    if (this.#position > stream.tail) throw new BeyondTailError(stream.tail)
    while (!this.#isOver()) {
      // Nothing is awaited between this comparison and the attachment: so there is no gap.
      if (this.#position === stream.tail) return this.#follow(stream)
      await this.#readPage(stream)
    }
  }

  deliver(records: readonly LogRecord[], tail: SeqNum): void {
    this.#position = tail
    if (this.#phase.kind === 'following') this.#phase.heartbeat.refresh()
    this.#call(() => this.#handlers.onRecords(records, true))
    this.#call(() => this.#handlers.onCaughtUp(tail))
  }

  cancel(): void {
    const phase = this.#phase
    this.#phase = { kind: 'over' }
    if (phase.kind === 'following') phase.leave()
  }

  /** Ends the session and says why. Does nothing when it is over already. */
  end(cause: unknown): void {
    if (this.#isOver()) return
    this.cancel()
    try {
      this.#handlers.onEnd(cause)
    } catch (error) {
      // Loud, but not in the middle of someone else's append.
      queueMicrotask(() => {
        throw error
      })
    }
  }

  async #readPage(stream: OpenStream): Promise<void> {
    const { tail } = stream
    const records = await stream.read({ seqNum: this.#position }, BACKLOG_PAGE)
    const last = records.at(-1)
    // An empty page means that everything up to the tail was trimmed.
    this.#position = last === undefined ? tail : last.seqNum + 1
    if (last !== undefined) this.#call(() => this.#handlers.onRecords(records, false))
  }

  #follow(stream: OpenStream): Promise<void> {
    return new Promise((resolve) => {
      const detach = stream.follow(this)
      const heartbeat = setInterval(() => this.#sayCaughtUp(), this.#heartbeatMs)
      heartbeat.unref()
      const leave = (): void => {
        detach()
        clearInterval(heartbeat)
        resolve()
      }
      this.#phase = { kind: 'following', heartbeat, leave }
      this.#sayCaughtUp()
    })
  }

  #sayCaughtUp(): void {
    this.#call(() => this.#handlers.onCaughtUp(this.#position))
  }

  /** A reader that throws loses its session; the append it was told of is not its to fail. */
  #call(handler: () => void): void {
    if (this.#isOver()) return
    try {
      handler()
    } catch (error) {
      this.end(error)
    }
  }

  #isOver(): boolean {
    return this.#phase.kind === 'over'
  }
}
