/**
 * What all gateways over one S2 share about subscriptions, as a fold over one log: which
 * subscriptions there are, which gateways, and what each of them has in hand. PURE.
 *
 * A gateway marks a stream before it appends to it, and a subscription before it wakes it, so
 * that if it dies others know what to look after: no more than that, and nothing else.
 */
import { Map, Set } from 'immutable'
import { z } from 'zod'
import { encodeRecord, kindOf } from '../journal/envelope.ts'
import { mapIncarnation, step, wholeState } from '../journal/state.ts'
import type { LogState, Rules } from '../journal/state.ts'
import type { AppendRecord, LogRecord, SeqNum } from '../log/log.ts'
import { decodeKind, encodeJson } from './events.ts'

/** What a gateway has in hand: a stream it appends to, or a subscription it wakes. */
export type Mark = `stream:${string}` | `wake:${string}`

/** One life of a subscription, as far as appends have to know it. */
export type DirectoryEntry = {
  readonly subscription: string
  readonly pattern: string | undefined
  /** Streams linked by the client. */
  readonly streams: readonly string[]
  /** Where its wake events go: they are no work for itself. */
  readonly wakeStream: string | undefined
}

export type Member = {
  /** The last record it wrote: it knew all records before that one. */
  readonly seen: SeqNum
  readonly marks: Set<Mark>
}

export type Directory = {
  readonly id: string
  readonly gateways: Map<string, Member>
  /** What gateways that are gone had in hand. */
  readonly orphans: Set<Mark>
  /** Roughly what all marks take in a checkpoint, in bytes. */
  readonly markBytes: number
  /** By their lives: an old one and a new one of the same name do not touch. */
  readonly subscriptions: Map<string, DirectoryEntry>
  /** The last record that made a subscription known: whoever wrote later knows it. */
  readonly newest: SeqNum
}

export type DirectoryState = LogState<Directory>

/** The directory before anything is in it. */
export const EMPTY_DIRECTORY: Directory = {
  id: '',
  gateways: Map(),
  orphans: Set(),
  markBytes: 0,
  subscriptions: Map(),
  newest: 0,
}

const marks = z.array(z.custom<Mark>((mark) => typeof mark === 'string')).readonly()
const entry = z.object({
  subscription: z.string(),
  pattern: z.string().optional().transform(orUndefined),
  streams: z.array(z.string()).readonly(),
  wakeStream: z.string().optional().transform(orUndefined),
})
const gateway = z.string()
const snapshot = z.object({
  fencingToken: z.string(),
  directory: z
    .object({
      id: z.string(),
      gateways: z.array(z.object({ id: gateway, seen: z.int().nonnegative(), marks })).readonly(),
      orphans: marks,
      subscriptions: z.array(z.tuple([z.string(), entry]).readonly()).readonly(),
      newest: z.int().nonnegative(),
    })
    .optional(),
})

const bodies = {
  created: z.object({ id: z.string(), fencingToken: z.string() }),
  checkpoint: snapshot,
  /** A gateway is there, and has read all that comes before. */
  alive: z.object({ gateway }),
  /** A gateway takes these in hand, and lets go of those. */
  marked: z.object({ gateway, add: marks, drop: marks }),
  /** A gateway leaves, or others have found that it is gone. */
  left: z.object({ gateway }),
  /** A gateway takes what others have left in hand. */
  adopted: z.object({ gateway }),
  subscribed: z.object({ gateway, life: z.string(), entry }),
  unsubscribed: z.object({ gateway, life: z.string() }),
} as const

function orUndefined(text: string | undefined): string | undefined {
  return text
}

type Kind = keyof typeof bodies

export type DirectoryEvent = {
  readonly [K in Kind]: { readonly kind: K } & Readonly<z.infer<(typeof bodies)[K]>>
}[Kind]

/** How the directory is folded. Nobody reads its history. */
export const DIRECTORY_RULES: Rules<Directory> = {
  apply,
  checkpoint: ({ fencingToken, incarnation }) =>
    encodeRecord('checkpoint', encodeJson({ fencingToken, directory: toSnapshot(incarnation) })),
  trims: true,
}

/** Writes one event of the directory. */
export function encodeDirectoryEvent(
  { kind, ...body }: DirectoryEvent,
  { checkpoint }: Pick<DirectoryState, 'checkpoint'>,
): AppendRecord {
  return encodeRecord(kind, encodeJson(body), kind === 'created' ? undefined : { checkpoint })
}

function decode(kind: string, body: Uint8Array): DirectoryEvent | undefined {
  return decodeKind(bodies, kind, body) as DirectoryEvent | undefined
}

