/**
 * What a log record means to a stream, and how we write it. PURE.
 *
 * A record that names no kind of ours is data: an S2 client wrote it directly. `streams/README.md`
 * has the table of kinds.
 */
import { InvariantError } from '../errors.ts'
import { encodeRecord, headerValue, kindOf } from '../journal/envelope.ts'
import type { RecordContext } from '../journal/envelope.ts'
import type { AppendRecord, LogRecord, RecordHeader, SeqNum } from '../log/log.ts'
import { isJson } from '../protocol/content-type.ts'
import { asJsonMessage } from '../protocol/json.ts'
import type { ProducerClaim } from '../protocol/producer.ts'
import { formatTraceparent, parseTraceparent } from '../protocol/traceparent.ts'
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

const PRODUCER_HEADER = 'producer'
const STREAM_SEQ_HEADER = 'stream-seq'
const PIECE_HEADER = 'piece'
const TRACEPARENT_HEADER = 'traceparent'

/** What an accepted write leaves in the stream's state besides its bytes. */
export type WriterMark = {
  readonly producer?: ProducerClaim | undefined
  readonly streamSeq?: string | undefined
}

/** Which part of a message a record has, from 1: a message too large for one record has several. */
export type Piece = { readonly index: number; readonly count: number }

/** The meaning of one record. */
export type Entry =
  | {
      readonly kind: 'data'
      readonly body: Uint8Array
      readonly mark: WriterMark
      readonly closes: boolean
      /** Written by an S2 client, not by a gateway: never validated. */
      readonly foreign: boolean
      readonly piece?: Piece | undefined
    }
  /** Data of an append that goes on in further records: it counts when the last of them does. */
  | { readonly kind: 'part'; readonly body: Uint8Array; readonly piece?: Piece | undefined }
  | { readonly kind: 'begin' }
  | { readonly kind: 'abort' }
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
  /** Its append goes on in the next record. */
  readonly goesOn?: true
  /** Where it begins, if it was joined from several. */
  readonly begin?: SeqNum
  /** The step of a trace that has appended it; of several messages only the last one has it. */
  readonly traceparent?: string
}

