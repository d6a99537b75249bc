/** What a platform asks a process: does it live, and can it serve? */
import type { FastifyPluginCallback } from 'fastify'
import type { Drain } from '../plugins/drain.ts'

type Options = {
  /** Resolves when the log answers; throws LogUnavailableError when it does not. */
  readonly ping: (signal: AbortSignal) => Promise<void>
  readonly drain: Drain
}

/** Asked by the platform, which takes a gateway that is only busy for a dead one if it hears nothing. */
export const OPS_PATHS: ReadonlySet<string> = new Set(['/healthz', '/readyz'])

const ANYBODY = { config: { access: 'anybody' } } as const

/** Probes usually give up after a second or a few; a clear answer must be faster. */
const PING_TIMEOUT_MS = 2000

export const opsRoutes: FastifyPluginCallback<Options> = (app, { ping, drain }, done) => {
  app.get('/healthz', ANYBODY, async (_request, reply) => {
    return reply.header('cache-control', 'no-store').send({ status: 'alive' })
  })

  app.get('/readyz', ANYBODY, async (_request, reply) => {
    drain.refuseIfBegun()
    await ping(AbortSignal.timeout(PING_TIMEOUT_MS))
    return reply.header('cache-control', 'no-store').send({ status: 'ready' })
  })
  done()
}
