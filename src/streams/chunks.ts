/**
 * History in chunks, read once for everybody: a cache bounded in bytes, with one read under way
 * per chunk however many readers ask for it.
 *
 * Chunks end on a grid of seq nums, so that readers who start anywhere soon share the same ones.
 */
import { LRUCache } from 'lru-cache'
import { BeyondTailError, LOG_LIMITS, LogStreamMissingError } from '../log/log.ts'
import type { DurableLog, LogRecord, ReadLimits, SeqNum } from '../log/log.ts'
import { decodeRecord, toDataRecord } from './codec.ts'
import type { DataRecord } from './codec.ts'
import { PieceJoiner } from './pieces.ts'
import type { StreamView } from './view.ts'
import { isAborted, nextVoid } from './visible.ts'

/**
 * The data of the records from where the read began up to `end`. Some hold no data at all.
 * Messages are whole: `end` is before one that began, or after it.
 */
export type Chunk = {
  readonly records: readonly DataRecord[]
  readonly end: SeqNum
  /** The data tail lies inside a message, which is not part of it. */
  readonly isCut?: true
}

/** What a chunk read needs to know of the stream. */
export type ChunkSource = Pick<
  StreamView,
  'name' | 'incarnation' | 'contentType' | 'dataTail' | 'aborted'
> & {
  /** See `visible.ts`: what is not known to hold nothing is read. */
  readonly voids?: StreamView['voids'] | undefined
  /** Many will read up to the data tail given here, and not past it. */
  readonly isFinal?: boolean
}

/** One page of the log: a chunk is one read, unless a single message is larger. */
const GRID = LOG_LIMITS.maxBatchRecords
/** What the bookkeeping of a record costs in memory, roughly; keeps tiny records bounded. */
const RECORD_OVERHEAD_BYTES = 128

/** The records at a position are gone: trimmed by a deletion or by retention. */
export class TrimmedError extends Error {
  /** The first seq num from which nothing is missing. */
  readonly earliest: SeqNum
  constructor(earliest: SeqNum) {
    super(`records before seq num ${earliest} were trimmed`)
    this.earliest = earliest
  }
}

/** For `catch`: undefined when the records were trimmed; any other failure goes on. */
export function ifTrimmed(error: unknown): undefined {
  if (!(error instanceof TrimmedError)) throw error
}

export class ChunkReader {
  readonly #log: DurableLog
  readonly #cache: LRUCache<string, Chunk>
  readonly #reads = new Map<string, Promise<Chunk>>()
  /** Where records are in the cache, and what is kept with them. */
  readonly #kept = new WeakMap<Chunk['records'], { readonly key: string; bytes: number }>()

