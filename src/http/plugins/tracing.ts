/**
 * Requests as spans, named by OpenTelemetry's conventions for HTTP servers. Names of streams are
 * attributes, never parts of a span's name; queries, headers and addresses are in none: they may
 * be secrets.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { traceparentOf } from '../../protocol/traceparent.ts'
import type { Carrier, Span, Tracing } from '../../tracing/tracing.ts'
import { OPS_PATHS } from '../routes/ops.ts'
import { keepSpan, spanOf, takeSpan } from '../spans.ts'
import { STREAM_ROUTE, pathOf } from '../stream-url.ts'
import { whenOver } from '../when-over.ts'
import { failureCodeOf, liveOf } from './request-log.ts'

/** To be registered first. */
export function registerTracing(app: FastifyInstance, tracing: Tracing): void {
  app.addHook('onRequest', (request, reply, done) => {
    if (OPS_PATHS.has(pathOf(request))) return done()
    const span = takeSpan(request.raw.socket) ?? begin(tracing, request)
    keepSpan(request, span)
    // Others hear of it in the same moment, and note why it is over.
    whenOver(reply.raw, () => queueMicrotask(() => end(span, request, reply)))
    tracing.within([span], done)
  })
  // What receives a body is called by the connection, which is nobody's.
  app.addHook('preHandler', (request, _reply, done) => {
    const span = spanOf(request)
    if (span === undefined) done()
    else tracing.within([span], done)
  })
}

function begin(tracing: Tracing, request: FastifyRequest): Span {
  const { method, raw } = request
  const { url: route } = request.routeOptions
  return tracing.request(route === undefined ? method : `${method} ${route}`, raw.headers, {
    'http.request.method': method,
    'http.route': route,
    'url.path': pathOf(request),
    'url.scheme': request.protocol,
    'network.protocol.version': raw.httpVersion,
    'durable_streams.live': liveOf(request.query),
  })
}

function end(span: Span, request: FastifyRequest, { raw }: FastifyReply): void {
  const { statusCode, headersSent, writableFinished } = raw
  const status = headersSent ? statusCode : undefined
  const failure = statusCode < 500 ? undefined : (failureCodeOf(request) ?? String(statusCode))
  span.end(
    {
      'http.response.status_code': status,
      'durable_streams.code': failureCodeOf(request),
      'durable_streams.aborted': writableFinished ? undefined : true,
    },
    failure,
  )
}

/** A live read that Fastify does not see. */
export type LaneRead = {
  readonly path: string
  readonly live: 'sse' | 'long-poll'
  readonly headers: Carrier
}

/** As the requests above, for one that came by the fast lane. */
export function beginLiveRead(tracing: Tracing, { path, live, headers }: LaneRead): Span {
  return tracing.request(`GET ${STREAM_ROUTE}`, headers, {
    'http.request.method': 'GET',
    'http.route': STREAM_ROUTE,
    'url.path': path,
    'url.scheme': 'http',
    'network.protocol.version': '1.1',
    'durable_streams.live': live,
  })
}

/** What the data of a request is kept with: its `traceparent`, or else what names its own span. */
export function keptTraceparent(request: FastifyRequest): string | undefined {
  return traceparentOf(request.headers) ?? spanOf(request)?.traceparent
}
