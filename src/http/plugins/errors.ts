/** Every failure of a request, rendered in one place; and the ones that never became a request. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Clock } from '../../clock.ts'
import { GatewayError, RequestError } from '../../errors.ts'
import type { ErrorCode } from '../../errors.ts'
import { withCommon } from '../cors.ts'
import type { Cors } from '../cors.ts'
import { internalProblem, plainProblem, toProblem } from '../problem.ts'
import type { Problem } from '../problem.ts'
import type { Headers } from '../render.ts'
import { STREAM_PREFIX, pathOf } from '../stream-url.ts'
import { STREAM_METHODS, commonHeaders } from './browser.ts'
import { logWhenOver, noteFailure } from './request-log.ts'
import { urlRefusal } from './targets.ts'

/** The framework's own refusals, by its stable codes, in our words. */
const FRAMEWORK_ERRORS: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: ['invalid_content_type', 'Content-Type is not a media type'],
  FST_ERR_BAD_URL: ['invalid_path', 'a URL is percent-encoded UTF-8'],
}

/** What there is of a connection that is answered without a response. */
type Connection = { end(text: string): unknown }

/** The response that a connection was last used for. */
const responses = new WeakMap<Connection, ServerResponse>()

/** Renders errors as problem+json, and unknown routes and methods with them. */
export function registerErrors(app: FastifyInstance, clock: Clock, cors: Cors): void {
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const known = toGatewayError(error)
    if (known === undefined) request.log.error({ reqId: request.id, err: error }, 'request failed')
    else noteFailure(request, known)
    send(reply, known === undefined ? internalProblem() : toProblem(known, clock.random()))
  })
  app.setNotFoundHandler((request, reply) => {
    if (!pathOf(request).startsWith(STREAM_PREFIX)) {
      send(reply, plainProblem('not_found', 'there is nothing at this URL', clock.random()))
      return
    }
    void reply.header('allow', STREAM_METHODS)
    send(reply, plainProblem('method_not_allowed', 'a stream has no such method', clock.random()))
  })
  app.addHook('onRequest', (request, reply, done) => {
    responses.set(request.raw.socket, reply.raw)
    done()
  })
  registerServerEvents(app, cors)
}

/** What Node would answer, or drop, without asking us. */
function registerServerEvents({ server }: FastifyInstance, cors: Cors): void {
  // RFC 9110 §10.1.1: an expectation we do not know may be ignored.
  server.on('checkExpectation', (request, response) => server.emit('request', request, response))
  server.on('connect', (_request, socket) => {
    // Node has let go of it: nobody else hears of its errors, or ends it.
    socket.on('error', () => socket.destroy())
    socket.once('finish', () => socket.destroy())
    refuse(socket, cors.forUnknown, plainProblem('method_not_allowed', 'this is no proxy', 0))
  })
}

/** Answers what the router refuses before any route is found; no hook runs for it. */
export function frameworkErrorHandler(
  cors: Cors,
  maxUrlBytes: number,
): (error: FastifyError, request: FastifyRequest, reply: FastifyReply) => void {
  return (error, request, reply) => {
    logWhenOver(request, reply)
    const known = urlRefusal(request.url, maxUrlBytes) ?? toGatewayError(error)
    void reply.headers(commonHeaders(cors, request))
    send(reply, known === undefined ? internalProblem() : toProblem(known, 0))
  }
}

/** What Node's parser stopped at. */
type ClientError = Error & { readonly code?: string; readonly rawPacket?: unknown }

/** Answers bytes that are no HTTP request, or not in time, straight on the socket. */
export function onClientError(cors: Cors): (error: ClientError, socket: Socket) => void {
  return (error, socket) => {
    const response = responses.get(socket)
    // In the middle of a response, of SSE say, an answer would become a part of it.
    const isAnswering = response?.headersSent === true && !response.writableFinished
    if (!socket.writable || isAnswering || error.code === 'ECONNRESET') {
      socket.destroy()
      return
    }
    // With a response that is not begun it is the body of its request; else nobody knows whose.
    const common = response?.headersSent === false ? headersOf(cors, response.req) : undefined
    refuse(socket, common ?? cors.forUnknown, clientProblem(error))
  }
}

function headersOf(cors: Cors, { url = '', headers }: IncomingMessage): Headers {
  return cors.headersFor(pathOf({ url }), headers.origin)
}

/** Answers on the socket itself, which is of no use any more. */
function refuse(socket: Connection, common: Headers, { status, headers, body }: Problem): void {
  const lines = Object.entries({
    ...withCommon(common, headers),
    'content-length': String(Buffer.byteLength(body)),
    connection: 'close',
  }).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${status} ${titleOf(body)}\r\n${lines.join('')}\r\n${body}`)
}

/** A request line whose method Node's parser does not know: TLS on this port is none, say. */
const REQUEST_LINE = /^[!#$%&'*+.^_`|~\w-]+ \S+ HTTP\//

function isRequestLine(bytes: unknown): boolean {
  return Buffer.isBuffer(bytes) && REQUEST_LINE.test(bytes.toString('latin1'))
}

function clientProblem({ code, rawPacket }: ClientError): Problem {
  if (code === 'HPE_INVALID_METHOD' && isRequestLine(rawPacket)) {
    return plainProblem('method_not_allowed', 'there is no such method', 0)
  }
  switch (code) {
    case 'HPE_HEADER_OVERFLOW':
      return plainProblem('headers_too_large', 'the request headers are too large', 0)
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return plainProblem('request_timeout', 'the request did not arrive in time', 0)
    default:
      return plainProblem('bad_request', 'this is no HTTP request', 0)
  }
}

function titleOf(body: string): string {
  return String((JSON.parse(body) as { title: unknown }).title)
}

function toGatewayError(error: FastifyError): GatewayError | undefined {
  if (error instanceof GatewayError) return error
  const refusal = FRAMEWORK_ERRORS[error.code]
  if (refusal !== undefined) return new RequestError(...refusal)
  const { statusCode = 500 } = error
  return statusCode < 500 ? new RequestError('bad_request', error.message) : undefined
}

function send(reply: FastifyReply, { status, headers, body }: Problem): void {
  // The framework would cut the connection while the client still sends: it might never see why.
  // Node reads the rest and drops it, for no longer than a request may take.
  if (status === 413 || status === 503) void reply.removeHeader('connection')
  // As bytes: to a string the framework would add a charset, which problem+json does not have.
  void reply.code(status).headers(headers).send(Buffer.from(body))
}
