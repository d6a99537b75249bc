/** The HTTP server: what Node and Fastify are told before any route is there. */
import { createServer as createHttpServer } from 'node:http'
import Fastify, { LogController } from 'fastify'
import type { FastifyInstance } from 'fastify'
import type { Clock } from '../clock.ts'
import { MAX_STREAM_NAME_BYTES } from '../protocol/path.ts'
import { ByteBudget } from './byte-budget.ts'
import { trustIn } from './client-address.ts'
import type { TrustProxy } from './client-address.ts'
import type { Cors } from './cors.ts'
import type { HttpObserver } from './http-observer.ts'
import { Pace } from './pace.ts'
import { registerBodies } from './plugins/bodies.ts'
import { frameworkErrorHandler, onClientError, whereRequestsBegin } from './plugins/errors.ts'

export type ServerOptions = {
  readonly clock: Clock
  readonly cors: Cors
  readonly logLevel: string
  /** Whose word is taken for the address of a client, as {@link trustIn} takes it. */
  readonly trustProxy: TrustProxy
  readonly maxHeaderBytes: number
  readonly maxUrlBytes: number
  readonly maxAppendBytes: number
  /** What all bodies of appends that are on their way may take together. */
  readonly budget: ByteBudget
  /** For the head of a request, and again for its body. */
  readonly requestTimeoutMs: number
  readonly minUploadBytesPerS: number
  readonly observer?: HttpObserver | undefined
}

/** How often Node looks for requests whose time is over. */
const CONNECTIONS_CHECK_MS = 5000

/** A connection may wait for its next request longer than the 60 s that most proxies keep theirs. */
const KEEP_ALIVE_MS = 72_000

/** Eight of the largest that a subscription takes. */
const MAX_OTHER_BODY_BYTES = 8 * 1024 * 1024

export function createServer(options: ServerOptions): FastifyInstance {
  const { clock, cors, requestTimeoutMs, minUploadBytesPerS, maxUrlBytes, observer } = options
  const pace = new Pace({
    clock,
    timeoutMs: requestTimeoutMs,
    bytesPerSecond: minUploadBytesPerS,
  })
  // A missing Host is refused by us: Node would answer it without a word.
  const bounds = { maxHeaderSize: options.maxHeaderBytes, requireHostHeader: false }
  const server = { ...bounds, ...timeoutsOf(options) }
  const app = Fastify({
    logger: { level: options.logLevel },
    logController: new LogController({ disableRequestLogging: true }),
    // A logger for each request takes some microseconds; our own lines say whose they are.
    childLoggerFactory: (logger) => logger,
    bodyLimit: options.maxAppendBytes,
    // Of its own making Fastify has a server for each address of `localhost`, and only one of them
    // would be counted, served by the lane, and left slowly.
    serverFactory: (handler) => createHttpServer(server, whereRequestsBegin(handler)),
    exposeHeadRoutes: false,
    trustProxy: trustIn(options.trustProxy),
    return503OnClosing: false,
    // Every byte of a name may be escaped.
    routerOptions: { maxParamLength: MAX_STREAM_NAME_BYTES * 3 },
    frameworkErrors: frameworkErrorHandler(cors, maxUrlBytes, observer),
    clientErrorHandler: onClientError(cors, observer),
  })
  const { budget } = options
  const otherBudget = new ByteBudget(MAX_OTHER_BODY_BYTES)
  registerBodies(app, { budget, otherBudget, pace })
  return app
}

/** What Node itself bounds: the head of a request, and what nobody receives or the pace lets pass. */
function timeoutsOf({ requestTimeoutMs, minUploadBytesPerS, maxAppendBytes }: ServerOptions) {
  const longestMs = Math.ceil((maxAppendBytes / minUploadBytesPerS) * 1000)
  return {
    headersTimeout: requestTimeoutMs,
    requestTimeout: 2 * requestTimeoutMs + longestMs,
    keepAliveTimeout: KEEP_ALIVE_MS,
    connectionsCheckingInterval: Math.min(requestTimeoutMs, CONNECTIONS_CHECK_MS),
  }
}
