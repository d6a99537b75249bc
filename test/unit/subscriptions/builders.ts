/** Configurations, states and turns for the tests of `src/subscriptions`. */
import { expect } from 'vitest'
import type { Command } from '../../../src/journal/command.ts'
import { kindOf } from '../../../src/journal/envelope.ts'
import { EMPTY_STATE } from '../../../src/journal/state.ts'
import type { LogState, Rules } from '../../../src/journal/state.ts'
import type { AppendRecord } from '../../../src/log/log.ts'
import { formatOffset } from '../../../src/protocol/offset.ts'
import {
  DIRECTORY_RULES,
  encodeDirectoryEvent,
} from '../../../src/subscriptions/directory-state.ts'
import type {
  Directory,
  DirectoryEntry,
  DirectoryEvent,
  DirectoryState,
} from '../../../src/subscriptions/directory-state.ts'
import type { SubscriptionConfig, SubscriptionEvent } from '../../../src/subscriptions/events.ts'
import { SUBSCRIPTION_RULES, encodeEvent } from '../../../src/subscriptions/subscription.ts'
import type {
  Link,
  Subscription,
  SubscriptionState,
} from '../../../src/subscriptions/subscription.ts'
import type { Issue } from '../../../src/subscriptions/work.ts'

/** The gateway's clock and the log's in tests that have one time only. */
export const NOW = 1_700_000_000_000
export const LEASE_MS = 30_000

export const WEBHOOK: SubscriptionConfig = {
  type: 'webhook',
  pattern: 'events/*',
  webhookUrl: 'https://worker.example/hooks',
  leaseTtlMs: LEASE_MS,
  hash: 'h1',
  root: 'https://host/v1/stream/',
}
export const PULL: SubscriptionConfig = {
  type: 'pull-wake',
  pattern: 'events/*',
  wakeStream: 'wake/pool',
  leaseTtlMs: LEASE_MS,
  hash: 'h2',
  root: 'https://host/v1/stream/',
}

/** An offset that a stream may have. */
export const at = (seqNum: number): string => formatOffset({ depth: 0, seqNum })

/** Offsets by stream, as tests write them down. */
export type Offsets = Readonly<Record<string, string>>

/** Offsets as they are in memory. */
export const mapOf = (offsets: Offsets): ReadonlyMap<string, string> =>
  new Map(Object.entries(offsets))

/** Offsets as they are in records. */
export const pairsOf = (offsets: Offsets): readonly (readonly [string, string])[] =>
  Object.entries(offsets)

/** What a gateway brings along for the wake `w1`. */
export function issue(offsets: Offsets = {}, more: Partial<Issue> = {}): Issue {
  const tails = mapOf(offsets)
  return { runner: 'g1', wakeId: 'w1', tails, thorough: false, maxStreams: 100, ...more }
}

/** Folds records that come next, all at one time. */
export function folded<Life>(
  rules: Rules<Life>,
  from: LogState<Life>,
  records: readonly AppendRecord[],
  timestamp = NOW,
): LogState<Life> {
  return records.reduce(
    (state, record) => rules.apply(state, { ...record, seqNum: state.nextSeq, timestamp }),
    from,
  )
}

/** The state behind events of a subscription that come next. */
export function happened(
  from: SubscriptionState,
  events: readonly SubscriptionEvent[],
  timestamp = NOW,
): SubscriptionState {
  const records = events.map((event) => encodeEvent(event, { checkpoint: from.checkpoint }))
  return folded(SUBSCRIPTION_RULES, from, records, timestamp)
}

/** The event that begins `L1`. */
export function created(config: SubscriptionConfig = WEBHOOK): SubscriptionEvent {
  return { kind: 'created', id: 'L1', fencingToken: 'o:L1', creator: 'g1', config }
}

/** A subscription `L1` that its creator `g1` has not finished. */
export function halfMade(config: SubscriptionConfig = WEBHOOK): SubscriptionState {
  return happened(EMPTY_STATE, [created(config)])
}

