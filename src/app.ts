/** The composition root: the only file that sees every layer. No logic of its own. */
import { randomBytes } from 'node:crypto'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { systemClock } from './clock.ts'
import type { Clock } from './clock.ts'
import type { Authenticator } from './auth/authenticator.ts'
import { openAuthenticator } from './auth/open.ts'
import { ReaderKeys } from './auth/reader-keys.ts'
import type { Config } from './config.ts'
import { GatewayError } from './errors.ts'
import type { Admission } from './http/admission.ts'
import { ByteBudget } from './http/byte-budget.ts'
import { Cors } from './http/cors.ts'
import { clientAddressReader, trustIn } from './http/client-address.ts'
import type { DisconnectReason } from './http/event-sink.ts'
import { FastLane } from './http/fast/lane.ts'
import type { FastLaneOptions } from './http/fast/lane.ts'
import { Limits } from './http/limits.ts'
import { OPEN_GATE } from './http/gate.ts'
import type { Gate } from './http/gate.ts'
import { LiveReads } from './http/live.ts'
import type { LiveOptions } from './http/live.ts'
import { openOps } from './http/ops-server.ts'
import type { OpsServer } from './http/ops-server.ts'
import { openAdmission } from './http/plugins/admission.ts'
import { registerAuth } from './http/plugins/auth.ts'
import { registerBrowser, registerPreflights } from './http/plugins/browser.ts'
import { Drain, registerDrain } from './http/plugins/drain.ts'
import { registerErrors } from './http/plugins/errors.ts'
import { chargeRefused, registerLimits } from './http/plugins/limits.ts'
import type { LimitsPluginOptions } from './http/plugins/limits.ts'
import { registerObserver } from './http/plugins/observe.ts'
import { LiveLines, registerRequestLog } from './http/plugins/request-log.ts'
import { registerTargets } from './http/plugins/targets.ts'
import { registerTracing } from './http/plugins/tracing.ts'
import { Readiness } from './http/readiness.ts'
import { registerRoutes } from './http/routes/all.ts'
import { createServer } from './http/server.ts'
import type { ServerOptions } from './http/server.ts'
import { TokenGate } from './http/token-gate.ts'
import type { HubTransition } from './hub/hub.ts'
import { HubRegistry } from './hub/registry.ts'
import type { LogObserver } from './log/log-observer.ts'
import type { DurableLog } from './log/log.ts'
import { observed } from './log/observed-log.ts'
import type { Bounded, Metrics, Observers } from './metrics/metrics.ts'
import { openMetrics } from './metrics/open.ts'
import { StreamNames } from './protocol/names.ts'
import { ProjectRule } from './protocol/project.ts'
import { StreamService } from './streams/service.ts'
import type { StreamWatch } from './streams/watch.ts'
import { streamsOf } from './subscriptions/streams.ts'
import type { Streams } from './subscriptions/streams.ts'
import { Subscriptions } from './subscriptions/subscriptions.ts'
import { WebhookSender } from './subscriptions/webhook-sender.ts'
import { tellDeliveries } from './tracing/deliveries.ts'
import { traced } from './tracing/traced-log.ts'
import type { Tracing } from './tracing/tracing.ts'

export type Dependencies = {
  readonly log: DurableLog
  /** The system's clock when left out. */
  readonly clock?: Clock
  /** Nobody when left out. */
  readonly observer?: GatewayObserver
  /** As the configuration says when left out. */
  readonly metrics?: Metrics
  /** Nobody when left out. */
  readonly tracing?: Tracing | undefined
}

/** Hears what the gateway does, beside its metrics. Must be quick, and must not throw. */
export type GatewayObserver = {
  /** Calls to the log and sessions with it, readiness checks included. */
  readonly log?: LogObserver
  /** A hub has changed its phase: to `recovering` when it has lost its read session. */
  readonly onHubTransition?: (transition: HubTransition) => void
  /** An SSE reader's connection has ended, and why. */
  readonly onSseEnd?: (reason: DisconnectReason) => void
}

/** A gateway that is ready to listen. */
export type Gateway = {
  readonly app: FastifyInstance
  readonly hubs: HubRegistry
  /** Where probes and metrics are, if they have a port of their own. */
  readonly opsUrl: string | undefined
  /**
   * Leaves: refuses new work, ends live reads, settles what is under way, and returns when every
   * connection is closed or the grace period is over.
   */
  readonly shutdown: () => Promise<void>
}

