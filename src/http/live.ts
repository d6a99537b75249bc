/** Live reads: brings a reader and its hub together, whatever the transport. */
import type { ServerResponse } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Clock } from '../clock.ts'
import { LogUnavailableError, ShuttingDownError, StreamNotFoundError } from '../errors.ts'
import type { Hub, Place } from '../hub/hub.ts'
import type { HubRegistry } from '../hub/registry.ts'
import type { Batch } from '../hub/ring.ts'
import type { HubStream } from '../hub/stream.ts'
import { sseEncoding } from '../protocol/content-type.ts'
import { cacheControl } from '../protocol/caching.ts'
import { STREAM_SSE_DATA_ENCODING } from '../protocol/headers.ts'
import type { OffsetRequest } from '../protocol/offset.ts'
import type { ReadRequest } from '../protocol/requests.ts'
import { ifTrimmed } from '../streams/chunks.ts'
import { locate } from '../streams/lineage.ts'
import { livePosition } from '../streams/reader.ts'
import type { StreamService } from '../streams/service.ts'
import type { StreamView } from '../streams/view.ts'
import { LongPollSubscriber } from './long-poll.ts'
import type { LongPollResult } from './long-poll.ts'
import { SseSubscriber } from './sse.ts'
import type { DisconnectReason } from './sse.ts'

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

/** A place, and what comes next there if the ring no longer has it. */
type Attached = Place & { readonly past?: Batch }

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
    response: ServerResponse,
  ): Promise<LongPollResult> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#poll(await this.#attach(name, read.offset), read, response)
      } catch (error) {
        // Deleted for good, kept for its forks, or there anew: another look says which.
        const isLost = error instanceof StreamNotFoundError && attempt < MAX_ATTACH_ATTEMPTS
        if (!isLost) throw error
      }
    }
  }

  #poll(place: Attached, read: ReadRequest, response: ServerResponse): Promise<LongPollResult> {
    const { clock, longPollTimeoutMs } = this.#options
    const subscriber = new LongPollSubscriber(place, {
      clock,
      cursor: read.cursor,
      timeoutMs: longPollTimeoutMs,
      history: this.#historyFrom(place),
    })
    // A request's own `close` may come as soon as its body was read.
    if (response.destroyed) subscriber.abandon()
    else response.once('close', () => subscriber.abandon())
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
    const { clock, sseHeartbeatMs, sseLifetimeMs } = this.#options
    const place = await this.#attach(name, offset)
    reply.hijack()
    if (reply.raw.destroyed) return
    const encoding = sseEncoding(place.hub.stream.contentType)
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
      history: this.#historyFrom(place),
      onEnd: (reason, cause) => logEnd(request, reason, cause),
    })
    subscriber.begin()
  }

  /**
   * The hub of the stream and the reader's position in it. What lies behind the ring is read
   * here, while a failure still has a status: a reader is not taken only to be cut off.
   */
  async #attach(name: string, offset: OffsetRequest): Promise<Attached> {
    const { streams, hubs } = this.#options
    const known = placeIn(hubs.find(name), offset)
    if (known !== undefined) return known
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
    const hub = this.#options.hubs.acquire(toHubStream(view))
    if (hub.stream.incarnation !== view.incarnation) return undefined
    if (hub.next(position).kind !== 'behind') return isUsable(hub) ? { hub, position } : undefined
    const past = await this.#history(hub, position).catch(ifTrimmed)
    return past !== undefined && isUsable(hub) ? { hub, position, past } : undefined
  }

  #historyFrom({ hub, position, past }: Attached): (from: number) => Promise<Batch> {
    let first = past
    return async (from) => {
      const batch = first
      first = undefined
      return batch !== undefined && from === position ? batch : this.#history(hub, from)
    }
  }

  /** Older records than the ring has, from the cache that all readers share. */
  #history(hub: Hub, position: number): Promise<Batch> {
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

function logEnd({ log, id: reqId }: FastifyRequest, reason: DisconnectReason, err: unknown): void {
  if (reason === 'failed') log.error({ reqId, reason, err }, 'sse reader ended')
  else if (reason === 'read_failed') log.warn({ reqId, reason, err }, 'sse reader ended')
  else log.debug({ reqId, reason }, 'sse reader ended')
}

function definedHeaders(reply: FastifyReply): Record<string, string | number | string[]> {
  const headers: Record<string, string | number | string[]> = {}
  for (const [name, value] of Object.entries(reply.getHeaders())) {
    if (value !== undefined) headers[name] = value
  }
  return headers
}
