/**
 * What can be done with streams, by name: the one door between HTTP and the log.
 *
 * Reads that reach the tail are linearizable: they see every append acknowledged, by any gateway,
 * before they began. Refusals are too: nothing is called missing or closed on old knowledge.
 */
import { randomBytes } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Clock } from '../clock.ts'
import { StreamGoneError, StreamRetainedError, invariant } from '../errors.ts'
import { Sightings } from '../journal/lease.ts'
import { Slots } from '../journal/slots.ts'
import type { DurableLog } from '../log/log.ts'
import { DEFAULT_CONTENT_TYPE } from '../protocol/content-type.ts'
import { formatOffset } from '../protocol/offset.ts'
import type { OffsetRequest } from '../protocol/offset.ts'
import type { AppendRequest, CreateRequest } from '../protocol/requests.ts'
import type { Scopes } from '../tracing/tracing.ts'
import { appendCommand, isTouchDue, touchCommand } from './append.ts'
import type { AppendAnswer } from './append.ts'
import type { AppendObserver, AppendResult } from './append-observer.ts'
import { buryUnseenCommand, createCommand, deleteCommand } from './create.ts'
import type { CreateAnswer, Released } from './create.ts'
import { absence, existing, retained } from './existence.ts'
import { Forks } from './forks.ts'
import type { ConfirmSource } from './forks.ts'
import type { OwnPart, StreamPosition } from './lineage.ts'
import type { ChunkUse } from './chunks.ts'
import type { ChunkSource } from './read-chunk.ts'
import { StreamReader } from './reader.ts'
import type { ReadResult } from './reader.ts'
import type { Chunk, Portion } from './shared-chunk.ts'
import type { StreamState } from './state.ts'
import { StreamLog } from './stream-log.ts'
import type { StreamView } from './view.ts'
import { NO_WATCH } from './watch.ts'
import type { Growth, StreamWatch } from './watch.ts'

export type StreamServiceOptions = {
  readonly log: DurableLog
  readonly clock: Clock
  /** Unique in the world, and new for each process. */
  readonly gatewayId: string
  readonly commandTimeoutMs: number
  /** A large append without progress for this long is broken off, whoever wrote it. In ms. */
  readonly lockLeaseMs: number
  readonly chunkCacheBytes: number
  /** How many streams' states are kept in memory. */
  readonly maxOpenStreams: number
  /** Messages in one append. */
  readonly maxAppendMessages: number
  /** How many producers a new stream remembers. */
  readonly maxProducers: number
  /** Has to know what changes. */
  readonly watch?: StreamWatch | undefined
  /** Has to know for which requests the log is written to. */
  readonly scopes?: Scopes | undefined
  /** Told of failures of work that no request waits for. */
  readonly onBackgroundError: (task: string, error: unknown) => void
  readonly observer?: AppendObserver | undefined
}

/**
 * Large appends that are made into batches at the same time, of all streams: each has some eight
 * batches in memory, and is a part of each round of the event loop.
 */
const LARGE_APPENDS = 4

export class StreamService {
  readonly #options: StreamServiceOptions
  readonly #streams: LRUCache<string, StreamLog>
  readonly #reader: StreamReader
  readonly #forks: Forks
  readonly #watch: StreamWatch
  readonly #groupSlots = new Slots(LARGE_APPENDS)
  readonly #sightings = new Sightings()

