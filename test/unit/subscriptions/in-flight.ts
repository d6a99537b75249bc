/** Subscriptions with a wake in flight, and commands about it. */
import { isPending } from '../../../src/subscriptions/subscription.ts'
import type { SubscriptionState, WakePhase } from '../../../src/subscriptions/subscription.ts'
import { ackCommand, claimCommand, releaseCommand } from '../../../src/subscriptions/leases.ts'
import type { AckRequest } from '../../../src/subscriptions/leases.ts'
import {
  advanceCommand,
  doneCommand,
  expireCommand,
  failedCommand,
  sentCommand,
} from '../../../src/subscriptions/wakes.ts'
import type { Issue } from '../../../src/subscriptions/work.ts'
import { PULL, WEBHOOK, after, at, begun, code, issue, lifeOf, mapOf } from './builders.ts'
import type { Offsets } from './builders.ts'

export const FENCED = code('FENCED')
export const FENCE = { wakeId: 'w1', generation: 1 }

/** What a gateway brings along that may end the wake `w1`: the next one is `w2`. */
export const next = (tails: Offsets = {}, more: Partial<Issue> = {}): Issue =>
  issue(tails, { wakeId: 'w2', ...more })

export const advance = (tails: Offsets, more: Partial<Issue> = {}) =>
  advanceCommand('L1', issue(tails, more))
export const claim = (worker: string, tails: Offsets = {}, more: Partial<Issue> = {}) =>
  claimCommand('L1', worker, issue(tails, more))
/** Progress of the wake `w1`, by a gateway that knows these tails. */
export const ack = (acks: Offsets, more: Partial<AckRequest> = {}, tails: Offsets = {}) =>
  ackCommand('L1', { ...FENCE, acks: mapOf(acks), done: false, ...more }, next(tails))
export const release = (fence = FENCE, tails: Offsets = {}) =>
  releaseCommand('L1', fence, next(tails))
export const expire = (wakeId = 'w1', tails: Offsets = {}) =>
  expireCommand('L1', wakeId, next(tails))
export const done = doneCommand('L1', 'w1', next())
export const sent = sentCommand('L1', 'w1', 900)
export const failed = failedCommand('L1', 'w1', { attempt: 1, delayMs: 50, reason: 'r' })

/** One stream with work, and the wake for it just issued. */
export const woken = after(begun(WEBHOOK, { a: at(1) }), [advance({ a: at(5) })])
export const pulled = after(begun(PULL, { a: at(1) }), [advance({ a: at(5) }), sent])
export const claimed = after(pulled, [claim('bob')])

export const phaseOf = (state: SubscriptionState): WakePhase | undefined =>
  lifeOf(state).wake?.phase
export const pendingOf = (state: SubscriptionState): string[] => [
  ...lifeOf(state).links.filter(isPending).keys(),
]
/** Streams `s0`, `s1` ... all at one tail. */
export const streams = (count: number, tail: string): Offsets =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`s${index}`, tail]))
