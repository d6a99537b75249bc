/** Whether the gateway can serve: asked by probes, and remembered for whoever only looks. */
import type { Drain } from './plugins/drain.ts'

export type ReadinessOptions = {
  /** Resolves when the log answers; throws LogUnavailableError when it does not. */
  readonly ping: (signal: AbortSignal) => Promise<void>
  readonly drain: Drain
}

/** Probes usually give up after a second or a few; a clear answer must be faster. */
const PING_TIMEOUT_MS = 2000

export class Readiness {
  readonly #options: ReadinessOptions
  #hasLog = true

  constructor(options: ReadinessOptions) {
    this.#options = options
  }

  /** What the latest check has found; before there was one, nothing speaks against it. */
  get isReady(): boolean {
    return this.#hasLog && !this.#options.drain.begun
  }

  /**
   * @throws ShuttingDownError
   * @throws LogUnavailableError
   */
  async check(): Promise<void> {
    const { ping, drain } = this.#options
    drain.refuseIfBegun()
    this.#hasLog = await ping(AbortSignal.timeout(PING_TIMEOUT_MS)).then(
      () => true,
      (error: unknown) => {
        this.#hasLog = false
        throw error
      },
    )
  }
}
