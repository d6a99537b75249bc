/**
 * Our records as S2's and back.
 *
 * Pure. Everything is bytes on the wire: S2's text format would be lossy for bodies, and JSON
 * would inflate them past the server's body limit.
 */
import { AppendInput, AppendRecord as S2AppendRecord, type ReadRecord } from '@s2-dev/streamstore'
import type { AppendBatch, AppendRecord, LogRecord, RecordHeader, SeqNum } from './log.ts'

const encoder = new TextEncoder()
// A byte order mark is data like any other: without `ignoreBOM` it would be swallowed.
const decoder = new TextDecoder('utf-8', { ignoreBOM: true })

const TRIM_BODY_BYTES = 8

/** Renders a batch, with both its conditions, as the SDK's input. */
export function toAppendInput(batch: AppendBatch): AppendInput {
  return AppendInput.create(batch.records.map(toS2Record), {
    matchSeqNum: batch.matchSeqNum,
    fencingToken: batch.fencingToken,
  })
}

/** Reads a record that S2 delivered. */
export function fromS2Record({ seqNum, timestamp, headers, body }: ReadRecord<'bytes'>): LogRecord {
  return toLogRecord({ seqNum, timestamp: timestamp.getTime() }, headers.map(fromHeader), body)
}

/** Says what S2's record is to us. One whose only header has no name is a command. */
export function toLogRecord(
  { seqNum, timestamp }: { readonly seqNum: SeqNum; readonly timestamp: number },
  headers: readonly RecordHeader[],
  body: Uint8Array,
): LogRecord {
  const [first] = headers
  if (headers.length !== 1 || first?.[0] !== '') {
    return { kind: 'data', headers, body, seqNum, timestamp }
  }
  return first[1] === 'fence'
    ? { kind: 'fence', token: decoder.decode(body), seqNum, timestamp }
    : { kind: 'trim', before: decodeTrim(body), seqNum, timestamp }
}

function toS2Record(record: AppendRecord): S2AppendRecord {
  switch (record.kind) {
    case 'data':
      return S2AppendRecord.bytes({ body: record.body, headers: record.headers })
    case 'fence':
      return command('fence', encoder.encode(record.token))
    case 'trim':
      return command('trim', encodeTrim(record.before))
  }
}

// Not the SDK's own `fence()`: that is a text record, and a batch of text records goes as JSON.
function command(name: string, body: Uint8Array): S2AppendRecord {
  return S2AppendRecord.bytes({ body, headers: [['', name]] })
}

function fromHeader([name, value]: readonly [Uint8Array, Uint8Array]): RecordHeader {
  return [decoder.decode(name), decoder.decode(value)]
}

function encodeTrim(before: SeqNum): Uint8Array {
  const body = new Uint8Array(TRIM_BODY_BYTES)
  new DataView(body.buffer).setBigUint64(0, BigInt(before))
  return body
}

/** S2's own delete ends a stream with a trim before 2^64 - 1, more than a number can hold. */
function decodeTrim(body: Uint8Array): SeqNum {
  const before = new DataView(body.buffer, body.byteOffset, body.byteLength).getBigUint64(0)
  return Math.min(Number(before), Number.MAX_SAFE_INTEGER)
}
