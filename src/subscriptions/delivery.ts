/** Brings one wake to its subscriber: as a webhook, or as an event in the wake stream. */
import type { Clock } from '../clock.ts'
import { GatewayError, StaleEpochError, TooManyProducersError } from '../errors.ts'
import type { KeyRing } from './key-ring.ts'
import type { SubscriptionObserver, WebhookResult } from './subscription-observer.ts'
import { webhookSignature } from './signature.ts'
import type { Subscription, Wake } from './subscription.ts'
import { issueWakeToken } from './wake-token.ts'
import type { WakeTokenUse } from './wake-token.ts'
import { workItems } from './work.ts'
import type { WorkItem } from './work.ts'
import type { WebhookOutcome, WebhookSender } from './webhook-sender.ts'

/** What sends webhooks: it never throws. */
export type Sender = Pick<WebhookSender, 'send' | 'close'>

/** What became of an attempt. */
export type Outcome =
  /** `done`: the subscriber has processed all that it was told of; `cut off`: we are leaving. */
  | { readonly kind: 'done' | 'sent' | 'cut off' }
  | { readonly kind: 'failed'; readonly reason: string }

export type DeliveryOptions = {
  readonly clock: Clock
  readonly keys: KeyRing
  readonly sender: Sender
  /** The longest exchange with a webhook, in ms; a shorter lease makes it shorter. */
  readonly webhookTimeoutMs: number
  /** Appends an event to a wake stream. */
  readonly announce: (stream: string, event: WakeEvent) => Promise<void>
  readonly observer?: SubscriptionObserver | undefined
}

/** What goes into a wake stream (PROTOCOL §7.2). */
export type WakeEvent = {
  /** Claims the event, so that the stream takes each generation once. */
  readonly producer: string | undefined
  readonly generation: number
  readonly body: Uint8Array
}

/** A stream with work, as a subscriber gets it (PROTOCOL §7.1). */
export type WireItem = {
  readonly path: string
  readonly link_type: 'explicit' | 'glob'
  readonly acked_offset: string
  readonly tail_offset: string
  readonly has_pending: boolean
}

/** A stream with work on the wire. */
export function toWire({ path, link, tail }: WorkItem): WireItem {
  return {
    path,
    link_type: link.explicit ? 'explicit' : 'glob',
    acked_offset: link.acked,
    tail_offset: tail,
    has_pending: tail > link.acked,
  }
}

export class Delivery {
  readonly #options: DeliveryOptions

  constructor(options: DeliveryOptions) {
    this.#options = options
  }

  /** Makes one attempt; what goes wrong is an outcome, unless the log fails. */
  deliver(subscription: string, life: Subscription, wake: Wake, attempt: number): Promise<Outcome> {
    if (attempt === 1) this.#options.observer?.onWake(life.config.type)
    return life.config.type === 'webhook'
      ? this.#post(subscription, life, wake)
      : this.#announce(subscription, life, wake)
  }

  /** The token of a wake: for its callback, or for the worker that has claimed it. */
  async token(
    subscription: string,
    { life, wakeId, generation }: Tokened,
    use: WakeTokenUse,
  ): Promise<string> {
    const { keys, clock } = this.#options
    const about = { sub: subscription, inc: life, gen: generation, wid: wakeId, use }
    return issueWakeToken(about, { key: await keys.signing(), now: clock.now() })
  }

  async #post(subscription: string, life: Subscription, wake: Wake): Promise<Outcome> {
    const { keys, sender, clock, webhookTimeoutMs, observer } = this.#options
    const { webhookUrl = '', root, leaseTtlMs } = life.config
    const { generation } = life
    const about = { life: life.id, wakeId: wake.id, generation }
    const body = JSON.stringify({
      subscription_id: subscription,
      wake_id: wake.id,
      generation,
      streams: workItems(life, wake.tails).map(toWire),
      callback_url: `${root}__ds/subscriptions/${encodeURIComponent(subscription)}/callback`,
      callback_token: await this.token(subscription, about, 'callback'),
    })
    const signature = webhookSignature(await keys.signing(), Buffer.from(body), clock.now())
    const headers = { 'content-type': 'application/json', 'webhook-signature': signature }
    const timeoutMs = Math.min(webhookTimeoutMs, leaseTtlMs)
    const begunAt = clock.elapsed()
    const outcome = await sender.send(webhookUrl, headers, body, timeoutMs)
    observer?.onWebhook(resultOf(outcome), clock.elapsed() - begunAt)
    if (outcome.kind === 'accepted') return { kind: outcome.done ? 'done' : 'sent' }
    if (outcome.reason === 'closed') return { kind: 'cut off' }
    return { kind: 'failed', reason: `${outcome.reason}: ${outcome.detail}` }
  }

  async #announce(subscription: string, life: Subscription, wake: Wake): Promise<Outcome> {
    const { clock } = this.#options
    const { generation } = life
    const [stream = null] = wake.tails.keys()
    const event = {
      type: 'wake',
      subscription_id: subscription,
      stream,
      generation,
      ts: clock.now(),
    }
    const body = Buffer.from(JSON.stringify(event))
    try {
      await this.#append(life, { producer: `__ds:${life.id}`, generation, body })
      return { kind: 'sent' }
    } catch (error) {
      // A later generation has been announced: this one is over.
      if (error instanceof StaleEpochError) return { kind: 'sent' }
      if (error instanceof GatewayError) return { kind: 'failed', reason: error.code }
      throw error
    }
  }

  async #append({ config: { wakeStream = '' } }: Subscription, event: WakeEvent): Promise<void> {
    const { announce } = this.#options
    try {
      await announce(wakeStream, event)
    } catch (error) {
      if (!(error instanceof TooManyProducersError)) throw error
      // Twice is better than never: whoever claims second is told so.
      await announce(wakeStream, { ...event, producer: undefined })
    }
  }
}

function resultOf(outcome: WebhookOutcome): WebhookResult {
  if (outcome.kind === 'failed') return outcome.reason
  return outcome.done ? 'done' : 'accepted'
}

type Tokened = { readonly life: string; readonly wakeId: string; readonly generation: number }
