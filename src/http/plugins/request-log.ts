/** One line for each request, when it is over: no bodies, no query, no headers, so no secrets. */
import type { FastifyInstance } from 'fastify'

export function registerRequestLog(app: FastifyInstance): void {
  app.addHook('onRequest', (request, reply, done) => {
    // `close` comes after every response, also one that the client did not wait for.
    reply.raw.once('close', () => {
      const [path] = request.url.split('?', 1)
      const { live } = request.query as Readonly<Record<string, unknown>>
      request.log.info(
        {
          method: request.method,
          path,
          live: typeof live === 'string' ? live : undefined,
          status: reply.raw.statusCode,
          ms: Math.round(reply.elapsedTime * 10) / 10,
          aborted: reply.raw.writableFinished ? undefined : true,
        },
        'request',
      )
    })
    done()
  })
}
