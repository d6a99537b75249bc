/** What can be learned about subscriptions at work: types only. Metrics are bound to it elsewhere. */
import type { SubscriptionErrorCode } from './errors.ts'
import type { SubscriptionConfig } from './events.ts'
import type { WebhookFailure } from './webhook-sender.ts'

/** `done`: the subscriber has said in its answer that it has processed everything. */
export type WebhookResult = 'accepted' | 'done' | WebhookFailure

export type ClaimResult = 'claimed' | 'failed' | SubscriptionErrorCode

/** Hears of subscriptions. Must be quick, and must not throw. */
export interface SubscriptionObserver {
  /** A wake is delivered for the first time. */
  onWake(type: SubscriptionConfig['type']): void
  /** One attempt to deliver a webhook is over. */
  onWebhook(result: WebhookResult, ms: number): void
  /** A worker has asked for a wake's lease. */
  onClaim(result: ClaimResult): void
}
