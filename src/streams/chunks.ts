/**
 * History in chunks, read once for everybody: a cache bounded in bytes, and reads that are shared
 * while they are under way.
 *
 * Chunks end on a grid of seq nums. Readers who start anywhere get slices of the same ones, so that
 * thousands of positions cost a few reads, and share what is encoded.
 */
import { LRUCache } from 'lru-cache'
import type { DurableLog, SeqNum } from '../log/log.ts'
import { Cell, lineAfter, lineBefore } from './cell.ts'
import type { ChunkRead, Holdings, Range } from './cell.ts'
import { TrimmedError, readChunk } from './read-chunk.ts'
import type { ChunkSource } from './read-chunk.ts'
import { SharedChunk } from './shared-chunk.ts'
import type { Chunk, Owners, Portion } from './shared-chunk.ts'
import { nextVoid } from './visible.ts'

/** Reads that were for others and did not get as far, until a reader reads for itself. */
const MAX_LOOKS = 3

/** For `catch`: undefined when the records were trimmed; any other failure goes on. */
export function ifTrimmed(error: unknown): undefined {
  if (!(error instanceof TrimmedError)) throw error
}

/** `hits` are those that joined a read under way, too. */
export type ChunkUse = { readonly bytes: number; readonly hits: number; readonly misses: number }

/** Where a chunk is kept. */
type Kept = { readonly cell: string }

export class ChunkReader {
  readonly #log: DurableLog
  readonly #cache: LRUCache<SharedChunk, Kept>
  /** By incarnation and line of the grid: what is in the cache, or will be. */
  readonly #cells = new Map<string, Cell>()
  readonly #owners: Owners = new WeakMap()
  #hits = 0
  #misses = 0

