/**
 * Every failure the gateway raises on purpose, with its stable code.
 *
 * Errors carry facts, never HTTP: `http/problem.ts` gives each code its status and headers.
 * Whatever else reaches the error handler is a bug.
 */
import type { Offset } from './protocol/offset.ts'

export type ErrorCode =
  // the request
  | 'invalid_path'
  | 'reserved_path'
  | 'invalid_offset'
  | 'offset_required'
  | 'offset_beyond_tail'
  | 'invalid_live_mode'
  | 'invalid_header'
  | 'invalid_content_type'
  | 'missing_content_type'
  | 'invalid_ttl'
  | 'invalid_expires_at'
  | 'conflicting_expiry'
  | 'invalid_producer'
  | 'invalid_stream_seq'
  | 'invalid_json'
  | 'empty_json_array'
  | 'empty_body'
  | 'payload_too_large'
  | 'too_many_messages'
  | 'bad_request'
  | 'headers_too_large'
  | 'uri_too_long'
  | 'request_timeout'
  | 'not_found'
  | 'method_not_allowed'
  | 'not_supported'
  | 'invalid_fork'
  // who may do what
  | 'unauthenticated'
  | 'invalid_token'
  | 'token_expired'
  | 'insufficient_scope'
  | 'forbidden'
  // the stream
  | 'stream_not_found'
  | 'stream_gone'
  | 'stream_retained'
  | 'fork_source_not_found'
  | 'fork_source_gone'
  | 'offset_gone'
  | 'stream_conflict'
  | 'stream_closed'
  | 'content_type_mismatch'
  | 'stream_seq_regression'
  | 'too_many_aborted_appends'
  // the producer
  | 'stale_epoch'
  | 'producer_gap'
  | 'bad_epoch_start'
  | 'too_many_producers'
  | 'too_many_forks'
  // load
  | 'rate_limited'
  | 'overloaded'
  | 'shutting_down'
  | 'keys_unavailable'
  // the log
  | 'log_unavailable'
  | 'append_interrupted'
  | 'append_outcome_unknown'
  // a bug
  | 'internal_error'

/** Base of every failure we raise on purpose. */
export abstract class GatewayError extends Error {
  abstract readonly code: ErrorCode
}

/** The request breaks a rule that needs no stream to check (PROTOCOL §5, RFC 9110). */
export class RequestError extends GatewayError {
  readonly code: ErrorCode
  constructor(code: ErrorCode, message: string) {
    super(message)
    this.code = code
  }
}

export type AuthErrorCode = Extract<
  ErrorCode,
  'unauthenticated' | 'invalid_token' | 'token_expired' | 'insufficient_scope' | 'forbidden'
>

const AUTH_MESSAGES: Readonly<Record<AuthErrorCode, string>> = {
  unauthenticated: 'the request needs a token',
  invalid_token: 'the token is not valid',
  token_expired: 'the token has expired',
  insufficient_scope: 'the scope of the token is too little',
  forbidden: 'the token is not for this stream',
}

/** The request has no valid credentials, or they do not allow what it asks for (RFC 6750 §3.1). */
export class AuthError extends GatewayError {
  readonly code: AuthErrorCode
  /** What it takes, where the scope is too little. */
  readonly neededScope: string | undefined
  constructor(code: AuthErrorCode, message: string = AUTH_MESSAGES[code], neededScope?: string) {
    super(message)
    this.code = code
    this.neededScope = neededScope
  }
}

/** No keys could be fetched yet: whether a token is valid can't be told. */
export class KeysUnavailableError extends GatewayError {
  readonly code = 'keys_unavailable'
  constructor() {
    super('the keys that verify tokens are not known yet')
  }
}

/** There is no stream at this URL: never created, deleted, or expired. */
export class StreamNotFoundError extends GatewayError {
  readonly code = 'stream_not_found'
  constructor() {
    super('there is no stream at this URL')
  }
}

/** The stream was deleted or has expired, and forks still read its data (PROTOCOL §4.2). */
export class StreamGoneError extends GatewayError {
  readonly code = 'stream_gone'
  constructor() {
    super('the stream is deleted')
  }
}

/** No stream can be created where a deleted one's data is still read by forks (PROTOCOL §4.2). */
export class StreamRetainedError extends GatewayError {
  readonly code = 'stream_retained'
  constructor() {
    super('the stream at this URL is deleted, but forks still read its data')
  }
}

/** The stream to fork is not there, or is only kept for other forks (PROTOCOL §4.2). */
export class ForkSourceError extends GatewayError {
  readonly code: 'fork_source_not_found' | 'fork_source_gone'
  constructor(code: ForkSourceError['code']) {
    super(code === 'fork_source_gone' ? 'the source is deleted' : 'there is no source to fork')
    this.code = code
  }
}

/** The stream exists with another configuration (PROTOCOL §5.1). */
export class StreamConflictError extends GatewayError {
  readonly code = 'stream_conflict'
  constructor(difference: string) {
    super(`a stream exists at this URL with a different ${difference}`)
  }
}

