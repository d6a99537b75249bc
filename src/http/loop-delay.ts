/** How late the event loop is: the one measure that all kinds of too much work have in common. */
import { monitorEventLoopDelay } from 'node:perf_hooks'

/**
 * How often the loop is asked to be on time. A tick that is so much apart is no delay, so that is
 * how much less than an iteration takes may be told. Each wakes a process that may have nothing
 * else to do: at 10 ms that is one hundredth of a core.
 */
const RESOLUTION_MS = 50
/** Over which time the mean is taken: a single pause, for the garbage say, is no overload. */
const WINDOW_MS = 1000

const NS_PER_MS = 1e6

export class LoopDelay {
  readonly #histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  readonly #timer: NodeJS.Timeout
  #ms = 0

  constructor() {
    this.#histogram.enable()
    this.#timer = setInterval(() => this.#take(), WINDOW_MS)
    this.#timer.unref()
  }

  /** The mean of the latest second, in ms. */
  get ms(): number {
    return this.#ms
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#histogram.disable()
  }

  #take(): void {
    const { mean } = this.#histogram
    // There is no mean of no ticks: a loop that stood still for the whole window tells it later.
    if (Number.isFinite(mean)) this.#ms = Math.max(0, mean / NS_PER_MS - RESOLUTION_MS)
    this.#histogram.reset()
  }
}
