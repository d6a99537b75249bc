/** Live reads: brings a reader and its hub together, whatever the transport. */
import type { Clock } from '../clock.ts'
import { LogUnavailableError, ShuttingDownError, StreamNotFoundError } from '../errors.ts'
import type { GatewayError } from '../errors.ts'
import type { Hub, Place } from '../hub/hub.ts'
import type { HubRegistry } from '../hub/registry.ts'
import type { HubStream } from '../hub/stream.ts'
import { sseEncoding } from '../protocol/content-type.ts'
import { cacheControl } from '../protocol/caching.ts'
import { STREAM_SSE_DATA_ENCODING } from '../protocol/headers.ts'
import type { OffsetRequest } from '../protocol/offset.ts'
import type { ReadRequest } from '../protocol/requests.ts'
import { ifTrimmed } from '../streams/chunks.ts'
import { locate } from '../streams/lineage.ts'
import { TrimmedError } from '../streams/read-chunk.ts'
import { livePosition } from '../streams/reader.ts'
import type { StreamService } from '../streams/service.ts'
import type { Chunk } from '../streams/shared-chunk.ts'
import type { StreamView } from '../streams/view.ts'
import type { DisconnectReason, SinkOwner } from './event-sink.ts'
import type { LiveObserver } from './http-observer.ts'
import { LongPollSubscriber } from './long-poll.ts'
import { Leases } from './leases.ts'
import type { Lease } from './leases.ts'
import type { LongPollOptions, LongPollResult } from './long-poll.ts'
import { SseSubscriber } from './sse.ts'
import type { SseOptions, SseReader } from './sse.ts'
import { Wheel } from './wheel.ts'

export type LiveOptions = {
  readonly streams: StreamService
  readonly hubs: HubRegistry
  readonly clock: Clock
  readonly longPollTimeoutMs: number
  readonly sseHeartbeatMs: number
  readonly sseLifetimeMs: number
  readonly sseStallMs: number
  /** Hears why each SSE reader's connection has ended. */
  readonly onSseEnd?: ((reason: DisconnectReason) => void) | undefined
  readonly observer?: LiveObserver | undefined
}

/** Looks at a stream that is being deleted and created again only so often. */
const MAX_ATTACH_ATTEMPTS = 3

/** How finely the shorter of heartbeat and lifetime is kept, and the time-out of long-polls. */
const TURNS = 64

/** A place, and what comes next there if the ring no longer has it. */
export type Attached = Place & { readonly past?: Chunk }

/** What is waited for. */
export type Poll = {
  readonly name: string
  readonly read: ReadRequest
  /** How long, asked once the stream is known. Throws when it may not be. */
  readonly lease: (stream: HubStream) => Lease | undefined
}

/** Who waits for an answer. */
export type Peer = {
  readonly isGone: boolean
  /** Tells an owner when it goes, which may be after it has its answer. */
  own(owner: SinkOwner): void
}

export class LiveReads {
  /** Of all live reads. */
  readonly leases: Leases
  readonly #options: LiveOptions
  readonly #sse: SseOptions
  readonly #longPolls: LongPollOptions

