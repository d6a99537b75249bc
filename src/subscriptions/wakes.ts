/**
 * Wakes, their delivery and their leases, decided over a subscription's state (PROTOCOL §7). PURE.
 *
 * Whoever's append comes first decides: two gateways that want to wake for the same work write
 * one wake, and the second one finds it in flight.
 */
import { refuse } from '../journal/command.ts'
import type { Command, Decision } from '../journal/command.ts'
import { answer, hasRoom, withLife, write } from './commands.ts'
import { SubscriptionError } from './errors.ts'
import { BEFORE_FIRST } from './events.ts'
import type { SubscriptionEvent } from './events.ts'
import { isFound, isPending } from './subscription.ts'
import type { Link, Subscription, Wake } from './subscription.ts'

type SubscriptionCommand<Answer> = Command<Subscription, Answer>

/** Tail offsets by stream; `-1` for a stream that holds nothing. */
export type Tails = Readonly<Record<string, string>>

/** What a subscriber is told of at once; streams beyond it are for the next wake. */
const MAX_WAKE_STREAMS = 500
const MAX_WAKE_BYTES = 192 * 1024

/** What a gateway knows and brings along to issue a wake. */
export type Issue = {
  /** The gateway itself. */
  readonly runner: string
  /** Unique: the name of the wake, if there will be one. */
  readonly wakeId: string
  /** The tails of streams that may have grown. */
  readonly tails: Tails
  /** Every tail is written down, not only that there is work. */
  readonly thorough: boolean
  readonly maxStreams: number
}

/** `woken`: by this very command; `busy`: a wake was in flight already. */
export type Advance = 'woken' | 'busy' | 'idle' | 'unready' | 'absent'

/** Takes note of streams that have grown, and wakes when there is work and no wake in flight. */
export function advanceCommand(id: string, issue: Issue): SubscriptionCommand<Advance> {
  return (state) => {
    const life = state.incarnation
    if (life?.id !== id) return answer('absent')
    if (!life.ready) return answer('unready')
    const news = newsOf(life, issue)
    if (life.wake !== undefined) {
      // Whoever ends the wake finds that there is work; how much there is needs no record yet.
      const begun = pick(news, (path) => issue.thorough || !isPendingIn(life, path))
      return isEmpty(begun)
        ? answer('busy')
        : write(state, [{ kind: 'noted', tails: begun }], 'busy')
    }
    const work = workOf(life, news)
    // A tail beyond the noted one is beyond the acked one too, so where there is no work there
    // are no news either.
    return isEmpty(work) ? answer('idle') : write(state, wake(life, issue, { news, work }), 'woken')
  }
}

/** The tails that lie beyond those noted; streams that the pattern finds now are among them. */
function newsOf(life: Subscription, { tails, maxStreams }: Issue): Tails {
  const found: string[] = []
  return pick(tails, (path, tail) => {
    const link = life.links.get(path)
    if (link !== undefined) return tail > link.tail
    if (tail === BEFORE_FIRST || !isFound(life.config, path)) return false
    if (!hasRoom(life, [...found, path], maxStreams)) return false
    found.push(path)
    return true
  })
}

/** The streams with work, as far as one wake can name them. */
function workOf(life: Subscription, news: Tails): Tails {
  const work: Record<string, string> = {}
  let count = 0
  let bytes = 0
  const add = (path: string, tail: string): void => {
    bytes += path.length + tail.length
    if (count === MAX_WAKE_STREAMS || bytes > MAX_WAKE_BYTES) return
    work[path] = tail
    count += 1
  }
  for (const [path, tail] of Object.entries(news)) add(path, tail)
  for (const [path, link] of life.links) {
    if (isPending(link) && news[path] === undefined) add(path, link.tail)
  }
  return work
}

function wake(
  { generation }: Subscription,
  { runner, wakeId }: Pick<Issue, 'runner' | 'wakeId'>,
  { news, work }: { readonly news: Tails; readonly work: Tails },
): readonly SubscriptionEvent[] {
  const issued = {
    kind: 'wake',
    id: wakeId,
    generation: generation + 1,
    runner,
    tails: work,
  } as const
  return isEmpty(news) ? [issued] : [{ kind: 'noted', tails: news }, issued]
}

function isPendingIn({ links }: Subscription, path: string): boolean {
  const link = links.get(path)
  return link !== undefined && isPending(link)
}

