/** What browsers need: CORS, and the security headers of PROTOCOL §12.7. */
import fastifyCors from '@fastify/cors'
import type { FastifyCorsOptions } from '@fastify/cors'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { ALLOWED_HEADERS, EXPOSED_HEADERS, isReadable, joinVary } from '../cors.ts'
import type { Cors } from '../cors.ts'
import type { Headers } from '../render.ts'
import { STREAM_PREFIX, pathOf } from '../stream-url.ts'

export const STREAM_METHODS = 'GET, HEAD, PUT, POST, DELETE, OPTIONS'

/** Browsers keep a preflight for at most two hours, some for less. */
const PREFLIGHT_MAX_AGE_S = 7200

/** Has every answer carry what pages need. */
export function registerBrowser(app: FastifyInstance, cors: Cors): void {
  app.addHook('onRequest', (request, reply, done) => {
    void reply.headers(commonHeaders(cors, request))
    if (request.method === 'OPTIONS' && pathOf(request).startsWith(STREAM_PREFIX)) {
      void reply.header('allow', STREAM_METHODS)
    }
    done()
  })
  if (cors.forAll === undefined) keepVary(app, cors)
}

/** Answers preflights. To be registered after all that a request has to pass. */
export async function registerPreflights(app: FastifyInstance, cors: Cors): Promise<void> {
  await app.register((scope) => answerPreflights(scope, cors))
}

/** Routes set a `Vary` of their own in place of the one that they have. */
function keepVary(app: FastifyInstance, cors: Cors): void {
  app.addHook('onSend', (request, reply, _payload, done) => {
    const { vary } = commonHeaders(cors, request)
    if (vary !== undefined) {
      void reply.header('vary', joinVary(String(reply.getHeader('vary') ?? vary), vary))
    }
    done()
  })
}

/** What the answer to a request carries, whatever it is. */
export function commonHeaders(cors: Cors, request: FastifyRequest): Headers {
  return cors.forAll ?? cors.headersFor(pathOf(request), request.headers.origin)
}

/**
 * In a scope of its own, with no route but that for OPTIONS: what the plugin would do for each
 * other request are the headers above.
 */
async function answerPreflights(scope: FastifyInstance, cors: Cors): Promise<void> {
  if (cors.forAll !== undefined) {
    await scope.register(fastifyCors, preflightFor(cors.forAll))
    return
  }
  // Left alone the plugin calls OPTIONS a method that is not there. A browser misses the headers.
  scope.addHook('onRequest', (request, reply, done) => {
    if (isReadable(commonHeaders(cors, request))) done()
    else void reply.code(204).header('content-length', '0').send()
  })
  await scope.register(fastifyCors, {
    delegator: (request, done) => done(null, preflightFor(commonHeaders(cors, request))),
  })
}

function preflightFor(headers: Headers): FastifyCorsOptions {
  return {
    origin: headers['access-control-allow-origin'] ?? false,
    credentials: 'access-control-allow-credentials' in headers,
    methods: ['GET', 'HEAD', 'PUT', 'POST', 'DELETE'],
    allowedHeaders: [...ALLOWED_HEADERS],
    exposedHeaders: [...EXPOSED_HEADERS],
    maxAge: PREFLIGHT_MAX_AGE_S,
    // An OPTIONS that is no preflight is a question too, and not an error.
    strictPreflight: false,
  }
}
