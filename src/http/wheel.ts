/**
 * Waits by the thousand on one timer: a timer for each connection is some hundred bytes, a closure
 * and a place in Node's queue.
 *
 * It counts turns of its own timer, so nobody waits longer because the clock was set back. What it
 * calls is never early, and late by up to a turn, and by what the event loop is late in each.
 */
import type { Clock } from '../clock.ts'

export interface Waiter {
  /** Its turn has come; it is no longer on the wheel. Must not throw. */
  due(): void
}

export class Wheel {
  readonly #clock: Clock
  readonly #turnMs: number
  readonly #slots = new Map<number, Set<Waiter>>()
  #turn = 0
  #waiters = 0
  #cancelTimer: (() => void) | undefined
  #isTurning = false

  constructor(clock: Clock, turnMs: number) {
    this.#clock = clock
    this.#turnMs = turnMs
  }

  /** The turn that comes when a time, in ms, is over. */
  after(ms: number): number {
    // A turn that has begun does not count, but for those whose own has just come.
    const begun = this.#cancelTimer === undefined || this.#isTurning ? 0 : 1
    return this.#turn + begun + Math.max(1, Math.ceil(ms / this.#turnMs))
  }

  /** Has a waiter called at a turn that has yet to come. It should be on the wheel only once. */
  add(waiter: Waiter, turn: number): void {
    const slot = this.#slots.get(turn)
    if (slot === undefined) this.#slots.set(turn, new Set([waiter]))
    else slot.add(waiter)
    this.#waiters += 1
    if (this.#cancelTimer === undefined) this.#arm()
  }

  /** Has a waiter called no more, if that was still to come. */
  remove(waiter: Waiter, turn: number): void {
    if (this.#slots.get(turn)?.delete(waiter) !== true) return
    this.#waiters -= 1
    if (this.#waiters === 0 && !this.#isTurning) this.#rest()
  }

  #arm(): void {
    this.#cancelTimer = this.#clock.after(this.#turnMs, () => this.#turnOn())
  }

  #rest(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    this.#slots.clear()
  }

  #turnOn(): void {
    this.#turn += 1
    this.#arm()
    this.#isTurning = true
    const slot = this.#slots.get(this.#turn)
    // A waiter may take out others of its turn.
    for (const waiter of slot ?? []) {
      slot?.delete(waiter)
      this.#waiters -= 1
      waiter.due()
    }
    this.#isTurning = false
    this.#slots.delete(this.#turn)
    if (this.#waiters === 0) this.#rest()
  }
}
