/** What a platform asks a process: does it live, and can it serve? */
import type { FastifyPluginCallback } from 'fastify'
import type { Clock } from '../../clock.ts'
import { LogUnavailableError } from '../../errors.ts'
import type { Drain } from '../plugins/drain.ts'

type Options = {
  /** Resolves when the log answers. */
  readonly ping: (signal: AbortSignal) => Promise<void>
  readonly drain: Drain
  readonly clock: Clock
}

/** Probes usually give up after a second or a few; a clear answer must be faster. */
const PING_TIMEOUT_MS = 2000

export const opsRoutes: FastifyPluginCallback<Options> = (app, { ping, drain }, done) => {
  app.get('/healthz', async (_request, reply) => {
    return reply.header('cache-control', 'no-store').send({ status: 'alive' })
  })

  app.get('/readyz', async (_request, reply) => {
    drain.refuseIfBegun()
    try {
      await ping(AbortSignal.timeout(PING_TIMEOUT_MS))
    } catch (cause) {
      throw new LogUnavailableError(cause)
    }
    return reply.header('cache-control', 'no-store').send({ status: 'ready' })
  })
  done()
}
