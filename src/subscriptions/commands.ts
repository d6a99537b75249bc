/** Creating, linking and deleting, decided over a subscription's state (PROTOCOL §6). PURE. */
import { refuse } from '../journal/command.ts'
import type { Command, Decision } from '../journal/command.ts'
import { deletedToken, incarnationToken } from '../journal/state.ts'
import type { AppendRecord } from '../log/log.ts'
import { SubscriptionError } from './errors.ts'
import type { SubscriptionConfig, SubscriptionEvent } from './events.ts'
import { encodeEvent, linkSize } from './subscription.ts'
import type { Link, Subscription, SubscriptionState } from './subscription.ts'

type SubscriptionCommand<Answer> = Command<Subscription, Answer>

/** What the links of one subscription may take in a checkpoint, which is one record of 1 MiB. */
export const MAX_LINK_BYTES = 640 * 1024

/** `pending`: another request is about to create it, and it is too early to tell what becomes of it. */
export type Creation = 'created' | 'confirmed' | 'pending'

/** What tells a creation that goes on from one that nobody goes on with. */
export type Patience = {
  readonly isGone: (gateway: string) => boolean
  /** After this long without a record of it, in ms, nobody waits for a creator that lives. */
  readonly patienceMs: number
}

/** What a creation begins with. */
export type NewLife = {
  readonly id: string
  /** The gateway that creates it. */
  readonly creator: string
  readonly config: SubscriptionConfig
}

/**
 * Begins a subscription, or finds the one that the same request made (PROTOCOL §6.2).
 *
 * One that has not become ready was answered to nobody yet. It is left alone as long as its
 * creator may go on with it.
 */
export function createCommand(life: NewLife, patience: Patience): SubscriptionCommand<Creation> {
  return (state, now) => {
    const found = state.incarnation
    const { id, creator, config } = life
    if (found?.ready === true) {
      return found.config.hash === config.hash ? answer('confirmed') : refuse(otherConfiguration())
    }
    if (found !== undefined && !isAbandoned(state, found, patience, now)) return answer('pending')
    const fencingToken = incarnationToken(id)
    const created = { kind: 'created', id, fencingToken, creator, config } as const
    const records = [{ kind: 'fence', token: fencingToken } as const, encode(created, state)]
    return { kind: 'write', records, answer: 'created' }
  }
}

function isAbandoned(
  { timestamp = 0 }: SubscriptionState,
  { creator }: Subscription,
  { isGone, patienceMs }: Patience,
  now: number,
): boolean {
  return isGone(creator) || now - timestamp >= patienceMs
}

function otherConfiguration(): SubscriptionError {
  const message = 'the subscription exists with another configuration'
  return new SubscriptionError('SUBSCRIPTION_ALREADY_EXISTS', message)
}

/** Streams to link, with the tails they were seen at. */
export type NewLinks = {
  readonly type: 'explicit' | 'glob'
  readonly streams: readonly { readonly path: string; readonly tail: string }[]
  readonly maxStreams: number
}

/** Links streams at the tails they have, unless they are linked already. */
export function linkCommand(
  id: string,
  { type, streams, maxStreams }: NewLinks,
): SubscriptionCommand<undefined> {
  return withLife(id, (life, state) => {
    const news = streams.filter(({ path }) => life.links.get(path)?.[type] !== true)
    if (news.length === 0) return answer(undefined)
    const added = news.filter(({ path }) => !life.links.has(path))
    const bytes = added.reduce((sum, { path }) => sum + linkSize(path), 0)
    if (!hasRoom(life, { streams: added.length, bytes }, maxStreams)) {
      return refuse(tooManyStreams(maxStreams))
    }
    return write(state, [{ kind: 'linked', type, streams: news }], undefined)
  })
}

/** Whether so many more links of that size fit, see {@link MAX_LINK_BYTES}. */
export function hasRoom(
  { links, linkBytes }: Subscription,
  added: { readonly streams: number; readonly bytes: number },
  maxStreams: number,
): boolean {
  return links.size + added.streams <= maxStreams && linkBytes + added.bytes <= MAX_LINK_BYTES
}

function tooManyStreams(maxStreams: number): SubscriptionError {
  return new SubscriptionError(
    'LIMIT_REACHED',
    `a subscription has at most ${maxStreams} streams, and ${MAX_LINK_BYTES} bytes of their names`,
  )
}

/** Shows that whoever creates the subscription is still at it, when that is due. */
export function stillCreatingCommand(id: string, everyMs: number): SubscriptionCommand<undefined> {
  return withLife(id, (_life, state, now) =>
    now - (state.timestamp ?? 0) < everyMs
      ? answer(undefined)
      : write(state, [{ kind: 'linked', type: 'glob', streams: [] }], undefined),
  )
}

