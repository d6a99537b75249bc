/**
 * Reading a stream's history, chunk by chunk, wherever it lies: in its own log or in those of the
 * streams it was forked from.
 */
import { OffsetGoneError, RequestError } from '../errors.ts'
import type { DurableLog, SeqNum } from '../log/log.ts'
import { LOG_LIMITS } from '../log/log.ts'
import type { OffsetRequest } from '../protocol/offset.ts'
import { ChunkReader, endsBefore, ifTrimmed } from './chunks.ts'
import type { ChunkUse } from './chunks.ts'
import type { DataRecord } from './codec.ts'
import { beginningOf, inheritedAt, locate, offsetOf } from './lineage.ts'
import type { OwnPart, StreamPosition } from './lineage.ts'
import { TrimmedError } from './read-chunk.ts'
import type { ChunkSource } from './read-chunk.ts'
import type { Chunk, Portion } from './shared-chunk.ts'
import type { StreamLog } from './stream-log.ts'
import type { StreamView } from './view.ts'

export type StreamReaderOptions = {
  readonly log: DurableLog
  readonly chunkCacheBytes: number
  readonly open: (name: string) => StreamLog
  /** The stream as this gateway knows it: may be behind the tail. */
  readonly known: (name: string) => Promise<StreamView>
  /** The stream as of a moment after the call. */
  readonly describe: (name: string) => Promise<StreamView>
}

/** What a catch-up read found: the data between `from` and `next`. */
export type ReadResult = {
  readonly view: StreamView
  readonly from: StreamPosition
  readonly next: StreamPosition
  readonly records: readonly DataRecord[]
  /** The read reached the tail as of a moment after it began. */
  readonly upToDate: boolean
}

export class StreamReader {
  readonly #options: StreamReaderOptions
  readonly #chunks: ChunkReader

  constructor(options: StreamReaderOptions) {
    this.#options = options
    this.#chunks = new ChunkReader(options.log, options.chunkCacheBytes)
  }

  /** As {@link ChunkReader.use}. */
  get chunkUse(): ChunkUse {
    return this.#chunks.use
  }

  /**
   * Reads one chunk of history (PROTOCOL §5.6).
   *
   * @throws StreamNotFoundError
   * @throws OffsetGoneError
   * @throws RequestError `offset_beyond_tail`
   */
  async read(name: string, request: OffsetRequest): Promise<ReadResult> {
    const known = await this.#options.known(name)
    const from = request.kind === 'now' ? undefined : knownPosition(known, request)
    if (from !== undefined && isSettled(known, from)) {
      const result = await this.#readFrom(known, from)
      // What holds no data is read over, up to a tail that may be an old one.
      if (result?.upToDate === false) return result
    }
    const latest = await this.#options.describe(name)
    if (request.kind === 'now') {
      const { dataTail } = latest
      return { view: latest, from: dataTail, next: dataTail, records: [], upToDate: true }
    }
    const start = requirePosition(latest, request)
    const result = await this.#readFrom(latest, start)
    if (result !== undefined) return result
    // Trimmed under our hands: a deletion shows now, and else what is left begins later.
    const left = await this.#options.describe(name)
    const retried = await this.#readFrom(left, requirePosition(left, request))
    if (retried !== undefined) return retried
    throw gone(left)
  }

