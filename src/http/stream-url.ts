/** Stream URLs: `/v1/stream/<name>`. */
import type { FastifyRequest } from 'fastify'
import { parseStreamPath } from '../protocol/path.ts'

export const STREAM_PREFIX = '/v1/stream/'
export const STREAM_ROUTE = '/v1/stream/*'

/**
 * The name of the stream that a request is about.
 *
 * Taken from the URL as sent: the router's own decoding would not tell a malformed escape.
 *
 * @throws RequestError `invalid_path`, `reserved_path`
 */
export function streamNameOf(request: FastifyRequest): string {
  const [path = ''] = request.url.split('?', 1)
  return parseStreamPath(path.slice(STREAM_PREFIX.length))
}

/** The URL of the stream as this client sees it (PROTOCOL §5.1, `Location`). */
export function absoluteUrl(request: FastifyRequest): string {
  const [path = ''] = request.url.split('?', 1)
  return `${request.protocol}://${request.host}${path}`
}