/** Says that all streams which matched on creation are linked. */
export function readyCommand(id: string): SubscriptionCommand<undefined> {
  return withLife(id, (life, state) =>
    life.ready
      ? answer(undefined)
      : write(state, [{ kind: 'ready', streams: life.links.size }], undefined),
  )
}

/** Ends the client's own links (PROTOCOL §6.4). */
export function unlinkCommand(
  id: string,
  streams: readonly string[],
): SubscriptionCommand<undefined> {
  return withLife(id, (life, state) => {
    const linked = streams.filter((path) => life.links.get(path)?.explicit === true)
    if (linked.length === 0) return answer(undefined)
    return write(state, [{ kind: 'unlinked', streams: linked }], undefined)
  })
}

/**
 * Forgets streams that were found to be gone, unless something came of them since `seen`: then
 * they may have come again.
 */
export function forgetCommand(
  id: string,
  seen: ReadonlyMap<string, Link>,
): SubscriptionCommand<'idle' | 'absent'> {
  return (state) => {
    const life = state.incarnation
    if (life?.id !== id) return answer('absent')
    const gone = [...seen].filter(([path, { acked, tail }]) => {
      const link = life.links.get(path)
      return link?.acked === acked && link.tail === tail
    })
    if (gone.length === 0) return answer('idle')
    return write(state, [{ kind: 'forgotten', streams: gone.map(([path]) => path) }], 'idle')
  }
}

/** Ends the subscription for good (PROTOCOL §6.3). Answers the life that ended, if there was one. */
export const deleteCommand: SubscriptionCommand<string | undefined> = (state) => {
  const { incarnation } = state
  return incarnation === undefined ? answer(undefined) : bury(state, incarnation)
}

/**
 * Ends a life that never became ready because whoever was creating it has died, or is too slow:
 * it can't become ready any more. Answers whether the life is over.
 */
export function giveUpCommand(id: string, patience: Patience): SubscriptionCommand<boolean> {
  return (state, now) => {
    const { incarnation } = state
    if (incarnation?.id !== id) return answer(true)
    const isOver = !incarnation.ready && isAbandoned(state, incarnation, patience, now)
    if (!isOver) return answer(false)
    return { ...bury(state, incarnation), answer: true }
  }
}

/**
 * Ends a life whose creation has failed. Answers whether it is over: one that has become ready,
 * though its creator did not hear of it, may have been confirmed to somebody else.
 */
export function abandonCommand(id: string): SubscriptionCommand<boolean> {
  return (state) => {
    const { incarnation } = state
    if (incarnation?.id !== id) return answer(true)
    return incarnation.ready ? answer(false) : { ...bury(state, incarnation), answer: true }
  }
}

function bury(
  state: SubscriptionState,
  { id }: Subscription,
): Decision<string> & { readonly kind: 'write' } {
  const tail = state.nextSeq + 3
  const fencingToken = deletedToken(tail)
  return {
    kind: 'write',
    records: [
      { kind: 'fence', token: fencingToken },
      encode({ kind: 'deleted', fencingToken }, state),
      { kind: 'trim', before: tail },
    ],
    answer: id,
    // So that the token alone tells whether it was applied.
    alone: true,
  }
}

/**
 * Makes a command of what is decided over the life that a caller knows.
 *
 * Another life, or none, says that the subscription was deleted: PROTOCOL §6.3 wants what is in
 * flight for it to fail.
 */
export function withLife<Answer>(
  id: string,
  decide: (life: Subscription, state: SubscriptionState, now: number) => Decision<Answer>,
): SubscriptionCommand<Answer> {
  return (state, now) => {
    const life = state.incarnation
    return life?.id === id ? decide(life, state, now) : refuse(notFound())
  }
}

/** There is no such subscription, or it is another one by now. */
export function notFound(): SubscriptionError {
  return new SubscriptionError('SUBSCRIPTION_NOT_FOUND', 'there is no such subscription')
}

/** Nothing to write. */
export function answer<Answer>(value: Answer): Decision<Answer> {
  return { kind: 'answer', answer: value }
}

/** Writes events, and answers once they are durable. */
export function write<Answer>(
  state: SubscriptionState,
  events: readonly SubscriptionEvent[],
  value: Answer,
): Decision<Answer> {
  return { kind: 'write', records: events.map((event) => encode(event, state)), answer: value }
}

function encode(event: SubscriptionEvent, { checkpoint }: SubscriptionState): AppendRecord {
  return encodeEvent(event, { checkpoint })
}
