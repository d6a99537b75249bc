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
  stillCreatingCommand,
  unlinkCommand,
} from './commands.ts'
import type { Creation } from './commands.ts'
import type { Delivery } from './delivery.ts'
import { SubscriptionError } from './errors.ts'
import { BEFORE_FIRST } from './events.ts'
import type { SubscriptionConfig } from './events.ts'
import type { KeyRing } from './key-ring.ts'
import type { SubscriptionLogs } from './logs.ts'
import type { Match } from './matcher.ts'
import type { Membership } from './membership.ts'
import { ackCommand, claimCommand, releaseCommand } from './leases.ts'
import type { Acked, Claim, Fence } from './leases.ts'
import { forEachParallel } from './parallel.ts'
import { hashOf } from './requests.ts'
import type { Progress, SubscriptionRequest } from './requests.ts'
import type { JwkSet } from './signature.ts'
import type { Subscription, Tails } from './subscription.ts'
import { readWakeToken } from './wake-token.ts'
import type { WakeTokenUse } from './wake-token.ts'
import type { Waker } from './waker.ts'
import { judgeWebhookTarget } from './webhook-url.ts'

export type SubscriptionServiceOptions = {
  readonly clock: Clock
  readonly gatewayId: string
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
    await this.#checkTarget(request)
    const { streams, ...chosen } = request
    const config = { ...chosen, hash: hashOf(request), root }
    const { clock, waker } = this.#options
    for (;;) {
      // If this gateway dies over it, others learn so, and need not wait for it.
      const kind = await waker.issuing(subscription, () =>
        this.#create(subscription, config, streams),
      )
      if (kind !== 'pending') return { kind, ...(await this.describe(subscription)) }
      await sleep(clock, PENDING_LOOK_MS)
    }
  }

  async #create(
    subscription: string,
    config: SubscriptionConfig,
    streams: readonly string[],
  ): Promise<Creation> {
    const { logs, membership, gatewayId: creator, patienceMs } = this.#options
    const id = randomBytes(12).toString('base64url')
    const isGone = (gateway: string): boolean => membership.isGone(gateway)
    const command = createCommand({ id, creator, config }, { isGone, patienceMs })
    const kind = await logs.open(subscription).execute(command)
    if (kind === 'created') await this.#begin({ subscription, life: id }, config, streams)
    return kind
  }

  async #checkTarget({ webhookUrl }: SubscriptionRequest): Promise<void> {
    if (webhookUrl === undefined) return
    const allowLocalhost = this.#options.allowLocalWebhooks
    const verdict = await judgeWebhookTarget(webhookUrl, { allowLocalhost })
    if (verdict.kind === 'refused') {
      throw new SubscriptionError('WEBHOOK_URL_REJECTED', `the webhook's URL ${verdict.reason}`)
    }
  }

  /** First the gateways must know it, then its streams are linked, and then it wakes. */
  async #begin(
    match: Match,
    { pattern, wakeStream }: SubscriptionConfig,
    streams: readonly string[],
  ): Promise<void> {
    const { membership, logs } = this.#options
    const { subscription, life } = match
    const log = logs.open(subscription)
    try {
      await membership.subscribe(life, () => ({ subscription, pattern, streams, wakeStream }))
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
    const { listStreams, logs, patienceMs } = this.#options
    const glob = parseGlob(pattern)
    let last = ''
    for (;;) {
      const page = await listStreams(glob.prefix, last)
      const next = page.at(-1)
      if (next === undefined) return
      const stillCreating = stillCreatingCommand(match.life, patienceMs / 4)
      await logs.open(match.subscription).execute(stillCreating)
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
    await this.#options.membership.unsubscribe(life)
    this.#options.kick(subscription)
  }

  async #end(subscription: string, life: string): Promise<void> {
    await this.#options.logs.open(subscription).execute(abandonCommand(life))
    await this.#options.membership.unsubscribe(life)
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
    return this.#options.membership.subscribe(
      id,
      // Without an entry the life is over, and must not be made known again.
      (known) => known && { subscription, pattern, wakeStream, streams: change(known.streams) },
    )
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
    request: Progress,
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
    { life, request, tails }: { life: Subscription; request: Progress; tails: Tails },
  ): Promise<Acked> {
    const { waker, logs } = this.#options
    const log = logs.open(subscription)
    const command = ackCommand(life.id, request, waker.issue({ tails }))
    if (!request.done) return log.execute(command)
    return waker.issuing(subscription, () => log.execute(command))
  }

  /** What came while the subscriber was at work may not have been noted: there was work already. */
  async #lookAgain(
    subscription: string,
    { id, wake }: Subscription,
    acked: Iterable<string> = [],
  ): Promise<boolean> {
    const { waker } = this.#options
    const streams = new Set([...acked, ...(wake?.tails.keys() ?? [])])
    const advance = await waker.advance({ subscription, life: id }, await waker.tailsOf(streams))
    return advance === 'woken' || advance === 'busy'
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