/** Builds the gateway over a log, which it neither opens nor closes. */
export async function buildGateway(config: Config, dependencies: Dependencies): Promise<Gateway> {
  const { clock = systemClock, observer, tracing } = dependencies
  const metrics = dependencies.metrics ?? openMetrics(config, clock)
  const { observers } = metrics
  const { http } = observers
  const seen = observed(dependencies.log, observer?.log, observers.log)
  const log = tracing ? traced(seen, tracing) : seen
  const cors = new Cors(config.cors)
  const budget = new ByteBudget(config.MAX_BUFFERED_APPEND_BYTES)
  const app = createServer({ ...serverOptions(config), clock, cors, budget, observer: http })
  const names = namesOf(config)
  const gatewayId = randomBytes(9).toString('base64url')
  const parts = { log, clock, names, gatewayId, observers, tracing }
  const subscriptions =
    config.SUBSCRIPTIONS === 'on'
      ? createSubscriptions(config, parts, { app, streams: streamsOf(() => streams) })
      : undefined
  const streams = createStreams(config, parts, { app, watch: subscriptions?.watch })
  const hubs = createHubs(config, { ...parts, observer }, app, streams)
  const { onSseEnd } = observer ?? {}
  const live = createLive(config, { streams, hubs, clock, onSseEnd, observer: observers.live })
  const authenticator = await openAuth(config, app, parts)
  const gate = createGate(config, authenticator, { streams, hubs, clock })
  authenticator?.onKeyWithdrawn((keyId) => live.leases.withdraw(keyId))
  const drain = new Drain()
  if (tracing !== undefined) registerTracing(app, tracing)
  registerRequestLog(app)
  if (http !== undefined) registerObserver(app, http)
  registerBrowser(app, cors)
  registerDrain(app, drain)
  const admission = admit(config, app, parts)
  registerErrors(app, clock, cors, http)
  const limiting = limitsOf(config, clock)
  const onRefused = (request: FastifyRequest): void => chargeRefused(request, limiting)
  registerTargets(app, { maxUrlBytes: config.MAX_URL_BYTES, onRefused })
  registerAuth(app, { gate, names, onRefused })
  registerLimits(app, limiting)
  await registerPreflights(app, cors)
  const readiness = new Readiness({ clock, ping: (signal) => log.ping(signal), drain })
  const served = { streams, names, live, gate, clock, readiness, authenticator, subscriptions }
  await registerRoutes(app, { ...served, ...routing(config), observer: http })
  subscriptions?.start()
  const { MAX_URL_BYTES: maxUrlBytes } = config
  const { limits, clientAddressOf } = limiting
  const counting = { limits, clientAddressOf, maxUrlBytes, observer: http, tracing }
  const onLane = { names, live, gate, clock, drain, admission, cors, ...counting }
  const lane = config.FAST_LANE === 'on' ? openFastLane(app, onLane) : undefined
  // After the lane, which has a connection come twice when it gives it to Node.
  admission.watch(app.server)
  metrics.watch({ admission, drain, readiness, hubs, streams, budget, limits: boundsOf(config) })
  const ops = await openOps(app, { ...opsAddress(config), readiness, page: metrics.page, clock })
  const running = { app, hubs, drain, clock, subscriptions, lane, authenticator, ops, metrics }
  return { app, hubs, opsUrl: ops?.url, shutdown: () => shutdown(config, running) }
}

function routing({ AUTH_WRITE_MAY_CREATE, PUBLIC_URL, AUTH_COOKIE, TRACE_RECORDS }: Config) {
  const creation = AUTH_WRITE_MAY_CREATE === 'true' ? 'write' : 'manage'
  const tracesRecords = TRACE_RECORDS === 'on'
  return { creation, publicUrl: PUBLIC_URL, cookie: AUTH_COOKIE, tracesRecords } as const
}

function opsAddress({ METRICS_PORT: port, METRICS_HOST, HOST }: Config) {
  return { port, host: METRICS_HOST ?? HOST }
}

function boundsOf(config: Config): Readonly<Record<Bounded, number>> {
  return {
    connections: config.MAX_CONNECTIONS,
    hubs: config.MAX_HUBS,
    hub_ring_bytes: config.MAX_HUBS_BYTES,
    buffered_append_bytes: config.MAX_BUFFERED_APPEND_BYTES,
    chunk_cache_bytes: config.MAX_CHUNK_CACHE_BYTES,
  }
}

/** What every part of this gateway has to do with. */
type Parts = {
  readonly log: DurableLog
  readonly clock: Clock
  readonly names: StreamNames
  readonly gatewayId: string
  readonly observers: Observers
  readonly tracing: Tracing | undefined
}

