/**
 * Failures on the wire: RFC 9457 problem+json for people, a stable `code` and the protocol's own
 * headers for programs. The only table from code to status.
 */
import { STATUS_CODES } from 'node:http'
import {
  AuthError,
  OffsetGoneError,
  ProducerGapError,
  RateLimitedError,
  StaleEpochError,
  StreamClosedError,
} from '../errors.ts'
import type { ErrorCode, GatewayError } from '../errors.ts'
import {
  PRODUCER_EPOCH,
  PRODUCER_EXPECTED_SEQ,
  PRODUCER_RECEIVED_SEQ,
  STREAM_CLOSED,
  STREAM_EARLIEST_OFFSET,
  STREAM_NEXT_OFFSET,
} from '../protocol/headers.ts'
import { renderStanding } from './rate-limit-headers.ts'

/** Exhaustive on purpose: a new ErrorCode does not compile until it has a status. */
const STATUS = {
  invalid_path: 400,
  reserved_path: 400,
  invalid_offset: 400,
  offset_required: 400,
  offset_beyond_tail: 400,
  invalid_live_mode: 400,
  invalid_header: 400,
  invalid_content_type: 400,
  missing_content_type: 400,
  invalid_fork: 400,
  invalid_ttl: 400,
  invalid_expires_at: 400,
  conflicting_expiry: 400,
  invalid_producer: 400,
  invalid_stream_seq: 400,
  invalid_json: 400,
  empty_json_array: 400,
  empty_body: 400,
  bad_epoch_start: 400,
  bad_request: 400,
  unauthenticated: 401,
  invalid_token: 401,
  token_expired: 401,
  insufficient_scope: 403,
  forbidden: 403,
  stale_epoch: 403,
  not_found: 404,
  stream_not_found: 404,
  fork_source_not_found: 404,
  method_not_allowed: 405,
  request_timeout: 408,
  stream_conflict: 409,
  stream_retained: 409,
  fork_source_gone: 409,
  stream_closed: 409,
  content_type_mismatch: 409,
  stream_seq_regression: 409,
  producer_gap: 409,
  too_many_aborted_appends: 409,
  stream_gone: 410,
  offset_gone: 410,
  payload_too_large: 413,
  too_many_messages: 413,
  uri_too_long: 414,
  rate_limited: 429,
  too_many_producers: 429,
  too_many_forks: 429,
  headers_too_large: 431,
  internal_error: 500,
  not_supported: 501,
  overloaded: 503,
  shutting_down: 503,
  keys_unavailable: 503,
  log_unavailable: 503,
  append_interrupted: 503,
  append_outcome_unknown: 503,
} as const satisfies Record<ErrorCode, number>

/** Every code there is. */
export const PROBLEM_CODES: readonly string[] = Object.keys(STATUS)

export type Problem = {
  readonly code: ErrorCode
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
}

/**
 * Shortest and longest wait we ask a refused client for, unless its failure brings its own; between
 * them chance decides.
 */
const RETRY_AFTER_S = { min: 1, max: 4 }

/**
 * Renders a failure. `random` in [0, 1) spreads the clients that were refused together: one
 * `Retry-After` for all would bring them back together.
 */
export function toProblem(error: GatewayError, random: number): Problem {
  const status = STATUS[error.code]
  return problem(status, error.code, error.message, {
    ...protocolHeaders(error),
    ...(status === 503 || status === 429
      ? { 'retry-after': retryAfter(random, waitOf(error)) }
      : {}),
  })
}

/** Renders what only a bug explains. The client learns nothing of the inside. */
export function internalProblem(): Problem {
  return problem(500, 'internal_error', 'the gateway failed', {})
}

/** Renders a refusal that has no error class, with the status of its code. */
export function plainProblem(code: ErrorCode, detail: string, random: number): Problem {
  const status = STATUS[code]
  return problem(status, code, detail, status === 503 ? { 'retry-after': retryAfter(random) } : {})
}

function problem(
  status: number,
  code: ErrorCode,
  detail: string,
  headers: Record<string, string>,
): Problem {
  return {
    code,
    status,
    headers: {
      'content-type': 'application/problem+json',
      'cache-control': 'no-store',
      ...headers,
    },
    body: JSON.stringify({ title: STATUS_CODES[status], status, detail, code }),
  }
}

/** The shortest wait that is of use, in seconds; undefined when any may be. */
function waitOf(error: GatewayError): number | undefined {
  const { waitMs } = error instanceof RateLimitedError ? error : {}
  return waitMs === undefined ? undefined : Math.ceil(waitMs / 1000)
}

/** Chance only ever adds to it, and to a long wait more: as many have gathered by then. */
function retryAfter(random: number, shortest?: number): string {
  const min = Math.max(RETRY_AFTER_S.min, shortest ?? 0)
  const spread = Math.max(RETRY_AFTER_S.max - RETRY_AFTER_S.min, Math.ceil(min / 2))
  return String(min + Math.floor(random * (spread + 1)))
}

/** What PROTOCOL attaches to a failure, so that clients need not read the body. */
function protocolHeaders(error: GatewayError): Record<string, string> {
  if (error instanceof StreamClosedError) {
    return { [STREAM_CLOSED]: 'true', [STREAM_NEXT_OFFSET]: error.finalOffset }
  }
  if (error instanceof AuthError) return authenticate(error)
  if (error instanceof StaleEpochError) return { [PRODUCER_EPOCH]: String(error.currentEpoch) }
  if (error instanceof ProducerGapError) {
    return {
      [PRODUCER_EXPECTED_SEQ]: String(error.expectedSeq),
      [PRODUCER_RECEIVED_SEQ]: String(error.receivedSeq),
    }
  }
  // No standard header for it; a client that wants to go on from there needs to know where.
  if (error instanceof OffsetGoneError) return { [STREAM_EARLIEST_OFFSET]: error.earliest }
  if (error instanceof RateLimitedError) return renderStanding(error.standing)
  return {}
}

const REALM = 'realm="durable-streams"'

/**
 * Which credentials it takes (RFC 6750 §3). Who has sent none learns no more than that, and who
 * has good ones for something else needs no others.
 */
function authenticate({ code, message, neededScope }: AuthError): Record<string, string> {
  if (code === 'forbidden') return {}
  if (code === 'unauthenticated') return { 'www-authenticate': `Bearer ${REALM}` }
  const error = code === 'insufficient_scope' ? code : 'invalid_token'
  const parts = [REALM, `error="${error}"`, `error_description="${quotable(message)}"`]
  if (neededScope !== undefined) parts.push(`scope="${neededScope}"`)
  return { 'www-authenticate': `Bearer ${parts.join(', ')}` }
}

/** The characters that a description may have (RFC 6750 §3). */
function quotable(text: string): string {
  return text.replace(/[^\x20-\x21\x23-\x5b\x5d-\x7e]/g, '?')
}
