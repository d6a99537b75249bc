/**
 * What can be done with subscriptions, by id: the door for HTTP (PROTOCOL §6, §7).
 *
 * Answers come from any gateway alike: all there is to know is in the subscription's log.
 */
import { randomBytes } from 'node:crypto'
import { sleep } from '../clock.ts'
import type { Clock } from '../clock.ts'
import { parseGlob } from '../protocol/glob.ts'
import {
  abandonCommand,
  createCommand,
  deleteCommand,
  linkCommand,
  notFound,
  readyCommand,
  unlinkCommand,
} from './commands.ts'
import type { Delivery } from './delivery.ts'
import { SubscriptionError } from './errors.ts'
import { BEFORE_FIRST } from './events.ts'
import type { SubscriptionConfig } from './events.ts'
import type { KeyRing } from './key-ring.ts'
import type { SubscriptionLogs } from './logs.ts'
import type { Match } from './matcher.ts'
import type { Membership } from './membership.ts'
import { hashOf } from './requests.ts'
import type { Progress, SubscriptionRequest } from './requests.ts'
import type { JwkSet } from './signature.ts'
import type { Subscription } from './subscription.ts'
import { readWakeToken } from './wake-token.ts'
import type { WakeTokenUse } from './wake-token.ts'
import { forEachParallel } from './waker.ts'
import type { Waker } from './waker.ts'
import { ackCommand, claimCommand, releaseCommand } from './wakes.ts'
import type { Claim, Fence, Tails } from './wakes.ts'
import { judgeWebhookTarget } from './webhook-url.ts'

export type SubscriptionServiceOptions = {
  readonly clock: Clock
  readonly logs: SubscriptionLogs
  readonly membership: Membership
  readonly waker: Waker
  readonly keys: KeyRing
  readonly delivery: Delivery
  /** The tail of a stream, the offset of its beginning when it holds nothing. */
  readonly offsetOf: (stream: string) => Promise<string | undefined>
  readonly listStreams: (prefix: string, startAfter: string) => Promise<readonly string[]>
  readonly kick: (subscription: string) => void
  readonly allowLocalWebhooks: boolean
  /** After this long without progress, whoever creates a subscription has died. In ms. */
  readonly patienceMs: number
  /** Most streams of one subscription. */
  readonly maxStreams: number
}

/** A subscription as it is on the wire, but for where its keys are (PROTOCOL §6.3). */
export type Described = { readonly id: string; readonly life: Subscription; readonly kid: string }

/** How often a creation looks what has become of another one for the same id. */
const PENDING_LOOK_MS = 50
/** Streams looked at at once when a subscription is made. */
const PARALLEL = 16
/** Links written at once: with names of any length they fit in one batch. */
const LINKS_AT_ONCE = 400

export class SubscriptionService {
  readonly #options: SubscriptionServiceOptions

  constructor(options: SubscriptionServiceOptions) {
    this.#options = options
  }

  /**
   * Creates a subscription, or finds it there with the same configuration (PROTOCOL §6.2). When
   * it returns, every append to a stream of it wakes.
   *
   * @param root the root of stream URLs as the subscriber reaches them
   * @throws SubscriptionError `SUBSCRIPTION_ALREADY_EXISTS`, `WEBHOOK_URL_REJECTED`, `LIMIT_REACHED`
   */
  async create(
    subscription: string,
    request: SubscriptionRequest,
    root: string,
  ): Promise<Described & { readonly kind: 'created' | 'confirmed' }> {
    const config = { ...(await this.#checked(request)), hash: hashOf(request), root }
    const { clock, logs, patienceMs } = this.#options
    const log = logs.open(subscription)
    for (;;) {
      const id = randomBytes(12).toString('base64url')
      const kind = await log.execute(createCommand(id, config, patienceMs))
      if (kind === 'created') await this.#begin({ subscription, life: id }, config)
      if (kind !== 'pending') return { kind, ...(await this.describe(subscription)) }
      await sleep(clock, PENDING_LOOK_MS)
    }
  }

  async #checked(request: SubscriptionRequest): Promise<SubscriptionRequest> {
    const { webhookUrl } = request
    if (webhookUrl === undefined) return request
    const allowLocalhost = this.#options.allowLocalWebhooks
    const verdict = await judgeWebhookTarget(webhookUrl, { allowLocalhost })
    if (verdict.kind === 'allowed') return request
    throw new SubscriptionError('WEBHOOK_URL_REJECTED', verdict.reason)
  }

  /** First the gateways must know it, then its streams are linked, and then it wakes. */
  async #begin(match: Match, config: SubscriptionConfig): Promise<void> {
    const { membership, logs } = this.#options
    const { subscription, life } = match
    const log = logs.open(subscription)
    const { pattern, streams, wakeStream } = config
    try {
      await membership.subscribe(subscription, () => ({ life, pattern, streams, wakeStream }))
      await this.#link(match, 'explicit', streams)
      if (pattern !== undefined) await this.#backfill(match, pattern, wakeStream)
      await log.execute(readyCommand(life))
    } catch (error) {
      await this.#end(subscription, life)
      throw error
    }
    await this.#advanceActive(match)
  }

