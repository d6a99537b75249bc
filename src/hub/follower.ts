/**
 * The one read session of a hub: opens it, now or after a wait that grows with each attempt.
 *
 * Adapters never reconnect by themselves; when to do so is decided in `machine.ts`.
 */
import { backoffMs } from '../clock.ts'
import type { Clock } from '../clock.ts'
import type { DurableLog, LogRecord, ReadSession, SeqNum } from '../log/log.ts'

/** Records as the log hands them over. */
export type Delivery = { readonly records: readonly LogRecord[]; readonly upToTail: boolean }

/** Every call names the generation of the session it comes from. */
export type FollowerHandlers = {
  readonly onRecords: (delivery: Delivery, generation: number) => void
  readonly onCaughtUp: (tail: SeqNum, generation: number) => void
  readonly onEnd: (cause: unknown, generation: number) => void
}

export type FollowerOptions = {
  readonly log: DurableLog
  readonly clock: Clock
  readonly stream: string
  /** Where the next session begins; asked when it is opened. */
  readonly from: () => SeqNum
}

export type Attempt = { readonly generation: number; readonly attempt: number }

/** The wait before a lost session is opened again. */
const RETRY = { firstMs: 100, longestMs: 2000 }

export class Follower {
  readonly #options: FollowerOptions
  readonly #handlers: FollowerHandlers
  #session: ReadSession | undefined
  #cancelRetry = (): void => undefined
  /** Counts calls of `open` and `close`: a session of before is let go at once. */
  #turn = 0

  constructor(options: FollowerOptions, handlers: FollowerHandlers) {
    this.#options = options
    this.#handlers = handlers
  }

  /** Opens a session; attempt 0 at once. */
  open({ attempt, generation }: Attempt): void {
    this.close()
    const turn = this.#turn
    if (attempt === 0) return this.#open(generation, turn)
    const { clock } = this.#options
    const waitMs = backoffMs(clock, attempt - 1, RETRY)
    this.#cancelRetry = clock.after(waitMs, () => this.#open(generation, turn))
  }

  /** Ends the session, or the wait for the next one. */
  close(): void {
    this.#turn += 1
    this.#cancelRetry()
    this.#session?.cancel()
    this.#session = undefined
  }

  #open(generation: number, turn: number): void {
    const { log, stream, from } = this.#options
    const { onRecords, onCaughtUp, onEnd } = this.#handlers
    try {
      const session = log.openReadSession(stream, from(), {
        onRecords: (records, upToTail) => onRecords({ records, upToTail }, generation),
        onCaughtUp: (tail) => onCaughtUp(tail, generation),
        onEnd: (cause) => onEnd(cause, generation),
      })
      if (turn === this.#turn) this.#session = session
      else session.cancel()
    } catch (error) {
      onEnd(error, generation)
    }
  }
}