function pick(tails: Tails, wanted: (path: string, tail: string) => boolean): Tails {
  return Object.fromEntries(Object.entries(tails).filter(([path, tail]) => wanted(path, tail)))
}

function isEmpty(tails: Tails): boolean {
  return Object.keys(tails).length === 0
}

/** One stream as a subscriber is told of it (PROTOCOL §7.1). */
export type WorkItem = {
  readonly path: string
  readonly link: Link
  readonly tail: string
}

/** The work that a wake names, in the order of its record. */
export function workItems({ links }: Subscription, tails: Tails): readonly WorkItem[] {
  return Object.entries(tails).flatMap(([path, tail]) => {
    const link = links.get(path)
    return link === undefined ? [] : [{ path, link, tail }]
  })
}

/** Records that a wake was accepted, or its event written. Nothing once it has ended. */
export function sentCommand(
  id: string,
  wakeId: string,
  leaseMs: number,
): SubscriptionCommand<undefined> {
  return whileSending(id, wakeId, () => [{ kind: 'sent', leaseMs }])
}

/** A failed attempt at delivery. */
export type Failure = {
  readonly attempt: number
  /** Until the next one, in ms. */
  readonly delayMs: number
  readonly reason: string
}

/** Records that an attempt failed and when the next one is due (PROTOCOL §7.1). */
export function failedCommand(
  id: string,
  wakeId: string,
  failure: Failure,
): SubscriptionCommand<undefined> {
  return whileSending(id, wakeId, () => [{ kind: 'failed', ...failure }])
}

/** Acks all that a wake named and ends it: the webhook answered `done`. */
export function doneCommand(id: string, wakeId: string): SubscriptionCommand<undefined> {
  return whileSending(id, wakeId, (life, { tails }) => {
    const acks = pick(tails, (path, tail) => tail > (life.links.get(path)?.acked ?? tail))
    return [{ kind: 'acked', acks, done: true, leaseMs: 0 }]
  })
}

/**
 * A callback may arrive before the response to the webhook does: what becomes of the response is
 * of no matter then, unless it says that all is done.
 */
function whileSending(
  id: string,
  wakeId: string,
  events: (life: Subscription, wake: Wake) => readonly SubscriptionEvent[],
): SubscriptionCommand<undefined> {
  return (state) => {
    const life = state.incarnation
    if (life?.id !== id || life.wake?.id !== wakeId) return answer(undefined)
    const [event] = events(life, life.wake)
    const counts = life.wake.phase.kind !== 'leased' || event?.kind === 'acked'
    return event !== undefined && counts ? write(state, [event], undefined) : answer(undefined)
  }
}

/** Takes over a wake whose gateway is gone. */
export function adoptCommand(
  id: string,
  runner: string,
  isGone: (gateway: string) => boolean,
): SubscriptionCommand<undefined> {
  return (state) => {
    const life = state.incarnation
    if (life?.id !== id || life.wake === undefined) return answer(undefined)
    if (life.wake.runner === runner || !isGone(life.wake.runner)) return answer(undefined)
    return write(state, [{ kind: 'adopted', runner }], undefined)
  }
}

/** Ends a lease that nobody has renewed in time (PROTOCOL §7.3). */
export function expireCommand(id: string, wakeId: string): SubscriptionCommand<undefined> {
  return (state, now) => {
    const wake = state.incarnation?.id === id ? state.incarnation.wake : undefined
    if (wake?.id !== wakeId || !isExpired(wake, now)) return answer(undefined)
    return write(state, [{ kind: 'ended', reason: 'expired' }], undefined)
  }
}

function isExpired({ phase }: Wake, now: number): boolean {
  return phase.kind === 'leased' && phase.until <= now
}

/** What a worker that has claimed is told. */
export type Claim = {
  readonly wakeId: string
  readonly generation: number
  readonly work: readonly WorkItem[]
}

