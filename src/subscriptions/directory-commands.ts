/** What a gateway may do with the directory, as pure decisions over its state. PURE. */
import type { Command, Decision } from '../journal/command.ts'
import { refuse } from '../journal/command.ts'
import { incarnationToken } from '../journal/state.ts'
import { OverloadedError } from '../errors.ts'
import type { AppendRecord, SeqNum } from '../log/log.ts'
import { notFound } from './commands.ts'
import { encodeDirectoryEvent, markSize } from './directory-state.ts'
import type {
  Directory,
  DirectoryEntry,
  DirectoryEvent,
  DirectoryState,
  Mark,
  Member,
} from './directory-state.ts'
import { SubscriptionError } from './errors.ts'

type DirectoryCommand<Answer> = Command<Directory, Answer>

/** All of it must fit in one checkpoint record of 1 MiB; each kind has its part. */
export const MAX_MARK_BYTES = 384 * 1024
export const MAX_ENTRY_BYTES = 384 * 1024

/** Says that a gateway is there and knows all that the directory holds. */
export function aliveCommand(gateway: string): DirectoryCommand<undefined> {
  return (state) => write(state, [{ kind: 'alive', gateway }], undefined)
}

/** Takes marks in hand and lets go of others. */
export function markCommand(
  gateway: string,
  { add, drop }: { readonly add: readonly Mark[]; readonly drop: readonly Mark[] },
): DirectoryCommand<undefined> {
  return (state) => {
    const bytes = state.incarnation?.markBytes ?? 0
    if (add.length > 0 && bytes + sum(add, markSize) > MAX_MARK_BYTES) {
      return refuse(new OverloadedError('too many streams with subscriptions are active'))
    }
    return write(state, [{ kind: 'marked', gateway, add, drop }], undefined)
  }
}

function sum<Item>(items: Iterable<Item>, sizeOf: (item: Item) => number): number {
  let total = 0
  for (const item of items) total += sizeOf(item)
  return total
}

/** Leaves; what the gateway had in hand is for others to look after. */
export function leaveCommand(gateway: string): DirectoryCommand<undefined> {
  return (state) =>
    state.incarnation?.gateways.has(gateway) === true
      ? write(state, [{ kind: 'left', gateway }], undefined)
      : { kind: 'answer', answer: undefined }
}

/**
 * Takes over what a gateway had in hand that has been silent since its record `seen`. Answers
 * nothing when it has written since: then it lives.
 */
export function takeOverCommand(
  gateway: string,
  silent: { readonly id: string; readonly seen: SeqNum },
): DirectoryCommand<readonly Mark[]> {
  return (state) => {
    const { incarnation } = state
    const member: Member | undefined = incarnation?.gateways.get(silent.id)
    if (incarnation === undefined || member === undefined || member.seen !== silent.seen) {
      return { kind: 'answer', answer: [] }
    }
    const inherited = [...member.marks.union(incarnation.orphans)]
    return write(state, [{ kind: 'left', gateway: silent.id }, adopted(gateway)], inherited)
  }
}

/** Takes over what gateways have left behind, unless another one was first. */
export function adoptOrphansCommand(gateway: string): DirectoryCommand<readonly Mark[]> {
  return (state) => {
    const orphans = [...(state.incarnation?.orphans ?? [])]
    if (orphans.length === 0) return { kind: 'answer', answer: [] }
    return write(state, [adopted(gateway)], orphans)
  }
}

function adopted(gateway: string): DirectoryEvent {
  return { kind: 'adopted', gateway }
}

/** What is to be known of a life, in place of what is known now; undefined: it is over. */
export type EntryChange = (known: DirectoryEntry | undefined) => DirectoryEntry | undefined

/** Makes a life of a subscription known, or changes what is known of it. */
export function subscribeCommand(
  gateway: string,
  life: string,
  change: EntryChange,
): DirectoryCommand<undefined> {
  return (state) => {
    const entry = change(state.incarnation?.subscriptions.get(life))
    if (entry === undefined) return refuse(notFound())
    const others = state.incarnation?.subscriptions.remove(life)
    const bytes = others === undefined ? 0 : sum(others.values(), entrySize)
    if (bytes + entrySize(entry) > MAX_ENTRY_BYTES) {
      return refuse(
        new SubscriptionError('LIMIT_REACHED', 'there is no room for more subscriptions'),
      )
    }
    return write(state, [{ kind: 'subscribed', gateway, life, entry }], undefined)
  }
}

/** What an entry takes in a checkpoint, in bytes, with the life before it. */
function entrySize(entry: DirectoryEntry): number {
  return Buffer.byteLength(JSON.stringify(entry)) + LIFE_BYTES
}
const LIFE_BYTES = 30

/** Makes a life of a subscription unknown. */
export function unsubscribeCommand(gateway: string, life: string): DirectoryCommand<undefined> {
  return (state) =>
    state.incarnation?.subscriptions.has(life) === true
      ? write(state, [{ kind: 'unsubscribed', gateway, life }], undefined)
      : { kind: 'answer', answer: undefined }
}

/** The first one who writes begins the directory. */
function write<Answer>(
  state: DirectoryState,
  events: readonly DirectoryEvent[],
  answer: Answer,
): Decision<Answer> {
  const begun = state.incarnation !== undefined
  const records: AppendRecord[] = []
  if (!begun) {
    // Nobody has to tell one life of the directory from another: there is only ever one.
    const fencingToken = incarnationToken('directory')
    const created = { kind: 'created', id: 'directory', fencingToken } as const
    records.push({ kind: 'fence', token: fencingToken }, encodeDirectoryEvent(created, state))
  }
  const checkpoint = begun ? state.checkpoint : state.nextSeq + 1
  records.push(...events.map((event) => encodeDirectoryEvent(event, { checkpoint })))
  return { kind: 'write', records, answer }
}
