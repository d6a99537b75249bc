/**
 * The bodies of the records that carry a stream's whole state: its creation, its deletion, and
 * checkpoints. PURE.
 *
 * JSON, so that `s2 read` shows them to a person. A checkpoint's producers follow as one line
 * each, `<epoch>:<seq>:<last active, ms>:<id>`: unlike JSON, that never grows an id by escapes,
 * and so 3,000 producers always fit in one record.
 */
import { z } from 'zod'
import { InvariantError } from '../errors.ts'
import type { Lock } from '../journal/lock.ts'
import type { SeqNum } from '../log/log.ts'
import { parseContentType } from '../protocol/content-type.ts'
import { isDateTime } from '../protocol/expiry.ts'
import type { Expiry } from '../protocol/expiry.ts'
import type { ProducerClaim } from '../protocol/producer.ts'
import type { Lineage } from './lineage.ts'
import type { Visible } from './visible.ts'

/** What a client chose when it created the stream. Never changes afterwards. */
export type StreamConfig = {
  readonly contentType: string
  readonly expiry: Expiry
  /** How many producers the stream remembers; in the log because every gateway must agree. */
  readonly maxProducers: number
  /** Anybody may read it. */
  readonly isPublic: boolean
}

/** Where a fork comes from, as its creator said it, and what it inherits. Never changes. */
export type ForkOrigin = {
  /** Name of the source. */
  readonly source: string
  /** The fork point as it was asked for; undefined: the source's tail at that time. */
  readonly offset?: string | undefined
  readonly subOffset: number
  /** The creator named no expiry: the fork has its source's. */
  readonly inheritsExpiry: boolean
  readonly lineage: Lineage
}

/** A fork that reads a stream's data: by it the data is kept. */
export type Reference = {
  /** Name of the fork. */
  readonly name: string
  /** When it was taken, in ms. */
  readonly since: number
}

/** The record that begins an incarnation of a stream. */
export type Creation = {
  /** Names this incarnation: in its fencing token and in ETags. */
  readonly id: string
  readonly fencingToken: string
  /** The first seq num that belongs to the incarnation; offsets before it are gone. */
  readonly base: SeqNum
  readonly config: StreamConfig
  readonly fork?: ForkOrigin | undefined
}

/** The whole state of a stream as a checkpoint stores it; undefined `stream` means none exists. */
export type Snapshot = {
  readonly fencingToken: string
  readonly lock?: Lock | undefined
  readonly stream?: StreamSnapshot | undefined
}

export type StreamSnapshot = Omit<Creation, 'fencingToken'> & {
  readonly start: SeqNum
  readonly dataTail: SeqNum
  readonly lastActivity: number
  readonly lastDataAt: number
  readonly aborted: Visible['aborted']
  readonly voids: Visible['voids']
  readonly held?: Visible['held']
  readonly closed: boolean
  readonly closedBy?: ProducerClaim | undefined
  readonly streamSeq?: string | undefined
  /** Deleted, and kept for its forks. */
  readonly retired: boolean
  /** By the incarnation of the fork. */
  readonly references: Readonly<Record<string, Reference>>
  readonly producers: readonly ProducerEntry[]
}

export type ProducerEntry = readonly [id: string, epoch: number, lastSeq: number, activeAt: number]

const seqNum = z.int().nonnegative()
// An S2 client may write such a record. What ends up in headers is therefore held to what a request
// may say, and an id to what may stand in an ETag.
const idSchema = z.string().regex(/^[!#-~]+$/)
const contentTypeSchema = z.string().transform(parseContentType)
const expirySchema: z.ZodType<Expiry> = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('never') }),
  z.object({ kind: z.literal('ttl'), seconds: z.int().nonnegative() }),
  z.object({ kind: z.literal('at'), at: z.number(), text: z.string().refine(isDateTime) }),
])
const rangesSchema = z.array(z.tuple([seqNum, seqNum]))
const segmentSchema = z.object({
  stream: z.string(),
  incarnation: z.string(),
  depth: seqNum,
  base: seqNum,
  start: seqNum,
  end: seqNum,
  aborted: rangesSchema.optional(),
  voids: z.array(seqNum).optional(),
})
const forkSchema = z.object({
  source: z.string(),
  offset: z.string().optional(),
  subOffset: seqNum,
  inheritsExpiry: z.boolean(),
  lineage: z.object({ depth: seqNum, segments: z.array(segmentSchema) }),
})
const streamSchema = z.object({
  id: idSchema,
  base: seqNum,
  contentType: contentTypeSchema,
  expiry: expirySchema,
  maxProducers: z.int().positive(),
  // Gateways that knew no public streams left it out, and so do we where it is false.
  isPublic: z.boolean().default(false),
  fork: forkSchema.optional(),
})
const creationSchema = streamSchema.extend({ v: z.literal(1), fencingToken: z.string() })
const deletedSchema = z.object({ v: z.literal(1), fencingToken: z.string() })
const snapshotSchema = z.object({
  v: z.literal(1),
  fencingToken: z.string(),
  lock: z
    .object({ id: z.string(), owner: z.string(), begin: seqNum, openToken: z.string() })
    .optional(),
  stream: streamSchema
    .extend({
      start: seqNum,
      dataTail: seqNum,
      lastActivity: z.number(),
      lastDataAt: z.number(),
      closed: z.boolean(),
      closedBy: z.object({ id: z.string(), epoch: seqNum, seq: seqNum }).optional(),
      streamSeq: z.string().optional(),
      // Gateways that knew no groups left these out.
      aborted: rangesSchema.default([]),
      // Gateways that left these out knew of no range whether it holds anything.
      voids: z.array(seqNum).default([]),
      held: z.object({ end: seqNum, at: z.number() }).optional(),
      // Gateways that knew no forks left these out.
      retired: z.boolean().default(false),
      references: z
        .record(z.string(), z.object({ name: z.string(), since: z.number() }))
        .default({}),
    })
    .optional(),
})