/** Gives a worker the lease of a pull-wake subscription (PROTOCOL §7.2). */
export function claimCommand(id: string, worker: string, issue: Issue): SubscriptionCommand<Claim> {
  return withLife(id, (life, state, now) => {
    if (!life.ready) return refuse(noWork())
    const news = newsOf(life, issue)
    const work = workOf(life, news)
    const claimed = { kind: 'claimed', worker, runner: issue.runner } as const
    const current = life.wake
    if (current !== undefined && !isExpired(current, now)) {
      const { phase } = current
      if (phase.kind === 'leased') return refuse(alreadyClaimed(life, phase.holder))
      const claim = { wakeId: current.id, generation: life.generation, work: itemsOf(life, work) }
      return write(state, [...noted(news), claimed], claim)
    }
    if (isEmpty(work)) return refuse(noWork())
    const ended: SubscriptionEvent[] =
      current === undefined ? [] : [{ kind: 'ended', reason: 'expired' }]
    const generation = life.generation + 1
    const claim = { wakeId: issue.wakeId, generation, work: itemsOf(life, work) }
    return write(state, [...ended, ...wake(life, issue, { news, work }), claimed], claim)
  })
}

function noted(news: Tails): readonly SubscriptionEvent[] {
  return isEmpty(news) ? [] : [{ kind: 'noted', tails: news }]
}

/** As {@link workItems}, with the streams that the pattern finds only now. */
function itemsOf(life: Subscription, work: Tails): readonly WorkItem[] {
  return Object.entries(work).map(([path, tail]) => {
    const found = { explicit: false, glob: true, acked: BEFORE_FIRST, tail }
    return { path, link: life.links.get(path) ?? found, tail }
  })
}

function noWork(): SubscriptionError {
  return new SubscriptionError('NO_PENDING_WORK', 'the subscription has no pending work')
}

function alreadyClaimed(
  { generation }: Subscription,
  holder: string | undefined,
): SubscriptionError {
  const details = { current_holder: holder ?? null, generation }
  return new SubscriptionError('ALREADY_CLAIMED', 'another worker holds the lease', details)
}

/** What a callback, an ack or a release says it is about (PROTOCOL §7.3). */
export type Fence = { readonly wakeId: string; readonly generation: number }

export type AckRequest = Fence & {
  /** Offsets by stream, inclusive. */
  readonly acks: Tails
  readonly done: boolean
  /** Tails seen by the caller: an ack beyond what is noted must not lie beyond these. */
  readonly tails: Tails
}

/** `unseen`: these acks lie beyond what is noted; ask again with the tails of these streams. */
export type Acked =
  { readonly kind: 'acked' } | { readonly kind: 'unseen'; readonly streams: readonly string[] }

/** Takes progress; with `done` the wake ends, else its lease is renewed (PROTOCOL §7.1, §7.2). */
export function ackCommand(id: string, request: AckRequest): SubscriptionCommand<Acked> {
  return withLife<Acked>(id, (life, state) => {
    const fenced = checkFence(life, request)
    if (fenced !== undefined) return fenced
    const unseen: string[] = []
    for (const [path, offset] of Object.entries(request.acks)) {
      const verdict = judgeAck(life.links.get(path), offset, request.tails[path])
      if (verdict === 'unseen') unseen.push(path)
      else if (verdict !== 'fine') return refuse(invalidOffset(`${verdict}: ${path}`))
    }
    if (unseen.length > 0) return answer({ kind: 'unseen', streams: unseen })
    const { acks, done } = request
    const event = { kind: 'acked', acks, done, leaseMs: life.config.leaseTtlMs } as const
    return write(state, [event], { kind: 'acked' })
  })
}

function judgeAck(link: Link | undefined, offset: string, tail: string | undefined): string {
  if (link === undefined) return 'the subscription has no such stream'
  if (offset < link.acked) return 'the offset is before the one that is acked already'
  if (offset <= link.tail) return 'fine'
  if (tail === undefined) return 'unseen'
  return offset <= tail ? 'fine' : 'the offset is beyond the tail of the stream'
}

/** An ack that can't be taken. */
export function invalidOffset(message: string): SubscriptionError {
  return new SubscriptionError('INVALID_OFFSET', message)
}

/** Ends a wake with its work undone (PROTOCOL §7.2). */
export function releaseCommand(id: string, fence: Fence): SubscriptionCommand<undefined> {
  return withLife(
    id,
    (life, state) =>
      checkFence(life, fence) ?? write(state, [{ kind: 'ended', reason: 'released' }], undefined),
  )
}

function checkFence(
  life: Subscription,
  { wakeId, generation }: Fence,
): Decision<never> | undefined {
  if (life.wake?.id === wakeId && life.generation === generation) return undefined
  return refuse(new SubscriptionError('FENCED', 'the wake is over: another generation has begun'))
}
