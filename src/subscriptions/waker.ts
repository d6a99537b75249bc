/**
 * Turns growth of streams into wakes: what appends report goes into the log of each subscription
 * concerned, as a wake or as a note for whoever ends the one in flight.
 *
 * Nothing is lost here that matters: until it is in the subscription's log, the mark on the
 * stream says that it has to be looked at.
 */
import { randomBytes } from 'node:crypto'
import { backoffMs, sleep } from '../clock.ts'
import type { Clock } from '../clock.ts'
import { forgetCommand, giveUpCommand } from './commands.ts'
import { BEFORE_FIRST, placeOf } from './events.ts'
import type { SubscriptionLogs } from './logs.ts'
import type { Match, Matcher } from './matcher.ts'
import type { Membership } from './membership.ts'
import { forEachParallel } from './parallel.ts'
import type { Link, Tails, Wake } from './subscription.ts'
import { advanceCommand } from './wakes.ts'
import type { Advance } from './wakes.ts'
import type { Issue } from './work.ts'

export type WakerOptions = {
  readonly clock: Clock
  readonly gatewayId: string
  readonly logs: SubscriptionLogs
  readonly membership: Membership
  readonly matcher: Matcher
  /** The tail of a stream, `-1` when it holds nothing; undefined when there is none. */
  readonly tailOf: (stream: string) => Promise<string | undefined>
  readonly maxStreams: number
  /** After this long without progress, whoever creates a subscription has died. In ms. */
  readonly patienceMs: number
  /** Called when this gateway may have something to deliver, or nothing any more. */
  readonly onIssued: (subscription: string) => void
  /** Called with a wake that this gateway runs, or that nobody does. */
  readonly onFound: (subscription: string) => void
  readonly onBackgroundError: (task: string, error: unknown) => void
}

/**
 * The least time between two looks at one subscription because of appends: a stream with a
 * thousand appends a second needs no thousand looks.
 */
const SPACING_MS = 20
const RETRY = { firstMs: 50, longestMs: 2000 }
/** Streams looked at at once. */
const PARALLEL = 16

type Reported = { tails: Map<string, string> }

export class Waker {
  readonly #options: WakerOptions
  readonly #reports = new Map<string, Reported>()
  /** Subscriptions that a wake is being issued for: their marks must stay. */
  readonly #issuing = new Map<string, number>()
  #isStopped = false

  constructor(options: WakerOptions) {
    this.#options = options
  }

  /** Nothing is looked at or retried any more. */
  stop(): void {
    this.#isStopped = true
  }

  /** Takes note that a stream has grown, in the background. */
  report(match: Match, tails: Tails): void {
    const known = this.#reports.get(match.life)
    if (known !== undefined) return merge(known.tails, tails)
    const reported = { tails: new Map(tails) }
    this.#reports.set(match.life, reported)
    void this.#work(match, reported)
  }

