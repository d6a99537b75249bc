/**
 * What S2 sends on a read session: `ReadBatch` of its protobuf schema `s2.v1`. PURE.
 *
 * By hand, because it is on the way of every record that is fanned out.
 */
import type { Buffer } from 'node:buffer'
import type { LogRecord, RecordHeader, SeqNum } from './log.ts'
import { bytesField, checkEnd, ProtobufReader, readPosition, varintField } from './s2-protobuf.ts'
import { toLogRecord } from './s2-records.ts'

/** Records that came together. Without any it is a heartbeat, or the news of a tail. */
export type ReadBatch = {
  readonly records: readonly LogRecord[]
  /** The tail, where S2 says it: not while there is more to read. */
  readonly tail: SeqNum | undefined
}

const BATCH_RECORD = bytesField(1)
const BATCH_TAIL = bytesField(2)
const RECORD_SEQ_NUM = varintField(1)
const RECORD_TIMESTAMP = varintField(2)
const RECORD_HEADER = bytesField(3)
const RECORD_BODY = bytesField(4)
const HEADER_NAME = bytesField(1)
const HEADER_VALUE = bytesField(2)

/**
 * Reads a batch. The bodies are views into `bytes`, which must be the batch's own.
 *
 * @throws Error these bytes are none
 */
export function decodeReadBatch(bytes: Buffer): ReadBatch {
  const reader = new ProtobufReader(bytes)
  const records: LogRecord[] = []
  let tail: SeqNum | undefined
  while (reader.at < bytes.length) {
    const tag = reader.varint()
    if (tag === BATCH_RECORD) records.push(readRecord(reader, bytes, reader.end(bytes.length)))
    else if (tag === BATCH_TAIL) tail = readPosition(reader, reader.end(bytes.length)).seqNum
    else reader.skip(tag, bytes.length)
  }
  return { records, tail }
}

function readRecord(reader: ProtobufReader, bytes: Buffer, end: number): LogRecord {
  let seqNum = 0
  let timestamp = 0
  const headers: RecordHeader[] = []
  let bodyStart = end
  let bodyEnd = end
  while (reader.at < end) {
    const tag = reader.varint()
    if (tag === RECORD_SEQ_NUM) seqNum = reader.integer()
    else if (tag === RECORD_TIMESTAMP) timestamp = reader.integer()
    else if (tag === RECORD_HEADER) headers.push(readHeader(reader, bytes, reader.end(end)))
    else if (tag === RECORD_BODY) {
      bodyEnd = reader.end(end)
      bodyStart = reader.at
      reader.moveTo(bodyEnd)
    } else reader.skip(tag, end)
  }
  checkEnd(reader, end)
  return toLogRecord({ seqNum, timestamp }, headers, bytes.subarray(bodyStart, bodyEnd))
}

function readHeader(reader: ProtobufReader, bytes: Buffer, end: number): RecordHeader {
  let name = ''
  let value = ''
  while (reader.at < end) {
    const tag = reader.varint()
    if (tag === HEADER_NAME) name = readText(reader, bytes, end)
    else if (tag === HEADER_VALUE) value = readText(reader, bytes, end)
    else reader.skip(tag, end)
  }
  checkEnd(reader, end)
  return [name, value]
}

/** As the decoder of `s2-records.ts`: what is no UTF-8 is replaced, a byte order mark is kept. */
function readText(reader: ProtobufReader, bytes: Buffer, limit: number): string {
  const end = reader.end(limit)
  const text = bytes.toString('utf8', reader.at, end)
  reader.moveTo(end)
  return text
}