function namesOf({ TENANCY, S2_BASIN_PREFIX }: Config): StreamNames {
  return new StreamNames(TENANCY === 'project' ? new ProjectRule(S2_BASIN_PREFIX) : undefined)
}

function serverOptions(config: Config): Omit<ServerOptions, 'clock' | 'cors' | 'budget'> {
  return {
    logLevel: config.LOG_LEVEL,
    trustProxy: config.TRUST_PROXY,
    maxHeaderBytes: config.MAX_HEADER_BYTES,
    maxUrlBytes: config.MAX_URL_BYTES,
    maxAppendBytes: config.MAX_APPEND_BYTES,
    requestTimeoutMs: config.REQUEST_TIMEOUT_MS,
    minUploadBytesPerS: config.MIN_UPLOAD_BYTES_PER_S,
  }
}

/** Refuses what is new while there is enough to do. */
function admit(
  config: Config,
  app: FastifyInstance,
  { clock, observers: { http } }: Pick<Parts, 'clock' | 'observers'>,
): Admission {
  return openAdmission(app, {
    clock,
    maxConnectsPerS: config.MAX_CONNECTS_PER_S,
    maxConnections: config.MAX_CONNECTIONS,
    maxLoopDelayMs: config.MAX_EVENT_LOOP_DELAY_MS,
    onClosed: http && ((ms) => http.onConnectionClosed(ms)),
  })
}

/** Counts what each caller takes. */
function limitsOf(config: Config, clock: Clock): LimitsPluginOptions {
  const { LIMITS_SUBJECT, LIMITS_PROJECT, LIMITS_ADDRESS, TRUST_PROXY, MAX_APPEND_BYTES } = config
  const quotas = { subject: LIMITS_SUBJECT, project: LIMITS_PROJECT, address: LIMITS_ADDRESS }
  return {
    limits: new Limits({ clock, quotas }),
    clientAddressOf: clientAddressReader(trustIn(TRUST_PROXY)),
    maxBodyBytes: MAX_APPEND_BYTES,
  }
}

function createStreams(
  config: Config,
  parts: Parts,
  { app, watch }: { readonly app: FastifyInstance; readonly watch: StreamWatch | undefined },
): StreamService {
  return new StreamService({
    ...parts,
    commandTimeoutMs: config.APPEND_TIMEOUT_MS,
    chunkCacheBytes: config.MAX_CHUNK_CACHE_BYTES,
    maxOpenStreams: config.MAX_OPEN_STREAMS,
    lockLeaseMs: config.APPEND_LOCK_MS,
    maxAppendMessages: config.MAX_APPEND_MESSAGES,
    maxProducers: config.MAX_PRODUCERS,
    watch,
    observer: parts.observers.appends,
    scopes: parts.tracing,
    onBackgroundError: logBackgroundErrors(app),
  })
}

function createSubscriptions(
  config: Config,
  parts: Parts,
  { app, streams }: { readonly app: FastifyInstance; readonly streams: Streams },
): Subscriptions {
  const webhook = {
    allowLocalhost: config.ALLOW_LOCAL_WEBHOOKS === 'true',
    timeoutMs: config.WEBHOOK_TIMEOUT_MS,
    maxResponseBytes: config.MAX_WEBHOOK_RESPONSE_BYTES,
    maxConcurrentPerHost: config.MAX_WEBHOOKS_PER_HOST,
  }
  return new Subscriptions({
    ...parts,
    log: observed(parts.log, parts.observers.subscriptionLog),
    streams,
    commandTimeoutMs: config.APPEND_TIMEOUT_MS,
    takeoverMs: config.SUBSCRIPTION_TAKEOVER_MS,
    maxStreams: config.MAX_SUBSCRIPTION_STREAMS,
    sender: new WebhookSender({ ...webhook, tracing: parts.tracing }),
    webhook,
    observer: parts.observers.subscriptions,
    onBackgroundError: logBackgroundErrors(app),
  })
}

function logBackgroundErrors({ log }: FastifyInstance): (task: string, error: unknown) => void {
  return (task, error) => {
    if (error instanceof GatewayError) log.info({ task, code: error.code }, 'task put off')
    else log.error({ task, err: error }, 'task failed')
  }
}

