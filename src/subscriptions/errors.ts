/** What the subscription APIs refuse, by the codes of PROTOCOL §6 and §7. */

export type SubscriptionErrorCode =
  | 'INVALID_REQUEST'
  | 'WEBHOOK_URL_REJECTED'
  | 'TOKEN_INVALID'
  | 'TOKEN_EXPIRED'
  | 'SUBSCRIPTION_NOT_FOUND'
  | 'SUBSCRIPTION_ALREADY_EXISTS'
  | 'FENCED'
  | 'ALREADY_CLAIMED'
  | 'NO_PENDING_WORK'
  | 'INVALID_OFFSET'
  | 'LIMIT_REACHED'

/** A request to a subscription that can't be served. Nothing was changed. */
export class SubscriptionError extends Error {
  readonly code: SubscriptionErrorCode
  /** Further members of the `error` object: who holds the lease, say. */
  readonly details: Readonly<Record<string, unknown>>
  constructor(code: SubscriptionErrorCode, message: string, details = {}) {
    super(message)
    this.code = code
    this.details = details
  }
}
