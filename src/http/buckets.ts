/**
 * Token buckets of many callers in bounded memory: what each may have in a second, and what it has
 * left of that now.
 */
import { LRUCache } from 'lru-cache'

/** What is counted in so many a second. */
export const UNITS = ['requests', 'appends', 'creates', 'bytes'] as const
export type Unit = (typeof UNITS)[number]

/** So many a second; what is not named is not limited. Whole numbers from 1. */
export type Rates = { readonly [Name in Unit]?: number | undefined }

/** What one request takes. Of `bytes`, 0 stands for a body of unknown length. */
export type Cost = { readonly [Name in Unit]?: number }

/**
 * Callers whose buckets are kept, the latest; at some 300 bytes for each they are 15 MB.
 *
 * The bucket of a caller that was dropped begins anew, and full. That gives nothing away: a bucket
 * is full again after a second without a request, and more others than this do not come to one
 * process in a second. Only a debt of bytes may last longer, and whoever can come as as many
 * others has as many buckets anyway.
 */
const MAX_CALLERS = 50_000

/** A bucket that lacks less than this of a unit has it: seconds are no whole numbers. */
const EPSILON = 1e-6

/** The buckets of one caller, one for each limited unit. */
export class Allowance {
  readonly #rates: readonly (readonly [unit: Unit, perSecond: number])[]
  readonly #left: number[]
  /** When they were filled last, in ms of {@link Clock.elapsed}. */
  #filledAt: number

  constructor(rates: readonly (readonly [Unit, number])[], now: number) {
    this.#rates = rates
    this.#left = rates.map(([, perSecond]) => perSecond)
    this.#filledAt = now
  }

  /** Pours in what the time since the last call has brought. A second's worth is all that fits. */
  fill(now: number): void {
    const seconds = (now - this.#filledAt) / 1000
    this.#filledAt = now
    for (const [index, [, perSecond]] of this.#rates.entries()) {
      const left = this.#left[index] ?? 0
      this.#left[index] = Math.min(perSecond, left + seconds * perSecond)
    }
  }

  /**
   * How long until there is room for a cost, in ms; 0 when there is.
   *
   * There is room for any cost as long as one unit is left: of bytes, one body may go into debt.
   * So also a body that is larger than a second's worth passes, and small ones can't keep it out.
   */
  waitMs(cost: Cost): number {
    let longest = 0
    for (const [unit] of this.#rates) {
      if (cost[unit] !== undefined) longest = Math.max(longest, this.waitMsOf(unit))
    }
    return longest
  }

  /** The same for one unit. */
  waitMsOf(unit: Unit): number {
    const index = this.#rates.findIndex(([known]) => known === unit)
    const [, perSecond = 1] = this.#rates[index] ?? []
    const lacking = 1 - (this.#left[index] ?? 1)
    return lacking <= EPSILON ? 0 : Math.ceil((lacking / perSecond) * 1000 - EPSILON)
  }

  /** Takes a cost, whether there is room for it or not. */
  take(cost: Cost): void {
    for (const [index, [unit]] of this.#rates.entries()) {
      this.#left[index] = (this.#left[index] ?? 0) - (cost[unit] ?? 0)
    }
  }

  /** What is left of a unit, as a whole number; 0 in debt. */
  leftOf(unit: Unit): number {
    const index = this.#rates.findIndex(([known]) => known === unit)
    return Math.max(0, Math.floor((this.#left[index] ?? 0) + EPSILON))
  }
}

/** The allowances of all callers of one kind. */
export class Allowances {
  readonly #rates: readonly (readonly [Unit, number])[]
  readonly #known: LRUCache<string, Allowance>

  constructor(rates: Rates, maxCallers = MAX_CALLERS) {
    this.#rates = UNITS.flatMap((unit) => {
      const perSecond = rates[unit]
      return perSecond === undefined ? [] : [[unit, perSecond] as const]
    })
    this.#known = new LRUCache({ max: maxCallers })
  }

  /** What is limited, and to how many a second. */
  get rates(): readonly (readonly [Unit, number])[] {
    return this.#rates
  }

  /** What a caller may have now. */
  of(caller: string, now: number): Allowance {
    const known = this.#known.get(caller)
    if (known !== undefined) {
      known.fill(now)
      return known
    }
    const fresh = new Allowance(this.#rates, now)
    this.#known.set(caller, fresh)
    return fresh
  }
}
