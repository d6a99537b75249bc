/** Every failure of a request, rendered in one place; and the ones that never became a request. */
import type { Socket } from 'node:net'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Clock } from '../../clock.ts'
import { GatewayError, RequestError } from '../../errors.ts'
import type { ErrorCode } from '../../errors.ts'
import { internalProblem, plainProblem, toProblem } from '../problem.ts'
import type { Problem } from '../problem.ts'
import { STREAM_PREFIX } from '../stream-url.ts'

const STREAM_METHODS = 'GET, HEAD, PUT, POST, DELETE, OPTIONS'

/** The framework's own refusals, by its stable codes. */
const FRAMEWORK_CODES: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'payload_too_large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'invalid_content_type',
  FST_ERR_BAD_URL: 'invalid_path',
}

/** Renders errors as problem+json, and unknown routes and methods with them. */
export function registerErrors(app: FastifyInstance, clock: Clock): void {
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const known = toGatewayError(error)
    if (known === undefined) request.log.error({ err: error }, 'request failed')
    else if (known.cause !== undefined) request.log.warn({ err: known, code: known.code })
    send(reply, known === undefined ? internalProblem() : toProblem(known, clock.random()))
  })
  app.setNotFoundHandler((request, reply) => {
    if (!request.url.startsWith(STREAM_PREFIX)) {
      send(reply, plainProblem('not_found', 'there is nothing at this URL', clock.random()))
      return
    }
    void reply.header('allow', STREAM_METHODS)
    send(reply, plainProblem('method_not_allowed', 'a stream has no such method', clock.random()))
  })
}

/** What the router refuses before any route is found. */
export function onFrameworkError(
  error: FastifyError,
  _request: FastifyRequest,
  reply: FastifyReply,
): void {
  const known = toGatewayError(error)
  send(reply, known === undefined ? internalProblem() : toProblem(known, Math.random()))
}

/** Answers bytes that are no HTTP request, or not in time, straight on the socket. */
export function onClientError(error: Error & { code?: string }, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  const { status, headers, body } = clientProblem(error.code)
  const lines = Object.entries({
    ...headers,
    'x-content-type-options': 'nosniff',
    'content-length': String(Buffer.byteLength(body)),
    connection: 'close',
  }).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${status} ${titleOf(body)}\r\n${lines.join('')}\r\n${body}`)
}

function clientProblem(code: string | undefined): Problem {
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
  const code = FRAMEWORK_CODES[error.code]
  if (code !== undefined) return new RequestError(code, error.message)
  const { statusCode = 500 } = error
  return statusCode < 500 ? new RequestError('bad_request', error.message) : undefined
}

function send(reply: FastifyReply, { status, headers, body }: Problem): void {
  // As bytes: to a string the framework would add a charset, which problem+json does not have.
  void reply.code(status).headers(headers).send(Buffer.from(body))
}
