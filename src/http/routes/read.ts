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
import { logEnd } from '../plugins/request-log.ts'
import { renderChunk, renderLongPoll, renderMetadata } from '../render.ts'
import type { Rendered } from '../render.ts'
import { STREAM_ROUTE, streamNameOf } from '../stream-url.ts'

type Options = {
  readonly streams: StreamService
  readonly names: StreamNames
  readonly live: LiveReads
  readonly clock: Clock
}

export const readRoutes: FastifyPluginCallback<Options> = (app, options, done) => {
  const { streams, names, live, clock } = options

  app.head(STREAM_ROUTE, async (request, reply) => {
    return send(reply, renderMetadata(await streams.describe(streamNameOf(request, names))))
  })

  app.get<{ Querystring: Query }>(STREAM_ROUTE, async (request, reply) => {
    const name = streamNameOf(request, names)
    const read = parseRead(request.query, request.headers)
    const ifNoneMatch = request.headers['if-none-match']
    const asked = { read, ifNoneMatch, audience: 'shared' } as const
    switch (read.mode) {
      case 'catch-up': {
        const result = await streams.read(name, read.offset)
        return send(reply, renderChunk(result, { ...asked, now: clock.now() }))
      }
      case 'long-poll': {
        const result = await live.longPoll(name, read, peerOf(reply))
        return send(reply, renderLongPoll(result, { ...asked, now: clock.now() }))
      }
      case 'sse': {
        const place = await live.attach(name, read.offset)
        reply.hijack()
        if (reply.raw.destroyed) return reply
        const headers = withCommon(definedHeaders(reply), eventHeaders(place.hub.stream))
        reply.raw.writeHead(200, headers)
        const sink = new ResponseSink(reply.raw, (reason, cause) => {
          logEnd(request.log, { reqId: request.id }, reason, cause)
        })
        live.open({ place, cursor: read.cursor, sink })
        return reply
      }
    }
  })
  done()
}

function peerOf({ raw }: FastifyReply): Peer {
  return {
    // A request's own `close` may come as soon as its body was read.
    isGone: raw.destroyed,
    own: (owner) => void raw.once('close', () => owner.closed()),
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
