/**
 * The chunks that there are, or will be, of one cell of the grid. They need not touch, nor begin
 * on the grid. No I/O.
 */
import { LOG_LIMITS } from '../log/log.ts'
import type { SeqNum } from '../log/log.ts'
import type { SharedChunk } from './shared-chunk.ts'

/** A cell is as long as a page may be: of small records, a chunk fills it. */
const GRID = LOG_LIMITS.maxBatchRecords

export function lineBefore(position: SeqNum): SeqNum {
  return Math.floor(position / GRID) * GRID
}

export function lineAfter(position: SeqNum): SeqNum {
  return lineBefore(position) + GRID
}

/** What is to be read. */
export type Range = { readonly start: SeqNum; readonly end: SeqNum }

/** A read under way, and where it begins. */
export type ChunkRead = { readonly start: SeqNum; readonly chunk: Promise<SharedChunk> }

/** `tail` is set for what ends where the data does for some: others will find more there. */
type Known<Item> = { readonly item: Item; readonly tail: SeqNum | undefined }

export class Cell {
  readonly #chunks = new Map<SharedChunk, Known<SharedChunk>>()
  readonly #reads = new Map<ChunkRead, Known<ChunkRead>>()

  get isEmpty(): boolean {
    return this.#chunks.size === 0 && this.#reads.size === 0
  }

  addChunk(item: SharedChunk, tail: SeqNum | undefined): void {
    this.#chunks.set(item, { item, tail })
  }

  removeChunk(chunk: SharedChunk): void {
    this.#chunks.delete(chunk)
  }

  addRead(item: ChunkRead, tail: SeqNum | undefined): void {
    this.#reads.set(item, { item, tail })
  }

  removeRead(read: ChunkRead): void {
    this.#reads.delete(read)
  }

  /** What there is for those whose data ends at a tail in this cell, or in a later one. */
  for(tail: SeqNum | undefined): Holdings {
    return new Holdings(itemsFor(this.#chunks, tail), itemsFor(this.#reads, tail))
  }
}

function itemsFor<Item>(all: Map<Item, Known<Item>>, tail: SeqNum | undefined): readonly Item[] {
  const items: Item[] = []
  for (const known of all.values()) {
    if (known.tail === undefined || known.tail === tail) items.push(known.item)
  }
  return items
}

/** What there is in a cell at one moment. */
export class Holdings {
  readonly #chunks: readonly SharedChunk[]
  readonly #reads: readonly ChunkRead[]

  constructor(chunks: readonly SharedChunk[], reads: readonly ChunkRead[]) {
    this.#chunks = chunks
    this.#reads = reads
  }

  /** The chunk that has what comes next at a position. */
  at(position: SeqNum): SharedChunk | undefined {
    return this.#chunks.find((chunk) => chunk.holds(position))
  }

  /** The read that begins right there. */
  readAt(position: SeqNum): ChunkRead | undefined {
    return this.#reads.find(({ start }) => start === position)
  }

  /** The read that is likely to get as far as a position. */
  readTo(position: SeqNum, earliest: SeqNum): ChunkRead | undefined {
    const after = Math.max(this.#endBefore(position, earliest), position - this.#reach + 1)
    const reads = this.#reads.filter(({ start }) => start >= after && start <= position)
    return reads.reduce<ChunkRead | undefined>(later, undefined)
  }

  /**
   * What to read that nobody has read yet.
   *
   * The first one in a cell reads what it needs. Where there are others, more will come: it reads
   * from the end of the chunk before, or from `earliest`, if a page is likely to get as far as
   * its position; and up to the next chunk.
   */
  rangeFor(position: SeqNum, earliest: SeqNum): Range {
    const starts = [...this.#chunks, ...this.#reads].map(({ start }) => start)
    const begin = this.#endBefore(position, earliest)
    const isAlone = starts.length === 0 || position - begin >= this.#reach
    if (isAlone) return { start: position, end: Infinity }
    return { start: begin, end: Math.min(...starts.filter((start) => start > position)) }
  }

  #endBefore(position: SeqNum, earliest: SeqNum): SeqNum {
    return Math.max(
      earliest,
      ...this.#chunks.map(({ end }) => end).filter((end) => end <= position),
    )
  }

  /** How many seq nums a page has here, by what was read. */
  get #reach(): number {
    const bytes = sum(this.#chunks.map(({ dataBytes }) => dataBytes))
    const length = sum(this.#chunks.map(({ start, end }) => end - start))
    return bytes === 0 ? GRID : Math.min(GRID, (length * LOG_LIMITS.maxBatchBytes) / bytes)
  }
}

function later(one: ChunkRead | undefined, other: ChunkRead): ChunkRead {
  return one !== undefined && one.start > other.start ? one : other
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}
