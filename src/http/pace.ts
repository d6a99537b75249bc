/**
 * How slow clients may be with their bodies: one on a slow line takes its time, one that stands
 * still does not. One timer for all: most bodies are there before it would have been set.
 */
import type { Clock } from '../clock.ts'

export type PaceOptions = {
  readonly clock: Clock
  /** Every body has as long, in ms. */
  readonly timeoutMs: number
  /** And a second more for as many bytes that have come. */
  readonly bytesPerSecond: number
}

/** A body that is on its way. */
export interface Paced {
  readonly received: number
  /** It came too slowly. */
  late(): void
}

type Watch = { dueAt: number; counted: number }

export class Pace {
  readonly #options: PaceOptions
  readonly #watches = new Map<Paced, Watch>()
  /** When the timer goes off, and what cancels it. */
  #wakesAt = Infinity
  #cancelTimer = (): void => undefined
  /** What the clock said last. */
  #latest = -Infinity

  constructor(options: PaceOptions) {
    this.#options = options
  }

  watch(body: Paced): void {
    const dueAt = this.#now() + this.#options.timeoutMs
    this.#watches.set(body, { dueAt, counted: 0 })
    if (dueAt < this.#wakesAt) this.#wakeAt(dueAt)
  }

  forget(body: Paced): void {
    this.#watches.delete(body)
  }

  /** The time. Nobody has longer because the clock was set back. */
  #now(): number {
    const now = this.#options.clock.now()
    const back = this.#latest - now
    this.#latest = now
    if (back <= 0) return now
    for (const watch of this.#watches.values()) watch.dueAt -= back
    if (this.#wakesAt < Infinity) this.#wakeAt(this.#wakesAt - back)
    return now
  }

  #wakeAt(at: number): void {
    const { clock } = this.#options
    this.#cancelTimer()
    this.#wakesAt = at
    this.#cancelTimer = clock.after(Math.max(0, at - clock.now()), () => {
      this.#wakesAt = Infinity
      this.#check()
    })
  }

  #check(): void {
    const { bytesPerSecond } = this.#options
    const now = this.#now()
    let nextAt = Infinity
    for (const [body, watch] of this.#watches) {
      if (watch.dueAt <= now) {
        const earned = ((body.received - watch.counted) / bytesPerSecond) * 1000
        watch.counted = body.received
        watch.dueAt = now + earned
        if (earned === 0) body.late()
      }
      if (this.#watches.has(body)) nextAt = Math.min(nextAt, watch.dueAt)
    }
    if (nextAt < this.#wakesAt) this.#wakeAt(nextAt)
  }
}
