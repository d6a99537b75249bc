/**
 * What subscribers do with wakes, by subscription: the door for who does the work (PROTOCOL §7).
 *
 * Any gateway takes it: the token says which wake it is for, and the subscription's log whether
 * that is the one in flight.
 */
import type { Clock } from '../clock.ts'
import type { Delivery } from './delivery.ts'
import { SubscriptionError } from './errors.ts'
import { BEFORE_FIRST } from './events.ts'
import type { SubscriptionConfig } from './events.ts'
import type { KeyRing } from './key-ring.ts'
import { ackCommand, claimCommand, releaseCommand } from './leases.ts'
import type { AckRequest, Acked, Claim, Fence } from './leases.ts'
import { findReady } from './logs.ts'
import type { SubscriptionLogs } from './logs.ts'
import type { Subscription, Tails } from './subscription.ts'
import type { SubscriptionObserver } from './subscription-observer.ts'
import { readWakeToken } from './wake-token.ts'
import type { WakeTokenUse } from './wake-token.ts'
import type { Waker } from './waker.ts'

export type WorkServiceOptions = {
  readonly clock: Clock
  readonly logs: SubscriptionLogs
  readonly waker: Waker
  readonly keys: KeyRing
  readonly delivery: Delivery
  readonly kick: (subscription: string) => void
  readonly onBackgroundError: (task: string, error: unknown) => void
  readonly observer?: SubscriptionObserver | undefined
}

export class WorkService {
  readonly #options: WorkServiceOptions

  constructor(options: WorkServiceOptions) {
    this.#options = options
  }

  /**
   * Gives a worker the lease (PROTOCOL §7.2).
   *
   * @throws SubscriptionError `ALREADY_CLAIMED`, `NO_PENDING_WORK`, `SUBSCRIPTION_NOT_FOUND`
   */
  async claim(subscription: string, worker: string): Promise<Claimed> {
    const { observer } = this.#options
    try {
      const claimed = await this.#claimOf(subscription, worker)
      observer?.onClaim('claimed')
      return claimed
    } catch (error) {
      observer?.onClaim(error instanceof SubscriptionError ? error.code : 'failed')
      throw error
    }
  }

  async #claimOf(subscription: string, worker: string): Promise<Claimed> {
    const life = await findReady(this.#options.logs, subscription)
    if (life.config.type !== 'pull-wake') throw wrongType('pull-wake')
    // Once the lease is given, nothing must be in the way of saying so.
    await this.#options.keys.signing()
    const claim = await this.#claim(subscription, { life, worker })
    const about = { ...claim, life: life.id }
    const token = await this.#options.delivery.token(subscription, about, 'claim')
    return { ...claim, token, leaseTtlMs: life.config.leaseTtlMs }
  }

