/** The readers of a hub, counted by how they are served. No I/O. */
import type { ReaderTally } from './hub-observer.ts'
import type { Subscriber } from './subscriber.ts'

export class Readers {
  readonly #all = new Set<Subscriber>()
  #longPolls = 0

  /** All of them, also those who come or leave while they are gone through. */
  get all(): Iterable<Subscriber> {
    return this.#all
  }

  get size(): number {
    return this.#all.size
  }

  /** Those who wait for one answer; all others are streams of events. */
  get longPolls(): number {
    return this.#longPolls
  }

  add(reader: Subscriber): void {
    if (this.#all.has(reader)) return
    this.#all.add(reader)
    if (reader.transport === 'long-poll') this.#longPolls += 1
  }

  /** Whether it was there. */
  delete(reader: Subscriber): boolean {
    if (!this.#all.delete(reader)) return false
    if (reader.transport === 'long-poll') this.#longPolls -= 1
    return true
  }

  /** Takes out all of them. */
  takeAll(): readonly Subscriber[] {
    const all = [...this.#all]
    this.#all.clear()
    this.#longPolls = 0
    return all
  }

  /** Looks at each: for whoever wants to know now, and not for every batch. */
  tally(): ReaderTally {
    const sum: ReaderTally = { lagging: 0, waitingBytes: 0, earliest: Infinity }
    for (const reader of this.#all) reader.tally?.(sum)
    return sum
  }
}
