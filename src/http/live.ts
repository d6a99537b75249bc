/** Live reads: brings a reader and its hub together, whatever the transport. */
import type { IncomingMessage } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Clock } from '../clock.ts'
import { LogUnavailableError } from '../errors.ts'
import type { Hub, HubStream, Place } from '../hub/hub.ts'
import type { HubRegistry } from '../hub/registry.ts'
import { sseEncoding } from '../protocol/content-type.ts'
import { cacheControl } from '../protocol/caching.ts'
import { STREAM_SSE_DATA_ENCODING } from '../protocol/headers.ts'
import type { OffsetRequest } from '../protocol/offset.ts'
import type { ReadRequest } from '../protocol/requests.ts'
import type { StreamService } from '../streams/service.ts'
import type { StreamView } from '../streams/view.ts'
import { LongPollSubscriber } from './long-poll.ts'
import type { LongPollResult } from './long-poll.ts'
import { SseSubscriber } from './sse.ts'

export type LiveOptions = {
  readonly streams: StreamService
  readonly hubs: HubRegistry
  readonly clock: Clock
  readonly longPollTimeoutMs: number
  readonly sseHeartbeatMs: number
  readonly sseLifetimeMs: number
}

/** Looks at a stream that is being deleted and created again only so often. */
const MAX_ATTACH_ATTEMPTS = 3

export class LiveReads {
  readonly #options: LiveOptions

  constructor(options: LiveOptions) {
    this.#options = options
  }

  /**
   * Waits for data after the offset, up to the time-out (PROTOCOL §5.7).
   *
   * @throws GatewayError what a catch-up read throws
   */
  async longPoll(
    name: string,
    read: ReadRequest,
    request: IncomingMessage,
  ): Promise<LongPollResult> {
    const { clock, longPollTimeoutMs, streams } = this.#options
    const place = await this.#attach(name, read.offset)
    const subscriber = new LongPollSubscriber(place, {
      clock,
      cursor: read.cursor,
      timeoutMs: longPollTimeoutMs,
      history: (position) => this.#history(streams, place.hub, position),
    })
    request.once('close', () => subscriber.abandon())
    return subscriber.result
  }

  /**
   * Turns the response into a stream of events (PROTOCOL §5.8). Returns once it has begun.
   *
   * @throws GatewayError what a catch-up read throws, before anything is sent
   */
  async sse(
    name: string,
    { offset, cursor }: ReadRequest,
    request: FastifyRequest,
    reply: FastifyReply,
  ): Promise<void> {
    const { clock, sseHeartbeatMs, sseLifetimeMs, streams } = this.#options
    const place = await this.#attach(name, offset)
    if (request.raw.destroyed) return
    const encoding = sseEncoding(place.hub.stream.contentType)
    reply.hijack()
    reply.raw.writeHead(200, {
      ...definedHeaders(reply),
      'content-type': 'text/event-stream',
      'cache-control': cacheControl('sse'),
      'x-accel-buffering': 'no',
      ...(encoding === 'base64' ? { [STREAM_SSE_DATA_ENCODING]: 'base64' } : {}),
    })
    const subscriber = new SseSubscriber(place, {
      clock,
      cursor,
      heartbeatMs: sseHeartbeatMs,
      lifetimeMs: sseLifetimeMs,
      response: reply.raw,
      history: (position) => this.#history(streams, place.hub, position),
      onEnd: (reason) => request.log.debug({ reason }, 'sse reader left'),
    })
    subscriber.begin()
  }

  /** The hub of the stream and the reader's position in it. */
  async #attach(name: string, offset: OffsetRequest): Promise<Place> {
    const { streams, hubs } = this.#options
    streams.renew(name)
    const known = placeIn(hubs.find(name), offset)
    if (known !== undefined) return known
    for (let attempt = 0; attempt < MAX_ATTACH_ATTEMPTS; attempt += 1) {
      const view = await streams.describe(name)
      const position = streams.position(view, offset)
      const hub = hubs.acquire(toHubStream(view))
      if (hub.stream.incarnation === view.incarnation) return { hub, position }
    }
    throw new LogUnavailableError()
  }

  /** Older records than the ring has, from the cache that all readers share. */
  async #history(
    streams: StreamService,
    hub: Hub,
    position: number,
  ): ReturnType<StreamService['chunk']> {
    return streams.chunk({ ...hub.stream, dataTail: hub.tail }, position)
  }
}

/**
 * A running hub knows enough to take a reader without a look at the log: only what depends on
 * the very tail, or on a TTL that may have run out, asks there first.
 */
function placeIn(hub: Hub | undefined, offset: OffsetRequest): Place | undefined {
  if (hub === undefined || offset.kind === 'now' || hub.stream.renewEveryMs !== undefined) {
    return undefined
  }
  const { start, base } = hub.stream
  if (offset.kind === 'beginning') return { hub, position: start }
  const { depth, seqNum } = offset.position
  const inside = depth === 0 && seqNum >= base && seqNum <= hub.tail
  return inside ? { hub, position: Math.max(seqNum, start) } : undefined
}

function toHubStream(view: StreamView): HubStream {
  const { expiry } = view
  return {
    ...view,
    // Half the window: a reader that is there all the time never lets it run out.
    renewEveryMs: expiry.kind === 'ttl' ? Math.max(100, expiry.seconds * 500) : undefined,
    endsAt: expiry.kind === 'at' ? expiry.at : undefined,
  }
}

function definedHeaders(reply: FastifyReply): Record<string, string | number | string[]> {
  const headers: Record<string, string | number | string[]> = {}
  for (const [name, value] of Object.entries(reply.getHeaders())) {
    if (value !== undefined) headers[name] = value
  }
  return headers
}
