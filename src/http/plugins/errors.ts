/** Every failure of a request, rendered in one place; and the ones that never became a request. */
import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Clock } from '../../clock.ts'
import { GatewayError, RequestError } from '../../errors.ts'
import type { ErrorCode } from '../../errors.ts'
import { withCommon } from '../cors.ts'
import type { Cors } from '../cors.ts'
import type { HttpObserver } from '../http-observer.ts'
import { internalProblem, plainProblem, toProblem } from '../problem.ts'
import type { Problem } from '../problem.ts'
import type { Headers } from '../render.ts'
import { STREAM_PREFIX, pathOf } from '../stream-url.ts'
import { STREAM_METHODS, commonHeaders } from './browser.ts'
import { observeWhenOver } from './observe.ts'
import { logWhenOver, noteFailure } from './request-log.ts'
import { urlRefusal } from './targets.ts'

/** The framework's own refusals, by its stable codes, in our words. */
const FRAMEWORK_ERRORS: Readonly<Record<string, readonly [ErrorCode, string]>> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: ['invalid_content_type', 'Content-Type is not a media type'],
  FST_ERR_BAD_URL: ['invalid_path', 'a URL is percent-encoded UTF-8'],
}

/** What there is of a connection that is answered without a response. */
type Connection = { readonly writable: boolean; end(text: string): unknown }

/** The latest request that came by a connection, with its response: all before it come before. */
type Latest = { readonly request: IncomingMessage; readonly response: ServerResponse }

const latest = new WeakMap<Connection, Latest>()

/** What the end of a connection waits for. */
const waiting = new WeakSet<ServerResponse>()

/** Hears the code of every problem that is sent. */
export type OnProblem = (code: string) => void

function tellerOf(observer: HttpObserver | undefined): OnProblem {
  return (code) => observer?.onProblem(code)
}

/** Renders errors as problem+json, and unknown routes and methods with them. */
export function registerErrors(
  app: FastifyInstance,
  clock: Clock,
  cors: Cors,
  observer?: HttpObserver,
): void {
  const onProblem = tellerOf(observer)
  const send = sender(onProblem)
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
  registerServerEvents(app, cors, onProblem)
}

/** What Node would answer, or drop, without asking us. */
function registerServerEvents({ server }: FastifyInstance, cors: Cors, onProblem: OnProblem): void {
  const refuse = refuser(onProblem)
  // None is left out: the parser goes by those that we would not see. Their bytes are bounded.
  server.maxHeadersCount = 0
  // RFC 9110 §10.1.1: an expectation we do not know may be ignored.
  server.on('checkExpectation', (request, response) => server.emit('request', request, response))
  server.on('checkContinue', (request, response) => {
    continueInTurn(request, response)
    server.emit('request', request, response)
  })
  server.on('connect', (_request, socket) => {
    // Node has let go of it: nobody else hears of its errors, or ends it.
    socket.on('error', () => socket.destroy())
    socket.once('finish', () => socket.destroy())
    const problem = plainProblem('method_not_allowed', 'this is no proxy', 0)
    inTurn(socket, () => refuse(socket, cors.forUnknown, problem))
  })
}

/** The listener of a server's requests, of which it hears only those that are some. */
export function whereRequestsBegin(serve: RequestListener): RequestListener {
  return (request, response) => {
    const { socket } = request
    const last = latest.get(socket)
    // Where it seems to begin is not where the client began it.
    if (last !== undefined && asksForUpgrade(last.request)) return
    latest.set(socket, { request, response })
    if (asksForUpgrade(request)) response.shouldKeepAlive = false
    serve(request, response)
  }
}

/**
 * Whether another protocol is asked for, which we speak none of. Node's parser stops behind such a
 * request and drops what came with it, so that what it finds next may be the middle of anything.
 */
function asksForUpgrade({ headers }: IncomingMessage): boolean {
  return headers.upgrade !== undefined && /\bupgrade\b/i.test(headers.connection ?? '')
}

/**
 * Asks for the body once what came before is answered. Node would ask at once, and what a response
 * without its turn is given first, it sends between the head and the body.
 */
function continueInTurn(request: IncomingMessage, response: ServerResponse): void {
  if (response.socket !== null) return response.writeContinue()
  response.once('socket', () => {
    if (!response.headersSent && !request.complete) response.writeContinue()
  })
}

/** Answers what the router refuses before any route is found; no hook runs for it. */
export function frameworkErrorHandler(
  cors: Cors,
  maxUrlBytes: number,
  observer?: HttpObserver,
): (error: FastifyError, request: FastifyRequest, reply: FastifyReply) => void {
  const send = sender(tellerOf(observer))
  return (error, request, reply) => {
    logWhenOver(request, reply)
    if (observer !== undefined) observeWhenOver(request, reply, observer)
    const known = urlRefusal(request.url, maxUrlBytes) ?? toGatewayError(error)
    void reply.headers(commonHeaders(cors, request))
    send(reply, known === undefined ? internalProblem() : toProblem(known, 0))
  }
}

