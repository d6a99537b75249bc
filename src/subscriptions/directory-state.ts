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

/** A subscription as far as appends have to know it. */
export type DirectoryEntry = {
  /** The life of the subscription. */
  readonly life: string
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
  subscriptions: Map(),
  newest: 0,
}

const marks = z.array(z.custom<Mark>((mark) => typeof mark === 'string')).readonly()
const entry = z.object({
  life: z.string(),
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
  subscribed: z.object({ gateway, subscription: z.string(), entry }),
  unsubscribed: z.object({ subscription: z.string() }),
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
  const { gateways, orphans, subscriptions } = directory
  switch (event.kind) {
    case 'alive':
      return withMember(directory, event.gateway, seqNum, (marks) => marks)
    case 'marked':
      return withMember(directory, event.gateway, seqNum, (marks) =>
        marks.union(event.add).subtract(event.drop),
      )
    case 'left': {
      const left = gateways.get(event.gateway)?.marks ?? Set()
      return {
        ...directory,
        gateways: gateways.remove(event.gateway),
        orphans: orphans.union(left),
      }
    }
    case 'adopted': {
      const adopted = { ...directory, orphans: orphans.clear() }
      return withMember(adopted, event.gateway, seqNum, (marks) => marks.union(orphans))
    }
    case 'subscribed': {
      const { subscription, entry: added } = event
      const known = {
        ...directory,
        subscriptions: subscriptions.set(subscription, added),
        newest: seqNum,
      }
      return withMember(known, event.gateway, seqNum, (marks) => marks)
    }
    case 'unsubscribed':
      return { ...directory, subscriptions: subscriptions.remove(event.subscription) }
  }
}

function withMember(
  directory: Directory,
  id: string,
  seen: SeqNum,
  change: (marks: Set<Mark>) => Set<Mark>,
): Directory {
  const before = directory.gateways.get(id)?.marks ?? Set<Mark>()
  const member = { seen, marks: change(before) }
  return { ...directory, gateways: directory.gateways.set(id, member) }
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
  return {
    id,
    newest,
    gateways: Map(
      gateways.map(({ id: name, seen, marks: held }) => [name, { seen, marks: Set(held) }]),
    ),
    orphans: Set(orphans),
    subscriptions: Map(subscriptions),
  }
}
