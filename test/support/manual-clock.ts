/** A clock that stands still until a test moves it, with chance as the test wants it. */
import type { Clock } from '../../src/clock.ts'

type Timer = { readonly at: number; readonly order: number; readonly run: () => void }

export type ManualClockOptions = {
  /** Milliseconds since 1970 at the start. */
  readonly now?: number
  /** Where {@link Clock.random} comes from; always 0.5 by default. */
  readonly random?: () => number
}

/** Turns of the event loop without a timer after which a run counts as stuck. */
const MAX_IDLE_TURNS = 100

export class ManualClock implements Clock {
  #now: number
  #elapsed = 0
  #order = 0
  readonly #random: () => number
  readonly #timers = new Set<Timer>()
  readonly #watchers = new Set<() => void>()

  constructor({ now = 1_700_000_000_000, random = () => 0.5 }: ManualClockOptions = {}) {
    this.#now = now
    this.#random = random
  }

  now(): number {
    return this.#now
  }

  elapsed(): number {
    return this.#elapsed
  }

  random(): number {
    return this.#random()
  }

  after(ms: number, run: () => void): () => void {
    const timer: Timer = { at: this.#now + Math.max(0, ms), order: this.#order++, run }
    this.#timers.add(timer)
    for (const watcher of [...this.#watchers]) watcher()
    return () => {
      this.#timers.delete(timer)
    }
  }

  /** How many timers are armed. */
  get timers(): number {
    return this.#timers.size
  }

  /** How long until the next timer fires, in ms; undefined when none is armed. */
  get nextTimerMs(): number | undefined {
    const next = this.#earliest(Infinity)
    return next === undefined ? undefined : next.at - this.#now
  }

  /**
   * Moves time on and fires what falls due, in order, each at its own instant; timers that those
   * arm fire too when they fall due. What waits on promises runs after the caller has awaited.
   */
  advance(ms: number): void {
    const end = this.#now + ms
    for (let timer = this.#earliest(end); timer !== undefined; timer = this.#earliest(end)) {
      this.#timers.delete(timer)
      this.#moveTo(timer.at)
      timer.run()
    }
    this.#moveTo(end)
  }

  /** As {@link advance}, but lets promises settle before, between and after the timers. */
  async advanceAsync(ms: number): Promise<void> {
    const end = this.#now + ms
    await drained()
    for (let timer = this.#earliest(end); timer !== undefined; timer = this.#earliest(end)) {
      this.#timers.delete(timer)
      this.#moveTo(timer.at)
      timer.run()
      await drained()
    }
    this.#moveTo(end)
  }

  /** Moves time to the next timer and fires it; waits for one to be armed when there is none. */
  async fireNext(): Promise<void> {
    await this.untilTimers(1)
    await this.advanceAsync(this.nextTimerMs ?? 0)
  }

  /**
   * Moves time on, timer by timer, until the promise is settled: a whole run in no time, and the
   * same run every time as long as nothing but this clock and other promises decides it.
   */
  async runUntil<T>(settled: Promise<T>): Promise<T> {
    const run = { isOver: false }
    const over = (): void => {
      run.isOver = true
    }
    settled.then(over, over)
    for (let idle = 0; idle < MAX_IDLE_TURNS;) {
      await drained()
      if (run.isOver) return settled
      const next = this.nextTimerMs
      idle = next === undefined ? idle + 1 : 0
      if (next !== undefined) this.advance(next)
    }
    throw new Error('nothing is left to wait for, and it is not over')
  }

  /** Lets time go by without firing anything: an event loop that is held up. */
  stall(ms: number): void {
    this.#moveTo(this.#now + ms)
  }

  /** Sets the time of day without firing anything: a clock that was corrected. */
  set(now: number): void {
    this.#now = now
  }

  /** Resolves once at least `count` timers are armed. */
  untilTimers(count: number): Promise<void> {
    if (this.#timers.size >= count) return Promise.resolve()
    return new Promise((resolve) => {
      const watcher = (): void => {
        if (this.#timers.size < count) return
        this.#watchers.delete(watcher)
        resolve()
      }
      this.#watchers.add(watcher)
    })
  }

  /** What is late fires now, and not back when it was due. */
  #moveTo(instant: number): void {
    const ms = Math.max(0, instant - this.#now)
    this.#now += ms
    this.#elapsed += ms
  }

  #earliest(end: number): Timer | undefined {
    let earliest: Timer | undefined
    for (const timer of this.#timers) {
      if (timer.at > end) continue
      const sooner =
        earliest === undefined ||
        timer.at < earliest.at ||
        (timer.at === earliest.at && timer.order < earliest.order)
      if (sooner) earliest = timer
    }
    return earliest
  }
}

/** Resolves when everything that waits on settled promises only has run. */
function drained(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
