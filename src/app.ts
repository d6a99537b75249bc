/** The composition root: the only file that sees every layer. No logic of its own. */
import Fastify, { LogController } from 'fastify'
import type { FastifyInstance } from 'fastify'
import { systemClock } from './clock.ts'
import type { Clock } from './clock.ts'
import type { Config } from './config.ts'
import { GatewayError } from './errors.ts'
import { LiveReads } from './http/live.ts'
import { registerBrowser } from './http/plugins/browser.ts'
import { Drain, registerDrain } from './http/plugins/drain.ts'
import { onClientError, onFrameworkError, registerErrors } from './http/plugins/errors.ts'
import { registerRequestLog } from './http/plugins/request-log.ts'
import { opsRoutes } from './http/routes/ops.ts'
import { readRoutes } from './http/routes/read.ts'
import { writeRoutes } from './http/routes/write.ts'
import { HubRegistry } from './hub/registry.ts'
import type { DurableLog } from './log/log.ts'
import { MAX_STREAM_NAME_BYTES } from './protocol/path.ts'
import { StreamService } from './streams/service.ts'

export type Dependencies = {
  readonly log: DurableLog
  /** The system's clock when left out. */
  readonly clock?: Clock
}

/** A gateway that is ready to listen. */
export type Gateway = {
  readonly app: FastifyInstance
  readonly hubs: HubRegistry
  /**
   * Leaves: refuses new work, ends live reads, settles what is under way, and returns when every
   * connection is closed or the grace period is over.
   */
  readonly shutdown: () => Promise<void>
}

/** Builds the gateway over a log, which it neither opens nor closes. */
export async function buildGateway(config: Config, dependencies: Dependencies): Promise<Gateway> {
  const { log, clock = systemClock } = dependencies
  const app = createServer(config)
  const streams = createStreams(config, { log, clock }, app)
  const hubs = createHubs(config, { log, clock }, app, streams)
  const live = new LiveReads({
    streams,
    hubs,
    clock,
    longPollTimeoutMs: config.LONG_POLL_TIMEOUT_MS,
    sseHeartbeatMs: config.SSE_HEARTBEAT_MS,
    sseLifetimeMs: config.SSE_LIFETIME_MS,
  })
  const drain = new Drain()
  registerRequestLog(app)
  await registerBrowser(app)
  registerDrain(app, drain)
  registerErrors(app, clock)
  await app.register(opsRoutes, { ping: (signal) => log.ping(signal), drain })
  await app.register(writeRoutes, { streams })
  await app.register(readRoutes, { streams, live, clock })
  return { app, hubs, shutdown: () => shutdown(config, { app, hubs, drain, clock }) }
}

function createServer(config: Config): FastifyInstance {
  const app = Fastify({
    logger: { level: config.LOG_LEVEL },
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: config.MAX_APPEND_BYTES,
    requestTimeout: config.REQUEST_TIMEOUT_MS,
    http: { maxHeaderSize: config.MAX_HEADER_BYTES },
    exposeHeadRoutes: false,
    return503OnClosing: false,
    // Every byte of a name may be escaped.
    routerOptions: { maxParamLength: MAX_STREAM_NAME_BYTES * 3 },
    frameworkErrors: onFrameworkError,
    clientErrorHandler: onClientError,
  })
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => {
    done(null, body)
  })
  return app
}

function createStreams(
  config: Config,
  { log, clock }: Required<Dependencies>,
  app: FastifyInstance,
): StreamService {
  return new StreamService({
    log,
    clock,
    commandTimeoutMs: config.APPEND_TIMEOUT_MS,
    chunkCacheBytes: config.MAX_CHUNK_CACHE_BYTES,
    maxOpenStreams: config.MAX_OPEN_STREAMS,
    maxBufferedAppendBytes: config.MAX_BUFFERED_APPEND_BYTES,
    maxProducers: config.MAX_PRODUCERS,
    onBackgroundError: (task, error) => {
      if (error instanceof GatewayError) app.log.info({ task, code: error.code }, 'task put off')
      else app.log.error({ task, err: error }, 'task failed')
    },
  })
}

function createHubs(
  config: Config,
  { log, clock }: Required<Dependencies>,
  app: FastifyInstance,
  streams: StreamService,
): HubRegistry {
  return new HubRegistry({
    log,
    clock,
    ring: { maxRecords: config.MAX_RING_RECORDS, maxBytes: config.MAX_RING_BYTES },
    idleMs: config.HUB_IDLE_MS,
    onRecords: (stream, records) => streams.absorb(stream, records),
    onRenew: (stream) => streams.renew(stream),
    onSubscriberError: (stream, err) => app.log.error({ stream, err }, 'subscriber failed'),
    onTransition: (stream, { from, to, cause }) => {
      const lost = to.phase === 'recovering'
      const found = from.phase === 'recovering' && to.phase === 'live'
      const level = lost ? 'warn' : found ? 'info' : 'debug'
      const reason = cause instanceof Error ? cause.message : undefined
      app.log[level]({ stream, ...to, cause: reason }, 'hub')
    },
  })
}

/** Time for each reader on leaving: 200 of them a second come to the next gateway. */
const DISMISSAL_MS = 5

type Running = {
  readonly app: FastifyInstance
  readonly hubs: HubRegistry
  readonly drain: Drain
  readonly clock: Clock
}

async function shutdown(config: Config, { app, hubs, drain, clock }: Running): Promise<void> {
  drain.begin()
  const { SHUTDOWN_GRACE_MS } = config
  const cancel = clock.after(SHUTDOWN_GRACE_MS, () => app.server.closeAllConnections())
  await hubs.drain(Math.min(SHUTDOWN_GRACE_MS / 2, hubs.subscribers * DISMISSAL_MS))
  await app.close()
  cancel()
}
