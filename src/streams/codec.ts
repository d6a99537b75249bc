/**
 * What a log record means to a stream, and how we write it. PURE.
 *
 * Our records carry a first header `ds` whose value names their kind, so that `s2 read` on a
 * stream makes sense to a person. A record without it is data: an S2 client wrote it directly.
 * `streams/README.md` has the table of headers.
 */
import { z } from 'zod'
import { InvariantError } from '../errors.ts'
import type { AppendRecord, LogRecord, RecordHeader, SeqNum } from '../log/log.ts'
import { isJson } from '../protocol/content-type.ts'
import type { Expiry } from '../protocol/expiry.ts'
import { asJsonMessage } from '../protocol/json.ts'
import type { ProducerClaim } from '../protocol/producer.ts'

const KIND_HEADER = 'ds'
const CHECKPOINT_HEADER = 'cp'
const OPERATION_HEADER = 'op'
const PRODUCER_HEADER = 'producer'
const STREAM_SEQ_HEADER = 'stream-seq'

/** What a client chose when it created the stream. Never changes afterwards. */
export type StreamConfig = {
  readonly contentType: string
  readonly expiry: Expiry
  /** How many producers the stream remembers; in the log because every gateway must agree. */
  readonly maxProducers: number
}

/** The record that begins an incarnation of a stream. */
export type Creation = {
  /** Names this incarnation: in its fencing token and in ETags. */
  readonly id: string
  readonly fencingToken: string
  /** The first seq num that belongs to the incarnation; offsets before it are gone. */
  readonly base: SeqNum
  readonly config: StreamConfig
}

/** What an accepted write leaves in the stream's state besides its bytes. */
export type WriterMark = {
  readonly producer?: ProducerClaim | undefined
  readonly streamSeq?: string | undefined
}

/** The whole state of a stream as a checkpoint stores it; undefined `stream` means none exists. */
export type Snapshot = {
  readonly fencingToken: string
  readonly stream?:
    | (Creation & {
        readonly start: SeqNum
        readonly dataTail: SeqNum
        readonly lastActivity: number
        readonly lastDataAt: number
        readonly closed: boolean
        readonly closedBy?: ProducerClaim | undefined
        readonly streamSeq?: string | undefined
        readonly producers: readonly ProducerEntry[]
      })
    | undefined
}

export type ProducerEntry = readonly [id: string, epoch: number, lastSeq: number, activeAt: number]

/** The meaning of one record. */
export type Entry =
  | {
      readonly kind: 'data'
      readonly body: Uint8Array
      readonly mark: WriterMark
      readonly closes: boolean
      /** Written by an S2 client, not by a gateway: never validated. */
      readonly foreign: boolean
    }
  | { readonly kind: 'closed'; readonly mark: WriterMark }
  | { readonly kind: 'created'; readonly creation: Creation }
  | { readonly kind: 'deleted'; readonly fencingToken: string }
  | { readonly kind: 'checkpoint'; readonly snapshot: Snapshot }
  | { readonly kind: 'touch' }
  | { readonly kind: 'fence'; readonly token: string }
  | { readonly kind: 'trim'; readonly before: SeqNum }
  /** A kind of a later version. It moves no offset, so readers pass over it. */
  | { readonly kind: 'unknown' }

/** One data record as readers get it. `timestamp` is the log's, in ms. */
export type DataRecord = {
  readonly seqNum: SeqNum
  readonly timestamp: number
  readonly body: Uint8Array
}

/** What every record of ours says about its place: see {@link readCheckpointPointer}. */
export type RecordContext = {
  /** Seq num of the latest record that carries the whole state, if there is one. */
  readonly checkpoint: SeqNum | undefined
}

const NO_MARK: WriterMark = {}
const NO_BODY = new Uint8Array(0)
const utf8 = new TextDecoder('utf-8', { fatal: true })

