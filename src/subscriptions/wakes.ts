/**
 * Wakes and their delivery, decided over a subscription's state (PROTOCOL §7). PURE.
 *
 * Whoever's append comes first decides: two gateways that want to wake for the same work write
 * one wake, and the second one finds it in flight.
 */
import type { Command, Decision } from '../journal/command.ts'
import { answer, write } from './commands.ts'
import type { SubscriptionEvent } from './events.ts'
import { evolve } from './subscription.ts'
import type { Change, Subscription, SubscriptionState, Wake } from './subscription.ts'
import { hasWorkIn, isForgotten, newsOf, notedEvents, wakeEvent, workOf } from './work.ts'
import type { Issue } from './work.ts'

type SubscriptionCommand<Answer> = Command<Subscription, Answer>

/**
 * `woken`: by this very command; `busy`: a wake was in flight already; `unready`: it is being
 * created.
 */
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
      const begun = [...news].filter(([path]) => issue.thorough || !hasWorkIn(life, path))
      const events = notedEvents(new Map(begun))
      return events.length === 0 ? answer('busy') : write(state, events, 'busy')
    }
    const work = workOf(life, news)
    // A tail beyond the noted one is beyond the acked one too, so where there is no work there
    // are no news either.
    if (work.size === 0) return answer('idle')
    return write(state, [...notedEvents(news), wakeEvent(life, issue, work)], 'woken')
  }
}

/**
 * The event that ends a wake, and with it the next wake if there is work left: nobody must be
 * needed in between.
 */
export function ending(
  life: Subscription,
  event: Change,
  issue: Issue,
): readonly SubscriptionEvent[] {
  const news = newsOf(life, issue)
  const notes = notedEvents(news)
  // The time matters to leases only, and there is none when a wake has ended.
  const ended = [...notes, event].reduce((now, each) => evolve(now, each, 0), life)
  const work = workOf(ended, new Map())
  return work.size === 0 ? [...notes, event] : [...notes, event, wakeEvent(ended, issue, work)]
}

/** Records that a wake was accepted, or its event written. Nothing once it has ended. */
export function sentCommand(
  id: string,
  wakeId: string,
  leaseMs: number,
): SubscriptionCommand<undefined> {
  // A callback may have come before the response to the webhook: its lease stands.
  return ofWake(id, wakeId, (_life, { phase }) =>
    phase.kind === 'leased' ? [] : [{ kind: 'sent', leaseMs }],
  )
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
  return ofWake(id, wakeId, (_life, { phase }) =>
    phase.kind === 'leased' ? [] : [{ kind: 'failed', ...failure }],
  )
}

/** Acks all that a wake named and ends it: the webhook answered `done`. */
export function doneCommand(
  id: string,
  wakeId: string,
  issue: Issue,
): SubscriptionCommand<undefined> {
  return ofWake(id, wakeId, (life, current) => {
    const acks = [...current.tails].filter(
      ([path, tail]) =>
        !isForgotten(life, current, path) && tail > (life.links.get(path)?.acked ?? tail),
    )
    return ending(life, { kind: 'acked', acks, done: true, leaseMs: 0 }, issue)
  })
}

/** Ends a lease that nobody has renewed in time (PROTOCOL §7.3). */
export function expireCommand(
  id: string,
  wakeId: string,
  issue: Issue,
): SubscriptionCommand<undefined> {
  return ofWake(id, wakeId, (life, current, now) =>
    isExpired(current, now) ? ending(life, { kind: 'ended', reason: 'expired' }, issue) : [],
  )
}

/** Whether the lease of a wake is over at `now`, in ms. */
export function isExpired({ phase }: Wake, now: number): boolean {
  return phase.kind === 'leased' && phase.until <= now
}

/** Takes over a wake whose gateway is gone. */
export function adoptCommand(
  id: string,
  runner: string,
  isGone: (gateway: string) => boolean,
): SubscriptionCommand<undefined> {
  return (state) => {
    const { wake, id: found } = state.incarnation ?? {}
    if (found !== id || wake === undefined) return answer(undefined)
    if (wake.runner === runner || !isGone(wake.runner)) return answer(undefined)
    return write(state, [{ kind: 'adopted', runner }], undefined)
  }
}

/** Writes what is decided about a wake, as long as it is in flight. */
function ofWake(
  id: string,
  wakeId: string,
  decide: (life: Subscription, wake: Wake, now: number) => readonly SubscriptionEvent[],
): SubscriptionCommand<undefined> {
  return (state: SubscriptionState, now: number): Decision<undefined> => {
    const life = state.incarnation
    if (life?.id !== id || life.wake?.id !== wakeId) return answer(undefined)
    const events = decide(life, life.wake, now)
    return events.length === 0 ? answer(undefined) : write(state, events, undefined)
  }
}