function createHubs(
  config: Config,
  parts: Pick<Parts, 'log' | 'clock' | 'observers' | 'tracing'> & {
    readonly observer: GatewayObserver | undefined
  },
  app: FastifyInstance,
  streams: StreamService,
): HubRegistry {
  const { log, clock, observers, observer, tracing } = parts
  return new HubRegistry({
    log,
    clock,
    ring: { maxRecords: config.MAX_RING_RECORDS, maxBytes: config.MAX_RING_BYTES },
    idleMs: config.HUB_IDLE_MS,
    maxHubs: config.MAX_HUBS,
    maxBytes: config.MAX_HUBS_BYTES,
    observer: observers.hubs,
    onRecords: (stream, records) => streams.absorb(stream, records),
    onRenew: (stream) => streams.renew(stream),
    onEncoded: (records, bytes) => streams.weigh(records, bytes),
    onDelivery: tracing && tellDeliveries(tracing),
    onSubscriberError: (stream, err) => app.log.error({ stream, err }, 'subscriber failed'),
    onTransition: (stream, transition) => {
      observer?.onHubTransition?.(transition)
      observers.onHubTransition?.(transition)
      const { from, to, cause } = transition
      const lost = to.phase === 'recovering'
      const found = from.phase === 'recovering' && to.phase === 'live'
      const level = lost ? 'warn' : found ? 'info' : 'debug'
      const reason = cause instanceof Error ? cause.message : undefined
      app.log[level]({ stream, ...to, cause: reason }, 'hub')
    },
  })
}

function createLive(
  config: Config,
  parts: Pick<LiveOptions, 'streams' | 'hubs' | 'clock' | 'onSseEnd' | 'observer'>,
): LiveReads {
  return new LiveReads({
    ...parts,
    longPollTimeoutMs: config.LONG_POLL_TIMEOUT_MS,
    sseHeartbeatMs: config.SSE_HEARTBEAT_MS,
    sseLifetimeMs: config.SSE_LIFETIME_MS,
    sseStallMs: config.SSE_STALL_TIMEOUT_MS,
  })
}

/** @throws KeySourceError, UnusableKeyError the keys that the configuration names can't be used */
async function openAuth(
  config: Config,
  app: FastifyInstance,
  { clock, observers }: Pick<Parts, 'clock' | 'observers'>,
): Promise<Authenticator | undefined> {
  if (config.auth === undefined) return undefined
  const onProblem = (what: string, err: unknown): void => app.log.warn({ what, err }, 'keys')
  const { onKeysFetched: onFetched } = observers
  return openAuthenticator({ ...config.auth, clock, onProblem, onFetched })
}

function createGate(
  config: Config,
  authenticator: Authenticator | undefined,
  { streams, hubs, clock }: { streams: StreamService; hubs: HubRegistry; clock: Clock },
): Gate {
  if (config.auth === undefined || authenticator === undefined) return OPEN_GATE
  const { gatewaySecrets: secrets } = config.auth
  return new TokenGate({
    authenticator,
    clock,
    readerKeys: new ReaderKeys({ secrets, epoch: config.READER_KEY_EPOCH }),
    publicStreams: config.PUBLIC_STREAMS,
    cookie: config.AUTH_COOKIE,
    // A hub that says no may be about to hear of a deletion, and of a public stream after it.
    isPublic: (name) =>
      hubs.find(name)?.stream.isPublic === true ||
      streams.describe(name).then(({ isPublic }) => isPublic),
  })
}

function openFastLane(
  app: FastifyInstance,
  parts: Omit<FastLaneOptions, 'server' | 'lines'>,
): FastLane {
  const lane = new FastLane({ ...parts, server: app.server, lines: new LiveLines(app.log) })
  // When Node closes those it has; `onClose` would wait for the server, and that for them.
  app.addHook('preClose', (done) => {
    lane.closeIdle()
    done()
  })
  return lane
}

/** Time for each reader on leaving: 200 of them a second come to the next gateway. */
const DISMISSAL_MS = 5

type Running = {
  readonly app: FastifyInstance
  readonly hubs: HubRegistry
  readonly drain: Drain
  readonly clock: Clock
  readonly subscriptions: Subscriptions | undefined
  readonly lane: FastLane | undefined
  readonly authenticator: Authenticator | undefined
  readonly ops: OpsServer | undefined
  readonly metrics: Metrics
}

async function shutdown(config: Config, running: Running): Promise<void> {
  const { app, hubs, drain, clock, subscriptions, lane, authenticator, ops, metrics } = running
  drain.begin()
  const { SHUTDOWN_GRACE_MS } = config
  const cancel = clock.after(SHUTDOWN_GRACE_MS, () => {
    app.server.closeAllConnections()
    lane?.destroy()
  })
  await hubs.drain(Math.min(SHUTDOWN_GRACE_MS / 2, hubs.subscribers * DISMISSAL_MS))
  await app.close()
  await subscriptions?.stop().catch(() => undefined)
  await authenticator?.close()
  // Until here somebody may want to see how it goes.
  await ops?.close()
  metrics.stop()
  cancel()
}
