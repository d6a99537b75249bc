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
import type { StreamView } from './view.ts'

/** The data of the records from where the read began up to `end`. Some hold no data at all. */
export type Chunk = { readonly records: readonly DataRecord[]; readonly end: SeqNum }

/** What a chunk read needs to know of the stream. */
export type ChunkSource = Pick<StreamView, 'name' | 'incarnation' | 'contentType' | 'dataTail'> & {
  /** Nothing will ever be read past the data tail given here. */
  readonly isFinal?: boolean
}

/** One page of the log: a chunk is never more than one read. */
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

  constructor(log: DurableLog, cacheBytes: number) {
    this.#log = log
    this.#cache = new LRUCache({ maxSize: cacheBytes, sizeCalculation: sizeOf })
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
    const limit = Math.min(endOnGrid(from), view.dataTail)
    const readKey = `${key}:${limit}`
    const final = view.isFinal === true ? this.#cache.get(readKey) : undefined
    if (final !== undefined) return final
    const underWay = this.#reads.get(readKey)
    if (underWay !== undefined) return underWay
    const read = this.#readLog(view, from, limit).finally(() => this.#reads.delete(readKey))
    this.#reads.set(readKey, read)
    const chunk = await read
    // A chunk cut short by the tail will be longer next time; any other never changes.
    if (chunk.end < view.dataTail || chunk.end === endOnGrid(from)) this.#cache.set(key, chunk)
    else if (view.isFinal === true) this.#cache.set(readKey, chunk)
    return chunk
  }

  async #readLog(view: ChunkSource, from: SeqNum, limit: SeqNum): Promise<Chunk> {
    const limits = { maxRecords: limit - from, maxBytes: LOG_LIMITS.maxBatchBytes }
    const page = await this.#page(view, from, limits)
    const last = page.at(-1)
    if (last === undefined) throw new TrimmedError(view.dataTail)
    if (page[0]?.seqNum !== from) throw new TrimmedError(page[0]?.seqNum ?? view.dataTail)
    const records: DataRecord[] = []
    for (const record of page) {
      const entry = decodeRecord(record)
      if (entry.kind === 'data') records.push(toDataRecord(record, entry, view.contentType))
    }
    return { records, end: last.seqNum + 1 }
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

function sizeOf({ records }: Chunk): number {
  return records.reduce((sum, { body }) => sum + body.length + RECORD_OVERHEAD_BYTES, 1)
}
