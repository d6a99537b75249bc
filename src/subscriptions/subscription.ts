/**
 * A subscription as a fold over its log (PROTOCOL §6, §7). PURE: no clock, only record timestamps.
 *
 * It is idle, or exactly one wake is in flight. All that two gateways could disagree about, who
 * wakes, who delivers, how far the subscriber has got, is decided by who appends first.
 */
import { Map as Links } from 'immutable'
import { encodeRecord, kindOf } from '../journal/envelope.ts'
import type { RecordContext } from '../journal/envelope.ts'
import { mapIncarnation, step, wholeState } from '../journal/state.ts'
import type { LogState, Rules } from '../journal/state.ts'
import type { AppendRecord, LogRecord } from '../log/log.ts'
import { parseGlob } from '../protocol/glob.ts'
import type { Glob } from '../protocol/glob.ts'
import { BEFORE_FIRST, decodeEvent, encodeJson, placeOf } from './events.ts'
import type { SubscriptionConfig, SubscriptionEvent, SubscriptionSnapshot } from './events.ts'

/** One stream of a subscription, and how far the subscriber has got in it. */
export type Link = {
  /** Named by the client. */
  readonly explicit: boolean
  /** Found by the pattern. */
  readonly glob: boolean
  /** Offset up to which all is processed; `-1` before the first message. */
  readonly acked: string
  /** The highest tail that was noted here: work is pending while it is beyond `acked`. */
  readonly tail: string
}

/** Offsets by stream. */
export type Tails = ReadonlyMap<string, string>

/** What becomes of a wake once it is issued. */
export type WakePhase =
  /** Its webhook or wake event is on its way, or about to be: attempt 1, 2 ... */
  | { readonly kind: 'sending'; readonly attempt: number }
  /** Attempt `attempt` failed; the next one is due at `until`, in ms. */
  | { readonly kind: 'waiting'; readonly attempt: number; readonly until: number }
  /** Pull-wake: its event is in the wake stream, and nobody has claimed it. */
  | { readonly kind: 'announced' }
  /** The subscriber works on it until `until`, in ms; `holder` is the worker of a claim. */
  | { readonly kind: 'leased'; readonly until: number; readonly holder: string | undefined }

/** A wake in flight. */
export type Wake = {
  readonly id: string
  /** The gateway that delivers it and watches its time. */
  readonly runner: string
  /** What the subscriber is told: tail offsets by stream. A synchronous `done` acks these. */
  readonly tails: Tails
  readonly phase: WakePhase
}

/** One life of a subscription, from its creation to its deletion. */
export type Subscription = {
  /** Names this life; in tokens and fencing tokens. */
  readonly id: string
  /** The gateway that was asked for it. */
  readonly creator: string
  readonly config: SubscriptionConfig
  readonly createdAt: number
  /** Every stream that it matched on creation is linked: from here on it wakes. */
  readonly ready: boolean
  readonly links: Links<string, Link>
  /** Roughly what the links take in a checkpoint, in bytes. */
  readonly linkBytes: number
  /** The last generation that was issued, PROTOCOL §7.3; 0 before the first. */
  readonly generation: number
  readonly wake: Wake | undefined
}

export type SubscriptionState = LogState<Subscription>

/** Whether the subscriber has work left in a stream. */
export function isPending({ acked, tail }: Link): boolean {
  return tail > acked
}

/** What one link takes in a checkpoint, in bytes, with its punctuation. */
export function linkSize(path: string): number {
  return Buffer.byteLength(JSON.stringify(path)) + LINK_BYTES
}
const LINK_BYTES = 100

/** How subscriptions are folded. Nobody reads their history. */
export const SUBSCRIPTION_RULES: Rules<Subscription> = {
  apply,
  checkpoint: ({ fencingToken, incarnation }) =>
    encodeRecord('checkpoint', encodeJson({ fencingToken, ...snapshot(incarnation) })),
  trims: true,
}

/** Writes one event of a subscription. */
export function encodeEvent(event: SubscriptionEvent, context: RecordContext): AppendRecord {
  const { kind, ...body } = event
  // `created` and `checkpoint` carry all there is: nothing before them matters.
  return encodeRecord(kind, encodeJson(body), kind === 'created' ? undefined : context)
}