/** What Node's parser stopped at. */
type ClientError = Error & {
  readonly code?: string
  /** What the socket gave last, and how far it was understood. */
  readonly rawPacket?: unknown
  readonly bytesParsed?: unknown
}

/**
 * Answers bytes that are no HTTP request, or not in time, straight on the socket; behind the
 * answers to what came before them.
 */
export function onClientError(
  cors: Cors,
  observer?: HttpObserver,
): (error: ClientError, socket: Socket) => void {
  const refuse = refuser(tellerOf(observer))
  return (error, socket) => {
    // The client has said that nothing more comes, and is answered: what comes is nobody's.
    if (error.code === 'HPE_CLOSED_CONNECTION') return
    if (!socket.writable || error.code === 'ECONNRESET') {
      socket.destroy()
      return
    }
    const last = latest.get(socket)
    if (last !== undefined && !last.request.complete) {
      const common = headersOf(cors, last.request)
      endInBody(socket, last.response, () => refuse(socket, common, clientProblem(error)))
    } else if (last !== undefined && isStreaming(last.response)) {
      // In the middle of a response, of SSE say, an answer would become a part of it.
      socket.destroy()
    } else inTurn(socket, () => refuse(socket, cors.forUnknown, clientProblem(error)))
  }
}

function isStreaming(response: ServerResponse): boolean {
  return response.headersSent && !response.writableEnded
}

/** Ends a connection in the body of a request: by `refusal`, unless the request has its answer. */
function endInBody(socket: Socket, response: ServerResponse, refusal: () => void): void {
  if (response.writableFinished) socket.destroySoon()
  else if (isStreaming(response)) socket.destroy()
  else if (response.headersSent) once(response, 'finish', () => socket.destroySoon())
  // A response has the socket when it is its turn.
  else if (response.socket !== null) refusal()
  else once(response, 'socket', () => endInBody(socket, response, refusal))
}

/**
 * Ends a connection by `refusal`, once all that came by it is answered (RFC 9112 §9.3.2): sooner,
 * the client would take it for the answer to something else.
 */
function inTurn(socket: Connection, refusal: () => void): void {
  const response = latest.get(socket)?.response
  if (response === undefined || response.writableFinished) return refusal()
  once(response, 'finish', () => {
    if (socket.writable) refusal()
  })
}

/** Waits for it once, however often it is asked to: each further packet is an error, too. */
function once(response: ServerResponse, event: 'finish' | 'socket', then: () => void): void {
  if (waiting.has(response)) return
  waiting.add(response)
  response.once(event, () => {
    waiting.delete(response)
    then()
  })
}

function headersOf(cors: Cors, { url = '', headers }: IncomingMessage): Headers {
  return cors.headersFor(pathOf({ url }), headers.origin)
}

type Refuse = (socket: Connection, common: Headers, problem: Problem) => void

/** Answers on a socket itself, which is of no use any more. */
function refuser(onProblem: OnProblem): Refuse {
  return (socket, common, problem) => {
    onProblem(problem.code)
    endWith(socket, common, problem)
  }
}

function endWith(socket: Connection, common: Headers, { status, headers, body }: Problem): void {
  const lines = Object.entries({
    ...withCommon(common, headers),
    'content-length': String(Buffer.byteLength(body)),
    connection: 'close',
  }).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${status} ${titleOf(body)}\r\n${lines.join('')}\r\n${body}`)
}

/** A request line whose method Node's parser does not know: TLS on this port is none, say. */
const REQUEST_LINE = /^[!#$%&'*+.^_`|~\w-]+ \S+ HTTP\//

/** Whether the parser stopped in a line that is one. Others may be before it in what came last. */
function isRequestLine({ rawPacket, bytesParsed }: ClientError): boolean {
  if (!Buffer.isBuffer(rawPacket) || typeof bytesParsed !== 'number') return false
  const begin = rawPacket.lastIndexOf('\n', bytesParsed) + 1
  return REQUEST_LINE.test(rawPacket.toString('latin1', begin))
}

function clientProblem(error: ClientError): Problem {
  const { code } = error
  if (code === 'HPE_INVALID_METHOD' && isRequestLine(error)) {
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

/** What a request is told of a failure; undefined when it is ours. */
export function toGatewayError(error: FastifyError): GatewayError | undefined {
  if (error instanceof GatewayError) return error
  const refusal = FRAMEWORK_ERRORS[error.code]
  if (refusal !== undefined) return new RequestError(...refusal)
  const { statusCode = 500 } = error
  return statusCode < 500 ? new RequestError('bad_request', error.message) : undefined
}

function sender(onProblem: OnProblem): (reply: FastifyReply, problem: Problem) => void {
  return (reply, problem) => {
    onProblem(problem.code)
    send(reply, problem)
  }
}

function send(reply: FastifyReply, { status, headers, body }: Problem): void {
  // The framework would cut the connection while the client still sends: it might never see why.
  // Node reads the rest and drops it, for no longer than a request may take.
  if (status === 413 || status === 503) void reply.removeHeader('connection')
  // As bytes: to a string the framework would add a charset, which problem+json does not have.
  void reply.code(status).headers(headers).send(Buffer.from(body))
}
