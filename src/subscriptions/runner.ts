/**
 * Delivers the wakes that this gateway has issued or taken over, and watches their time: retries,
 * leases, the next wake. One loop for each subscription that has a wake here; all it decides by
 * is in the subscription's log, so another gateway can go on at any point.
 */
import { backoffMs, sleep } from '../clock.ts'
import type { Clock } from '../clock.ts'
import { expireCommand, adoptCommand, doneCommand, failedCommand, sentCommand } from './wakes.ts'
import type { Delivery, Outcome } from './delivery.ts'
import type { SubscriptionLog, SubscriptionLogs } from './logs.ts'
import type { Membership } from './membership.ts'
import { isPending } from './subscription.ts'
import type { Subscription, Wake } from './subscription.ts'
import type { Waker } from './waker.ts'
import { Nap } from './nap.ts'

export type RunnerOptions = {
  readonly clock: Clock
  readonly gatewayId: string
  readonly logs: SubscriptionLogs
  readonly membership: Membership
  readonly waker: Waker
  readonly delivery: Delivery
  readonly onBackgroundError: (task: string, error: unknown) => void
}

/** PROTOCOL §7.1: exponential from 1 s to 60 s, with 20 % of chance. */
const FIRST_RETRY_MS = 1000
const LONGEST_RETRY_MS = 60_000
const RETRY_JITTER = 0.2
/** A wake that nobody claims is looked at this often: it may have been claimed elsewhere. */
const UNCLAIMED_LOOK_MS = 30_000
/** The wait before the loop goes on after the log has failed. */
const AFTER_FAILURE = { firstMs: 100, longestMs: 5000 }

/** Until the next attempt, in ms, after `attempt` have failed; `random` is in [0, 1). */
export function retryDelayMs(attempt: number, random: number): number {
  const base = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(attempt - 1, 10))
  return Math.round(base * (1 + RETRY_JITTER * (2 * random - 1)))
}

export class Runner {
  readonly #options: RunnerOptions
  /** The loops, by subscription. */
  readonly #naps = new Map<string, Nap>()
  #isStopped = false

  constructor(options: RunnerOptions) {
    this.#options = options
  }

  /** Says that something may have changed, or may be to do, for a subscription. */
  kick(subscription: string): void {
    if (this.#isStopped) return
    const running = this.#naps.get(subscription)
    if (running !== undefined) return running.interrupt()
    const nap = new Nap(this.#options.clock)
    this.#naps.set(subscription, nap)
    void this.#run(subscription, nap)
  }

  /** Ends all loops where they are. */
  stop(): void {
    this.#isStopped = true
    for (const nap of this.#naps.values()) nap.interrupt()
  }

  async #run(subscription: string, nap: Nap): Promise<void> {
    for (let failed = 0; !this.#isStopped;) {
      try {
        const outcome = await this.#step(subscription, nap)
        failed = 0
        // A kick during the last step may have been about what that step did not see.
        if (outcome === 'over' && !nap.takeInterrupt()) break
      } catch (error) {
        this.#options.onBackgroundError('deliver', error)
        await nap.take(backoffMs(this.#options.clock, failed, AFTER_FAILURE))
        failed += 1
      }
    }
    this.#naps.delete(subscription)
  }

  /** Looks at the subscription and does what is next. */
  async #step(subscription: string, nap: Nap): Promise<'on' | 'over'> {
    const { gatewayId, membership, logs, waker } = this.#options
    nap.takeInterrupt()
    const log = logs.open(subscription)
    const life = (await log.refresh()).incarnation
    if (life?.wake === undefined) return this.#idle(subscription, life)
    const { wake } = life
    if (wake.runner === gatewayId) {
      const marks = [`wake:${subscription}`] as const
      if (!membership.holds(marks)) await membership.hold(marks)
      await this.#drive({ subscription, life, wake, log }, nap)
      return 'on'
    }
    await membership.look()
    if (membership.isGone(wake.runner)) {
      const isGone = (gateway: string): boolean => membership.isGone(gateway)
      const adopt = adoptCommand(life.id, gatewayId, isGone)
      await waker.issuing(subscription, () => log.execute(adopt))
      return 'on'
    }
    return this.#letGo(subscription)
  }

  async #idle(subscription: string, life: Subscription | undefined): Promise<'on' | 'over'> {
    // Whoever ended the wake may have died before it issued the next one.
    if (life?.ready === true && life.links.some(isPending)) {
      const advance = await this.#options.waker.advance({ subscription, life: life.id }, {})
      if (advance === 'woken') return 'on'
    }
    return this.#letGo(subscription)
  }

  #letGo(subscription: string): 'over' {
    const { membership, waker } = this.#options
    if (!waker.isIssuing(subscription)) membership.drop([`wake:${subscription}`])
    return 'over'
  }

  async #drive(current: Current, nap: Nap): Promise<void> {
    const { clock } = this.#options
    const { life, wake, log } = current
    switch (wake.phase.kind) {
      case 'sending':
        return this.#deliver(current, wake.phase.attempt)
      case 'waiting':
        await nap.take(wake.phase.until - clock.now())
        if (clock.now() >= wake.phase.until) await this.#deliver(current, wake.phase.attempt + 1)
        return
      case 'leased':
        await nap.take(wake.phase.until - clock.now())
        if (clock.now() >= wake.phase.until) await log.execute(expireCommand(life.id, wake.id))
        return
      case 'announced':
        return nap.take(UNCLAIMED_LOOK_MS)
    }
  }

  async #deliver({ subscription, life, wake, log }: Current, attempt: number): Promise<void> {
    const { clock, delivery, waker } = this.#options
    const begun = clock.now()
    const outcome = await delivery.deliver(subscription, life, wake)
    const leaseMs = Math.max(0, Math.round(life.config.leaseTtlMs - (clock.now() - begun)))
    await this.#record(log, { life, wake, attempt, leaseMs }, outcome)
    if (outcome.kind !== 'done') return
    // What came while the webhook was at work may not have been noted: there was work already.
    const tails = await waker.tailsOf(Object.keys(wake.tails))
    await waker.advance({ subscription, life: life.id }, tails)
  }

  /** A delivery that is made stays made: what became of it is written as soon as that can be. */
  async #record(log: SubscriptionLog, delivered: Delivered, outcome: Outcome): Promise<void> {
    const { clock, onBackgroundError } = this.#options
    for (let failed = 0; !this.#isStopped; failed += 1) {
      try {
        await log.execute(this.#outcomeCommand(delivered, outcome))
        return
      } catch (error) {
        onBackgroundError('deliver', error)
        await sleep(clock, backoffMs(clock, failed, AFTER_FAILURE))
      }
    }
  }

  #outcomeCommand(
    { life, wake, attempt, leaseMs }: Delivered,
    outcome: Outcome,
  ): ReturnType<typeof doneCommand> {
    switch (outcome.kind) {
      case 'done':
        return doneCommand(life.id, wake.id)
      case 'sent':
        return sentCommand(life.id, wake.id, leaseMs)
      case 'failed': {
        const delayMs = retryDelayMs(attempt, this.#options.clock.random())
        return failedCommand(life.id, wake.id, { attempt, delayMs, reason: outcome.reason })
      }
    }
  }
}

type Current = {
  readonly subscription: string
  readonly life: Subscription
  readonly wake: Wake
  readonly log: SubscriptionLog
}

type Delivered = {
  readonly life: Subscription
  readonly wake: Wake
  readonly attempt: number
  readonly leaseMs: number
}
