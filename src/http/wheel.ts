/**
 * Waits by the thousand on one timer: a timer for each connection is some hundred bytes, a closure
 * and a place in Node's queue.
 *
 * Its turns follow from the time since it was made, whatever the time of day is set to: delays do
 * not add up, and after one several turns may be due at once. What it calls is never early, and
 * late by up to a turn, and by what the event loop is late just then.
 */
import type { Clock } from '../clock.ts'

export interface Waiter {
  /** Its turn has come; it is no longer on the wheel. Must not throw. */
  due(): void
}

export class Wheel {
  readonly #clock: Clock
  readonly #turnMs: number
  readonly #begunAt: number
  readonly #slots = new Map<number, Set<Waiter>>()
  /** The latest turn whose waiters were called. */
  #turn = 0
  #waiters = 0
  #cancelTimer: (() => void) | undefined
  #isTurning = false

  constructor(clock: Clock, turnMs: number) {
    this.#clock = clock
    this.#turnMs = turnMs
    this.#begunAt = clock.elapsed()
  }

  /** The turn that comes when a time, in ms, is over. */
  after(ms: number): number {
    const elapsed = this.#elapsed()
    return Math.max(this.#turnAt(elapsed) + 1, Math.ceil((elapsed + ms) / this.#turnMs))
  }

  /** Has a waiter called at a turn that has yet to come. It should be on the wheel only once. */
  add(waiter: Waiter, turn: number): void {
    const slot = this.#slots.get(turn)
    if (slot === undefined) this.#slots.set(turn, new Set([waiter]))
    else slot.add(waiter)
    this.#waiters += 1
    if (this.#cancelTimer !== undefined) return
    // Nobody has waited for the turns since; but for this one, if it should have come by now.
    this.#turn = Math.min(this.#turnAt(this.#elapsed()), turn - 1)
    this.#arm()
  }

  /** Has a waiter called no more, if that was still to come. */
  remove(waiter: Waiter, turn: number): void {
    if (this.#slots.get(turn)?.delete(waiter) !== true) return
    this.#waiters -= 1
    if (this.#waiters === 0 && !this.#isTurning) this.#rest()
  }

  #elapsed(): number {
    return this.#clock.elapsed() - this.#begunAt
  }

  /** The latest turn that is due after a time. */
  #turnAt(elapsed: number): number {
    return Math.floor(elapsed / this.#turnMs)
  }

  #arm(): void {
    const elapsed = this.#elapsed()
    const ms = (this.#turnAt(elapsed) + 1) * this.#turnMs - elapsed
    // Timers know whole milliseconds, and may be early by a part of one: then this is done again.
    this.#cancelTimer = this.#clock.after(Math.max(1, Math.ceil(ms)), () => this.#turnOn())
  }

  #rest(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    this.#slots.clear()
  }

  #turnOn(): void {
    const latest = this.#turnAt(this.#elapsed())
    this.#arm()
    this.#isTurning = true
    while (this.#turn < latest) this.#call(++this.#turn)
    this.#isTurning = false
    if (this.#waiters === 0) this.#rest()
  }

  #call(turn: number): void {
    const slot = this.#slots.get(turn)
    // A waiter may take out others of its turn.
    for (const waiter of slot ?? []) {
      slot?.delete(waiter)
      this.#waiters -= 1
      waiter.due()
    }
    this.#slots.delete(turn)
  }
}