function apply(state: DirectoryState, record: LogRecord): DirectoryState {
  const next = step(state, record)
  if (record.kind === 'fence') return { ...next, fencingToken: record.token }
  const kind = kindOf(record)
  if (record.kind === 'trim' || kind === undefined) return next
  const event = decode(kind, record.body)
  if (event === undefined) return next
  switch (event.kind) {
    case 'created': {
      return wholeState(next, record, event.fencingToken, { ...EMPTY_DIRECTORY, id: event.id })
    }
    case 'checkpoint':
      return wholeState(next, record, event.fencingToken, restore(event))
    default:
      return mapIncarnation(next, (directory) => evolve(directory, event, record.seqNum))
  }
}

type Change = Exclude<DirectoryEvent, { kind: 'created' | 'checkpoint' }>

function evolve(directory: Directory, event: Change, seqNum: SeqNum): Directory {
  const { subscriptions } = directory
  switch (event.kind) {
    case 'alive':
      return seen(directory, event.gateway, seqNum)
    case 'marked':
      return mark(seen(directory, event.gateway, seqNum), event)
    case 'left':
      return leave(directory, event.gateway)
    case 'adopted':
      return adopt(seen(directory, event.gateway, seqNum), event.gateway)
    case 'subscribed': {
      const known = subscriptions.set(event.life, event.entry)
      return seen({ ...directory, subscriptions: known, newest: seqNum }, event.gateway, seqNum)
    }
    case 'unsubscribed': {
      const known = subscriptions.remove(event.life)
      return seen({ ...directory, subscriptions: known }, event.gateway, seqNum)
    }
  }
}

/** A gateway has written a record: it is there. */
function seen(directory: Directory, id: string, seqNum: SeqNum): Directory {
  const marks = directory.gateways.get(id)?.marks ?? Set<Mark>()
  return { ...directory, gateways: directory.gateways.set(id, { seen: seqNum, marks }) }
}

function mark(
  directory: Directory,
  { gateway: id, add, drop }: { gateway: string; add: readonly Mark[]; drop: readonly Mark[] },
): Directory {
  const member = directory.gateways.get(id)
  if (member === undefined) return directory
  let { markBytes } = directory
  // Only what changes is looked at: a gateway may have thousands of them.
  const held = member.marks.withMutations((marks) => {
    for (const each of add) {
      if (!marks.has(each)) markBytes += markSize(each)
      marks.add(each)
    }
    for (const each of drop) {
      if (marks.has(each)) markBytes -= markSize(each)
      marks.remove(each)
    }
  })
  const gateways = directory.gateways.set(id, { ...member, marks: held })
  return { ...directory, gateways, markBytes }
}

function leave(directory: Directory, id: string): Directory {
  const { gateways, orphans } = directory
  const left = gateways.get(id)?.marks ?? Set<Mark>()
  const twice = sumOf(left.filter((each) => orphans.has(each)))
  return {
    ...directory,
    gateways: gateways.remove(id),
    orphans: orphans.union(left),
    markBytes: directory.markBytes - twice,
  }
}

function adopt(directory: Directory, id: string): Directory {
  const { gateways, orphans } = directory
  const member = gateways.get(id)
  if (member === undefined) return directory
  const twice = sumOf(orphans.filter((each) => member.marks.has(each)))
  return {
    ...directory,
    gateways: gateways.set(id, { ...member, marks: member.marks.union(orphans) }),
    orphans: orphans.clear(),
    markBytes: directory.markBytes - twice,
  }
}

/** What a mark takes in a checkpoint, in bytes: a JSON string and a comma. */
export function markSize(each: Mark): number {
  return Buffer.byteLength(JSON.stringify(each)) + 1
}

function sumOf(held: Iterable<Mark>): number {
  let bytes = 0
  for (const each of held) bytes += markSize(each)
  return bytes
}

function toSnapshot(directory: Directory | undefined): z.input<typeof snapshot>['directory'] {
  if (directory === undefined) return undefined
  const { id, gateways, orphans, subscriptions, newest } = directory
  return {
    id,
    newest,
    gateways: [...gateways].map(([name, { seen, marks: held }]) => ({
      id: name,
      seen,
      marks: [...held],
    })),
    orphans: [...orphans],
    subscriptions: [...subscriptions],
  }
}

function restore({ directory }: z.infer<typeof snapshot>): Directory | undefined {
  if (directory === undefined) return undefined
  const { id, gateways, orphans, subscriptions, newest } = directory
  const sets = [orphans, ...gateways.map(({ marks: held }) => held)]
  return {
    id,
    newest,
    markBytes: sets.reduce((bytes, held) => bytes + sumOf(held), 0),
    gateways: Map(
      gateways.map(({ id: name, seen, marks: held }) => [name, { seen, marks: Set(held) }]),
    ),
    orphans: Set(orphans),
    subscriptions: Map(subscriptions),
  }
}
