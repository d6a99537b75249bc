/** What a platform asks a process: does it live, and can it serve? */
import type { FastifyPluginCallback } from 'fastify'
import type { Readiness } from '../readiness.ts'

/** Asked by the platform, which takes a gateway that is only busy for a dead one if it hears nothing. */
export const OPS_PATHS: ReadonlySet<string> = new Set(['/healthz', '/readyz', '/metrics', '/bill'])

const ANYBODY = { config: { access: 'anybody' } } as const

export const opsRoutes: FastifyPluginCallback<{ readonly readiness: Readiness }> = (
  app,
  { readiness },
  done,
) => {
  app.get('/healthz', ANYBODY, async (_request, reply) => {
    return reply.header('cache-control', 'no-store').send({ status: 'alive' })
  })

  app.get('/readyz', ANYBODY, async (_request, reply) => {
    await readiness.check()
    return reply.header('cache-control', 'no-store').send({ status: 'ready' })
  })
  done()
}
