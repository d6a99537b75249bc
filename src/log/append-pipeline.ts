/**
 * The order of a session's appends, for every adapter: answered one behind the other, and none
 * accepted after a failure.
 *
 * Knows nothing of any log. That what follows a failed append is not applied is the adapter's to
 * see to.
 */
import { AppendOutcomeUnknownError } from '../errors.ts'
import type { AppendAck } from './log.ts'

type Entry = {
  readonly resolve: (ack: AppendAck) => void
  readonly reject: (error: unknown) => void
  outcome?: { readonly ack: AppendAck } | { readonly error: unknown }
}

/** Keeps the promises of {@link AppendSession} about what is answered, and when. */
export class AppendPipeline {
  readonly #onEnd: (cause: unknown) => void
  /** Oldest first. */
  readonly #entries: Entry[] = []
  #phase: 'open' | 'failing' | 'over' = 'open'

  /** Calls `onEnd` once, when the session is over and nothing of it is under way here. */
  constructor(onEnd: (cause: unknown) => void = () => {}) {
    this.#onEnd = onEnd
  }

  get isOpen(): boolean {
    return this.#phase === 'open'
  }

  /**
   * Starts an append at once and answers when all before it are answered.
   *
   * @throws AppendOutcomeUnknownError one before it has failed, or the session has ended
   */
  run(append: () => Promise<AppendAck>): Promise<AppendAck> {
    if (!this.isOpen) return Promise.reject(sessionOver())
    return new Promise((resolve, reject) => {
      const entry: Entry = { resolve, reject }
      this.#entries.push(entry)
      append().then(
        (ack) => this.#settle(entry, { ack }),
        (error: unknown) => {
          this.refuse()
          this.#settle(entry, { error })
        },
      )
    })
  }

  /** Takes no more appends, because one under way is going to fail. */
  refuse(): void {
    if (this.#phase === 'open') this.#phase = 'failing'
  }

  /** Ends the session. What is under way may still be applied, and nobody waits to hear of it. */
  end(cause: unknown): void {
    if (this.#phase === 'over') return
    this.#phase = 'over'
    for (const entry of this.#entries.splice(0)) entry.reject(sessionOver(cause))
    this.#onEnd(cause)
  }

  // Only the oldest failure is an answer: to those behind it, whatever they came to, it is a
  // consequence.
  #settle(entry: Entry, outcome: NonNullable<Entry['outcome']>): void {
    entry.outcome = outcome
    for (;;) {
      const [oldest] = this.#entries
      if (oldest?.outcome === undefined) return
      this.#entries.shift()
      if ('error' in oldest.outcome) {
        oldest.reject(oldest.outcome.error)
        this.end(oldest.outcome.error)
        return
      }
      oldest.resolve(oldest.outcome.ack)
    }
  }
}

function sessionOver(cause?: unknown): AppendOutcomeUnknownError {
  return new AppendOutcomeUnknownError(new Error('the append session is over', { cause }))
}
