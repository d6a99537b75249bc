/** Whether a stream is there: deleted, expired, or kept for its forks only. PURE. */
import { StreamGoneError, StreamNotFoundError } from '../errors.ts'
import type { GatewayError } from '../errors.ts'
import { isExpired } from '../protocol/expiry.ts'
import type { Incarnation, StreamState } from './state.ts'

/** The stream that clients see at `now` (ms), if there is one (PROTOCOL §4.2, §5.1). */
export function existing({ incarnation }: StreamState, now: number): Incarnation | undefined {
  if (incarnation === undefined || incarnation.retired) return undefined
  const { config, lastActivity } = incarnation
  return isExpired(config.expiry, lastActivity, now) ? undefined : incarnation
}

/**
 * The stream that no client sees any more but whose data forks still read: deleted, or expired.
 */
export function retained(state: StreamState, now: number): Incarnation | undefined {
  const { incarnation } = state
  if (incarnation === undefined || existing(state, now) !== undefined) return undefined
  return incarnation.references.size > 0 ? incarnation : undefined
}

/** What a client is told of a stream that does not {@link existing exist} (PROTOCOL §4.2). */
export function absence(state: StreamState, now: number): GatewayError {
  return retained(state, now) === undefined ? new StreamNotFoundError() : new StreamGoneError()
}
