/** All hubs of this gateway, one per followed stream, in the only map there is of them. */
import { Hub } from './hub.ts'
import type { HubOptions } from './hub.ts'
import type { HubStream } from './stream.ts'

export class HubRegistry {
  readonly #options: HubOptions
  readonly #hubs = new Map<string, Hub>()
  #isShutDown = false

  constructor(options: Omit<HubOptions, 'onReleased'>) {
    this.#options = {
      ...options,
      // Only if the map still holds that very hub: a new one may have taken its place.
      onReleased: (hub) => {
        if (this.#hubs.get(hub.stream.name) === hub) this.#hubs.delete(hub.stream.name)
      },
    }
  }

  get size(): number {
    return this.#hubs.size
  }

  find(stream: string): Hub | undefined {
    return this.#hubs.get(stream)
  }

  /**
   * The hub of this stream, made when there is none. A hub of an earlier incarnation is stopped;
   * one of a later incarnation is returned: it is the caller who is out of date. After
   * {@link shutdown} every hub is a stopped one.
   */
  acquire(stream: HubStream): Hub {
    const found = this.#hubs.get(stream.name)
    if (found !== undefined) {
      const { incarnation, base } = found.stream
      if (incarnation === stream.incarnation || base > stream.base) return found
      found.stop('stream_deleted')
    }
    const hub = new Hub(stream, this.#options)
    this.#hubs.set(stream.name, hub)
    // Stopping takes it out of the map again.
    if (this.#isShutDown) hub.stop('shutdown')
    return hub
  }

  /** How many live readers there are. */
  get subscribers(): number {
    return [...this.#hubs.values()].reduce((sum, hub) => sum + hub.subscribers, 0)
  }

  /** Sends all readers away over a time, in ms, and then {@link shutdown shuts down}. */
  async drain(overMs: number): Promise<void> {
    await Promise.all([...this.#hubs.values()].map((hub) => hub.dismiss(overMs)))
    this.shutdown()
  }

  /** Ends every hub and its readers, and those that a request on its way would still begin. */
  shutdown(): void {
    this.#isShutDown = true
    for (const hub of [...this.#hubs.values()]) hub.stop('shutdown')
  }
}
