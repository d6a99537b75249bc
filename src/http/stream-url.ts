/** Stream URLs: `/v1/stream/<name>`. */
import type { FastifyRequest } from 'fastify'
import { ForkSourceError, RequestError } from '../errors.ts'
import type { StreamNames } from '../protocol/names.ts'

export const STREAM_PREFIX = '/v1/stream/'
export const STREAM_ROUTE = '/v1/stream/*'
export const TICKETS_PATH = `${STREAM_PREFIX}__ds/tickets`

/** Scheme and authority of a request target in absolute form (RFC 9112 §3.2.2). */
const ORIGIN = /^https?:\/\/[^/?#]*/i

/** The path of the request as sent, not decoded. */
export function pathOf({ url }: Pick<FastifyRequest, 'url'>): string {
  const target = url.startsWith('/') ? url : url.replace(ORIGIN, '')
  const query = target.indexOf('?')
  return query === -1 ? target : target.slice(0, query)
}

/**
 * The name of the stream that a request is about.
 *
 * Taken from the URL as sent: the router's own decoding would not tell a malformed escape.
 *
 * @throws RequestError `invalid_path`, `reserved_path`
 */
export function streamNameOf(request: FastifyRequest, names: StreamNames): string {
  const path = pathOf(request)
  // No part of a request target. The router would cut it off: it saw another path than we do.
  if (path.includes('#')) throw new RequestError('invalid_path', 'a request has no fragment')
  return names.parsePath(path.slice(STREAM_PREFIX.length))
}

/** Where the first segment of a name ends: names are split when they are decoded. */
const SEGMENT_END = /\/|%2f/i

/**
 * The first segment of the name of the stream at a path that is as sent, also if the rest is no
 * name; undefined for other paths.
 */
export function projectOf(path: string): string | undefined {
  if (!path.startsWith(STREAM_PREFIX)) return undefined
  const [segment = ''] = path.slice(STREAM_PREFIX.length).split(SEGMENT_END, 1)
  try {
    return decodeURIComponent(segment)
  } catch {
    // Malformed: no project has such a name.
    return undefined
  }
}

/**
 * The name of the stream that a fork names as its source, by the path of its URL.
 *
 * @throws ForkSourceError there can be no stream at that path
 */
export function sourceNameOf(path: string, names: StreamNames): string {
  if (!path.startsWith(STREAM_PREFIX)) throw new ForkSourceError('fork_source_not_found')
  return names.parsePath(path.slice(STREAM_PREFIX.length))
}

/**
 * The URL of the stream as this client sees it (PROTOCOL §5.1, `Location`); its path alone for a
 * client of HTTP/1.0 that names no host.
 */
export function absoluteUrl(request: FastifyRequest): string {
  return `${originOf(request)}${pathOf(request)}`
}

/** Scheme and authority as this client sees them; empty for one that names no host. */
export function originOf({ host, protocol }: FastifyRequest): string {
  return host === '' ? '' : `${protocol}://${host}`
}
