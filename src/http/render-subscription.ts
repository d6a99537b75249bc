/** Subscriptions on the wire (PROTOCOL §6.3, §7.2), and their errors. */
import { toWire } from '../subscriptions/delivery.ts'
import type { SubscriptionError, SubscriptionErrorCode } from '../subscriptions/errors.ts'
import type { Described } from '../subscriptions/service.ts'
import type { Wake } from '../subscriptions/subscription.ts'
import type { Claimed } from '../subscriptions/work-service.ts'

const STATUS: Readonly<Record<SubscriptionErrorCode, number>> = {
  INVALID_REQUEST: 400,
  WEBHOOK_URL_REJECTED: 400,
  TOKEN_INVALID: 401,
  TOKEN_EXPIRED: 401,
  SUBSCRIPTION_NOT_FOUND: 404,
  SUBSCRIPTION_ALREADY_EXISTS: 409,
  FENCED: 409,
  ALREADY_CLAIMED: 409,
  NO_PENDING_WORK: 409,
  INVALID_OFFSET: 409,
  LIMIT_REACHED: 422,
}

/** Renders a subscription (PROTOCOL §6.3). */
export function renderSubscription({
  id,
  life,
  kid,
}: Described): Readonly<Record<string, unknown>> {
  const { config, links, createdAt, wake } = life
  const { type, pattern, webhookUrl, wakeStream, leaseTtlMs, description, root } = config
  return {
    id,
    subscription_id: id,
    type,
    pattern: pattern ?? null,
    streams: [...links].map(([path, { explicit, acked }]) => ({
      path,
      link_type: explicit ? 'explicit' : 'glob',
      acked_offset: acked,
    })),
    webhook:
      webhookUrl === undefined
        ? null
        : {
            url: webhookUrl,
            signing: { alg: 'ed25519', kid, jwks_url: `${root}__ds/jwks.json` },
          },
    wake_stream: wakeStream ?? null,
    lease_ttl_ms: leaseTtlMs,
    created_at: new Date(createdAt).toISOString(),
    ...statusOf(wake),
    description: description ?? null,
  }
}

/** `failed` from the first failed attempt until one succeeds. */
function statusOf(wake: Wake | undefined): Readonly<Record<string, unknown>> {
  if (wake?.phase.kind !== 'waiting') return { status: 'active' }
  return { status: 'failed', next_attempt_at: new Date(wake.phase.until).toISOString() }
}

/** Renders what a worker that has claimed is told (PROTOCOL §7.2). */
export function renderClaim(claimed: Claimed): Readonly<Record<string, unknown>> {
  const { wakeId, generation, token, work, leaseTtlMs } = claimed
  return {
    wake_id: wakeId,
    generation,
    token,
    streams: work.map(toWire),
    lease_ttl_ms: leaseTtlMs,
  }
}

/** Renders a refusal in the form that PROTOCOL §7.1 gives it. */
export function renderError({ code, message, details }: SubscriptionError): {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer
} {
  const status = STATUS[code]
  return {
    status,
    headers: {
      'content-type': 'application/json',
      'cache-control': 'no-store',
      // RFC 9110 §11.6.1: a 401 names a way in.
      ...(status === 401 ? { 'www-authenticate': 'Bearer' } : {}),
    },
    body: Buffer.from(JSON.stringify({ error: { code, message, ...details } })),
  }
}
