/**
 * What can be done with streams, by name: the one door between HTTP and the log.
 *
 * Reads that reach the tail are linearizable: they see every append acknowledged, by any gateway,
 * before they began. Refusals are too: nothing is called missing or closed on old knowledge.
 */
import { randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Clock } from '../clock.ts'
import { OffsetGoneError, OverloadedError, RequestError, StreamNotFoundError } from '../errors.ts'
import type { DurableLog, SeqNum } from '../log/log.ts'
import type { OffsetRequest } from '../protocol/offset.ts'
import type { AppendRequest, CreateRequest } from '../protocol/requests.ts'
import { appendCommand, isTouchDue, touchCommand } from './append.ts'
import type { AppendAnswer } from './append.ts'
import { ChunkReader, TrimmedError, endsBefore } from './chunks.ts'
import type { Chunk, ChunkSource } from './chunks.ts'
import type { DataRecord } from './codec.ts'
import { buryExpiredCommand, createCommand, deleteCommand } from './create.ts'
import type { CreateAnswer } from './create.ts'
import { existing, offsetAt } from './state.ts'
import type { StreamState } from './state.ts'
import { StreamLog } from './stream-log.ts'
import type { StreamView } from './view.ts'

export type StreamServiceOptions = {
  readonly log: DurableLog
  readonly clock: Clock
  readonly commandTimeoutMs: number
  readonly chunkCacheBytes: number
  /** How many streams' states are kept in memory. */
  readonly maxOpenStreams: number
  /** Bodies of appends that wait for the log, over all streams. */
  readonly maxBufferedAppendBytes: number
  /** How many producers a new stream remembers. */
  readonly maxProducers: number
  /** Told of failures of work that no request waits for. */
  readonly onBackgroundError: (task: string, error: unknown) => void
}

/** What a catch-up read found: the data between `from` and `next`. */
export type ReadResult = {
  readonly view: StreamView
  readonly from: SeqNum
  readonly next: SeqNum
  readonly records: readonly DataRecord[]
  /** The read reached the tail as of a moment after it began. */
  readonly upToDate: boolean
}

export class StreamService {
  readonly #options: StreamServiceOptions
  readonly #streams: LRUCache<string, StreamLog>
  readonly #chunks: ChunkReader
  readonly #gatewayId = randomBytes(6).toString('base64url')
  #bufferedAppendBytes = 0

  constructor(options: StreamServiceOptions) {
    this.#options = options
    this.#streams = new LRUCache({ max: options.maxOpenStreams })
    this.#chunks = new ChunkReader(options.log, options.chunkCacheBytes)
  }

  /**
   * Creates a stream, or finds it there with the same configuration (PROTOCOL §5.1).
   *
   * @throws StreamConflictError it exists with another configuration
   */
  async create(name: string, { body, close, ...config }: CreateRequest): Promise<CreateAnswer> {
    const id = randomBytes(12).toString('base64url')
    const { maxProducers } = this.#options
    const command = createCommand({ id, config: { ...config, maxProducers }, body, close })
    return this.#buffered(body, () => this.#open(name).execute(command))
  }

  /**
   * Appends, closes, or both (PROTOCOL §5.2, §5.3).
   *
   * @throws GatewayError what the rules refuse, and what became of the append if that is unclear
   */
  async append(name: string, request: AppendRequest): Promise<AppendAnswer> {
    return this.#buffered(request.body, () => this.#open(name).execute(appendCommand(request)))
  }

  /**
   * Deletes a stream (PROTOCOL §5.4).
   *
   * @throws StreamNotFoundError
   */
  async delete(name: string): Promise<void> {
    await this.#open(name).execute(deleteCommand)
  }

  /**
   * What the stream is, as of a moment after the call (PROTOCOL §5.5).
   *
   * @throws StreamNotFoundError
   */
  async describe(name: string): Promise<StreamView> {
    const stream = this.#open(name)
    return this.#exists(stream, await stream.refresh())
  }

  /**
   * Reads one chunk of history (PROTOCOL §5.6).
   *
   * @throws StreamNotFoundError
   * @throws OffsetGoneError
   * @throws RequestError `offset_beyond_tail`
   */
  async read(name: string, request: OffsetRequest): Promise<ReadResult> {
    const known = await this.#known(name)
    this.renew(name)
    const from = request.kind === 'now' ? undefined : positionIn(known, request)
    if (from !== undefined && endsBefore(from, known.dataTail)) {
      const result = await this.#readFrom(known, from)
      // Nothing but control records on the way: it came to the tail as it was known, not as it is.
      if (result?.upToDate === false) return result
    }
    const latest = await this.describe(name)
    if (request.kind === 'now') {
      const { dataTail } = latest
      return { view: latest, from: dataTail, next: dataTail, records: [], upToDate: true }
    }
    const start = requirePosition(latest, request)
    const result = await this.#readFrom(latest, start)
    if (result !== undefined) return result
    // Trimmed under our hands: a deletion shows now, and else what is left begins later.
    const left = await this.describe(name)
    const retried = await this.#readFrom(left, requirePosition(left, request))
    if (retried !== undefined) return retried
    throw new OffsetGoneError(offsetAt(left.start))
  }

