/**
 * How long a group of another gateway is waited for: as long as it gets on. Seen from here, by this
 * gateway's clock, so that no other clock counts.
 */
import type { Clock } from '../clock.ts'
import type { SeqNum } from '../log/log.ts'
import type { Lock } from './lock.ts'

export class Lease {
  readonly #clock: Clock
  readonly #ms: number
  #seen: { readonly id: string; readonly tail: SeqNum; readonly at: number } | undefined

  constructor(clock: Clock, ms: number) {
    this.#clock = clock
    this.#ms = ms
  }

  /** How much longer to wait for the group, in ms, unless it gets on; `tail` is the log's. */
  left({ id }: Lock, tail: SeqNum): number {
    const now = this.#clock.now()
    const isNews = this.#seen?.id !== id || this.#seen.tail !== tail || this.#seen.at > now
    if (this.#seen === undefined || isNews) this.#seen = { id, tail, at: now }
    return this.#seen.at + this.#ms - now
  }
}
