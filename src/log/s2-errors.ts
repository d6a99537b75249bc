/**
 * What a failed S2 call means for us.
 *
 * Pure. The line that matters is between "nothing was written" and "it may have been": only a
 * failure that proves the first is a {@link LogUnavailableError} on an append.
 */
import {
  FencingTokenMismatchError,
  RangeNotSatisfiableError,
  S2Error,
  SeqNumMismatchError,
} from '@s2-dev/streamstore'
import { AppendOutcomeUnknownError, GatewayError, LogUnavailableError } from '../errors.ts'
import {
  AppendConflictError,
  BeyondTailError,
  InvalidAppendError,
  LogStreamMissingError,
} from './log.ts'
import { NoAnswerError } from './s2-calls.ts'

/** Failures of the SDK's own that come before the first byte of a request is sent. */
const NEVER_SENT = new Set([
  'ECONNREFUSED',
  'UND_ERR_CONNECT_TIMEOUT',
  'CONNECTION_TIMEOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
])

/** S2's own words for "not taken". The SDK drops their origin when a session's attempts are over. */
const NOT_TAKEN = new Set(['rate_limited', 'hot_server', 'server_draining'])

/** S2 judges these before it looks at the records. */
const REFUSED_UNREAD = new Set(['stream_deletion_pending', 'basin_deletion_pending'])

/**
 * Turns whatever an append threw into the error the port promises.
 *
 * Right only for a client that tries once: with retries the last error says nothing about the
 * attempts before it.
 */
export function appendFailure(error: unknown, stream: string): Error {
  if (error instanceof GatewayError) return error
  if (error instanceof SeqNumMismatchError) {
    return new AppendConflictError({ kind: 'seq_num', nextSeqNum: error.expectedSeqNum })
  }
  if (error instanceof FencingTokenMismatchError) {
    return new AppendConflictError({ kind: 'fencing_token', token: error.expectedFencingToken })
  }
  if (!(error instanceof S2Error)) return new AppendOutcomeUnknownError(error)
  if (isStreamMissing(error)) return new LogStreamMissingError(stream)
  if (isTokenRefused(error)) return new LogUnavailableError(tokenRefused(error))
  if (isTooMuch(error)) return new InvalidAppendError(error.message, { cause: error })
  return wroteNothing(error) ? new LogUnavailableError(error) : new AppendOutcomeUnknownError(error)
}

/** Turns whatever any other call threw into the error the port promises. */
export function readFailure(error: unknown, stream: string): Error {
  if (error instanceof GatewayError) return error
  if (error instanceof RangeNotSatisfiableError && error.tail !== undefined) {
    return new BeyondTailError(error.tail.seqNum)
  }
  if (!(error instanceof S2Error)) return new LogUnavailableError(error)
  if (isStreamMissing(error)) return new LogStreamMissingError(stream)
  return new LogUnavailableError(isTokenRefused(error) ? tokenRefused(error) : error)
}

/** Tells whether the failure is S2's answer that there is no such stream in a basin it has. */
export function isStreamMissing(error: unknown): boolean {
  return hasCode(error, 404, 'stream_not_found')
}

/** Tells whether the failure is S2's answer that it has no such basin. */
export function isBasinMissing(error: unknown): boolean {
  return hasCode(error, 404, 'basin_not_found')
}

/** S2's answer that there is no such stream, for a failure that means the same. */
export function streamMissing(cause: unknown): S2Error {
  const message = cause instanceof Error ? cause.message : String(cause)
  return new S2Error({ message, status: 404, code: 'stream_not_found', origin: 'server' })
}

/** Tells whether a creation failed only because somebody has created the same before. */
export function isAlreadyThere(error: unknown): boolean {
  return hasCode(error, 409, 'resource_already_exists')
}

/**
 * Tells whether a session ended because its connection has gone silent.
 *
 * On a read session S2 sends a heartbeat at least every 15 seconds and we wait for 20. On an append
 * session an answer is late, which a slow server may be the reason for, too.
 */
export function isSilentConnection(error: unknown): boolean {
  if (error instanceof AppendOutcomeUnknownError) return isSilentConnection(error.cause)
  if (error instanceof NoAnswerError) return true
  return hasCode(error, 408, 'TIMEOUT') || hasCode(error, 408, 'REQUEST_TIMEOUT')
}

/**
 * Tells whether a call that writes nothing is worth a second attempt at once: its connection was
 * lost, as one is that the other side had just closed for being idle, or a server failed by itself.
 *
 * Not one that is refused or told to wait: that would only add to the load.
 */
export function isFleeting(error: unknown): boolean {
  if (!(error instanceof S2Error)) return false
  if (error.origin === 'sdk' && NEVER_SENT.has(error.code ?? '')) return false
  return error.status === 500 || error.status === 502
}

/** Others did the same at the same time, and S2 gave up on this one (seen on s2-lite 0.42.7). */
export function isConflict(error: unknown): boolean {
  return hasCode(error, 409, 'transaction_conflict')
}

function hasCode(error: unknown, status: number, code: string): boolean {
  return error instanceof S2Error && error.status === status && error.code === code
}

function isTokenRefused(error: S2Error): boolean {
  return error.status === 401 || error.status === 403
}

/** The SDK uses 400 for a failed name lookup too, hence the origin. */
function isTooMuch(error: S2Error): boolean {
  return error.origin === 'server' && [400, 413, 422].includes(error.status)
}

function wroteNothing(error: S2Error): boolean {
  if (error.hasNoSideEffects()) return true
  if (error.code !== undefined && NOT_TAKEN.has(error.code)) return true
  if (error.origin === 'sdk') return error.code !== undefined && NEVER_SENT.has(error.code)
  if (error.status === 404 || error.status === 429) return true
  return error.status === 409 && error.code !== undefined && REFUSED_UNREAD.has(error.code)
}

function tokenRefused(error: S2Error): Error {
  return new Error(`S2 refused the access token (${error.status})`, { cause: error })
}