  async #claim(
    subscription: string,
    { life, worker }: { readonly life: Subscription; readonly worker: string },
  ): Promise<Claim> {
    const { waker, logs, clock } = this.#options
    const log = logs.open(subscription)
    const attempt = async (tails: Tails): Promise<Claim> => {
      const command = claimCommand(life.id, worker, waker.issue({ tails, thorough: true }))
      const decision = command(await log.refresh(), clock.now())
      if (decision.kind === 'refuse') throw decision.error
      return waker.issuing(subscription, () => log.execute(command))
    }
    try {
      return await attempt(new Map())
    } catch (error) {
      const isIdle = error instanceof SubscriptionError && error.code === 'NO_PENDING_WORK'
      if (!isIdle) throw error
    }
    // The worker may have heard of an append before the subscription has.
    return attempt(await waker.activeTails(subscription))
  }

  /**
   * Takes progress of a webhook's subscriber or of a worker (PROTOCOL §7.1, §7.2). Answers whether
   * a wake is on its way already for what is left.
   *
   * @throws SubscriptionError `TOKEN_INVALID`, `TOKEN_EXPIRED`, `FENCED`, `INVALID_OFFSET`,
   *   `SUBSCRIPTION_NOT_FOUND`
   */
  async progress(
    subscription: string,
    { use, token }: Authorization,
    request: AckRequest,
  ): Promise<boolean> {
    const { waker, kick } = this.#options
    const life = await this.#authorized(subscription, { use, token }, request)
    let acked = await this.#ack(subscription, { life, request, tails: new Map() })
    if (acked.kind === 'unseen') {
      // A stream that is gone has no tail: nothing lies within it.
      const gone = acked.streams.map((stream) => [stream, BEFORE_FIRST] as const)
      const tails = new Map([...gone, ...(await waker.tailsOf(acked.streams))])
      acked = await this.#ack(subscription, { life, request, tails })
    }
    kick(subscription)
    if (!request.done) return false
    if (acked.kind === 'acked' && acked.woken) return true
    return this.#lookAgain(subscription, life, request.acks.keys())
  }

  /** The next wake must be this gateway's to run, if there is one: it is issued with the ack. */
  async #ack(
    subscription: string,
    { life, request, tails }: { life: Subscription; request: AckRequest; tails: Tails },
  ): Promise<Acked> {
    const { waker, logs } = this.#options
    const log = logs.open(subscription)
    const command = ackCommand(life.id, request, waker.issue({ tails }))
    if (!request.done) return log.execute(command)
    return waker.issuing(subscription, () => log.execute(command))
  }

  /** Whether there is another wake. What this look does not find, others will; the ack stands. */
  async #lookAgain(
    subscription: string,
    { id, wake }: Subscription,
    acked: Iterable<string> = [],
  ): Promise<boolean> {
    const { waker, onBackgroundError } = this.#options
    const streams = new Set([...acked, ...(wake?.tails.keys() ?? [])])
    try {
      const advance = await waker.lookAgain({ subscription, life: id }, streams)
      return advance === 'woken' || advance === 'busy'
    } catch (error) {
      onBackgroundError('wake', error)
      return false
    }
  }

  /**
   * Gives up a claim (PROTOCOL §7.2).
   *
   * @throws SubscriptionError as {@link progress}
   */
  async release(subscription: string, token: string, fence: Fence): Promise<void> {
    const { waker, logs } = this.#options
    const life = await this.#authorized(subscription, { use: 'claim', token }, fence)
    const command = releaseCommand(life.id, fence, waker.issue({ tails: new Map() }))
    await waker.issuing(subscription, () => logs.open(subscription).execute(command))
    await this.#lookAgain(subscription, life)
  }

  async #authorized(
    subscription: string,
    { use, token }: Authorization,
    fence: Fence,
  ): Promise<Subscription> {
    const { keys, clock } = this.#options
    const found = await findReady(this.#options.logs, subscription).catch(ifNotThere)
    const verdict = readWakeToken(token, await keys.secrets(), clock.now())
    if (verdict.kind === 'expired') {
      throw new SubscriptionError('TOKEN_EXPIRED', 'the token has expired')
    }
    // Whatever was found: who has no token does not learn what there is.
    const isOurs =
      verdict.kind === 'valid' && verdict.claims.sub === subscription && verdict.claims.use === use
    if (!isOurs) throw notOurs()
    const life = existing(found)
    if (verdict.claims.inc !== life.id) throw notOurs()
    const { gen, wid } = verdict.claims
    if (gen === fence.generation && wid === fence.wakeId) return life
    throw new SubscriptionError('FENCED', 'the token is for another wake')
  }
}

function ifNotThere(error: unknown): SubscriptionError {
  if (error instanceof SubscriptionError) return error
  throw error
}

/** @throws SubscriptionError `SUBSCRIPTION_NOT_FOUND` */
function existing(found: Subscription | SubscriptionError): Subscription {
  if (found instanceof SubscriptionError) throw found
  return found
}

function notOurs(): SubscriptionError {
  return new SubscriptionError('TOKEN_INVALID', 'the token is for nothing here')
}

/** What a worker that has claimed is told, with its token. */
export type Claimed = Claim & { readonly token: string; readonly leaseTtlMs: number }

/** The token of a request, and what it must be for. */
export type Authorization = { readonly use: WakeTokenUse; readonly token: string }

function wrongType(type: SubscriptionConfig['type']): SubscriptionError {
  return new SubscriptionError('INVALID_REQUEST', `the subscription is not ${type}`)
}
