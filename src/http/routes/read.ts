/** GET and HEAD {stream-url}: metadata, history, long-poll, SSE (PROTOCOL §5.5-§5.8). */
import type { FastifyPluginCallback, FastifyReply } from 'fastify'
import type { Clock } from '../../clock.ts'
import { parseRead } from '../../protocol/requests.ts'
import type { Query } from '../../protocol/requests.ts'
import type { StreamService } from '../../streams/service.ts'
import type { LiveReads } from '../live.ts'
import { renderChunk, renderLongPoll, renderMetadata } from '../render.ts'
import type { Rendered } from '../render.ts'
import { STREAM_ROUTE, streamNameOf } from '../stream-url.ts'

type Options = {
  readonly streams: StreamService
  readonly live: LiveReads
  readonly clock: Clock
}

export const readRoutes: FastifyPluginCallback<Options> = (app, options, done) => {
  const { streams, live, clock } = options

  app.head(STREAM_ROUTE, async (request, reply) => {
    return send(reply, renderMetadata(await streams.describe(streamNameOf(request))))
  })

  app.get<{ Querystring: Query }>(STREAM_ROUTE, async (request, reply) => {
    const name = streamNameOf(request)
    const read = parseRead(request.query, request.headers)
    const ifNoneMatch = request.headers['if-none-match']
    switch (read.mode) {
      case 'catch-up': {
        const result = await streams.read(name, read.offset)
        return send(reply, renderChunk(result, { read, ifNoneMatch, now: clock.now() }))
      }
      case 'long-poll': {
        const result = await live.longPoll(name, read, reply.raw)
        return send(reply, renderLongPoll(result, { read, ifNoneMatch, now: clock.now() }))
      }
      case 'sse': {
        await live.sse(name, read, request, reply)
        return reply
      }
    }
  })
  done()
}

function send(reply: FastifyReply, { status, headers, body }: Rendered): FastifyReply {
  return reply.code(status).headers(headers).send(body)
}
