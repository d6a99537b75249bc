/**
 * Delivers the wakes that this gateway has issued or taken over, and watches their time: retries,
 * leases, the next wake. One loop for each subscription that has a wake here; all it decides by
 * is in the subscription's log, so another gateway can go on at any point.
 */
import { backoffMs, sleep } from '../clock.ts'
import type { Clock } from '../clock.ts'
import type { Delivery, Outcome } from './delivery.ts'
import type { HostSlots, ReleaseSlot } from './host-slots.ts'
import type { SubscriptionLog, SubscriptionLogs } from './logs.ts'
import type { Membership } from './membership.ts'
import { Nap } from './nap.ts'
import { isPending } from './subscription.ts'
import type { Subscription, Wake } from './subscription.ts'
import type { Waker } from './waker.ts'
import { adoptCommand, doneCommand, expireCommand, failedCommand, sentCommand } from './wakes.ts'

export type RunnerOptions = {
  readonly clock: Clock
  readonly gatewayId: string
  readonly logs: SubscriptionLogs
  readonly membership: Membership
  readonly waker: Waker
  readonly delivery: Delivery
  /** How many webhooks one host gets at a time. */
  readonly slots: HostSlots
  readonly onBackgroundError: (task: string, error: unknown) => void
}

/** PROTOCOL §7.1: exponential from 1 s to 60 s, with 20 % of chance. */
const FIRST_RETRY_MS = 1000
const LONGEST_RETRY_MS = 60_000
const RETRY_JITTER = 0.2
/** A wake that nobody claims is looked at this often: it may be over without our knowing. */
const UNCLAIMED_LOOK_MS = 5 * 60_000
/** The wait before the loop goes on after the log has failed. */
const AFTER_FAILURE = { firstMs: 100, longestMs: 5000 }

/** Until the next attempt, in ms, after `attempt` have failed; `random` is in [0, 1). */
export function retryDelayMs(attempt: number, random: number): number {
  const base = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(attempt - 1, 10))
  return Math.round(base * (1 + RETRY_JITTER * (2 * random - 1)))
}

/** One host is one host, whatever its port and however its name ends. */
function hostOf(url: string): string {
  return new URL(url).hostname.replace(/\.$/, '')
}

/** A wake of this gateway, as it is at one moment. */
type Current = {
  readonly subscription: string
  readonly life: Subscription
  readonly wake: Wake
  readonly log: SubscriptionLog
}

type Loop = { readonly nap: Nap; readonly ended: Promise<void> }

export class Runner {
  readonly #options: RunnerOptions
  /** By subscription. */
  readonly #loops = new Map<string, Loop>()
  #isStopped = false

  constructor(options: RunnerOptions) {
    this.#options = options
  }

  /** Says that something has changed, or is to do, for a subscription. */
  kick(subscription: string): void {
    const running = this.#loops.get(subscription)
    if (running === undefined) this.ensure(subscription)
    else running.nap.interrupt()
  }

  /** Has a subscription looked after, if it is not already. */
  ensure(subscription: string): void {
    if (this.#isStopped || this.#loops.has(subscription)) return
    const nap = new Nap(this.#options.clock)
    this.#loops.set(subscription, { nap, ended: this.#run(subscription, nap) })
  }

  /** Ends all loops; returns when what is under way is written down. */
  async stop(): Promise<void> {
    this.#isStopped = true
    const loops = [...this.#loops.values()]
    for (const { nap } of loops) nap.interrupt()
    await Promise.all(loops.map(({ ended }) => ended))
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
    this.#loops.delete(subscription)
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
    if (!membership.isGone(wake.runner)) return this.#letGo(subscription)
    const isGone = (gateway: string): boolean => membership.isGone(gateway)
    const adopt = adoptCommand(life.id, gatewayId, isGone)
    await waker.issuing(subscription, () => log.execute(adopt))
    return 'on'
  }

  async #idle(subscription: string, life: Subscription | undefined): Promise<'on' | 'over'> {
    // One that is not ready may never be: then it is given up.
    if (life !== undefined && (!life.ready || life.links.some(isPending))) {
      const match = { subscription, life: life.id }
      const advance = await this.#options.waker.advance(match, new Map())
      if (advance === 'woken') return 'on'
    }
    return this.#letGo(subscription)
  }

  #letGo(subscription: string): 'over' {
    const { membership, waker } = this.#options
    if (!waker.isIssuing(subscription)) membership.drop([`wake:${subscription}`])
    return 'over'
  }

  /** Waits for what is next, or does it. After a wait the log is looked at anew. */
  async #drive(current: Current, nap: Nap): Promise<void> {
    const { clock } = this.#options
    const { phase } = current.wake
    switch (phase.kind) {
      case 'sending':
        return this.#deliver(current, nap, phase.attempt)
      case 'waiting':
        if (clock.now() < phase.until) return nap.take(phase.until - clock.now())
        return this.#deliver(current, nap, phase.attempt + 1)
      case 'leased':
        if (clock.now() < phase.until) return nap.take(phase.until - clock.now())
        return this.#expire(current)
      case 'announced':
        return nap.take(UNCLAIMED_LOOK_MS)
    }
  }