  constructor(options: LiveOptions) {
    const { clock, sseHeartbeatMs: heartbeatMs, sseLifetimeMs: lifetimeMs } = options
    const { longPollTimeoutMs: timeoutMs } = options
    const history = (hub: Hub, position: number): Promise<Chunk> => this.#history(hub, position)
    this.#options = options
    const leases = (this.leases = new Leases(clock))
    this.#longPolls = {
      wheel: new Wheel(clock, timeoutMs / TURNS),
      timeoutMs,
      leases,
      history,
      onEnd: (begunAt, answer) => this.#pollEnded(begunAt, answer),
    }
    this.#sse = {
      clock,
      wheel: new Wheel(clock, Math.min(heartbeatMs, lifetimeMs) / TURNS),
      heartbeatMs,
      lifetimeMs,
      stallMs: options.sseStallMs,
      leases,
      onEnd: (reason, ms) => this.#sseEnded(reason, ms),
      history,
    }
  }

  /**
   * Waits for data after the offset, up to the time-out (PROTOCOL §5.7).
   *
   * @throws GatewayError what a catch-up read throws
   */
  longPoll(poll: Poll, peer: Peer): Promise<LongPollResult> {
    return this.#attempt(1, poll, peer)
  }

  #attempt(attempt: number, poll: Poll, peer: Peer): Promise<LongPollResult> {
    return this.#wait(poll, peer).catch((error: unknown) => {
      // Deleted for good, kept for its forks, or there anew: another look says which.
      const isLost = error instanceof StreamNotFoundError || error instanceof TrimmedError
      if (!isLost) throw error
      if (attempt === MAX_ATTACH_ATTEMPTS) throw unclear(error)
      return this.#attempt(attempt + 1, poll, peer)
    })
  }

  /** Not async: thousands come back at once, and to wait for what is there takes room for each. */
  #wait(poll: Poll, peer: Peer): Promise<LongPollResult> {
    const attached = this.attach(poll.name, poll.read.offset)
    if (attached instanceof Promise) return attached.then((place) => this.#park(place, poll, peer))
    try {
      return this.#park(attached, poll, peer)
    } catch (error) {
      return Promise.reject(error instanceof Error ? error : new Error(String(error)))
    }
  }

  #park(place: Attached, { read, lease }: Poll, peer: Peer): Promise<LongPollResult> {
    const { clock, observer } = this.#options
    const held = lease(place.hub.stream)
    const begunAt = clock.elapsed()
    observer?.onBegin('long-poll')
    try {
      const { isGone } = peer
      const poller = { place, cursor: read.cursor, lease: held, begunAt, isGone }
      const subscriber = new LongPollSubscriber(poller, this.#longPolls)
      if (isGone) subscriber.closed()
      else peer.own(subscriber)
      return subscriber.result
    } catch (error) {
      this.#pollEnded(begunAt)
      throw error
    }
  }

  #pollEnded(begunAt: number, answer?: LongPollResult): void {
    const { clock, observer } = this.#options
    observer?.onEnd('long-poll', clock.elapsed() - begunAt)
    if (answer !== undefined) observer?.onPollAnswer(answer.body === undefined)
  }

  /** Sends what comes at a place as events (PROTOCOL §5.8), until the reader is told to end. */
  open(reader: SseReader): void {
    this.#options.observer?.onBegin('sse')
    new SseSubscriber(reader, this.#sse).begin()
  }

  #sseEnded(reason: DisconnectReason, ms: number): void {
    const { onSseEnd, observer } = this.#options
    onSseEnd?.(reason)
    observer?.onSseEnd(reason)
    observer?.onEnd('sse', ms)
  }

  /**
   * The hub of the stream and the reader's position in it. What lies behind the ring is read
   * here, while a failure still has a status: a reader is not taken only to be cut off.
   *
   * @throws GatewayError what a catch-up read throws
   */
  attach(name: string, offset: OffsetRequest): Attached | Promise<Attached> {
    return placeIn(this.#options.hubs.find(name), offset) ?? this.#lookFor(name, offset)
  }

  async #lookFor(name: string, offset: OffsetRequest): Promise<Attached> {
    const { streams } = this.#options
    for (let attempt = 0; attempt < MAX_ATTACH_ATTEMPTS; attempt += 1) {
      const view = await streams.describe(name)
      const place = await this.#placeAt(view, livePosition(view, offset))
      if (place === undefined) continue
      streams.renew(name)
      return place
    }
    throw new LogUnavailableError()
  }

  /** Undefined when the stream has changed meanwhile: it must be looked at again. */
  async #placeAt(view: StreamView, position: number): Promise<Attached | undefined> {
    const { hubs } = this.#options
    const known = hubs.find(view.name)
    const isKnown = known?.stream.incarnation === view.incarnation
    const hub = isKnown ? known : hubs.acquire(toHubStream(view))
    if (hub.stream.incarnation !== view.incarnation) return undefined
    if (hub.next(position).kind !== 'behind') return isUsable(hub) ? { hub, position } : undefined
    const past = await this.#history(hub, position).catch(ifTrimmed)
    return past !== undefined && isUsable(hub) ? { hub, position, past } : undefined
  }

  /** Older records than the ring has, from the cache that all readers share. */
  #history(hub: Hub, position: number): Promise<Chunk> {
    return this.#options.streams.chunk(hub.history, position)
  }
}

/**
 * A hub that follows knows enough to take a reader who comes back, if its ring has the position.
 *
 * Everybody else asks the log first: who reads from the beginning or from the very tail means the
 * stream as it is now; a sealed hub would not know that its stream was deleted; a TTL may have
 * run out.
 */
function placeIn(hub: Hub | undefined, offset: OffsetRequest): Place | undefined {
  if (hub === undefined || offset.kind !== 'position') return undefined
  const { stream, state, tail } = hub
  if (stream.ttlMs !== undefined || state.phase === 'sealed') return undefined
  const position = locate(stream, offset.position)
  if (typeof position !== 'number' || position > tail) return undefined
  return hub.next(position).kind === 'behind' ? undefined : { hub, position }
}

/** What is said to a poll whose stream was not the same at any two looks. */
function unclear(error: StreamNotFoundError | TrimmedError): GatewayError {
  return error instanceof TrimmedError ? new LogUnavailableError(error) : error
}

/** @throws ShuttingDownError no hub will be usable any more */
function isUsable({ state }: Hub): boolean {
  if (state.phase !== 'stopped') return true
  if (state.reason === 'shutdown') throw new ShuttingDownError()
  return false
}

function toHubStream(view: StreamView): HubStream {
  const { expiry } = view
  return {
    ...view,
    ttlMs: expiry.kind === 'ttl' ? expiry.seconds * 1000 : undefined,
    endsAt: expiry.kind === 'at' ? expiry.at : undefined,
  }
}

const EVENT_HEADERS: Readonly<Record<string, string>> = {
  'content-type': 'text/event-stream',
  'cache-control': cacheControl('sse'),
  'x-accel-buffering': 'no',
}
const BASE64_EVENT_HEADERS = { ...EVENT_HEADERS, [STREAM_SSE_DATA_ENCODING]: 'base64' }

/** The headers of a stream of events, but for those of every response: one of two objects. */
export function eventHeaders({ contentType }: HubStream): Readonly<Record<string, string>> {
  return sseEncoding(contentType) === 'base64' ? BASE64_EVENT_HEADERS : EVENT_HEADERS
}