/** Says what a record means. Throws only for a control record of ours that makes no sense. */
export function decodeRecord(record: LogRecord): Entry {
  if (record.kind === 'fence') return { kind: 'fence', token: record.token }
  if (record.kind === 'trim') return { kind: 'trim', before: record.before }
  const { headers, body } = record
  const kind = kindOf(headers)
  switch (kind) {
    case undefined:
      return { kind: 'data', body, mark: NO_MARK, closes: false, foreign: true }
    case 'data':
    case 'final':
      return {
        kind: 'data',
        body,
        mark: decodeMark(headers),
        closes: kind === 'final',
        foreign: false,
      }
    case 'closed':
      return { kind, mark: decodeMark(headers) }
    case 'created':
      return { kind, creation: toCreation(parseBody(creationSchema, record.seqNum, body)) }
    case 'deleted':
      return { kind, ...parseBody(deletedSchema, record.seqNum, body) }
    case 'checkpoint':
      return { kind, snapshot: toSnapshot(parseBody(snapshotSchema, record.seqNum, body)) }
    case 'touch':
      return { kind }
    default:
      return { kind: 'unknown' }
  }
}

function kindOf(headers: readonly RecordHeader[]): string | undefined {
  const first = headers[0]
  return first !== undefined && first[0] === KIND_HEADER ? first[1] : undefined
}

function headerValue(headers: readonly RecordHeader[], name: string): string | undefined {
  return headers.find((header) => header[0] === name)?.[1]
}

/**
 * The seq num from which to fold so as to know the state after `record`: the record itself when
 * it carries the whole state, else the checkpoint it names. Undefined when it names none.
 */
export function readCheckpointPointer(record: LogRecord): SeqNum | undefined {
  if (record.kind !== 'data') return undefined
  switch (kindOf(record.headers)) {
    case undefined:
      return undefined
    case 'created':
    case 'deleted':
    case 'checkpoint':
      return record.seqNum
    default: {
      const pointer = headerValue(record.headers, CHECKPOINT_HEADER)
      return pointer === undefined ? undefined : Number(pointer)
    }
  }
}

/** The operation id of the batch that this record begins, if it begins one of ours. */
export function readOperationId(record: LogRecord): string | undefined {
  return record.kind === 'data' ? headerValue(record.headers, OPERATION_HEADER) : undefined
}

/** Adds the operation id by which an append of unknown outcome is recognised in the log. */
export function withOperationId(record: AppendRecord, operation: string): AppendRecord {
  if (record.kind !== 'data') return record
  return { ...record, headers: [...record.headers, [OPERATION_HEADER, operation]] }
}

/** The record as a reader of the stream gets it; foreign ones can't break a JSON array. */
export function toDataRecord(
  { seqNum, timestamp }: LogRecord,
  { body, foreign }: Entry & { kind: 'data' },
  contentType: string,
): DataRecord {
  return { seqNum, timestamp, body: foreign && isJson(contentType) ? asJsonMessage(body) : body }
}

/** Writes one data record; `closes` makes it the stream's last. */
export function encodeData(
  body: Uint8Array,
  context: RecordContext,
  mark: WriterMark = NO_MARK,
  closes = false,
): AppendRecord {
  return control(closes ? 'final' : 'data', body, context, mark)
}

/** Writes the record that closes a stream without data. */
export function encodeClosed(context: RecordContext, mark: WriterMark): AppendRecord {
  return control('closed', NO_BODY, context, mark)
}

/** Writes the record that renews a sliding TTL and does nothing else. */
export function encodeTouch(context: RecordContext): AppendRecord {
  return control('touch', NO_BODY, context)
}

/** Writes the record that begins an incarnation. */
export function encodeCreated({ config, ...rest }: Creation): AppendRecord {
  return control('created', toJson({ v: 1, ...rest, ...config }))
}

/** Writes the tombstone. */
export function encodeDeleted(fencingToken: string): AppendRecord {
  return control('deleted', toJson({ v: 1, fencingToken }))
}