function apply(state: SubscriptionState, record: LogRecord): SubscriptionState {
  const next = step(state, record)
  if (record.kind === 'fence') return { ...next, fencingToken: record.token }
  const kind = kindOf(record)
  if (record.kind === 'trim' || kind === undefined) return next
  const event = decodeEvent(kind, record.body)
  if (event === undefined) return next
  switch (event.kind) {
    case 'created':
      return wholeState(next, record, event.fencingToken, born(event, record.timestamp))
    case 'deleted':
      return wholeState(next, record, event.fencingToken, undefined)
    case 'checkpoint':
      return wholeState(next, record, event.fencingToken, restore(event))
    default:
      return mapIncarnation(next, (life) => evolve(life, event, record.timestamp))
  }
}

function born(
  { id, creator, config }: SubscriptionEvent & { kind: 'created' },
  createdAt: number,
): Subscription {
  const links = Links<string, Link>()
  const none = { ready: false, links, linkBytes: 0, generation: 0, wake: undefined }
  return { id, creator, config, createdAt, ...none }
}

/** An event in the middle of a life. */
export type Change = Exclude<SubscriptionEvent, { kind: 'created' | 'deleted' | 'checkpoint' }>

/** What a life is after an event at a time, in ms. */
export function evolve(life: Subscription, event: Change, at: number): Subscription {
  switch (event.kind) {
    case 'ready':
      return { ...life, ready: true }
    case 'linked':
      return event.streams.reduce(
        (now, { path, tail }) => putLink(now, path, linked(now, { path, tail, type: event.type })),
        life,
      )
    case 'unlinked':
      return event.streams.reduce(unlink, life)
    case 'forgotten':
      return event.streams.reduce(forget, life)
    case 'noted':
      return note(life, event.tails)
    case 'wake': {
      const { id, runner } = event
      const tails = new Map(event.tails)
      const phase = { kind: 'sending', attempt: 1 } as const
      return { ...life, generation: event.generation, wake: { id, runner, tails, phase } }
    }
    case 'acked':
      return ack(life, event, at)
    case 'ended':
      return { ...life, wake: undefined }
    case 'sent':
    case 'failed':
    case 'claimed':
    case 'adopted':
      return life.wake === undefined
        ? life
        : { ...life, wake: evolveWake(life.wake, event, { at, config: life.config }) }
  }
}

function linked(
  { links, config }: Subscription,
  { path, tail, type }: { path: string; tail: string; type: 'explicit' | 'glob' },
): Link {
  const link = links.get(path) ?? { explicit: false, glob: false, acked: tail, tail }
  // A link that the client ends must not take with it what the pattern has found as well.
  const glob = link.glob || type === 'glob' || isFound(config, path)
  return { ...link, explicit: link.explicit || type === 'explicit', glob }
}

const globs = new WeakMap<SubscriptionConfig, Glob>()

/** Whether the pattern finds a stream. The wake stream it never does: it would wake for ever. */
export function isFound(config: SubscriptionConfig, path: string): boolean {
  const { pattern, wakeStream } = config
  if (pattern === undefined || path === wakeStream) return false
  const glob = globs.get(config) ?? parseGlob(pattern)
  globs.set(config, glob)
  return glob.matches(path)
}

function putLink(life: Subscription, path: string, link: Link): Subscription {
  const added = life.links.has(path) ? 0 : linkSize(path)
  return {
    ...life,
    links: life.links.set(path, link),
    linkBytes: life.linkBytes + added,
  }
}

/** The client's own link ends; one by the pattern stays. */
function unlink(life: Subscription, path: string): Subscription {
  const link = life.links.get(path)
  if (link === undefined) return life
  return link.glob ? putLink(life, path, { ...link, explicit: false }) : dropLink(life, path)
}

/** The stream is gone. A link by the client stays: in a new life it begins before the first message. */
function forget(life: Subscription, path: string): Subscription {
  const link = life.links.get(path)
  if (link === undefined) return life
  if (!link.explicit) return dropLink(life, path)
  return putLink(life, path, { ...link, acked: BEFORE_FIRST, tail: BEFORE_FIRST })
}

