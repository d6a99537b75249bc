/** A wait that can be cut short, even before it begins. */
import type { Clock } from '../clock.ts'

export class Nap {
  readonly #clock: Clock
  #wake: (() => void) | undefined
  #isInterrupted = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Returns after `ms`, or once it is interrupted; at once if that has happened already. */
  async take(ms: number): Promise<void> {
    if (this.#isInterrupted || ms <= 0) return
    await new Promise<void>((resolve) => {
      const cancel = this.#clock.after(ms, () => this.#wake?.())
      this.#wake = () => {
        cancel()
        this.#wake = undefined
        resolve()
      }
    })
  }

  /** Waits for a promise; `interrupted` once it is, or was already. Neither takes it back. */
  async race<Answer>(promise: Promise<Answer>): Promise<Answer | 'interrupted'> {
    if (this.#isInterrupted) return 'interrupted'
    const interrupted = new Promise<'interrupted'>((resolve) => {
      this.#wake = () => {
        this.#wake = undefined
        resolve('interrupted')
      }
    })
    return Promise.race([promise, interrupted])
  }

  /** Cuts the wait short that is under way, or the next one. */
  interrupt(): void {
    this.#isInterrupted = true
    this.#wake?.()
  }

  /** Whether there was an interruption; from here on there was none. */
  takeInterrupt(): boolean {
    const was = this.#isInterrupted
    this.#isInterrupted = false
    return was
  }
}
