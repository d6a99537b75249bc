/**
 * What can be done with subscriptions, by id: the door for who makes them (PROTOCOL §6).
 *
 * Answers come from any gateway alike: all there is to know is in the subscription's log.
 */
import { randomBytes } from 'node:crypto'
import { sleep } from '../clock.ts'
import type { Clock } from '../clock.ts'
import type { StreamNames } from '../protocol/names.ts'
import {
  abandonCommand,
  createCommand,
  deleteCommand,
  linkCommand,
  readyCommand,
  stillCreatingCommand,
  unlinkCommand,
} from './commands.ts'
import type { Creation } from './commands.ts'
import { SubscriptionError } from './errors.ts'
import { BEFORE_FIRST } from './events.ts'
import type { SubscriptionConfig } from './events.ts'
import type { KeyRing } from './key-ring.ts'
import { findReady } from './logs.ts'
import type { SubscriptionLogs } from './logs.ts'
import type { Match } from './matcher.ts'
import type { Membership } from './membership.ts'
import { forEachParallel } from './parallel.ts'
import { hashOf } from './requests.ts'
import type { SubscriptionRequest } from './requests.ts'
import type { JwkSet } from './signature.ts'
import type { Subscription } from './subscription.ts'
import type { Waker } from './waker.ts'
import { judgeWebhookTarget } from './webhook-url.ts'

export type SubscriptionServiceOptions = {
  readonly clock: Clock
  readonly names: StreamNames
  readonly gatewayId: string
  readonly logs: SubscriptionLogs
  readonly membership: Membership
  readonly waker: Waker
  readonly keys: KeyRing
  /** The tail of a stream, the offset of its beginning when it holds nothing. */
  readonly offsetOf: (stream: string) => Promise<string | undefined>
  readonly listStreams: (prefix: string, startAfter: string) => Promise<readonly string[]>
  readonly kick: (subscription: string) => void
  readonly onBackgroundError: (task: string, error: unknown) => void
  readonly allowLocalWebhooks: boolean
  /** After this long without progress, whoever creates a subscription has died. In ms. */
  readonly patienceMs: number
  /** Most streams of one subscription. */
  readonly maxStreams: number
}

/** Who makes a subscription: the root of stream URLs as they reach them, and their project. */
export type Maker = Pick<SubscriptionConfig, 'root' | 'project'>

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
   * @throws SubscriptionError `SUBSCRIPTION_ALREADY_EXISTS`, `WEBHOOK_URL_REJECTED`, `LIMIT_REACHED`
   */
  async create(
    subscription: string,
    request: SubscriptionRequest,
    maker: Maker,
  ): Promise<Described & { readonly kind: 'created' | 'confirmed' }> {
    await this.#checkTarget(request)
    const { streams, ...chosen } = request
    const config = { ...chosen, hash: hashOf(request), ...maker }
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
      await this.#abandon(match)
      throw error
    }
    await this.#advanceActive(match)
  }

  /** Links all streams that match now at their tails (PROTOCOL §6.2). */
  async #backfill(match: Match, pattern: string, wakeStream: string | undefined): Promise<void> {
    const { names, listStreams, logs, patienceMs } = this.#options
    const glob = names.parsePattern(pattern)
    let last = ''
    for (;;) {
      const page = await listStreams(glob.prefix, last)
      const next = page.at(-1)
      if (next === undefined) return
      const stillCreating = stillCreatingCommand(match.life, patienceMs / 4)
      await logs.open(match.subscription).execute(stillCreating)
      last = next
      const found = page.filter(
        (name) => !names.isReserved(name) && name !== wakeStream && glob.matches(name),
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
    const life = await findReady(this.#options.logs, subscription)
    const { kid } = await this.#options.keys.signing()
    return { id: subscription, life, kid }
  }

  /** Ends a subscription, if there is one (PROTOCOL §6.3). */
  async delete(subscription: string): Promise<void> {
    const life = await this.#options.logs.open(subscription).execute(deleteCommand)
    if (life === undefined) return
    await this.#options.membership.unsubscribe(life)
    this.#options.kick(subscription)
  }

  /** If the log fails, too, others give it up in time. */
  async #abandon({ subscription, life }: Match): Promise<void> {
    const { logs, membership, onBackgroundError } = this.#options
    try {
      const isOver = await logs.open(subscription).execute(abandonCommand(life))
      if (isOver) await membership.unsubscribe(life)
    } catch (error) {
      onBackgroundError('abandon', error)
    }
  }

  /**
   * Links streams at their tails (PROTOCOL §6.4).
   *
   * @throws SubscriptionError `SUBSCRIPTION_NOT_FOUND`, `LIMIT_REACHED`
   */
  async addStreams(subscription: string, streams: readonly string[]): Promise<void> {
    const life = await findReady(this.#options.logs, subscription)
    const isNew = (path: string): boolean => life.links.get(path)?.explicit !== true
    const added = streams.filter(isNew)
    if (added.length === 0) return
    const match = { subscription, life: life.id }
    do {
      await this.#enter(subscription, life, (known) => [...new Set([...known, ...added])])
      await this.#link(match, 'explicit', added)
      // Somebody who has removed one of them meanwhile may have been last in the directory only.
    } while (!(await this.#isKnown(life, added)))
    await this.#advanceActive(match)
  }

  async #isKnown({ id }: Subscription, streams: readonly string[]): Promise<boolean> {
    const { subscriptions } = await this.#options.membership.look()
    const known = subscriptions.get(id)?.streams
    return known === undefined || streams.every((stream) => known.includes(stream))
  }

  /**
   * Ends the client's own link to a stream, if there is one (PROTOCOL §6.4).
   *
   * @throws SubscriptionError `SUBSCRIPTION_NOT_FOUND`
   */
  async removeStream(subscription: string, stream: string): Promise<void> {
    const life = await findReady(this.#options.logs, subscription)
    if (life.links.get(stream)?.explicit !== true) return
    await this.#options.logs.open(subscription).execute(unlinkCommand(life.id, [stream]))
    await this.#enter(subscription, life, (known) => known.filter((path) => path !== stream))
    const { links } = await findReady(this.#options.logs, subscription)
    // Somebody has linked it again meanwhile, and may have been first in the directory.
    if (links.get(stream)?.explicit !== true) return
    await this.#enter(subscription, life, (known) => [...new Set([...known, stream])])
    await this.#advanceActive({ subscription, life: life.id })
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

  /** The public keys of webhook signatures (PROTOCOL §6.5). */
  jwks(): Promise<JwkSet> {
    return this.#options.keys.jwks()
  }
}
