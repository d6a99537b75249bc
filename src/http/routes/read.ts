/** GET and HEAD {stream-url}: metadata, history, long-poll, SSE (PROTOCOL §5.5-§5.8). */
import type { FastifyPluginCallback, FastifyReply } from 'fastify'
import type { Clock } from '../../clock.ts'
import type { StreamNames } from '../../protocol/names.ts'
import { parseRead } from '../../protocol/requests.ts'
import type { Query } from '../../protocol/requests.ts'
import type { StreamService } from '../../streams/service.ts'
import { withCommon } from '../cors.ts'
import { ResponseSink } from '../event-sink.ts'
import { eventHeaders } from '../live.ts'
import type { LiveReads, Peer } from '../live.ts'
import type { Gate, Life } from '../gate.ts'
import type { HttpObserver } from '../http-observer.ts'
import type { Lease } from '../leases.ts'
import { accessOf } from '../plugins/auth.ts'
import { logEnd } from '../plugins/request-log.ts'
import { renderChunk, renderLongPoll, renderMetadata } from '../render.ts'
import type { Asked, Rendered } from '../render.ts'
import { spanOf } from '../spans.ts'
import { STREAM_ROUTE, streamNameOf } from '../stream-url.ts'
import { whenOver } from '../when-over.ts'

type Options = {
  readonly streams: StreamService
  readonly names: StreamNames
  readonly live: LiveReads
  readonly gate: Gate
  readonly clock: Clock
  readonly observer?: HttpObserver | undefined
}

const READ = { config: { access: 'read' } } as const

export const readRoutes: FastifyPluginCallback<Options> = (app, options, done) => {
  const { streams, names, live, gate, clock, observer } = options
  const answer = (reply: FastifyReply, rendered: Rendered, { audience }: Asked): FastifyReply => {
    // Of a poll whose client has left there is no answer.
    if (!reply.raw.destroyed) observer?.onCacheKind(rendered.cache, audience)
    return send(reply, rendered)
  }

  app.head(STREAM_ROUTE, READ, async (request, reply) => {
    const view = await streams.describe(streamNameOf(request, names))
    gate.confirm(accessOf(request), view)
    return send(reply, renderMetadata(view, gate.readerKeyOf(view)))
  })

  app.get<{ Querystring: Query }>(STREAM_ROUTE, READ, async (request, reply) => {
    const name = streamNameOf(request, names)
    const access = accessOf(request)
    const lease = (stream: Life): Lease | undefined => gate.lease(access, stream)
    const read = parseRead(request.query, request.headers)
    const ifNoneMatch = request.headers['if-none-match']
    const askedOf = (stream: Life): Asked => {
      const audience = gate.audienceOf(stream, readerKeyOf(request.query))
      return { read, ifNoneMatch, audience, now: clock.now() }
    }
    switch (read.mode) {
      case 'catch-up': {
        const result = await streams.read(name, read.offset)
        gate.confirm(access, result.view)
        const asked = askedOf(result.view)
        return answer(reply, renderChunk(result, asked), asked)
      }
      case 'long-poll': {
        const result = await live.longPoll({ name, read, lease }, peerOf(reply))
        const asked = askedOf(result.stream)
        return answer(reply, renderLongPoll(result, asked), asked)
      }
      case 'sse': {
        const place = await live.attach(name, read.offset)
        const held = lease(place.hub.stream)
        reply.hijack()
        if (reply.raw.destroyed) return reply
        const headers = withCommon(definedHeaders(reply), eventHeaders(place.hub.stream))
        reply.raw.writeHead(200, headers)
        const sink = new ResponseSink(reply.raw, (reason, cause) => {
          logEnd(request.log, { reqId: request.id }, reason, cause)
          spanOf(request)?.note({ 'durable_streams.end': reason })
        })
        live.open({ place, cursor: read.cursor, sink, lease: held })
        return reply
      }
    }
  })
  done()
}

/** The one of its URL: given twice, it is none. */
function readerKeyOf({ rk }: Query): string | undefined {
  return typeof rk === 'string' ? rk : undefined
}

function peerOf({ raw }: FastifyReply): Peer {
  return {
    // A request's own `close` may come as soon as its body was read.
    get isGone() {
      return raw.destroyed
    },
    own: (owner) => whenOver(raw, () => owner.closed()),
  }
}

function definedHeaders(reply: FastifyReply): Record<string, string | number | string[]> {
  const headers: Record<string, string | number | string[]> = {}
  for (const [name, value] of Object.entries(reply.getHeaders())) {
    if (value !== undefined) headers[name] = value
  }
  return headers
}

function send(reply: FastifyReply, { status, headers, body }: Rendered): FastifyReply {
  return reply.code(status).headers(headers).send(body)
}
