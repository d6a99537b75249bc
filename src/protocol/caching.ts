/**
 * What caches may do with a response (PROTOCOL §10).
 *
 * One rule decides every class: a response may be publicly cacheable only if the same URL can
 * never legitimately answer differently, nor be refused to whoever has it.
 */
import type { Offset } from './offset.ts'

/** What a response to a read shows: a range of one incarnation of a stream, and if it is the end. */
export type ReadRange = {
  readonly incarnation: string
  readonly start: Offset
  readonly end: Offset
  readonly closed: boolean
}

/** Every kind of response there is, as far as caches care. */
export type CacheKind =
  /** A catch-up read that ends before the tail: those bytes never change. */
  | 'chunk'
  /** A catch-up read that reaches the tail, of an open or a closed stream. */
  | 'tail'
  /** A catch-up read with `offset=now`. */
  | 'now'
  /** A long-poll with data whose URL has an offset and a cursor. */
  | 'long_poll'
  /** A long-poll with data whose URL has no cursor, or `offset=now`. */
  | 'long_poll_unkeyed'
  /** A long-poll that ends without data, also at the end of a closed stream. */
  | 'long_poll_empty'
  | 'sse'
  /** `HEAD`, `PUT`, `POST`, `DELETE`, and every error. */
  | 'uncached'

/**
 * Whose caches may answer with a response: `shared` ones only if whoever has the URL may read it,
 * else `private` ones, of the one client.
 */
export type Audience = 'shared' | 'private'

const CHUNK_MAX_AGE_S = 60
const CHUNK_STALE_S = 300
/** One cursor interval (PROTOCOL §10.1). */
const LONG_POLL_MAX_AGE_S = 20

/** Writes the strong ETag of a response. It changes when the stream is closed (PROTOCOL §10.1). */
export function etag({ incarnation, start, end, closed }: ReadRange): string {
  return `"${incarnation}:${start}:${end}${closed ? ':c' : ''}"`
}

/**
 * Tells whether `If-None-Match` names the ETag, so that the answer is 304.
 *
 * A list matches by any member, compared weakly: a proxy that compresses turns our ETag into
 * `W/…` (RFC 9110 §13.1.2).
 */
export function matchesETag(ifNoneMatch: string | undefined, etag: string): boolean {
  if (ifNoneMatch === undefined) return false
  if (ifNoneMatch.trim() === '*') return true
  for (const [tag] of ifNoneMatch.matchAll(/"[^"]*"/g)) if (tag === etag) return true
  return false
}

/** What decides between a client's answers in its own cache: it may be somebody else by then. */
const PRIVATE_VARY = 'Authorization, Cookie'

/**
 * Writes `Cache-Control`. `remainingMs` is the time the stream has left, if it expires: no cache
 * may answer for a stream that is gone.
 *
 * Without an audience it is the private one. Only what may be stored depends on it.
 */
export function cacheControl(
  kind: CacheKind,
  remainingMs?: number,
  audience: Audience = 'private',
): string {
  const isShared = audience === 'shared'
  switch (kind) {
    case 'chunk':
      // A private cache that answers with what is stale would not ask if it still may.
      return isShared && remainingMs === undefined
        ? `public, max-age=${CHUNK_MAX_AGE_S}, stale-while-revalidate=${CHUNK_STALE_S}`
        : storedFor(CHUNK_MAX_AGE_S, audience, remainingMs)
    case 'long_poll':
      return storedFor(LONG_POLL_MAX_AGE_S, audience, remainingMs)
    case 'tail':
      return isShared ? 'no-cache' : 'private, no-cache'
    case 'sse':
      return 'no-cache, no-store, no-transform'
    case 'now':
    case 'long_poll_unkeyed':
    case 'long_poll_empty':
    case 'uncached':
      return 'no-store'
  }
}

/**
 * `Cache-Control` in a set of headers, with `Vary` where a private cache may store the response
 * (RFC 9110 §12.5.5). Whoever adds a `Vary` of his own must keep this one.
 */
export function cacheHeaders(
  kind: CacheKind,
  remainingMs: number | undefined,
  audience: Audience,
): Record<string, string> {
  const control = cacheControl(kind, remainingMs, audience)
  return control.startsWith('private')
    ? { 'cache-control': control, vary: PRIVATE_VARY }
    : { 'cache-control': control }
}

function storedFor(maxAgeS: number, audience: Audience, remainingMs = Infinity): string {
  const seconds = Math.min(maxAgeS, Math.floor(remainingMs / 1000))
  if (seconds <= 0) return 'no-store'
  return `${audience === 'shared' ? 'public' : 'private'}, max-age=${seconds}`
}
