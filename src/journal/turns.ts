/**
 * Fairness among gateways that write one log. Of two that append at the same place the log takes
 * one; the other one learns so when the first is done, and has to read before it can try again. A
 * gateway that always has something to write would be first every time, and never know that
 * others wait. So it lets them go first now and then, and each time while it knows of them.
 *
 * In every round somebody gets on, and each of `n` rivals with the same chance: one waits for `n`
 * rounds on average, and a round is about two appends.
 */
import type { Clock } from '../clock.ts'

/** How long a gateway that knows of nobody else goes on without a pause, in appends. */
const LONGEST_STREAK = 16
/** How long a pause is, in appends. */
const PAUSE = 2
/** How long after a conflict rivals are reckoned with, in ms. */
const CONTENDED_MS = 1000
/** Before any append was timed: about one of s2-lite. In ms. */
const FIRST_APPEND_MS = 5
/** What is taken for the time of an append at most, in ms: outages are no measure. */
const LONGEST_APPEND_MS = 200
/** How much the latest append counts in the average. */
const WEIGHT = 0.2

export class Turns {
  readonly #clock: Clock
  #appendMs = FIRST_APPEND_MS
  #busySince = -Infinity
  #endedAt = -Infinity
  #contendedUntil = -Infinity

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Whether another gateway was first lately: what is sent ahead of an answer is in vain then. */
  get isContended(): boolean {
    return this.#clock.now() < this.#contendedUntil
  }

  /** A batch of ours was first; it took so many ms. */
  won(ms: number): void {
    this.#endedAt = this.#clock.now()
    this.#appendMs += WEIGHT * (Math.min(ms, LONGEST_APPEND_MS) - this.#appendMs)
  }

  /** Another gateway was first. */
  lost(): void {
    this.#contendedUntil = this.#clock.now() + CONTENDED_MS
  }

  /** How long to wait before the next batch, in ms. A pause that is taken ends a streak. */
  takePause(): number {
    const now = this.#clock.now()
    const pauseMs = PAUSE * this.#appendMs
    if (this.isContended) {
      this.#busySince = now
      return this.#clock.random() * pauseMs
    }
    // Whoever had nothing to write for as long has let others go first already.
    if (now - this.#endedAt >= pauseMs) this.#busySince = now
    if (now - this.#busySince < LONGEST_STREAK * this.#appendMs) return 0
    this.#busySince = now + pauseMs
    return pauseMs
  }
}