  constructor(log: DurableLog, cacheBytes: number) {
    this.#log = log
    this.#cache = new LRUCache({
      maxSize: cacheBytes,
      sizeCalculation: (chunk) => this.#sizeOf(chunk),
    })
  }

  /**
   * The chunk that begins at `from`, which is a position before the view's data tail. It never
   * reaches past that tail.
   *
   * @throws TrimmedError
   * @throws LogUnavailableError
   */
  async read(view: ChunkSource, from: SeqNum): Promise<Chunk> {
    const key = `${view.incarnation}:${from}`
    const cached = this.#cache.get(key)
    if (cached !== undefined) return cutAt(cached, view.dataTail)
    const [gap, gapEnd] = nextVoid(view, from) ?? [Infinity, Infinity]
    if (gap <= from) return { records: [], end: Math.min(gapEnd, view.dataTail) }
    const limit = Math.min(endOnGrid(from), gap, view.dataTail)
    const readKey = `${key}:${limit}`
    const final = view.isFinal === true ? this.#cache.get(readKey) : undefined
    if (final !== undefined) return final
    const underWay = this.#reads.get(readKey)
    if (underWay !== undefined) {
      const shared = await underWay
      // It may have been for a reader of less, or of more, than this one.
      if (shared.isCut !== true) return cutAt(shared, view.dataTail)
      if (shared.end === view.dataTail) return shared
      return this.read(view, from)
    }
    const read = this.#readLog(view, from, limit).finally(() => this.#reads.delete(readKey))
    this.#reads.set(readKey, read)
    const chunk = await read
    // A chunk cut short by the tail will be longer next time; any other never changes.
    const isWhole = chunk.end < view.dataTail || (chunk.end >= endOnGrid(from) && !chunk.isCut)
    if (isWhole) this.#keep(key, chunk)
    else if (view.isFinal === true && chunk.isCut !== true) this.#keep(readKey, chunk)
    return chunk
  }

  /** Counts bytes that are kept by others for as long as a chunk's records are. */
  weigh(records: Chunk['records'], bytes: number): void {
    const kept = this.#kept.get(records)
    const chunk = kept && this.#cache.peek(kept.key)
    if (kept === undefined || chunk?.records !== records) return
    kept.bytes += bytes
    // The cache takes a new size with a new value only.
    this.#cache.set(kept.key, { ...chunk })
  }

  #keep(key: string, chunk: Chunk): void {
    this.#kept.set(chunk.records, { key, bytes: 0 })
    this.#cache.set(key, chunk)
  }

  #sizeOf({ records }: Chunk): number {
    const kept = this.#kept.get(records)?.bytes ?? 0
    return records.reduce((sum, { body }) => sum + body.length + RECORD_OVERHEAD_BYTES, 1 + kept)
  }

  async #readLog(view: ChunkSource, from: SeqNum, limit: SeqNum): Promise<Chunk> {
    const reading = new Reading(view, from)
    let next = from
    let until = limit
    for (;;) {
      const limits = { maxRecords: until - next, maxBytes: LOG_LIMITS.maxBatchBytes }
      const page = await this.#page(view, next, limits)
      const last = page.at(-1)
      if (last === undefined) throw new TrimmedError(view.dataTail)
      if (page[0]?.seqNum !== next) throw new TrimmedError(page[0]?.seqNum ?? view.dataTail)
      const chunk = reading.take(page)
      if (chunk !== undefined) return chunk
      // Nothing yet but the beginning of a large message.
      next = last.seqNum + 1
      until = Math.min(next + GRID, view.dataTail)
      // A fork may have left its source inside of it, at an offset that nobody was given.
      if (next >= view.dataTail) return { records: [], end: view.dataTail, isCut: true }
    }
  }

  async #page(view: ChunkSource, from: SeqNum, limits: ReadLimits): Promise<readonly LogRecord[]> {
    try {
      return await this.#log.read(view.name, { seqNum: from }, limits)
    } catch (error) {
      // The log has less than the view says: S2 has reclaimed a deleted stream.
      if (error instanceof BeyondTailError || error instanceof LogStreamMissingError) return []
      throw error
    }
  }
}

/** The chunk in the making: what is seen of the pages so far. */
class Reading {
  readonly #view: ChunkSource
  readonly #from: SeqNum
  readonly #joiner = new PieceJoiner()
  readonly #records: DataRecord[] = []

  constructor(view: ChunkSource, from: SeqNum) {
    this.#view = view
    this.#from = from
  }

  /** Takes the next page. The chunk, unless all it has is a message that goes on. */
  take(page: readonly LogRecord[]): Chunk | undefined {
    const isFirst = page[0]?.seqNum === this.#from
    for (const record of page) {
      this.#see(record)
      // What was read for one message ends with it.
      if (!isFirst && this.#joiner.start === undefined) return this.#upTo(record.seqNum + 1)
    }
    const { start } = this.#joiner
    if (start === undefined) return this.#upTo((page.at(-1)?.seqNum ?? this.#from) + 1)
    return start > this.#from ? this.#upTo(start) : undefined
  }

  #see(record: LogRecord): void {
    const entry = decodeRecord(record)
    if (entry.kind !== 'data' && entry.kind !== 'part') return
    const { aborted, contentType } = this.#view
    if (entry.kind === 'part' && isAborted(aborted, record.seqNum)) return
    const shown = toDataRecord(record, entry, contentType)
    if (entry.piece !== undefined) {
      const body = this.#joiner.take(record.seqNum, entry.body, entry.piece)
      if (body !== undefined) this.#records.push({ ...shown, body })
      return
    }
    // Nobody else gets into a message: what others wrote before its end would have broken it off.
    this.#joiner.drop()
    this.#records.push(shown)
  }

  #upTo(end: SeqNum): Chunk {
    const all = this.#records
    return { records: all.filter(({ seqNum }) => seqNum < end), end }
  }
}

/** A fork reads its source only up to where it left it. */
function cutAt(chunk: Chunk, end: SeqNum): Chunk {
  if (chunk.end <= end) return chunk
  return { records: chunk.records.filter(({ seqNum }) => seqNum < end), end }
}

/** Whether a chunk from this position surely ends before the tail, so that it never changes. */
export function endsBefore(from: SeqNum, tail: SeqNum): boolean {
  return endOnGrid(from) < tail
}

function endOnGrid(from: SeqNum): SeqNum {
  return (Math.floor(from / GRID) + 1) * GRID
}
