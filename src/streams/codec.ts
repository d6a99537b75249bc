/**
 * What a log record means to a stream, and how we write it. PURE.
 *
 * Our records carry a first header `ds` whose value names their kind, so that `s2 read` on a
 * stream makes sense to a person. A record without it is data: an S2 client wrote it directly.
 * `streams/README.md` has the table of headers.
 */
import { InvariantError } from '../errors.ts'
import type { AppendRecord, LogRecord, RecordHeader, SeqNum } from '../log/log.ts'
import { isJson } from '../protocol/content-type.ts'
import { asJsonMessage } from '../protocol/json.ts'
import type { ProducerClaim } from '../protocol/producer.ts'
import {
  decodeCreation,
  decodeDeletion,
  decodeReferenceAdded,
  decodeReferenceRemoved,
  decodeSnapshot,
  encodeCreation,
  encodeDeletion,
  encodeReferenceAdded,
  encodeReferenceRemoved,
  encodeSnapshot,
} from './bodies.ts'
import type { Creation, Snapshot } from './bodies.ts'

const KIND_HEADER = 'ds'
const CHECKPOINT_HEADER = 'cp'
const OPERATION_HEADER = 'op'
const PRODUCER_HEADER = 'producer'
const STREAM_SEQ_HEADER = 'stream-seq'

/** What an accepted write leaves in the stream's state besides its bytes. */
export type WriterMark = {
  readonly producer?: ProducerClaim | undefined
  readonly streamSeq?: string | undefined
}

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
  /** A fork of this stream reads its data from now on. */
  | { readonly kind: 'fork-added'; readonly id: string; readonly name: string }
  | { readonly kind: 'fork-removed'; readonly id: string }
  /** Deleted, and kept for its forks. */
  | { readonly kind: 'retired' }
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

/**
 * Says what a record means.
 *
 * @throws InvariantError it claims to be a control record of ours and can't be read. Passing over
 *   it would let gateways of two versions disagree about the stream.
 */
export function decodeRecord(record: LogRecord): Entry {
  if (record.kind === 'fence') return { kind: 'fence', token: record.token }
  if (record.kind === 'trim') return { kind: 'trim', before: record.before }
  const { headers, body } = record
  const kind = kindOf(headers)
  switch (kind) {
    case undefined:
      return { kind: 'data', body, mark: NO_MARK, closes: false, foreign: true }
    case 'data':
    case 'final': {
      const mark = decodeMark(headers)
      return { kind: 'data', body, mark, closes: kind === 'final', foreign: false }
    }
    case 'closed':
      return { kind, mark: decodeMark(headers) }
    case 'created':
      return { kind, creation: decodeCreation(body) }
    case 'deleted':
      return { kind, ...decodeDeletion(body) }
    case 'checkpoint':
      return { kind, snapshot: decodeSnapshot(body) }
    case 'touch':
    case 'retired':
      return { kind }
    case 'fork-added':
      return { kind, ...decodeReferenceAdded(body) }
    case 'fork-removed':
      return { kind, ...decodeReferenceRemoved(body) }
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
      const text = headerValue(record.headers, CHECKPOINT_HEADER)
      const pointer = text !== undefined && /^\d+$/.test(text) ? Number(text) : Infinity
      // An S2 client may write whatever it likes: a pointer leads back or it is none.
      return pointer < record.seqNum ? pointer : undefined
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
  return ours(closes ? 'final' : 'data', body, context, mark)
}

/** Writes the record that closes a stream without data. */
export function encodeClosed(context: RecordContext, mark: WriterMark): AppendRecord {
  return ours('closed', NO_BODY, context, mark)
}

/** Writes the record that renews a sliding TTL and does nothing else. */
export function encodeTouch(context: RecordContext): AppendRecord {
  return ours('touch', NO_BODY, context)
}

/** Writes the reference of a fork, which is named by its incarnation too. */
export function encodeForkAdded(context: RecordContext, id: string, name: string): AppendRecord {
  return ours('fork-added', encodeReferenceAdded(id, name), context)
}

/** Writes the end of a fork's reference. */
export function encodeForkRemoved(context: RecordContext, id: string): AppendRecord {
  return ours('fork-removed', encodeReferenceRemoved(id), context)
}

/** Writes the deletion of a stream whose data forks still read. */
export function encodeRetired(context: RecordContext): AppendRecord {
  return ours('retired', NO_BODY, context)
}

/**
 * Writes a record that says only that the log has moved: whoever judged by an earlier state must
 * judge anew.
 */
export function encodeBarrier(context: RecordContext): AppendRecord {
  return ours('barrier', NO_BODY, context)
}

/** Writes the record that begins an incarnation. */
export function encodeCreated(creation: Creation): AppendRecord {
  return ours('created', encodeCreation(creation))
}

/** Writes the tombstone. */
export function encodeDeleted(fencingToken: string): AppendRecord {
  return ours('deleted', encodeDeletion(fencingToken))
}

/** Writes the whole state. */
export function encodeCheckpoint(snapshot: Snapshot): AppendRecord {
  return ours('checkpoint', encodeSnapshot(snapshot))
}

function ours(
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
  const claim = headerValue(headers, PRODUCER_HEADER)
  const streamSeq = headerValue(headers, STREAM_SEQ_HEADER)
  if (claim === undefined && streamSeq === undefined) return NO_MARK
  return { producer: claim === undefined ? undefined : parseClaim(claim), streamSeq }
}

function parseClaim(text: string): ProducerClaim {
  const [, epoch, seq, id] = /^(\d+):(\d+):(.+)$/s.exec(text) ?? []
  if (id === undefined) throw new InvariantError(`a producer header reads ${JSON.stringify(text)}`)
  return { id, epoch: Number(epoch), seq: Number(seq) }
}