  /** Reads on until there is data or the tail; undefined when the records are gone. */
  async #readFrom(view: StreamView, from: SeqNum): Promise<ReadResult | undefined> {
    let next = from
    while (next < view.dataTail) {
      const chunk = await this.chunk(view, next).catch(ifTrimmed)
      if (chunk === undefined) return undefined
      next = chunk.end
      const { records } = chunk
      if (records.length > 0) return { view, from, next, records, upToDate: next === view.dataTail }
    }
    return { view, from, next: Math.max(from, next), records: [], upToDate: true }
  }

  /**
   * One chunk from the shared cache or the log, for whoever reads on by himself.
   *
   * @throws TrimmedError
   */
  async chunk(view: ChunkSource, from: SeqNum): Promise<Chunk> {
    try {
      return await this.#chunks.read(view, from)
    } catch (error) {
      if (error instanceof TrimmedError) {
        this.#open(view.name).noteEarliest(view.incarnation, error.earliest)
      }
      throw error
    }
  }

  /** The position a live read starts from; it must lie in the stream (PROTOCOL §5.7, §5.8). */
  position(view: StreamView, request: OffsetRequest): SeqNum {
    return request.kind === 'now' ? view.dataTail : requirePosition(view, request)
  }

  /** Renews a sliding TTL because of a read, when that is due. Returns at once. */
  renew(name: string): void {
    const stream = this.#open(name)
    const background = async (): Promise<void> => {
      const known = existing(await stream.known(), this.#options.clock.now())
      if (known === undefined || !isTouchDue(known, this.#options.clock.now())) return
      await stream.executeOnce('touch', touchCommand)
    }
    background().catch((error: unknown) => this.#options.onBackgroundError('renew', error))
  }

  /** Takes over records that a read session has delivered, so that nobody reads them again. */
  absorb(name: string, records: Parameters<StreamLog['absorb']>[0]): void {
    this.#streams.peek(name)?.absorb(records)
  }

  async #known(name: string): Promise<StreamView> {
    const stream = this.#open(name)
    const state = await stream.known()
    const found = existing(state, this.#options.clock.now())
    return found === undefined ? this.describe(name) : stream.view(state, found)
  }

  #exists(stream: StreamLog, state: StreamState): StreamView {
    const found = existing(state, this.#options.clock.now())
    if (found !== undefined) return stream.view(state, found)
    if (state.incarnation !== undefined) {
      stream
        .executeOnce('bury', buryExpiredCommand)
        .catch((error: unknown) => this.#options.onBackgroundError('bury', error))
    }
    throw new StreamNotFoundError()
  }

  #open(name: string): StreamLog {
    const open = this.#streams.get(name)
    if (open !== undefined) return open
    const { log, clock, commandTimeoutMs } = this.#options
    const gatewayId = this.#gatewayId
    const stream = new StreamLog(name, { log, clock, commandTimeoutMs, gatewayId })
    this.#streams.set(name, stream)
    return stream
  }

  async #buffered<Answer>(body: Uint8Array, run: () => Promise<Answer>): Promise<Answer> {
    const waiting = this.#bufferedAppendBytes + body.length
    if (waiting > this.#options.maxBufferedAppendBytes) {
      throw new OverloadedError('too many bytes wait for the log')
    }
    this.#bufferedAppendBytes = waiting
    try {
      return await run()
    } finally {
      this.#bufferedAppendBytes -= body.length
    }
  }
}

function requirePosition(
  view: StreamView,
  request: OffsetRequest & { kind: 'beginning' | 'position' },
): SeqNum {
  const position = positionIn(view, request)
  if (position !== undefined && position <= view.dataTail) return position
  if (position === undefined) throw new OffsetGoneError(offsetAt(view.start))
  throw new RequestError('offset_beyond_tail', 'the offset is past the tail of the stream')
}

/** Where a request starts in the stream; undefined when that part is gone. */
function positionIn(
  { base, start }: StreamView,
  request: OffsetRequest & { kind: 'beginning' | 'position' },
): SeqNum | undefined {
  if (request.kind === 'beginning') return start
  const { depth, seqNum } = request.position
  if (depth !== 0) throw new RequestError('invalid_offset', 'this stream has no such offset')
  return seqNum < base ? undefined : Math.max(seqNum, start)
}

function ifTrimmed(error: unknown): undefined {
  if (!(error instanceof TrimmedError)) throw error
}
