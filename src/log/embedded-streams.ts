/**
 * The streams in use, and a bounded number of those used lately.
 *
 * A stream has one {@link OpenStream} at most, whoever uses it: two would disagree about the tail.
 */
import type { OpenStream } from './embedded-stream.ts'

type Slot = {
  users: number
  /** Resolves to undefined when there is no such stream. */
  stream: Promise<OpenStream | undefined>
  /** What `stream` came to. */
  open: OpenStream | undefined
}

/** Where streams come from. `load` returns undefined for a stream that does not exist. */
export type StreamSource = {
  readonly load: (name: string) => Promise<OpenStream | undefined>
  readonly create: (name: string) => Promise<OpenStream>
}

export class StreamTable {
  readonly #source: StreamSource
  readonly #maxIdle: number
  readonly #inUse = new Map<string, Slot>()
  /** Least recently used first. */
  readonly #idle = new Map<string, OpenStream>()

  constructor(source: StreamSource, maxIdle: number) {
    this.#source = source
    this.#maxIdle = maxIdle
  }

  /** Runs `work` with the stream, or with undefined when there is none, and keeps it open so long. */
  async use<T>(name: string, work: (stream: OpenStream | undefined) => Promise<T>): Promise<T> {
    const slot = this.#enter(name)
    try {
      const stream = await slot.stream
      slot.open ??= stream
      return await work(stream)
    } finally {
      this.#leave(name, slot)
    }
  }

  /** Makes the stream unless it exists. Of calls at the same time, one makes it. */
  async create(name: string): Promise<void> {
    const slot = this.#enter(name)
    slot.stream = slot.stream.then((stream) => stream ?? this.#source.create(name))
    try {
      slot.open ??= await slot.stream
    } finally {
      this.#leave(name, slot)
    }
  }

  #enter(name: string): Slot {
    let slot = this.#inUse.get(name)
    if (slot === undefined) {
      const open = this.#idle.get(name)
      this.#idle.delete(name)
      slot = { users: 0, stream: open ? Promise.resolve(open) : this.#source.load(name), open }
      this.#inUse.set(name, slot)
    }
    slot.users += 1
    return slot
  }

  #leave(name: string, slot: Slot): void {
    slot.users -= 1
    if (slot.users > 0) return
    this.#inUse.delete(name)
    if (slot.open === undefined) return
    this.#idle.set(name, slot.open)
    if (this.#idle.size <= this.#maxIdle) return
    for (const oldest of this.#idle.keys()) {
      this.#idle.delete(oldest)
      break
    }
  }
}
