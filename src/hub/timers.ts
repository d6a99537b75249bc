/** When a hub acts without being called: idle, renewal of the stream's TTL, end of the stream. */
import type { Clock } from '../clock.ts'

export type HubTimes = {
  /** Without readers for this long, a hub is idle. In ms. */
  readonly idleMs: number
  /** The window of the stream's sliding TTL, in ms; undefined when it has none. */
  readonly ttlMs: number | undefined
  /** The instant at which the stream ends whatever happens, in ms since 1970. */
  readonly endsAt: number | undefined
}

export type HubAlarms = {
  readonly onIdle: () => void
  /** Due while there are readers; returns whether there are any. */
  readonly onRenew: () => boolean
  readonly onEnd: () => void
}

/** Platform timers can't be set for longer, and fire at once if they are; a later one is re-armed. */
const LONGEST_TIMER_MS = 2 ** 31 - 1
/** A TTL of 0 must not become a busy loop. */
const SHORTEST_RENEWAL_MS = 100

const nothing = (): void => undefined

export class HubTimers {
  readonly #clock: Clock
  readonly #times: HubTimes
  readonly #alarms: HubAlarms
  #cancelIdle = nothing
  #cancelRenew: (() => void) | undefined
  #cancelEnd = nothing
  #idleSince: number | undefined

  constructor(clock: Clock, times: HubTimes, alarms: HubAlarms) {
    this.#clock = clock
    this.#times = times
    this.#alarms = alarms
    this.readersLeft()
    this.#armEnd()
  }

  /** Since when there has been no reader, in ms since 1970; undefined while there is one. */
  get idleSince(): number | undefined {
    return this.#idleSince
  }

  /** There is a reader, perhaps the first. */
  readerCame(): void {
    this.#idleSince = undefined
    this.#cancelIdle()
    this.#cancelIdle = nothing
    this.#armRenew()
  }

  /** There is no reader any more, or not yet. */
  readersLeft(): void {
    this.#idleSince = this.#clock.now()
    this.#cancelIdle()
    this.#cancelIdle = this.#clock.after(this.#times.idleMs, this.#alarms.onIdle)
  }

  cancelAll(): void {
    this.#cancelIdle()
    this.#cancelRenew?.()
    this.#cancelEnd()
  }

  /** Live readers keep a stream from expiring, for as long as there are any (PROTOCOL §5.1). */
  #armRenew(): void {
    const { ttlMs } = this.#times
    if (ttlMs === undefined || this.#cancelRenew !== undefined) return
    // Half the window: a reader that is there all the time never lets it run out.
    const ms = Math.min(Math.max(ttlMs / 2, SHORTEST_RENEWAL_MS), LONGEST_TIMER_MS)
    this.#cancelRenew = this.#clock.after(ms, () => {
      this.#cancelRenew = undefined
      if (this.#alarms.onRenew()) this.#armRenew()
    })
  }

  #armEnd(): void {
    const { endsAt } = this.#times
    if (endsAt === undefined) return
    const remaining = Math.max(0, endsAt - this.#clock.now())
    this.#cancelEnd = this.#clock.after(Math.min(remaining, LONGEST_TIMER_MS), () => {
      if (this.#clock.now() < endsAt) this.#armEnd()
      else this.#alarms.onEnd()
    })
  }
}
