/** Metrics of appends, subscriptions and keys. */
import type { OnFetched } from '../auth/key-source.ts'
import type { AppendObserver, ObservedAppend } from '../streams/append-observer.ts'
import type {
  ClaimResult,
  SubscriptionObserver,
  WebhookResult,
} from '../subscriptions/subscription-observer.ts'
import type { Instruments, Seconds, Tally } from './instruments.ts'

const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
/** Receivers have up to 30 s by default. */
const WEBHOOK_BUCKETS = [0.005, 0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

export class AppendMetrics implements AppendObserver {
  readonly #results: Tally
  readonly #durations: Seconds
  #bytes = 0

  constructor(to: Instruments) {
    this.#results = to
      .tally({
        name: 'appends_total',
        help: 'Appends that were not refused; closed: nothing but that.',
        labels: ['result'],
      })
      .begin(['appended', 'duplicate', 'closed'])
    this.#durations = to.seconds(
      {
        name: 'append_duration_seconds',
        help: 'From a body that is here until it is durable in the log.',
      },
      BUCKETS,
    )
    to.counter(
      { name: 'append_bytes_total', help: 'Bytes of bodies that were appended.' },
      () => this.#bytes,
    )
  }

  onAppend({ result, bytes, ms }: ObservedAppend): void {
    this.#results.add(result)
    this.#bytes += bytes
    this.#durations.observe(ms)
  }
}

type Type = Parameters<SubscriptionObserver['onWake']>[0]

const TYPES = { webhook: 'webhook', 'pull-wake': 'pull_wake' } as const satisfies Record<
  Type,
  string
>

export class SubscriptionMetrics implements SubscriptionObserver {
  readonly #wakes: Tally
  readonly #webhooks: Tally
  readonly #webhookDurations: Seconds
  readonly #claims: Tally

  constructor(to: Instruments) {
    this.#wakes = to
      .tally({
        name: 'subscription_wakes_total',
        help: 'Wakes that this gateway has begun to deliver.',
        labels: ['type'],
      })
      .begin(Object.values(TYPES))
    this.#webhooks = to
      .tally({
        name: 'webhook_attempts_total',
        help: 'Webhooks that were sent, by what became of them.',
        labels: ['outcome'],
      })
      .begin(['accepted', 'done', 'status', 'timeout', 'network', 'redirect', 'refused_address'])
    this.#webhookDurations = to.seconds(
      { name: 'webhook_duration_seconds', help: 'How long receivers of webhooks took.' },
      WEBHOOK_BUCKETS,
    )
    this.#claims = to
      .tally({
        name: 'claims_total',
        help: 'Leases that workers have asked for.',
        labels: ['outcome'],
      })
      .begin(['claimed', 'already_claimed', 'no_pending_work'])
  }

  onWake(type: Type): void {
    this.#wakes.add(TYPES[type])
  }

  onWebhook(result: WebhookResult, ms: number): void {
    this.#webhooks.add(result)
    this.#webhookDurations.observe(ms)
  }

  onClaim(result: ClaimResult): void {
    this.#claims.add(result.toLowerCase())
  }
}

export function keyMetrics(to: Instruments): OnFetched {
  const refreshes = to
    .tally({
      name: 'jwks_refreshes_total',
      help: 'Times that the issuer was asked for its keys.',
      labels: ['outcome'],
    })
    .begin(['ok', 'failed'])
  return (outcome) => refreshes.add(outcome)
}
