/**
 * How many deliveries one host is sent at a time, so that a slow or popular host neither gets more
 * than it can take nor keeps the others waiting.
 */

/** Gives the slot back. Calls after the first do nothing. */
export type ReleaseSlot = () => void

type Host = { taken: number; readonly waiting: (() => void)[] }

/** Bounded slots for each host, first come, first served. A host without any is forgotten. */
export class HostSlots {
  readonly #limit: number
  readonly #hosts = new Map<string, Host>()

  constructor(limit: number) {
    this.#limit = limit
  }

  /** Resolves when there is a slot. Until then nothing of what it is for may have begun. */
  acquire(name: string): Promise<ReleaseSlot> {
    const host = this.#hosts.get(name) ?? { taken: 0, waiting: [] }
    this.#hosts.set(name, host)
    return new Promise((resolve) => {
      const take = (): void => resolve(this.#releaseOnce(name, host))
      if (host.taken === this.#limit) {
        host.waiting.push(take)
      } else {
        host.taken += 1
        take()
      }
    })
  }

  /** For tests and metrics: hosts with a slot taken. */
  get size(): number {
    return this.#hosts.size
  }

  #releaseOnce(name: string, host: Host): ReleaseSlot {
    let isHeld = true
    return () => {
      if (!isHeld) return
      isHeld = false
      this.#release(name, host)
    }
  }

  /** The slot goes straight to who waits longest: nobody who comes now can take it. */
  #release(name: string, host: Host): void {
    const next = host.waiting.shift()
    if (next !== undefined) return next()
    host.taken -= 1
    if (host.taken === 0) this.#hosts.delete(name)
  }
}
