/**
 * When a stream expires (PROTOCOL §5.1): never, after a time without reads and writes, or at an
 * instant. Never reads the clock.
 */
import { RequestError } from '../errors.ts'
import { STREAM_EXPIRES_AT, STREAM_TTL, singleHeader } from './headers.ts'
import type { RequestHeaders } from './headers.ts'

/** `text` is the instant as the creator wrote it: `HEAD` gives it back. */
export type Expiry =
  | { readonly kind: 'never' }
  | { readonly kind: 'ttl'; readonly seconds: number }
  | { readonly kind: 'at'; readonly at: number; readonly text: string }

/**
 * 100 years. A longer window means `never`, and up to here every sum of an instant and a window
 * in milliseconds is an exact number and a valid `Date`.
 */
export const MAX_TTL_SECONDS = 100 * 365 * 24 * 60 * 60

const TTL = /^(?:0|[1-9]\d*)$/
// RFC 3339 §5.6 but for second 60: as a deadline it is another name for the next minute.
const DATE_TIME =
  /^(\d{4})-(\d{2})-(\d{2})t(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?(?:z|[+-](?:[01]\d|2[0-3]):[0-5]\d)$/i

/**
 * Reads `Stream-TTL` or `Stream-Expires-At`. An instant in the past is valid: the stream is
 * created and has expired.
 *
 * @throws RequestError `conflicting_expiry`, `invalid_ttl`, `invalid_expires_at`, `invalid_header`
 */
export function parseExpiry(headers: RequestHeaders): Expiry {
  const ttl = singleHeader(headers, STREAM_TTL)
  const text = singleHeader(headers, STREAM_EXPIRES_AT)
  if (ttl !== undefined && text !== undefined) {
    throw new RequestError('conflicting_expiry', `give ${STREAM_TTL} or ${STREAM_EXPIRES_AT}`)
  }
  if (ttl !== undefined) return { kind: 'ttl', seconds: parseTtl(ttl) }
  if (text !== undefined) return { kind: 'at', at: parseDateTime(text), text }
  return { kind: 'never' }
}

function parseTtl(text: string): number {
  const seconds = TTL.test(text) ? Number(text) : NaN
  if (seconds <= MAX_TTL_SECONDS) return seconds
  throw new RequestError('invalid_ttl', `${STREAM_TTL} is an integer from 0 to ${MAX_TTL_SECONDS}`)
}

function parseDateTime(text: string): number {
  if (isDateTime(text)) return Date.parse(text.toUpperCase())
  throw new RequestError('invalid_expires_at', `${STREAM_EXPIRES_AT} is an RFC 3339 timestamp`)
}

/** Tells whether this is an instant as RFC 3339 writes it. */
export function isDateTime(text: string): boolean {
  const [, year, month, day] = DATE_TIME.exec(text) ?? []
  return isCalendarDate(Number(year), Number(month), Number(day))
}

/** `Date` alone would take February 30 for March 1. */
function isCalendarDate(year: number, month: number, day: number): boolean {
  const date = new Date(0)
  date.setUTCFullYear(year, month - 1, day)
  return date.getUTCMonth() === month - 1 && date.getUTCDate() === day
}

/** Tells whether two expiries match (PROTOCOL §5.1): instants are compared, not their spelling. */
export function sameExpiry(a: Expiry, b: Expiry): boolean {
  if (a.kind === 'ttl') return b.kind === 'ttl' && a.seconds === b.seconds
  if (a.kind === 'at') return b.kind === 'at' && a.at === b.at
  return b.kind === 'never'
}

/**
 * How much of the window must pass before a read renews a TTL in the log: a tenth, at most an
 * hour. Without it every read would be a write.
 */
export function touchThresholdMs(ttlSeconds: number): number {
  return Math.min(ttlSeconds * 100, 60 * 60 * 1000)
}

/**
 * The moment from which the stream counts as expired, or undefined if it never does.
 *
 * `lastActivityMs` is the last activity the log knows of. Reads within the touch threshold after
 * it are not written down, so a TTL ends that much later: late by that part, never early.
 */
export function expiresAt(expiry: Expiry, lastActivityMs: number): number | undefined {
  switch (expiry.kind) {
    case 'never':
      return undefined
    case 'ttl':
      return lastActivityMs + expiry.seconds * 1000 + touchThresholdMs(expiry.seconds)
    case 'at':
      return expiry.at
  }
}

/** Tells whether the stream has expired by `nowMs`. */
export function isExpired(expiry: Expiry, lastActivityMs: number, nowMs: number): boolean {
  const end = expiresAt(expiry, lastActivityMs)
  return end !== undefined && nowMs >= end
}
