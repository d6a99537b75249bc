/** All hubs of this gateway, one per followed stream, in the only map there is of them. */
import type { Clock } from '../clock.ts'
import { OverloadedError } from '../errors.ts'
import { Hub } from './hub.ts'
import type { HubOptions } from './hub.ts'
import type { HubStream } from './stream.ts'

export type HubRegistryOptions = Omit<HubOptions, 'onReleased'> & {
  readonly clock: Clock
  readonly maxHubs: number
  /** What all rings may hold before no further hub is made. Those that are there may fill theirs. */
  readonly maxBytes: number
}

/** How long the bytes of all rings are taken for what they were, in ms: they are a sum over all. */
const SUM_AGE_MS = 100
/** A hub that had no reader for as long is nobody's: who reads history first would have come. In ms. */
const UNUSED_MS = 5000

export class HubRegistry {
  readonly #options: HubOptions
  readonly #limits: Pick<HubRegistryOptions, 'clock' | 'maxHubs' | 'maxBytes'>
  readonly #hubs = new Map<string, Hub>()
  #sum = { bytes: 0, at: -Infinity }
  #isShutDown = false

  constructor({ maxHubs, maxBytes, ...options }: HubRegistryOptions) {
    this.#limits = { clock: options.clock, maxHubs, maxBytes }
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

  /** All there are, to be looked at. */
  get all(): Iterable<Hub> {
    return this.#hubs.values()
  }

  find(stream: string): Hub | undefined {
    return this.#hubs.get(stream)
  }

  /**
   * The hub of this stream, made when there is none. A hub of an earlier incarnation is stopped;
   * one of a later incarnation is returned: it is the caller who is out of date. After
   * {@link shutdown} every hub is a stopped one.
   *
   * @throws OverloadedError there is none, and no room for a further one
   */
  acquire(stream: HubStream): Hub {
    const found = this.#hubs.get(stream.name)
    if (found !== undefined) {
      const { incarnation, base } = found.stream
      if (incarnation === stream.incarnation || base > stream.base) return found
      found.stop('stream_deleted')
    }
    if (!this.#hasRoom() && !this.#makeRoom()) {
      throw new OverloadedError('too many streams are read at the same time')
    }
    const hub = new Hub(stream, this.#options)
    this.#hubs.set(stream.name, hub)
    // Stopping takes it out of the map again.
    if (this.#isShutDown) hub.stop('shutdown')
    return hub
  }

  #hasRoom(): boolean {
    const { maxHubs, maxBytes } = this.#limits
    return this.#hubs.size < maxHubs && this.#bytes() < maxBytes
  }

  #bytes(): number {
    const now = this.#limits.clock.now()
    if (Math.abs(now - this.#sum.at) >= SUM_AGE_MS) {
      const bytes = [...this.#hubs.values()].reduce((sum, hub) => sum + hub.bytes, 0)
      this.#sum = { bytes, at: now }
    }
    return this.#sum.bytes
  }

  /** Lets go of hubs that wait for readers to come back; whether that was enough. */
  #makeRoom(): boolean {
    const { clock, maxBytes } = this.#limits
    const now = clock.now()
    const unused = [...this.#hubs.values()].filter(
      ({ idleSince = Infinity }) => now - idleSince >= UNUSED_MS,
    )
    const held = unused.reduce((sum, { bytes }) => sum + bytes, 0)
    // In vain they are not let go of.
    if (this.#bytes() - held >= maxBytes) return false
    for (const hub of unused) {
      this.#sum.bytes -= hub.bytes
      hub.stop('idle')
      if (this.#hasRoom()) return true
    }
    return false
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