  /** Reads on until there is data or the tail; undefined when the records are gone. */
  async #readFrom(view: StreamView, from: StreamPosition): Promise<ReadResult | undefined> {
    let records: readonly DataRecord[] = []
    let next = from
    while (next < view.dataTail) {
      const chunk = await this.chunk(view, next).catch(ifTrimmed)
      if (chunk === undefined) return undefined
      // The chunk itself, as long as it is the only one: what is encoded of it can be shared.
      records = records.length === 0 ? chunk.records : [...records, ...chunk.records]
      const crossed = next < 0 && isPartEnd(view, chunk.end)
      next = chunk.end
      // Where a fork begins, a read goes on: one response may hold inherited and own data.
      if (records.length > 0 && !(crossed && hasRoom(records))) break
    }
    return { view, from, next: Math.max(from, next), records, upToDate: next >= view.dataTail }
  }

  /**
   * One chunk from the shared cache or the log, for whoever reads on by himself.
   *
   * @throws TrimmedError
   */
  async chunk(view: ChunkSource & OwnPart, from: StreamPosition): Promise<Chunk> {
    const inherited = inheritedAt(view, from)
    if (inherited === undefined) return this.#noting(view, () => this.#chunks.read(view, from))
    const { segment, seqNum, positionAt } = inherited
    const { stream: name, incarnation, start, end: dataTail, aborted = [], voids } = segment
    const { contentType } = view
    const known = { name, incarnation, contentType, start, dataTail, aborted, voids }
    const source = { ...known, isFinal: true }
    const positioned = (end: SeqNum): StreamPosition => positionAt(Math.min(end, dataTail))
    const read = (): Promise<Chunk> => this.#chunks.read(source, seqNum)
    const found = await this.#noting(view, read, positioned)
    const placed = ({ records, end }: Portion): Portion => ({ records, end: positionAt(end) })
    return {
      ...placed(found),
      // Most are never asked for.
      get portions() {
        return found.portions.map(placed)
      },
    }
  }

  /** As {@link ChunkReader.weigh}. */
  weigh(records: Portion['records'], bytes: number): void {
    this.#chunks.weigh(records, bytes)
  }

  /** Remembers what of the stream is lost, so that no reader begins there again. */
  async #noting(
    { name, incarnation }: ChunkSource,
    read: () => Promise<Chunk>,
    positionAt = (seqNum: SeqNum): StreamPosition => seqNum,
  ): Promise<Chunk> {
    try {
      return await read()
    } catch (error) {
      if (error instanceof TrimmedError) {
        this.#options.open(name).noteEarliest(incarnation, positionAt(error.earliest))
      }
      throw error
    }
  }

  /**
   * A chunk whose records stand at their positions in this stream, not in the log they are in.
   *
   * @throws OffsetGoneError
   */
  async positioned(view: StreamView, from: StreamPosition): Promise<Portion> {
    const chunk = await this.chunk(view, from).catch(ifTrimmed)
    if (chunk === undefined) throw gone(await this.#options.describe(view.name))
    const { records, end } = chunk
    const inherited = inheritedAt(view, from)
    if (inherited === undefined) return { records, end }
    const { positionAt } = inherited
    return {
      records: records.map((record) => ({ ...record, seqNum: positionAt(record.seqNum + 1) - 1 })),
      end,
    }
  }
}

/**
 * The position a live read starts from; it must lie in the stream (PROTOCOL §5.7, §5.8).
 *
 * @throws OffsetGoneError
 * @throws RequestError `offset_beyond_tail`, `invalid_offset`
 */
export function livePosition(view: StreamView, request: OffsetRequest): StreamPosition {
  return request.kind === 'now' ? view.dataTail : requirePosition(view, request)
}

type StoredOffset = OffsetRequest & { kind: 'beginning' | 'position' }

function requirePosition(view: StreamView, request: StoredOffset): StreamPosition {
  const position = positionIn(view, request)
  if (position !== undefined && position <= view.dataTail) return position
  if (position === undefined) throw gone(view)
  throw new RequestError('offset_beyond_tail', 'the offset is past the tail of the stream')
}

/**
 * Whether one chunk from here surely ends before the tail, so that nobody need look at it.
 *
 * Deleting a stream takes its records away, and so shows by itself; but not those that a fork
 * inherits, nor those of a stream that is kept for its forks.
 */
function isSettled(view: StreamView, from: StreamPosition): boolean {
  return !view.hasForks && inheritedAt(view, from) === undefined && endsBefore(from, view.dataTail)
}

/** Where a request starts as far as is known: a refusal takes a look at the stream. */
function knownPosition(view: StreamView, request: StoredOffset): StreamPosition | undefined {
  if (request.kind === 'beginning') return beginningOf(view)
  const position = locate(view, request.position)
  return typeof position === 'number' ? position : undefined
}

/** Where a request starts in the stream; undefined when that part is gone. */
function positionIn(view: StreamView, request: StoredOffset): StreamPosition | undefined {
  if (request.kind === 'beginning') return beginningOf(view)
  const position = locate(view, request.position)
  if (position === 'foreign') {
    throw new RequestError('invalid_offset', 'this stream has no such offset')
  }
  return position === 'gone' ? undefined : position
}

function gone(view: StreamView): OffsetGoneError {
  return new OffsetGoneError(offsetOf(view, beginningOf(view)))
}

/** Whether a position is where a part of the stream begins that lies in another log. */
function isPartEnd(view: StreamView, position: StreamPosition): boolean {
  if (position === view.start) return true
  const inherited = inheritedAt(view, position)
  return inherited !== undefined && inherited.seqNum === inherited.segment.start
}

/** Whether another chunk still fits in the response: a chunk has at most one page's bytes. */
function hasRoom(records: readonly DataRecord[]): boolean {
  const bytes = records.reduce((sum, { body }) => sum + body.length, 0)
  return bytes < LOG_LIMITS.maxBatchBytes
}
