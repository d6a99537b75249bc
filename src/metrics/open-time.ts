/** How long things are open, added up over all of them. */
import type { Clock } from '../clock.ts'

export class OpenTime {
  readonly #clock: Clock
  #open = 0
  #opened = 0
  /** Up to the latest change. */
  #ms = 0
  #changedAt: number

  constructor(clock: Clock) {
    this.#clock = clock
    this.#changedAt = clock.elapsed()
  }

  get open(): number {
    return this.#open
  }

  /** Since the start. */
  get opened(): number {
    return this.#opened
  }

  /** The times of all, of those that are still open as well, in ms. */
  get ms(): number {
    return this.#ms + this.#open * (this.#clock.elapsed() - this.#changedAt)
  }

  add(): void {
    this.#change(1)
    this.#opened += 1
  }

  remove(): void {
    this.#change(-1)
  }

  #change(by: number): void {
    this.#ms = this.ms
    this.#changedAt = this.#clock.elapsed()
    this.#open += by
  }
}
