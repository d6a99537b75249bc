/**
 * A server of its own for probes and metrics, on a port that clients need not reach: nobody is
 * asked for a token there, and it goes on until the very end of a shutdown.
 */
import Fastify from 'fastify'
import type { FastifyInstance } from 'fastify'
import type { Clock } from '../clock.ts'
import { GatewayError } from '../errors.ts'
import { internalProblem, plainProblem, toProblem } from './problem.ts'
import type { Problem } from './problem.ts'
import type { Readiness } from './readiness.ts'
import { metricsRoutes } from './routes/metrics.ts'
import type { Page } from './routes/metrics.ts'
import { opsRoutes } from './routes/ops.ts'

export type OpsOptions = {
  readonly host: string
  /** 0 takes a free one; undefined: there is no such server. */
  readonly port: number | undefined
  readonly readiness: Readiness
  /** Without it there are only the probes. */
  readonly page: Page | undefined
  readonly clock: Clock
}

export type OpsServer = {
  readonly url: string
  /** Ends it with whatever is under way. */
  close(): Promise<void>
}

/** A scrape is a small request. */
const REQUEST_TIMEOUT_MS = 10_000

/**
 * Shows what there is to see: where the streams are, to those who may; or where a server of its
 * own listens from now on. Rejects when it can't.
 */
export async function openOps(
  main: FastifyInstance,
  options: OpsOptions,
): Promise<OpsServer | undefined> {
  const { host, port, readiness, page, clock } = options
  if (port === undefined) {
    if (page !== undefined) await main.register(metricsRoutes, { page })
    return undefined
  }
  const app = Fastify({ forceCloseConnections: true, requestTimeout: REQUEST_TIMEOUT_MS })
  registerProblems(app, clock, (err) => main.log.error({ err }, 'metrics failed'))
  await app.register(opsRoutes, { readiness })
  if (page !== undefined) await app.register(metricsRoutes, { page })
  const url = await app.listen({ host, port })
  return { url, close: () => app.close() }
}

function registerProblems(
  app: FastifyInstance,
  clock: Clock,
  onError: (error: unknown) => void,
): void {
  app.setErrorHandler((error, _request, reply) => {
    const isKnown = error instanceof GatewayError
    if (!isKnown) onError(error)
    const problem = isKnown ? toProblem(error, clock.random()) : internalProblem()
    return reply.code(problem.status).headers(problem.headers).send(bytesOf(problem))
  })
  app.setNotFoundHandler((_request, reply) => {
    const problem = plainProblem('not_found', 'there is nothing at this URL', clock.random())
    return reply.code(problem.status).headers(problem.headers).send(bytesOf(problem))
  })
}

/** To a string the framework would add a charset, which problem+json does not have. */
function bytesOf({ body }: Problem): Buffer {
  return Buffer.from(body)
}
