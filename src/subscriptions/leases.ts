/** What subscribers ask for: claims, acks, releases, over a subscription's state (PROTOCOL §7). PURE. */
import { refuse } from '../journal/command.ts'
import type { Command, Decision } from '../journal/command.ts'
import { answer, withLife, write } from './commands.ts'
import { SubscriptionError } from './errors.ts'
import type { SubscriptionEvent } from './events.ts'
import { evolve } from './subscription.ts'
import type { Link, Subscription, Tails } from './subscription.ts'
import { ending, isExpired } from './wakes.ts'
import { isForgotten, newsOf, notedEvents, wakeEvent, workItems, workOf } from './work.ts'
import type { Issue, WorkItem } from './work.ts'

type SubscriptionCommand<Answer> = Command<Subscription, Answer>

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
    const notes = notedEvents(news)
    const items = workItems(
      notes.reduce((now, each) => evolve(now, each, 0), life),
      work,
    )
    const { runner } = issue
    const claimed = { kind: 'claimed', worker, runner, tails: [...work] } as const
    const current = life.wake
    if (current !== undefined && !isExpired(current, now)) {
      const { phase } = current
      if (phase.kind === 'leased') return refuse(alreadyClaimed(life, phase.holder))
      const claim = { wakeId: current.id, generation: life.generation, work: items }
      return write(state, [...notes, claimed], claim)
    }
    if (work.size === 0) return refuse(noWork())
    const expired: SubscriptionEvent[] =
      current === undefined ? [] : [{ kind: 'ended', reason: 'expired' }]
    const issued = wakeEvent(life, issue, work)
    const claim = { wakeId: issued.id, generation: issued.generation, work: items }
    return write(state, [...notes, ...expired, issued, claimed], claim)
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
}

export type Acked =
  /** `woken`: there is work left, and the next wake is issued. */
  | { readonly kind: 'acked'; readonly woken: boolean }
  /** These acks lie beyond what is noted: ask again with the tails of these streams. */
  | { readonly kind: 'unseen'; readonly streams: readonly string[] }

/**
 * Takes progress; with `done` the wake ends, else its lease is renewed (PROTOCOL §7.1, §7.2). The
 * tails of `issue` are where streams end: an ack beyond what is noted must not lie beyond them.
 */
export function ackCommand(
  id: string,
  request: AckRequest,
  issue: Issue,
): SubscriptionCommand<Acked> {
  return withLife<Acked>(id, (life, state, now) => {
    const fenced = checkFence(life, request, now)
    if (fenced !== undefined) return fenced
    const unseen: string[] = []
    const acks: [string, string][] = []
    for (const [path, offset] of request.acks) {
      if (life.wake !== undefined && isForgotten(life, life.wake, path)) continue
      const link = life.links.get(path)
      const verdict = judgeAck(link, offset, issue.tails.get(path))
      if (verdict === 'unseen') unseen.push(path)
      else if (verdict !== 'fine') return refuse(invalidOffset(`${verdict}: ${path}`))
      acks.push([path, offset])
    }
    if (unseen.length > 0) return answer({ kind: 'unseen', streams: unseen })
    const { done } = request
    const event = { kind: 'acked', acks, done, leaseMs: life.config.leaseTtlMs } as const
    const events = done ? ending(life, event, issue) : [event]
    return write(state, events, { kind: 'acked', woken: wakes(events) })
  })
}

function judgeAck(link: Link | undefined, offset: string, tail: string | undefined): string {
  if (link === undefined) return 'the subscription has no such stream'
  if (offset < link.acked) return 'the offset is before the one that is acked already'
  if (offset <= link.tail) return 'fine'
  if (tail === undefined) return 'unseen'
  return offset <= tail ? 'fine' : 'the offset is beyond the tail of the stream'
}

function wakes(events: readonly SubscriptionEvent[]): boolean {
  return events.some(({ kind }) => kind === 'wake')
}

/** An ack that can't be taken. */
function invalidOffset(message: string): SubscriptionError {
  return new SubscriptionError('INVALID_OFFSET', message)
}

/** Ends a wake with its work undone (PROTOCOL §7.2). */
export function releaseCommand(
  id: string,
  fence: Fence,
  issue: Issue,
): SubscriptionCommand<undefined> {
  return withLife(
    id,
    (life, state, now) =>
      checkFence(life, fence, now) ??
      write(state, ending(life, { kind: 'ended', reason: 'released' }, issue), undefined),
  )
}

function checkFence(
  life: Subscription,
  { wakeId, generation }: Fence,
  now: number,
): Decision<never> | undefined {
  const isCurrent = life.wake?.id === wakeId && life.generation === generation
  // A lease that is over is over, also before its end is written down.
  if (isCurrent && !isExpired(life.wake, now)) return undefined
  return refuse(new SubscriptionError('FENCED', 'the wake is over: another generation has begun'))
}
