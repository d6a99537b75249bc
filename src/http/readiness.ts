/** Whether the gateway can serve: asked by probes, and remembered for whoever only looks. */
import type { Clock } from '../clock.ts'
import type { Drain } from './plugins/drain.ts'

export type ReadinessOptions = {
  readonly clock: Clock
  /** Resolves when the log answers; throws LogUnavailableError when it does not. */
  readonly ping: (signal: AbortSignal) => Promise<void>
  readonly drain: Drain
}

/** Probes usually give up after a second or a few; a clear answer must be faster. */
const PING_TIMEOUT_MS = 2000
/** Anybody may ask, as often as they like, and S2 is paid for each answer. In ms. */
const ANSWER_AGE_MS = 1000

type Asked = { readonly answer: Promise<void>; readonly at: number }

export class Readiness {
  readonly #options: ReadinessOptions
  #hasLog = true
  #asked: Asked | undefined

  constructor(options: ReadinessOptions) {
    this.#options = options
  }

  /** What the latest check has found; before there was one, nothing speaks against it. */
  get isReady(): boolean {
    return this.#hasLog && !this.#options.drain.begun
  }

  /**
   * Asks the log, or takes an answer that is being waited for, or is good and of the last second.
   *
   * @throws ShuttingDownError
   * @throws LogUnavailableError
   */
  async check(): Promise<void> {
    const { clock, drain } = this.#options
    drain.refuseIfBegun()
    const now = clock.now()
    // A clock that was set back has answers of the future.
    const isNew = this.#asked !== undefined && Math.abs(now - this.#asked.at) < ANSWER_AGE_MS
    if (this.#asked === undefined || !isNew) this.#asked = { answer: this.#ask(), at: now }
    return this.#asked.answer
  }

  async #ask(): Promise<void> {
    try {
      await this.#options.ping(AbortSignal.timeout(PING_TIMEOUT_MS))
      this.#hasLog = true
    } catch (error) {
      this.#hasLog = false
      // Who comes back in time should hear of it.
      this.#asked = undefined
      throw error
    }
  }
}