/** Writes the whole state. */
export function encodeCheckpoint({ fencingToken, stream }: Snapshot): AppendRecord {
  const { config, ...rest } = stream ?? {}
  const flat = stream === undefined ? undefined : { ...rest, ...config }
  return control('checkpoint', toJson({ v: 1, fencingToken, stream: flat }))
}

function control(
  kind: string,
  body: Uint8Array,
  context?: RecordContext,
  mark: WriterMark = NO_MARK,
): AppendRecord {
  const headers: RecordHeader[] = [[KIND_HEADER, kind]]
  if (context?.checkpoint !== undefined) {
    headers.push([CHECKPOINT_HEADER, String(context.checkpoint)])
  }
  if (mark.producer !== undefined) headers.push([PRODUCER_HEADER, formatClaim(mark.producer)])
  if (mark.streamSeq !== undefined) headers.push([STREAM_SEQ_HEADER, mark.streamSeq])
  return { kind: 'data', headers, body }
}

function formatClaim({ id, epoch, seq }: ProducerClaim): string {
  return `${epoch}:${seq}:${id}`
}

function decodeMark(headers: readonly RecordHeader[]): WriterMark {
  // Most data records say only what they are and where the checkpoint is.
  if (headers.length <= 2) return NO_MARK
  const claim = headerValue(headers, PRODUCER_HEADER)
  return {
    producer: claim === undefined ? undefined : parseClaim(claim),
    streamSeq: headerValue(headers, STREAM_SEQ_HEADER),
  }
}

function parseClaim(text: string): ProducerClaim {
  const match = /^(\d+):(\d+):(.+)$/s.exec(text)
  const [, epoch, seq, id] = match ?? []
  if (id === undefined) throw new InvariantError(`a producer header reads ${JSON.stringify(text)}`)
  return { id, epoch: Number(epoch), seq: Number(seq) }
}

const seqNumSchema = z.int().nonnegative()
const expirySchema: z.ZodType<Expiry> = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('never') }),
  z.object({ kind: z.literal('ttl'), seconds: z.int().nonnegative() }),
  z.object({ kind: z.literal('at'), at: z.number(), text: z.string() }),
])
const creationSchema = z.object({
  v: z.literal(1),
  id: z.string(),
  fencingToken: z.string(),
  base: seqNumSchema,
  contentType: z.string(),
  expiry: expirySchema,
  maxProducers: z.int().positive(),
})
const deletedSchema = z.object({ v: z.literal(1), fencingToken: z.string() })
const claimSchema = z.object({ id: z.string(), epoch: seqNumSchema, seq: seqNumSchema })
const snapshotSchema = z.object({
  v: z.literal(1),
  fencingToken: z.string(),
  stream: creationSchema
    .omit({ v: true })
    .extend({
      start: seqNumSchema,
      dataTail: seqNumSchema,
      lastActivity: z.number(),
      lastDataAt: z.number(),
      closed: z.boolean(),
      closedBy: claimSchema.optional(),
      streamSeq: z.string().optional(),
      producers: z.array(z.tuple([z.string(), seqNumSchema, seqNumSchema, z.number()])),
    })
    .optional(),
})

function toCreation(flat: Omit<z.infer<typeof creationSchema>, 'v'>): Creation {
  const { id, fencingToken, base, contentType, expiry, maxProducers } = flat
  return { id, fencingToken, base, config: { contentType, expiry, maxProducers } }
}

function toSnapshot({ fencingToken, stream }: z.infer<typeof snapshotSchema>): Snapshot {
  if (stream === undefined) return { fencingToken }
  const { contentType: _type, expiry: _expiry, maxProducers: _max, ...rest } = stream
  return { fencingToken, stream: { ...rest, ...toCreation(stream) } }
}

function toJson(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value))
}

function parseBody<T>(schema: z.ZodType<T>, seqNum: SeqNum, body: Uint8Array): T {
  try {
    return schema.parse(JSON.parse(utf8.decode(body)))
  } catch (cause) {
    throw new InvariantError(`the control record at seq num ${seqNum} can't be read`, { cause })
  }
}
