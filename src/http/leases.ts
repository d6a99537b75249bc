/** Live reads that end before their readers want: when a token expires, or its key is withdrawn. */
import type { Clock } from '../clock.ts'

/** For how long a live read may go on, and what with. */
export type Lease = {
  /** In ms since 1970. */
  readonly until: number
  /** Names the key that its token was signed with. */
  readonly keyId: string
}

/** A live read on a lease. */
export interface Leaseholder {
  /** Its key is withdrawn. */
  revoked(): void
}

export class Leases {
  readonly #clock: Clock
  readonly #holders = new Map<string, Set<Leaseholder>>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** What is left of a lease, in ms. */
  left({ until }: Lease): number {
    return Math.max(0, until - this.#clock.now())
  }

  /** Has the holder told when the key of its lease is withdrawn; a lease may be held by many. */
  hold({ keyId }: Lease, holder: Leaseholder): void {
    const holders = this.#holders.get(keyId)
    if (holders === undefined) this.#holders.set(keyId, new Set([holder]))
    else holders.add(holder)
  }

  /** Does nothing when the holder has let go of it already. */
  release({ keyId }: Lease, holder: Leaseholder): void {
    const holders = this.#holders.get(keyId)
    if (holders?.delete(holder) === true && holders.size === 0) this.#holders.delete(keyId)
  }

  /** Ends all live reads by tokens that were signed with a key. */
  withdraw(keyId: string): void {
    const holders = this.#holders.get(keyId)
    this.#holders.delete(keyId)
    for (const holder of holders ?? []) {
      try {
        holder.revoked()
      } catch {
        // It is over for this one in any case, and the others must hear of it.
      }
    }
  }
}