  async #work(match: Match, reported: Reported): Promise<void> {
    const { clock, onBackgroundError } = this.#options
    for (let failed = 0; reported.tails.size > 0 && !this.#isStopped;) {
      const { tails } = reported
      reported.tails = new Map()
      try {
        await this.advance(match, tails)
        failed = 0
        await sleep(clock, SPACING_MS)
      } catch (error) {
        onBackgroundError('wake', error)
        merge(reported.tails, tails)
        await sleep(clock, backoffMs(clock, failed, RETRY))
        failed += 1
      }
    }
    this.#reports.delete(match.life)
  }

  /** Whether a wake may be about to be issued here. */
  isIssuing(subscription: string): boolean {
    return this.#issuing.has(subscription)
  }

  /**
   * Brings tails to a subscription, and wakes it if it has work and no wake in flight.
   *
   * `thorough`: every tail is written down, so that nothing else needs to remember it.
   */
  async advance(
    { subscription, life }: Match,
    tails: Tails,
    { thorough = false } = {},
  ): Promise<Advance> {
    const { clock, logs, membership, patienceMs } = this.#options
    const log = logs.open(subscription)
    const state = await log.refresh()
    if (state.incarnation?.ready !== true || state.incarnation.id !== life) {
      await membership.look()
      const isGone = (gateway: string): boolean => membership.isGone(gateway)
      const patience = { isGone, patienceMs }
      if (!(await log.execute(giveUpCommand(life, patience)))) return 'unready'
      await membership.unsubscribe(life)
      return 'absent'
    }
    this.#noteRunner(subscription, state.incarnation.wake)
    const command = advanceCommand(life, this.issue({ tails, thorough }))
    const decision = command(state, clock.now())
    if (decision.kind === 'answer') return decision.answer
    return this.issuing(subscription, () => log.execute(command))
  }

  /** A wake that nobody runs keeps all others waiting: whoever comes across it sees to it. */
  #noteRunner(subscription: string, wake: Wake | undefined): void {
    if (wake === undefined) return
    const { gatewayId, membership, onFound } = this.#options
    if (wake.runner === gatewayId || membership.isGone(wake.runner)) onFound(subscription)
  }

  /** What this gateway brings along to wake a subscription. */
  issue({ tails, thorough = false }: { tails: Tails; thorough?: boolean }): Issue {
    const { gatewayId, maxStreams } = this.#options
    const wakeId = `w_${randomBytes(12).toString('hex')}`
    return { runner: gatewayId, wakeId, tails, thorough, maxStreams }
  }

  /** Does what may make this gateway the runner of a wake: if it dies, others must know. */
  async issuing<Answer>(subscription: string, run: () => Promise<Answer>): Promise<Answer> {
    this.#issuing.set(subscription, (this.#issuing.get(subscription) ?? 0) + 1)
    try {
      await this.#options.membership.hold([`wake:${subscription}`])
      return await run()
    } finally {
      const left = (this.#issuing.get(subscription) ?? 1) - 1
      if (left === 0) this.#issuing.delete(subscription)
      else this.#issuing.set(subscription, left)
      this.#options.onIssued(subscription)
    }
  }

  /**
   * Has all subscriptions of a stream know how far it has grown, or that it is gone. If that was
   * possible, nobody needs to remember any more that it was appended to.
   */
  async settle(stream: string): Promise<boolean> {
    const { membership, matcher, logs, tailOf } = this.#options
    const matches = matcher.matching(membership.directory, stream)
    // Before the look: what is linked after it may be a new life of the stream.
    const links = await Promise.all(
      matches.map(async ({ subscription }) => {
        const { incarnation } = await logs.open(subscription).refresh()
        return incarnation?.links.get(stream)
      }),
    )
    const tail = await tailOf(stream)
    const advances = await Promise.all(
      matches.map(async (match, index) => {
        if (tail === undefined) return this.#forget(match, stream, links[index])
        return this.advance(match, new Map([[stream, tail]]), { thorough: true })
      }),
    )
    // A subscription that is being created looks at the streams that somebody has in hand.
    return !advances.includes('unready')
  }

  async #forget(
    { subscription, life }: Match,
    path: string,
    link: Link | undefined,
  ): Promise<Advance> {
    if (link === undefined) return 'idle'
    const log = this.#options.logs.open(subscription)
    return log.execute(forgetCommand(life, new Map([[path, link]])))
  }

  /**
   * What came while the subscriber was at work may not have been noted, as there was work in the
   * stream already: looks at the streams that it was told of.
   */
  async lookAgain(match: Match, streams: Iterable<string>): Promise<Advance> {
    return this.advance(match, await this.tailsOf(streams))
  }

  /** The tails of streams, of those that are there. */
  async tailsOf(streams: Iterable<string>): Promise<Tails> {
    const tails = new Map<string, string>()
    await forEachParallel(streams, PARALLEL, async (stream) => {
      const tail = await this.#options.tailOf(stream)
      if (tail !== undefined) tails.set(stream, tail)
    })
    return tails
  }

  /**
   * The tails of the subscription's streams that any gateway has in hand: besides what its log
   * says, only those may have grown.
   */
  async activeTails(subscription: string): Promise<Tails> {
    const { membership, matcher } = this.#options
    const directory = await membership.look()
    const active = new Set<string>()
    const consider = (mark: string): void => {
      if (!mark.startsWith('stream:')) return
      const stream = mark.slice('stream:'.length)
      const matches = matcher.matching(directory, stream)
      if (matches.some((match) => match.subscription === subscription)) active.add(stream)
    }
    directory.orphans.forEach(consider)
    directory.gateways.forEach(({ marks }) => marks.forEach(consider))
    return this.tailsOf(active)
  }
}

function merge(into: Map<string, string>, tails: Tails): void {
  for (const [path, tail] of tails) {
    if (placeOf(tail) > placeOf(into.get(path) ?? BEFORE_FIRST)) into.set(path, tail)
  }
}