  /** Links all streams that match now at their tails (PROTOCOL §6.2). */
  async #backfill(match: Match, pattern: string, wakeStream: string | undefined): Promise<void> {
    const glob = parseGlob(pattern)
    let last = ''
    for (;;) {
      const page = await this.#options.listStreams(glob.prefix, last)
      const next = page.at(-1)
      if (next === undefined) return
      last = next
      const found = page.filter(
        (name) => !name.startsWith('__ds/') && name !== wakeStream && glob.matches(name),
      )
      await this.#link(match, 'glob', found)
    }
  }

  /** Links streams at the tails they have; a pattern finds only those that are there. */
  async #link(
    { subscription, life }: Match,
    type: 'explicit' | 'glob',
    streams: readonly string[],
  ): Promise<void> {
    const { logs, offsetOf, maxStreams } = this.#options
    const log = logs.open(subscription)
    for (let begin = 0; begin < streams.length; begin += LINKS_AT_ONCE) {
      const tails = new Map<string, string>()
      await forEachParallel(streams.slice(begin, begin + LINKS_AT_ONCE), PARALLEL, async (path) => {
        const tail = await offsetOf(path)
        if (tail !== undefined) tails.set(path, tail)
        else if (type === 'explicit') tails.set(path, BEFORE_FIRST)
      })
      const linked = [...tails].map(([path, tail]) => ({ path, tail }))
      await log.execute(linkCommand(life, { type, streams: linked, maxStreams }))
    }
  }

  /** What was appended while streams were linked is work already. */
  async #advanceActive(match: Match): Promise<void> {
    const { waker } = this.#options
    await waker.advance(match, await waker.activeTails(match.subscription))
  }

  /**
   * What the subscription is, as of a moment after the call (PROTOCOL §6.3).
   *
   * @throws SubscriptionError `SUBSCRIPTION_NOT_FOUND`
   */
  async describe(subscription: string): Promise<Described> {
    const life = await this.#find(subscription)
    const { kid } = await this.#options.keys.signing()
    return { id: subscription, life, kid }
  }

  async #find(subscription: string): Promise<Subscription> {
    const { incarnation } = await this.#options.logs.open(subscription).refresh()
    if (incarnation?.ready !== true) throw notFound()
    return incarnation
  }

  /** Ends a subscription, if there is one (PROTOCOL §6.3). */
  async delete(subscription: string): Promise<void> {
    const life = await this.#options.logs.open(subscription).execute(deleteCommand)
    if (life === undefined) return
    await this.#options.membership.unsubscribe(subscription, life)
    this.#options.kick(subscription)
  }

  async #end(subscription: string, life: string): Promise<void> {
    await this.#options.logs.open(subscription).execute(abandonCommand(life))
    await this.#options.membership.unsubscribe(subscription, life)
  }

  /**
   * Links streams at their tails (PROTOCOL §6.4).
   *
   * @throws SubscriptionError `SUBSCRIPTION_NOT_FOUND`, `LIMIT_REACHED`
   */
  async addStreams(subscription: string, streams: readonly string[]): Promise<void> {
    const life = await this.#find(subscription)
    const isNew = (path: string): boolean => life.links.get(path)?.explicit !== true
    const added = streams.filter(isNew)
    if (added.length === 0) return
    await this.#enter(subscription, life, (known) => [...new Set([...known, ...added])])
    const match = { subscription, life: life.id }
    await this.#link(match, 'explicit', added)
    await this.#advanceActive(match)
  }

  /**
   * Ends the client's own link to a stream, if there is one (PROTOCOL §6.4).
   *
   * @throws SubscriptionError `SUBSCRIPTION_NOT_FOUND`
   */
  async removeStream(subscription: string, stream: string): Promise<void> {
    const life = await this.#find(subscription)
    if (life.links.get(stream)?.explicit !== true) return
    await this.#options.logs.open(subscription).execute(unlinkCommand(life.id, [stream]))
    await this.#enter(subscription, life, (known) => known.filter((path) => path !== stream))
  }

  /** Has all gateways know the subscription by other streams. */
  #enter(
    subscription: string,
    { id, config }: Subscription,
    change: (streams: readonly string[]) => readonly string[],
  ): Promise<void> {
    const { pattern, wakeStream } = config
    return this.#options.membership.subscribe(subscription, (known) => {
      const streams = known?.life === id ? known.streams : []
      return { life: id, pattern, wakeStream, streams: change(streams) }
    })
  }

  /**
   * Gives a worker the lease (PROTOCOL §7.2).
   *
   * @throws SubscriptionError `ALREADY_CLAIMED`, `NO_PENDING_WORK`, `SUBSCRIPTION_NOT_FOUND`
   */
  async claim(subscription: string, worker: string): Promise<Claimed> {
    const life = await this.#find(subscription)
    if (life.config.type !== 'pull-wake') throw wrongType('pull-wake')
    const claim = await this.#claim(subscription, { life, worker })
    const about = { ...claim, life: life.id }
    const token = await this.#options.delivery.token(subscription, about, 'claim')
    return { ...claim, token, leaseTtlMs: life.config.leaseTtlMs }
  }

  async #claim(
    subscription: string,
    { life, worker }: { readonly life: Subscription; readonly worker: string },
  ): Promise<Claim> {
    const { waker, logs } = this.#options
    const log = logs.open(subscription)
    const attempt = (tails: Tails): Promise<Claim> => {
      const issue = waker.issue({ tails, thorough: true })
      return waker.issuing(subscription, () => log.execute(claimCommand(life.id, worker, issue)))
    }
    try {
      return await attempt({})
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
    request: Progress,
  ): Promise<boolean> {
    const { waker, kick, logs } = this.#options
    const life = await this.#authorized(subscription, { use, token }, request)
    const log = logs.open(subscription)
    let acked = await log.execute(ackCommand(life.id, { ...request, tails: {} }))
    if (acked.kind === 'unseen') {
      // A stream that is gone has no tail: nothing lies within it.
      const gone = Object.fromEntries(acked.streams.map((stream) => [stream, BEFORE_FIRST]))
      const tails = { ...gone, ...(await waker.tailsOf(acked.streams)) }
      acked = await log.execute(ackCommand(life.id, { ...request, tails }))
    }
    kick(subscription)
    if (!request.done) return false
    // What came while the subscriber was at work may not have been noted: there was work already.
    const tails = await waker.tailsOf(Object.keys(request.acks))
    const advance = await waker.advance({ subscription, life: life.id }, tails)
    return advance === 'woken' || advance === 'busy'
  }

  /**
   * Gives up a claim (PROTOCOL §7.2).
   *
   * @throws SubscriptionError as {@link progress}
   */
  async release(subscription: string, token: string, fence: Fence): Promise<void> {
    const { waker, kick, logs } = this.#options
    const life = await this.#authorized(subscription, { use: 'claim', token }, fence)
    await logs.open(subscription).execute(releaseCommand(life.id, fence))
    kick(subscription)
    await waker.advance({ subscription, life: life.id }, {})
  }

  async #authorized(
    subscription: string,
    { use, token }: Authorization,
    fence: Fence,
  ): Promise<Subscription> {
    const { keys, clock } = this.#options
    const life = await this.#find(subscription)
    if (life.config.type !== (use === 'claim' ? 'pull-wake' : 'webhook')) {
      throw wrongType(use === 'claim' ? 'pull-wake' : 'webhook')
    }
    const verdict = readWakeToken(token, await keys.secrets(), clock.now())
    if (verdict.kind === 'expired') {
      throw new SubscriptionError('TOKEN_EXPIRED', 'the token has expired')
    }
    const isOurs =
      verdict.kind === 'valid' &&
      verdict.claims.sub === subscription &&
      verdict.claims.inc === life.id &&
      verdict.claims.use === use
    if (!isOurs) throw new SubscriptionError('TOKEN_INVALID', 'the token is for nothing here')
    const { gen, wid } = verdict.claims
    if (gen === fence.generation && wid === fence.wakeId) return life
    throw new SubscriptionError('FENCED', 'the token is for another wake')
  }

  /** The public keys of webhook signatures (PROTOCOL §6.5). */
  jwks(): Promise<JwkSet> {
    return this.#options.keys.jwks()
  }
}

/** What a worker that has claimed is told, with its token. */
export type Claimed = Claim & { readonly token: string; readonly leaseTtlMs: number }

/** The token of a request, and what it must be for. */
export type Authorization = { readonly use: WakeTokenUse; readonly token: string }

function wrongType(type: SubscriptionConfig['type']): SubscriptionError {
  return new SubscriptionError('INVALID_REQUEST', `the subscription is not ${type}`)
}
