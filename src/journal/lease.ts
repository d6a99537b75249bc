/**
 * How long a group of another gateway is waited for: as long as it gets on. Seen from here, by this
 * gateway's clock, so that no other clock counts.
 */
import type { Clock } from '../clock.ts'
import type { Lock } from './lock.ts'

export class Lease {
  readonly #clock: Clock
  readonly #ms: number
  #seen: { readonly id: string; readonly at: number } | undefined

  constructor(clock: Clock, ms: number) {
    this.#clock = clock
    this.#ms = ms
  }

  /** A batch was read in the log. Those of others, S2 clients included, do not prolong a group. */
  saw(operation: string): void {
    const id = this.#seen?.id
    if (id === undefined || !operation.startsWith(`${id}.`)) return
    this.#seen = { id, at: this.#clock.now() }
  }

  /** How much longer to wait for the group, in ms, unless it gets on. */
  left({ id }: Lock): number {
    const now = this.#clock.now()
    const isKnown = this.#seen?.id === id && this.#seen.at <= now
    if (this.#seen === undefined || !isKnown) this.#seen = { id, at: now }
    return this.#seen.at + this.#ms - now
  }
}