/** A subscription `L1` that is ready, with links of the client's at these tails. */
export function begun(
  config: SubscriptionConfig = WEBHOOK,
  links: Offsets = {},
): SubscriptionState {
  const streams = Object.entries(links).map(([path, tail]) => ({ path, tail }))
  return happened(halfMade(config), [
    { kind: 'linked', type: 'explicit', streams },
    { kind: 'ready', streams: streams.length },
  ])
}

/** The state behind events of the directory that come next. */
export function told(from: DirectoryState, events: readonly DirectoryEvent[]): DirectoryState {
  const records = events.map((event) => encodeDirectoryEvent(event, from))
  return folded(DIRECTORY_RULES, from, records)
}

export const entry = (more: Partial<DirectoryEntry> = {}): DirectoryEntry => {
  return { subscription: 's', pattern: 'events/*', streams: [], wakeStream: undefined, ...more }
}

/** What became of a command: the state behind it, what it wrote, and what its caller heard. */
export type Turn<Life, Answer> = {
  readonly state: LogState<Life>
  readonly wrote: readonly object[]
  readonly heard: Answer | Error
}

/** Has a command decided on a state, and its records written at once. */
export function turn<Life, Answer>(
  rules: Rules<Life>,
  state: LogState<Life>,
  command: Command<Life, Answer>,
  now = NOW,
): Turn<Life, Answer> {
  const decision = command(state, now)
  if (decision.kind === 'group') throw new Error('no subscription writes groups')
  const records = decision.kind === 'write' ? decision.records : []
  return {
    state: folded(rules, state, records, now),
    wrote: records.map(readable),
    heard: decision.kind === 'refuse' ? decision.error : decision.answer,
  }
}

/** As {@link turn}, of a subscription. */
export function take<Answer>(
  state: SubscriptionState,
  command: Command<Subscription, Answer>,
  now = NOW,
): Turn<Subscription, Answer> {
  return turn(SUBSCRIPTION_RULES, state, command, now)
}

/** As {@link turn}, of the directory. */
export function takeIn<Answer>(
  state: DirectoryState,
  command: Command<Directory, Answer>,
  now = NOW,
): Turn<Directory, Answer> {
  return turn(DIRECTORY_RULES, state, command, now)
}

/** The state of a subscription behind commands that went to the log one by one. */
export function after(
  state: SubscriptionState,
  commands: readonly Command<Subscription, unknown>[],
  now = NOW,
): SubscriptionState {
  return commands.reduce((current, command) => {
    const next = take(current, command, now)
    if (next.heard instanceof Error) throw next.heard
    return next.state
  }, state)
}

/** A record as `s2 read` shows it to a person. */
function readable(record: AppendRecord): object {
  if (record.kind !== 'data') return record
  const kind = kindOf({ ...record, seqNum: 0, timestamp: 0 })
  return { ...(JSON.parse(Buffer.from(record.body).toString()) as object), kind }
}

/** The life that a test knows to be there. */
export function lifeOf({ incarnation }: SubscriptionState): Subscription {
  if (incarnation === undefined) throw new Error('there is no subscription')
  return incarnation
}

/** The directory that a test knows to have begun. */
export function directoryOf({ incarnation }: DirectoryState): Directory {
  if (incarnation === undefined) throw new Error('there is no directory')
  return incarnation
}

export const linksOf = (state: SubscriptionState): Readonly<Record<string, Link>> =>
  Object.fromEntries(lifeOf(state).links)

/** An error of this code. */
export const code = (name: string): unknown => expect.objectContaining({ code: name })

/** Names of one length and make that only their last characters tell apart. */
export function longNames(character: string, count: number): string[] {
  const room = 512 - 5
  const filler = character.repeat(Math.floor(room / Buffer.byteLength(character)))
  return Array.from({ length: count }, (_, index) => filler + String(index).padStart(5, '0'))
}

/** Names that take as much as they can, by what is dear about them. */
export const DEAR_NAMES = [
  ['ASCII', 'x'],
  ['characters that JSON escapes', '"'],
  ['characters of 2 bytes', 'é'],
  ['characters of 3 bytes', '中'],
  ['characters of 4 bytes', '\u{1f600}'],
] as const