  async #expire({ subscription, life, wake, log }: Current): Promise<void> {
    const { waker } = this.#options
    const issue = waker.issue({ tails: new Map() })
    await log.execute(expireCommand(life.id, wake.id, issue))
    await this.#lookAgain(subscription, life, wake)
  }

  async #deliver(current: Current, nap: Nap, attempt: number): Promise<void> {
    const { slots } = this.#options
    const { webhookUrl } = current.life.config
    if (webhookUrl === undefined) {
      return this.#attempt(current, nap, { attempt, release: () => undefined })
    }
    const release = await slots.acquire(hostOf(webhookUrl))
    try {
      // While others had the host's slots, the wake may have ended.
      const { incarnation } = await current.log.refresh()
      const isStill = incarnation?.wake?.id === current.wake.id && !this.#isStopped
      if (!isStill) {
        release()
        return
      }
      await this.#attempt({ ...current, life: incarnation }, nap, { attempt, release })
    } catch (error) {
      release()
      throw error
    }
  }

  /** One attempt. Its answer is not waited for any longer than the wake lasts. */
  async #attempt(
    current: Current,
    nap: Nap,
    { attempt, release }: { readonly attempt: number; readonly release: ReleaseSlot },
  ): Promise<void> {
    const { clock, delivery } = this.#options
    const { subscription, life, wake } = current
    const begun = clock.now()
    const delivered = delivery.deliver(subscription, life, wake, attempt)
    // It may end when nobody waits for it any more; until then it has the host's slot.
    delivered.finally(release).catch(() => undefined)
    for (;;) {
      const outcome = await nap.race(delivered)
      if (outcome !== 'interrupted') {
        const leaseMs = Math.max(0, Math.round(life.config.leaseTtlMs - (clock.now() - begun)))
        await this.#record(current, { attempt, leaseMs }, outcome)
        if (outcome.kind === 'done') await this.#lookAgain(subscription, life, wake)
        return
      }
      nap.takeInterrupt()
      // The subscriber has called back, and has the rest of its answer to itself.
      if (await this.#isOver(current)) return
    }
  }

  async #isOver({ log, wake }: Current): Promise<boolean> {
    try {
      const { incarnation } = await log.refresh()
      return incarnation?.wake?.id !== wake.id
    } catch (error) {
      // As long as nobody knows better, what is under way is waited for.
      this.#options.onBackgroundError('deliver', error)
      return false
    }
  }

  async #lookAgain(subscription: string, { id }: Subscription, { tails }: Wake): Promise<void> {
    await this.#options.waker.lookAgain({ subscription, life: id }, tails.keys())
  }

  /** A delivery that is made stays made: what became of it is written as soon as that can be. */
  async #record(current: Current, delivered: Delivered, outcome: Outcome): Promise<void> {
    const { clock, onBackgroundError } = this.#options
    for (let failed = 0; ; failed += 1) {
      try {
        await this.#write(current, delivered, outcome)
        return
      } catch (error) {
        onBackgroundError('deliver', error)
        if (this.#isStopped) return
        await sleep(clock, backoffMs(clock, failed, AFTER_FAILURE))
      }
    }
  }

  #write(
    { log, life, wake }: Current,
    { attempt, leaseMs }: Delivered,
    outcome: Outcome,
  ): Promise<undefined> {
    const { waker, clock } = this.#options
    switch (outcome.kind) {
      case 'done':
        return log.execute(doneCommand(life.id, wake.id, waker.issue({ tails: new Map() })))
      case 'sent':
        return log.execute(sentCommand(life.id, wake.id, leaseMs))
      case 'failed': {
        const delayMs = retryDelayMs(attempt, clock.random())
        const failure = { attempt, delayMs, reason: outcome.reason }
        return log.execute(failedCommand(life.id, wake.id, failure))
      }
      case 'cut off':
        return Promise.resolve(undefined)
    }
  }
}

type Delivered = { readonly attempt: number; readonly leaseMs: number }