/** The stream takes no more appends (PROTOCOL §4.1). */
export class StreamClosedError extends GatewayError {
  readonly code = 'stream_closed'
  readonly finalOffset: Offset
  constructor(finalOffset: Offset) {
    super('the stream is closed')
    this.finalOffset = finalOffset
  }
}

/** The append's content type is not the stream's (PROTOCOL §5.2). */
export class ContentTypeMismatchError extends GatewayError {
  readonly code = 'content_type_mismatch'
  constructor(expected: string) {
    super(`the stream's content type is ${expected}`)
  }
}

/** `Stream-Seq` is not greater than the last one accepted (PROTOCOL §5.2). */
export class StreamSeqRegressionError extends GatewayError {
  readonly code = 'stream_seq_regression'
  constructor() {
    super('Stream-Seq must be greater than the last one accepted')
  }
}

/** A newer epoch of this producer has written: the caller is a zombie (PROTOCOL §5.2.1). */
export class StaleEpochError extends GatewayError {
  readonly code = 'stale_epoch'
  readonly currentEpoch: number
  constructor(currentEpoch: number) {
    super(`the producer's epoch is ${currentEpoch} already`)
    this.currentEpoch = currentEpoch
  }
}

/** A producer's seq leaves a gap (PROTOCOL §5.2.1). */
export class ProducerGapError extends GatewayError {
  readonly code = 'producer_gap'
  readonly expectedSeq: number
  readonly receivedSeq: number
  constructor(expectedSeq: number, receivedSeq: number) {
    super(`expected Producer-Seq ${expectedSeq}, received ${receivedSeq}`)
    this.expectedSeq = expectedSeq
    this.receivedSeq = receivedSeq
  }
}

/** A new epoch must start at seq 0 (PROTOCOL §5.2.1). */
export class BadEpochStartError extends GatewayError {
  readonly code = 'bad_epoch_start'
  constructor() {
    super('a new Producer-Epoch starts at Producer-Seq 0')
  }
}

/** The stream remembers as many producers as it may, and all of them are recent. */
export class TooManyProducersError extends GatewayError {
  readonly code = 'too_many_producers'
  constructor(limit: number) {
    super(`the stream remembers at most ${limit} recent producers`)
  }
}

/** The offset lies before the earliest position the stream still has (PROTOCOL §5.6). */
export class OffsetGoneError extends GatewayError {
  readonly code = 'offset_gone'
  readonly earliest: Offset
  constructor(earliest: Offset) {
    super('the offset is before the earliest retained position')
    this.earliest = earliest
  }
}

/** How a caller stands to one of its limits. */
export type LimitStanding = {
  /** Names the limit. */
  readonly policy: string
  /** So many a second; of connections, at the same time. */
  readonly quota: number
  readonly counts: 'requests' | 'appends' | 'creates' | 'bytes' | 'connections'
  readonly left: number
  /** Until there is room, in ms; 0 when there is, undefined when nobody knows. */
  readonly waitMs?: number
}

/** All limits that a request was judged by. */
export type Standing = readonly LimitStanding[]

/** The caller has used up what it may have. Nothing was done, and nothing counted. */
export class RateLimitedError extends GatewayError {
  readonly code = 'rate_limited'
  readonly standing: Standing
  /** Until there is room again, in ms; undefined when nobody knows. */
  readonly waitMs: number | undefined
  constructor(standing: Standing, waitMs?: number) {
    const used = standing.filter(({ left }) => left === 0).map(({ policy }) => policy)
    super(`used up: ${used.join(', ')}`)
    this.standing = standing
    this.waitMs = waitMs
  }
}

/** The gateway is leaving; another one, or the next, will answer. */
export class ShuttingDownError extends GatewayError {
  readonly code = 'shutting_down'
  constructor() {
    super('the gateway is shutting down')
  }
}

/** The gateway holds as much as it may; the same request can succeed later. */
export class OverloadedError extends GatewayError {
  readonly code = 'overloaded'
}

/** The log can't be reached or did not answer in time. Nothing was written. */
export class LogUnavailableError extends GatewayError {
  readonly code = 'log_unavailable'
  constructor(cause?: unknown) {
    super('the log is unavailable', { cause })
  }
}

/** Others wrote into a large append each time that it was begun. Nothing of it is stored. */
export class AppendInterruptedError extends GatewayError {
  readonly code = 'append_interrupted'
  constructor() {
    super('others kept writing to the stream in the middle of the append, which is one or nothing')
  }
}

/**
 * The log may or may not have made the append durable, and it could not be settled in time.
 * Never retried here once answered: only the producer can tell what a retry means.
 */
export class AppendOutcomeUnknownError extends GatewayError {
  readonly code = 'append_outcome_unknown'
  constructor(cause?: unknown) {
    super('the append may or may not have been stored', { cause })
  }
}

/** A condition the code relies on does not hold: a bug, never a client's mistake. */
export class InvariantError extends Error {}

/** Throws unless `condition` holds. Says what a comment would only claim. */
export function invariant(condition: boolean, message: string): asserts condition {
  if (!condition) throw new InvariantError(message)
}
