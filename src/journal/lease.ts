/**
 * How long a group of another gateway is waited for: as long as it gets on. Seen from here, by this
 * gateway's clock, so that no other clock counts.
 */
import type { Clock } from '../clock.ts'
import type { Lock } from './lock.ts'

/** When a group was seen to get on, and the number of its batch that was read last. */
type Sighting = { readonly at: number; readonly batch: number }

/** When the open groups of all logs were seen to get on, by their locks. Of one gateway. */
export class Sightings {
  readonly #sightings = new Map<string, Sighting>()

  get(id: string): Sighting | undefined {
    return this.#sightings.get(id)
  }

  set(id: string, sighting: Sighting): void {
    this.#sightings.delete(id)
    this.#sightings.set(id, sighting)
    // Those that were seen longest ago are over, or are waited for a little longer.
    for (const oldest of this.#sightings.keys()) {
      if (this.#sightings.size <= MAX_SIGHTINGS) return
      this.#sightings.delete(oldest)
    }
  }
}

const MAX_SIGHTINGS = 1000

export class Lease {
  readonly #clock: Clock
  readonly #ms: number
  readonly #sightings: Sightings

  /** The sightings outlive a log that is forgotten and opened anew: it is waited for only once. */
  constructor(clock: Clock, ms: number, sightings = new Sightings()) {
    this.#clock = clock
    this.#ms = ms
    this.#sightings = sightings
  }

  /**
   * A batch was read in the log. Those of others, S2 clients included, do not prolong a group, nor
   * does one that is read again.
   */
  saw(operation: string): void {
    const dot = operation.lastIndexOf('.')
    const [id, batch] = [operation.slice(0, Math.max(0, dot)), Number(operation.slice(dot + 1))]
    const known = this.#sightings.get(id)
    if (known !== undefined && batch > known.batch) {
      this.#sightings.set(id, { at: this.#clock.now(), batch })
    }
  }

  /** How much longer to wait for the group, in ms, unless it gets on. */
  left({ id }: Lock): number {
    const now = this.#clock.now()
    const known = this.#sightings.get(id)
    // Nobody waits for longer because the clock was set back.
    if (known === undefined || known.at > now) {
      this.#sightings.set(id, { at: now, batch: known?.batch ?? -1 })
    }
    return (this.#sightings.get(id)?.at ?? now) + this.#ms - now
  }
}
