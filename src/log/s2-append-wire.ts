/**
 * A batch as the body of S2's append, and S2's answer to it: `AppendInput` and `AppendAck` of its
 * protobuf schema `s2.v1`. PURE.
 *
 * By hand, because it is on the way of every append. Each record is measured first and then
 * written into one buffer: the length of a message stands before it.
 */
import { Buffer } from 'node:buffer'
import { utf8Length } from './log.ts'
import type { AppendAck, AppendBatch, AppendRecord, RecordHeader, SeqNum } from './log.ts'

/** The field's number, shifted, and its type: 2 is bytes with their length before, 0 a varint. */
const INPUT_RECORD = 0x0a
const INPUT_MATCH_SEQ_NUM = 0x10
const INPUT_FENCING_TOKEN = 0x1a
const RECORD_HEADER = 0x12
const RECORD_BODY = 0x1a
const HEADER_NAME = 0x0a
const HEADER_VALUE = 0x12
const ACK_START = 1
const ACK_END = 2
const POSITION_SEQ_NUM = 1
const POSITION_TIMESTAMP = 2
const VARINT = 0
const FIXED_64 = 1
const BYTES = 2
const FIXED_32 = 5

const TRIM_BODY_BYTES = 8

/** Writes a batch with both its conditions. */
export function encodeAppend({ records, matchSeqNum, fencingToken }: AppendBatch): Buffer {
  const sizes = records.map(recordSize)
  const tokenBytes = utf8Length(fencingToken)
  const end = 1 + varintLength(matchSeqNum) + fieldSize(tokenBytes)
  const total = sizes.reduce((sum, size) => sum + fieldSize(size), end)
  const writer = new Writer(total)
  records.forEach((record, index) => {
    writer.tag(INPUT_RECORD, sizes[index] ?? 0)
    writeRecord(writer, record)
  })
  // Both are written even when they are zero and empty: left out, they would be no conditions.
  writer.number(INPUT_MATCH_SEQ_NUM, matchSeqNum)
  writer.text(INPUT_FENCING_TOKEN, fencingToken, tokenBytes)
  return writer.bytes
}

function recordSize(record: AppendRecord): number {
  switch (record.kind) {
    case 'fence':
      return commandSize('fence', utf8Length(record.token))
    case 'trim':
      return commandSize('trim', TRIM_BODY_BYTES)
    case 'data': {
      let size = fieldSize(record.body.length)
      for (const header of record.headers) size += fieldSize(headerSize(header))
      return size
    }
  }
}

/** A command is a record whose only header has no name: S2's documentation, "Command records". */
function commandSize(name: string, bodyBytes: number): number {
  return fieldSize(headerSize(['', name])) + fieldSize(bodyBytes)
}

function headerSize([name, value]: RecordHeader): number {
  return fieldSize(utf8Length(name)) + fieldSize(utf8Length(value))
}

function writeRecord(writer: Writer, record: AppendRecord): void {
  switch (record.kind) {
    case 'fence':
      writeHeader(writer, ['', 'fence'])
      writer.text(RECORD_BODY, record.token, utf8Length(record.token))
      return
    case 'trim':
      writeHeader(writer, ['', 'trim'])
      writer.tag(RECORD_BODY, TRIM_BODY_BYTES)
      writer.fixed64(record.before)
      return
    case 'data':
      for (const header of record.headers) writeHeader(writer, header)
      writer.tag(RECORD_BODY, record.body.length)
      writer.raw(record.body)
  }
}

function writeHeader(writer: Writer, header: RecordHeader): void {
  const [name, value] = header
  const [nameBytes, valueBytes] = [utf8Length(name), utf8Length(value)]
  writer.tag(RECORD_HEADER, fieldSize(nameBytes) + fieldSize(valueBytes))
  writer.text(HEADER_NAME, name, nameBytes)
  writer.text(HEADER_VALUE, value, valueBytes)
}

/** What a field of so many bytes takes with its tag and its length. */
function fieldSize(bytes: number): number {
  return 1 + varintLength(bytes) + bytes
}

function varintLength(value: number): number {
  let length = 1
  for (let rest = value; rest >= 0x80; rest = Math.floor(rest / 0x80)) length += 1
  return length
}

class Writer {
  readonly bytes: Buffer
  #at = 0

  constructor(length: number) {
    this.bytes = Buffer.allocUnsafe(length)
  }

  tag(tag: number, length: number): void {
    this.#at = this.bytes.writeUInt8(tag, this.#at)
    this.#varint(length)
  }

  number(tag: number, value: number): void {
    this.#at = this.bytes.writeUInt8(tag, this.#at)
    this.#varint(value)
  }

  text(tag: number, text: string, length: number): void {
    this.tag(tag, length)
    const { bytes } = this
    const at = this.#at
    this.#at = at + length
    if (length !== text.length) {
      bytes.write(text, at)
      return
    }
    for (let index = 0; index < length; index += 1) bytes[at + index] = text.charCodeAt(index)
  }

  raw(source: Uint8Array): void {
    this.bytes.set(source, this.#at)
    this.#at += source.length
  }

  fixed64(value: number): void {
    this.#at = this.bytes.writeBigUInt64BE(BigInt(value), this.#at)
  }

  #varint(value: number): void {
    let rest = value
    while (rest >= 0x80) {
      this.bytes[this.#at] = (rest % 0x80) | 0x80
      this.#at += 1
      rest = Math.floor(rest / 0x80)
    }
    this.bytes[this.#at] = rest
    this.#at += 1
  }
}

/**
 * Reads S2's acknowledgement.
 *
 * @throws Error these bytes are none
 */
export function decodeAck(bytes: Uint8Array): AppendAck {
  const ack = fieldsOf(bytes)
  const start = position(ack.get(ACK_START))
  const end = position(ack.get(ACK_END))
  return { start: start.seqNum, end: end.seqNum, timestamp: end.timestamp }
}

type Field = number | Uint8Array

function position(field: Field | undefined): {
  readonly seqNum: SeqNum
  readonly timestamp: number
} {
  if (!(field instanceof Uint8Array)) throw new Error('the acknowledgement of an append has no end')
  const fields = fieldsOf(field)
  const numberOf = (tag: number): number => {
    // Zero is not sent.
    const value = fields.get(tag) ?? 0
    if (typeof value === 'number' && Number.isSafeInteger(value)) return value
    throw new Error('a position of the log is no number')
  }
  return { seqNum: numberOf(POSITION_SEQ_NUM), timestamp: numberOf(POSITION_TIMESTAMP) }
}

/** The fields of a message by their numbers; those of types that we do not know are passed over. */
function fieldsOf(bytes: Uint8Array): ReadonlyMap<number, Field> {
  const fields = new Map<number, Field>()
  let at = 0
  const varint = (): number => {
    let value = 0
    for (let factor = 1; ; factor *= 0x80) {
      const byte = bytes[at]
      if (byte === undefined) throw new Error('the message is cut off')
      at += 1
      value += (byte & 0x7f) * factor
      if (byte < 0x80) return value
    }
  }
  while (at < bytes.length) {
    const tag = varint()
    const [number, type] = [Math.floor(tag / 8), tag % 8]
    if (type === VARINT) {
      fields.set(number, varint())
      continue
    }
    const length = type === BYTES ? varint() : type === FIXED_64 ? 8 : type === FIXED_32 ? 4 : NaN
    if (!(at + length <= bytes.length)) throw new Error('the message is cut off')
    fields.set(number, bytes.subarray(at, at + length))
    at += length
  }
  return fields
}