/** The largest append there may be, 64 MiB, has some five hundred. */
const MAX_PIECES = 1000
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
  const kind = kindOf(record)
  switch (kind) {
    case undefined:
      return { kind: 'data', body, mark: NO_MARK, closes: false, foreign: true }
    case 'data':
    case 'final': {
      const mark = decodeMark(headers)
      const piece = decodePiece(headers)
      return { kind: 'data', body, mark, closes: kind === 'final', foreign: false, piece }
    }
    case 'part':
      return { kind, body, piece: decodePiece(headers) }
    case 'begin':
    case 'abort':
      return { kind }
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

/** The record as a reader of the stream gets it; foreign ones can't break a JSON array. */
export function toDataRecord(
  record: LogRecord,
  entry: Entry & { kind: 'data' | 'part' },
  contentType: string,
): DataRecord {
  const { seqNum, timestamp } = record
  const { body, kind } = entry
  if (kind === 'part') return { seqNum, timestamp, body, goesOn: true }
  const isWild = entry.foreign && isJson(contentType)
  const shown = isWild ? asJsonMessage(body) : body
  const traceparent = record.kind === 'data' ? decodeTraceparent(record.headers) : undefined
  if (traceparent === undefined) return { seqNum, timestamp, body: shown }
  // A copy of the other with more in it would be four times as large.
  return { seqNum, timestamp, body: shown, traceparent }
}

/** Says in which step of a trace a record was appended. Of that no state depends on anything. */
export function withTraceparent(record: AppendRecord, traceparent: string): AppendRecord {
  if (record.kind !== 'data') return record
  return { ...record, headers: [...record.headers, [TRACEPARENT_HEADER, traceparent]] }
}

/** An S2 client may write whatever it likes, and readers are told of it in a header. */
function decodeTraceparent(headers: readonly RecordHeader[]): string | undefined {
  const context = parseTraceparent(headerValue(headers, TRACEPARENT_HEADER))
  return context && formatTraceparent(context)
}

/** The latest step of a trace in which any of these was appended. */
export function latestTraceparent(records: readonly DataRecord[]): string | undefined {
  return records.findLast(({ traceparent }) => traceparent !== undefined)?.traceparent
}

/** Writes one data record; `closes` makes it the stream's last. */
export function encodeData(
  body: Uint8Array,
  context: RecordContext,
  mark: WriterMark = NO_MARK,
  closes = false,
): AppendRecord {
  return encodeRecord(closes ? 'final' : 'data', body, context, encodeMark(mark))
}

/** Writes data of an append that goes on; whoever composes the batches adds the context. */
export function encodePart(body: Uint8Array, piece?: Piece): AppendRecord {
  return encodeRecord('part', body, undefined, encodePiece(piece))
}

/** Writes the last data of such an append; `closes` makes it the stream's last. */
export function encodeEnd(
  body: Uint8Array,
  piece: Piece | undefined,
  mark: WriterMark,
  closes: boolean,
): AppendRecord {
  const headers = [...encodeMark(mark), ...encodePiece(piece)]
  return encodeRecord(closes ? 'final' : 'data', body, undefined, headers)
}

/** Writes the record that closes a stream without data. */
export function encodeClosed(context: RecordContext, mark: WriterMark): AppendRecord {
  return encodeRecord('closed', NO_BODY, context, encodeMark(mark))
}

/** Writes the record that renews a sliding TTL and does nothing else. */
export function encodeTouch(context: RecordContext): AppendRecord {
  return encodeRecord('touch', NO_BODY, context)
}

/** Writes the reference of a fork, which is named by its incarnation too. */
export function encodeForkAdded(context: RecordContext, id: string, name: string): AppendRecord {
  return encodeRecord('fork-added', encodeReferenceAdded(id, name), context)
}

/** Writes the end of a fork's reference. */
export function encodeForkRemoved(context: RecordContext, id: string): AppendRecord {
  return encodeRecord('fork-removed', encodeReferenceRemoved(id), context)
}

/** Writes the deletion of a stream whose data forks still read. */
export function encodeRetired(context: RecordContext): AppendRecord {
  return encodeRecord('retired', NO_BODY, context)
}

/**
 * Writes a record that says only that the log has moved: whoever judged by an earlier state must
 * judge anew.
 */
export function encodeBarrier(context: RecordContext): AppendRecord {
  return encodeRecord('barrier', NO_BODY, context)
}

/** Writes the record that begins an incarnation. */
export function encodeCreated(creation: Creation): AppendRecord {
  return encodeRecord('created', encodeCreation(creation))
}

/** Writes the tombstone. */
export function encodeDeleted(fencingToken: string): AppendRecord {
  return encodeRecord('deleted', encodeDeletion(fencingToken))
}

/** Writes the whole state. */
export function encodeCheckpoint(snapshot: Snapshot): AppendRecord {
  return encodeRecord('checkpoint', encodeSnapshot(snapshot))
}

function encodeMark({ producer, streamSeq }: WriterMark): RecordHeader[] {
  const headers: RecordHeader[] = []
  if (producer !== undefined) headers.push([PRODUCER_HEADER, formatClaim(producer)])
  if (streamSeq !== undefined) headers.push([STREAM_SEQ_HEADER, streamSeq])
  return headers
}

function encodePiece(piece: Piece | undefined): RecordHeader[] {
  return piece === undefined ? [] : [[PIECE_HEADER, `${piece.index}/${piece.count}`]]
}

/** No state depends on it: what makes no sense is not ours, and is shown by itself. */
function decodePiece(headers: readonly RecordHeader[]): Piece | undefined {
  const text = headerValue(headers, PIECE_HEADER)
  if (text === undefined) return undefined
  const [, first, last] = /^(\d{1,4})\/(\d{1,4})$/.exec(text) ?? []
  const [index, count] = [Number(first), Number(last)]
  return index >= 1 && index <= count && count <= MAX_PIECES ? { index, count } : undefined
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

const CLAIM = /^\d+:\d+:./s

function parseClaim(text: string): ProducerClaim {
  if (!CLAIM.test(text)) {
    throw new InvariantError(`a producer header reads ${JSON.stringify(text)}`)
  }
  // By hand: this runs twice for each append, and a match is an array of all its parts.
  const afterEpoch = text.indexOf(':')
  const afterSeq = text.indexOf(':', afterEpoch + 1)
  return {
    id: text.slice(afterSeq + 1),
    epoch: Number(text.slice(0, afterEpoch)),
    seq: Number(text.slice(afterEpoch + 1, afterSeq)),
  }
}