  constructor(log: DurableLog, cacheBytes: number) {
    this.#log = log
    this.#cache = new LRUCache({
      maxSize: cacheBytes,
      sizeCalculation: (_kept, chunk) => chunk.bytes,
      noDisposeOnSet: true,
      dispose: ({ cell }, chunk) => this.#change(cell, (changed) => changed.removeChunk(chunk)),
    })
  }

  /** What the cache holds, and how often a chunk cost a read of the log since the start, or none. */
  get use(): ChunkUse {
    return { bytes: this.#cache.calculatedSize, hits: this.#hits, misses: this.#misses }
  }

  /**
   * A chunk that begins at `from`, which is a position before the view's data tail. It never
   * reaches past that tail.
   *
   * @throws TrimmedError
   * @throws LogUnavailableError
   */
  async read(view: ChunkSource, from: SeqNum): Promise<Chunk> {
    const [gap, gapEnd] = nextVoid(view, from) ?? NO_GAP
    if (gap <= from) return { records: [], end: Math.min(gapEnd, view.dataTail), portions: [] }
    let earliest = earliestFor(view, from)
    for (let looks = 0; ; looks += 1) {
      const holdings = this.#holdings(view, from)
      const kept = holdings.at(from)
      if (kept !== undefined) {
        this.#cache.get(kept)
        this.#hits += 1
        return this.#slice(kept, from, view.dataTail)
      }
      // What ends at a tail that moves is read by each for itself: nobody could use the rest.
      const isForAll = looks < MAX_LOOKS && (endsOnGrid(view, from) || view.isFinal === true)
      const underWay = isForAll ? holdings.readTo(from, earliest) : holdings.readAt(from)
      const range = isForAll ? holdings.rangeFor(from, earliest) : { start: from, end: Infinity }
      if (underWay === undefined) this.#misses += 1
      else this.#hits += 1
      try {
        const { chunk: shared } = underWay ?? this.#begin(view, range)
        const chunk = await shared
        // One that a tail has cut may have been for a reader of less, or of more, than this one.
        const isOurs = !chunk.isCut || chunk.end === view.dataTail
        if (isOurs && chunk.holds(from)) return this.#slice(chunk, from, view.dataTail)
      } catch (error) {
        // What is gone may have been read for others only.
        if (!(error instanceof TrimmedError) || error.earliest > from) throw error
        earliest = Math.max(earliest, error.earliest)
      }
    }
  }

  /** Counts bytes that are kept by others for as long as the records of a chunk are. */
  weigh(records: Portion['records'], bytes: number): void {
    const owner = this.#owners.get(records)
    if (owner === undefined || !this.#cache.has(owner.chunk)) return
    owner.chunk.weigh(owner, bytes)
    this.#weighAgain(owner.chunk)
  }

  #slice(chunk: SharedChunk, from: SeqNum, to: SeqNum): Chunk {
    const { bytes } = chunk
    const slice = chunk.slice(from, to)
    if (chunk.bytes !== bytes) this.#weighAgain(chunk)
    return slice
  }

  #weighAgain(chunk: SharedChunk): void {
    const kept = this.#cache.peek(chunk)
    // The cache takes a new size with a new value only.
    if (kept !== undefined) this.#cache.set(chunk, { ...kept })
  }

  #holdings(view: ChunkSource, from: SeqNum): Holdings {
    return (this.#cells.get(cellOf(view, from)) ?? new Cell()).for(tailOf(view, from))
  }

  #begin(view: ChunkSource, { start, end }: Range): ChunkRead {
    const cell = cellOf(view, start)
    const [gap] = nextVoid(view, start) ?? NO_GAP
    const limit = Math.min(lineAfter(start), gap, view.dataTail, end)
    const chunk = readChunk(this.#log, view, start, limit)
      .then((found) => this.#keep(view, new SharedChunk(found, start, this.#owners)))
      .finally(() => this.#change(cell, (changed) => changed.removeRead(read)))
    const read = { start, chunk }
    this.#change(cell, (changed) => changed.addRead(read, tailOf(view, start)))
    return read
  }

  #keep(view: ChunkSource, chunk: SharedChunk): SharedChunk {
    const { start, end, isCut } = chunk
    // A chunk cut short by the tail will be longer next time; any other never changes.
    const isWhole = end < view.dataTail || (end >= lineAfter(start) && !isCut)
    if (!isWhole && (view.isFinal !== true || isCut)) return chunk
    const cell = cellOf(view, start)
    this.#cache.set(chunk, { cell })
    // It may be too large.
    if (!this.#cache.has(chunk)) return chunk
    this.#change(cell, (changed) => changed.addChunk(chunk, isWhole ? undefined : view.dataTail))
    return chunk
  }

  #change(key: string, change: (cell: Cell) => void): void {
    const cell = this.#cells.get(key) ?? new Cell()
    change(cell)
    if (cell.isEmpty) this.#cells.delete(key)
    else this.#cells.set(key, cell)
  }
}

const NO_GAP = [Infinity, Infinity] as const

/** From where on what is read for a position may be of use to others in its cell. */
function earliestFor({ start, aborted, voids = [] }: ChunkSource, position: SeqNum): SeqNum {
  const gap = aborted.findLast(([begin, end]) => end <= position && voids.includes(begin))
  return Math.min(position, Math.max(start, lineBefore(position), gap?.[1] ?? 0))
}

function cellOf({ incarnation }: ChunkSource, position: SeqNum): string {
  return `${incarnation}:${lineBefore(position)}`
}

/** The data tail, if it lies in the cell of a position. */
function tailOf(view: ChunkSource, position: SeqNum): SeqNum | undefined {
  return endsOnGrid(view, position) ? undefined : view.dataTail
}

function endsOnGrid({ dataTail }: ChunkSource, position: SeqNum): boolean {
  return lineAfter(position) <= dataTail
}

/** Whether a chunk from this position surely ends before the tail, so that it never changes. */
export function endsBefore(from: SeqNum, tail: SeqNum): boolean {
  return lineAfter(from) < tail
}
