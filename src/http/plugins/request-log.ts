/** One line for each request, when it is over: no bodies, no query, no headers, so no secrets. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { pathOf } from '../stream-url.ts'

export function registerRequestLog(app: FastifyInstance): void {
  app.addHook('onRequest', (request, reply, done) => {
    logWhenOver(request, reply)
    done()
  })
}

/** For a request that the hooks do not see. */
export function logWhenOver(request: FastifyRequest, reply: FastifyReply): void {
  // `close` comes after every response, also one that the client did not wait for.
  reply.raw.once('close', () => {
    request.log.info(
      {
        method: request.method,
        path: pathOf(request),
        live: liveOf(request.query),
        status: reply.raw.statusCode,
        ms: Math.round(reply.elapsedTime * 10) / 10,
        aborted: reply.raw.writableFinished ? undefined : true,
      },
      'request',
    )
  })
}

/** Only what it may be: anything else in a query could be a secret. */
function liveOf(query: unknown): string | undefined {
  const { live } = (query ?? {}) as Readonly<Record<string, unknown>>
  return live === 'sse' || live === 'long-poll' ? live : undefined
}