  constructor(options: StreamServiceOptions) {
    this.#options = options
    this.#streams = new LRUCache({ max: options.maxOpenStreams })
    this.#watch = options.watch ?? NO_WATCH
    const { log, clock, chunkCacheBytes, maxProducers, onBackgroundError } = options
    const open = (name: string): StreamLog => this.#open(name)
    this.#reader = new StreamReader({
      log,
      chunkCacheBytes,
      open,
      known: (name) => this.#known(name),
      describe: (name) => this.describe(name),
    })
    this.#forks = new Forks({
      clock,
      maxProducers,
      onBackgroundError,
      open,
      read: (view, from) => this.#reader.positioned(view, from),
    })
  }

  /**
   * Creates a stream, or finds it there with the same configuration (PROTOCOL §5.1). With a
   * source, whose name is given, it is a fork (PROTOCOL §4.2), if that is confirmed.
   *
   * @throws StreamConflictError it exists with another configuration
   * @throws StreamRetainedError a deleted stream's data is still read by forks
   * @throws GatewayError a fork's source or fork point can't be had, see {@link Forks.create}
   */
  create(
    name: string,
    request: CreateRequest,
    source?: string,
    confirm?: ConfirmSource,
  ): Promise<CreateAnswer> {
    const create = async (): Promise<CreateAnswer> => {
      const answer =
        source === undefined
          ? await this.#createPlain(name, request)
          : await this.#forks.create(name, source, request, confirm)
      this.#forks.releaseLater(answer.released)
      return answer
    }
    return this.#change(name, () => this.#watch.around(name, create, growthByCreation))
  }

  async #createPlain(
    name: string,
    { contentType = DEFAULT_CONTENT_TYPE, expiry, isPublic, ...request }: CreateRequest,
  ): Promise<CreateAnswer> {
    const { body, close, traceparent } = request
    const id = randomBytes(12).toString('base64url')
    const { maxProducers } = this.#options
    const config = { contentType, expiry, maxProducers, isPublic }
    const answer = await this.#open(name).execute(
      createCommand({ id, config, body, close, traceparent }),
      body.length,
    )
    invariant(answer.kind !== 'moved', 'only a fork waits for the log not to move')
    return answer
  }

  /**
   * Appends, closes, or both (PROTOCOL §5.2, §5.3).
   *
   * @throws GatewayError what the rules refuse, and what became of the append if that is unclear
   */
  async append(name: string, request: AppendRequest): Promise<AppendAnswer> {
    const { clock, observer } = this.#options
    const begunAt = clock.elapsed()
    const answer = await this.#append(name, request)
    const result = resultOf(answer, request)
    const bytes = result === 'appended' ? request.body.length : 0
    observer?.onAppend({ result, bytes, ms: clock.elapsed() - begunAt })
    return answer
  }

  #append(name: string, request: AppendRequest): Promise<AppendAnswer> {
    const { maxAppendMessages } = this.#options
    const append = (): Promise<AppendAnswer> =>
      this.#open(name).execute(appendCommand(request, maxAppendMessages), request.body.length)
    const growth = request.body.length > 0 ? grownTo : () => NO_GROWTH
    return this.#change(name, () => this.#watch.around(name, append, growth))
  }

  /**
   * Deletes a stream (PROTOCOL §5.4). While forks read its data, that is kept for them.
   *
   * @throws StreamNotFoundError
   * @throws StreamGoneError
   */
  async delete(name: string): Promise<void> {
    const stream = this.#open(name)
    const remove = (): Promise<Released | undefined> => stream.execute(deleteCommand)
    const released = await this.#change(name, () =>
      this.#watch.around(name, remove, () => ({ kind: 'removed' })),
    )
    this.#forks.releaseLater(released)
    this.#collectIfRetired(stream)
  }

  /** Some of the forks may be gone without having said so. The deletion stands, whatever comes. */
  #collectIfRetired(stream: StreamLog): void {
    stream
      .known()
      .then(({ incarnation }) => {
        if (incarnation?.retired === true) this.#forks.collect(stream.name)
      })
      .catch((error: unknown) => this.#options.onBackgroundError('collect', error))
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
   * @throws StreamGoneError
   * @throws OffsetGoneError
   * @throws RequestError `offset_beyond_tail`, `invalid_offset`
   */
  async read(name: string, request: OffsetRequest): Promise<ReadResult> {
    // Opened once: two who ask for a state that is not there would each take a look.
    await this.#known(name)
    this.renew(name)
    return this.#reader.read(name, request)
  }

  /** As {@link StreamReader.chunk}. */
  chunk(view: ChunkSource & OwnPart, from: StreamPosition): Promise<Chunk> {
    return this.#reader.chunk(view, from)
  }

  /** As {@link ChunkReader.weigh}. */
  weigh(records: Portion['records'], bytes: number): void {
    this.#reader.weigh(records, bytes)
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
    const now = this.#options.clock.now()
    const found = existing(state, now)
    if (found !== undefined) return stream.view(state, found)
    if (retained(state, now) !== undefined) this.#forks.collect(stream.name)
    else if (state.incarnation !== undefined) this.#bury(stream)
    throw absence(state, now)
  }

  /** Frees the storage of a stream that has expired. */
  #bury(stream: StreamLog): void {
    stream
      .executeOnce('bury', buryUnseenCommand)
      .then((released) => this.#forks.releaseLater(released))
      .catch((error: unknown) => this.#options.onBackgroundError('bury', error))
  }

  /** How many streams' states are in memory. */
  get openStreams(): number {
    return this.#streams.size
  }

  /** As {@link ChunkReader.use}. */
  get chunkUse(): ChunkUse {
    return this.#reader.chunkUse
  }

  #open(name: string): StreamLog {
    const open = this.#streams.get(name)
    if (open !== undefined) return open
    const { log, clock, commandTimeoutMs, lockLeaseMs, gatewayId, scopes } = this.#options
    const shared = { groupSlots: this.#groupSlots, sightings: this.#sightings, scopes }
    const options = { log, clock, commandTimeoutMs, lockLeaseMs, gatewayId, ...shared }
    const stream = new StreamLog(name, options)
    this.#streams.set(name, stream)
    return stream
  }

  /** Runs what changes a stream. */
  async #change<Answer>(name: string, run: () => Promise<Answer>): Promise<Answer> {
    try {
      return await run()
    } catch (error) {
      // A stream that is in somebody's way, and only kept for its forks, may be kept for nothing.
      const kept = error instanceof StreamGoneError || error instanceof StreamRetainedError
      if (kept) this.#forks.collect(name)
      throw error
    }
  }
}

function resultOf({ kind }: AppendAnswer, { body }: AppendRequest): AppendResult {
  return kind === 'appended' && body.length === 0 ? 'closed' : kind
}

const NO_GROWTH: Growth = { kind: 'none' }

function growthByCreation(answer: CreateAnswer): Growth {
  return answer.hasData ? grownTo(answer) : NO_GROWTH
}

function grownTo({ dataTail, depth }: Pick<AppendAnswer, 'dataTail' | 'depth'>): Growth {
  return { kind: 'grown', tail: formatOffset({ depth, seqNum: dataTail }) }
}
