/**
 * A server of its own for probes and metrics, on a port that clients need not reach: nobody is
 * asked for a token there, and it goes on until the very end of a shutdown.
 */
import Fastify from 'fastify'
import type { FastifyError, FastifyInstance, FastifyReply } from 'fastify'
import type { Clock } from '../clock.ts'
import { toGatewayError } from './plugins/errors.ts'
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

/** A scrape is a small request, and its answer is taken at once. */
const REQUEST_TIMEOUT_MS = 10_000

/** Probes and some Prometheis. Without a bound whoever reaches this port takes readers' descriptors. */
const MAX_CONNECTIONS = 100

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
  const fail = failer(clock, (err) => main.log.error({ err }, 'metrics failed'))
  const app = Fastify({
    forceCloseConnections: true,
    requestTimeout: REQUEST_TIMEOUT_MS,
    connectionTimeout: REQUEST_TIMEOUT_MS,
    frameworkErrors: (error, _request, reply) => fail(error, reply),
  })
  app.server.maxConnections = MAX_CONNECTIONS
  app.setErrorHandler((error: FastifyError, _request, reply) => fail(error, reply))
  refuseAllElse(app, clock)
  await app.register(opsRoutes, { readiness })
  if (page !== undefined) await app.register(metricsRoutes, { page })
  const url = await app.listen({ host, port })
  return { url, close: () => app.close() }
}

/** Answers what failed, and tells of what is ours. */
function failer(
  clock: Clock,
  onError: (error: unknown) => void,
): (error: FastifyError, reply: FastifyReply) => void {
  return (error, reply) => {
    const known = toGatewayError(error)
    if (known === undefined) onError(error)
    send(reply, known === undefined ? internalProblem() : toProblem(known, clock.random()))
  }
}

/** Nothing here takes a body, so that none is read. */
function refuseAllElse(app: FastifyInstance, clock: Clock): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (_request, _body, done) => done(null))
  app.setNotFoundHandler((_request, reply) => {
    send(reply, plainProblem('not_found', 'there is nothing at this URL', clock.random()))
  })
}

function send(reply: FastifyReply, { status, headers, body }: Problem): void {
  // As bytes: to a string the framework would add a charset, which problem+json does not have.
  void reply.code(status).headers(headers).send(Buffer.from(body))
}