function dropLink(life: Subscription, path: string): Subscription {
  return { ...life, links: life.links.remove(path), linkBytes: life.linkBytes - linkSize(path) }
}

/** Tails that were seen: a stream that is not linked yet was found by the pattern just now. */
function note(life: Subscription, tails: Iterable<readonly [string, string]>): Subscription {
  return [...tails].reduce((now, [path, tail]) => {
    const found: Link = { explicit: false, glob: true, acked: BEFORE_FIRST, tail: BEFORE_FIRST }
    return putLink(now, path, grown(now.links.get(path) ?? found, tail))
  }, life)
}

function grown(link: Link, tail: string): Link {
  if (placeOf(tail) <= placeOf(link.tail)) return link
  // A fork in place of another stream, or the other way round: nothing of it is acked.
  const isSame = link.tail === BEFORE_FIRST || depthOf(link.tail) === depthOf(tail)
  return { ...link, tail, acked: isSame ? link.acked : BEFORE_FIRST }
}

function depthOf(offset: string): string {
  return offset.slice(0, offset.indexOf('_'))
}

function ack(
  life: Subscription,
  { acks, done, leaseMs }: SubscriptionEvent & { kind: 'acked' },
  at: number,
): Subscription {
  const links = life.links.withMutations((map) => {
    for (const [path, acked] of acks) {
      const link = map.get(path)
      if (link === undefined) continue
      map.set(path, { ...link, acked, tail: acked > link.tail ? acked : link.tail })
    }
  })
  if (done || life.wake === undefined) return { ...life, links, wake: undefined }
  const { phase } = life.wake
  const holder = phase.kind === 'leased' ? phase.holder : undefined
  const leased = { kind: 'leased', until: at + leaseMs, holder } as const
  return { ...life, links, wake: { ...life.wake, phase: leased } }
}

type WakeChange = Extract<Change, { kind: 'sent' | 'failed' | 'claimed' | 'adopted' }>

function evolveWake(
  wake: Wake,
  event: WakeChange,
  { at, config }: { readonly at: number; readonly config: SubscriptionConfig },
): Wake {
  const { phase } = wake
  switch (event.kind) {
    case 'adopted':
      return { ...wake, runner: event.runner }
    case 'claimed': {
      const until = at + config.leaseTtlMs
      const tails = new Map(event.tails)
      const leased = { kind: 'leased', until, holder: event.worker } as const
      return { ...wake, runner: event.runner, tails, phase: leased }
    }
    case 'failed': {
      if (phase.kind !== 'sending' && phase.kind !== 'waiting') return wake
      const { attempt } = event
      return { ...wake, phase: { kind: 'waiting', attempt, until: at + event.delayMs } }
    }
    case 'sent': {
      if (phase.kind !== 'sending' && phase.kind !== 'waiting') return wake
      if (config.type === 'pull-wake') return { ...wake, phase: { kind: 'announced' } }
      const leased = { kind: 'leased', until: at + event.leaseMs, holder: undefined } as const
      return { ...wake, phase: leased }
    }
  }
}

function snapshot(life: Subscription | undefined): Omit<SubscriptionSnapshot, 'fencingToken'> {
  if (life === undefined) return {}
  const { id, creator, config, createdAt, ready, generation, wake } = life
  const links = [...life.links].map(
    ([path, { explicit, glob, acked, tail }]) =>
      [path, (explicit ? 1 : 0) + (glob ? 2 : 0), acked, tail] as const,
  )
  const flat = wake && { ...wake, tails: [...wake.tails] }
  return { life: { id, creator, config, createdAt, ready, generation, wake: flat, links } }
}

function restore({ life }: SubscriptionSnapshot): Subscription | undefined {
  if (life === undefined) return undefined
  const { id, creator, config, createdAt, ready, generation } = life
  const links = Links<string, Link>(
    life.links.map(([path, types, acked, tail]) => [
      path,
      { explicit: (types & 1) !== 0, glob: (types & 2) !== 0, acked, tail },
    ]),
  )
  const linkBytes = life.links.reduce((sum, [path]) => sum + linkSize(path), 0)
  const wake = life.wake && { ...life.wake, tails: new Map(life.wake.tails) }
  return { id, creator, config, createdAt, ready, generation, links, linkBytes, wake }
}