const addedSchema = z.object({ v: z.literal(1), id: z.string(), name: z.string() })
const removedSchema = z.object({ v: z.literal(1), id: z.string() })

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

export function encodeCreation({ config, ...rest }: Creation): Uint8Array {
  return Buffer.from(JSON.stringify({ v: 1, ...rest, ...flat(config) }))
}

/** @throws InvariantError */
export function decodeCreation(body: Uint8Array): Creation {
  return readable('creation', () => {
    const creation = creationSchema.parse(JSON.parse(utf8.decode(body)))
    return { ...identity(creation), fencingToken: creation.fencingToken }
  })
}

export function encodeDeletion(fencingToken: string): Uint8Array {
  return Buffer.from(JSON.stringify({ v: 1, fencingToken }))
}

/** @throws InvariantError */
export function decodeDeletion(body: Uint8Array): { readonly fencingToken: string } {
  return readable('tombstone', () => {
    const { fencingToken } = deletedSchema.parse(JSON.parse(utf8.decode(body)))
    return { fencingToken }
  })
}

export function encodeSnapshot({ fencingToken, lock, stream }: Snapshot): Uint8Array {
  if (stream === undefined) return Buffer.from(JSON.stringify({ v: 1, fencingToken, lock }))
  const { config, producers, ...rest } = stream
  const head = JSON.stringify({ v: 1, fencingToken, lock, stream: { ...rest, ...flat(config) } })
  const lines = producers.map(
    ([id, epoch, lastSeq, activeAt]) => `\n${epoch}:${lastSeq}:${activeAt}:${id}`,
  )
  return Buffer.from(head + lines.join(''))
}

/** @throws InvariantError */
export function decodeSnapshot(body: Uint8Array): Snapshot {
  return readable('checkpoint', () => {
    const [head = '', ...lines] = utf8.decode(body).split('\n')
    const { fencingToken, lock, stream } = snapshotSchema.parse(JSON.parse(head))
    if (stream === undefined) return { fencingToken, lock }
    const { contentType: _type, expiry: _expiry, maxProducers: _max, ...others } = stream
    const { isPublic: _public, ...rest } = others
    const producers = lines.map(decodeProducer)
    return { fencingToken, lock, stream: { ...rest, ...identity(stream), producers } }
  })
}

export function encodeReferenceAdded(id: string, name: string): Uint8Array {
  return Buffer.from(JSON.stringify({ v: 1, id, name }))
}

/** @throws InvariantError */
export function decodeReferenceAdded(body: Uint8Array): {
  readonly id: string
  readonly name: string
} {
  return readable('fork reference', () => {
    const { id, name } = addedSchema.parse(JSON.parse(utf8.decode(body)))
    return { id, name }
  })
}

export function encodeReferenceRemoved(id: string): Uint8Array {
  return Buffer.from(JSON.stringify({ v: 1, id }))
}

/** @throws InvariantError */
export function decodeReferenceRemoved(body: Uint8Array): { readonly id: string } {
  return readable('fork reference', () => {
    const { id } = removedSchema.parse(JSON.parse(utf8.decode(body)))
    return { id }
  })
}

const PRODUCER = /^(\d+):(\d+):(\d+):(.+)$/

function decodeProducer(line: string): ProducerEntry {
  const [, epoch, lastSeq, activeAt, id] = PRODUCER.exec(line) ?? []
  if (id === undefined) throw new Error(`a producer reads ${JSON.stringify(line)}`)
  return [id, Number(epoch), Number(lastSeq), Number(activeAt)]
}

/** The opposite of {@link identity}. A private stream is written as before there were others. */
function flat({ isPublic, ...config }: StreamConfig): object {
  return isPublic ? { ...config, isPublic } : config
}

function identity({
  id,
  base,
  contentType,
  expiry,
  maxProducers,
  isPublic,
  fork,
}: z.infer<typeof streamSchema>): Omit<Creation, 'fencingToken'> {
  return { id, base, config: { contentType, expiry, maxProducers, isPublic }, fork }
}

function readable<T>(what: string, decode: () => T): T {
  try {
    return decode()
  } catch (cause) {
    throw new InvariantError(`a ${what} record in the log can't be read`, { cause })
  }
}
