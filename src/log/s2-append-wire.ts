/**
 * A batch as the body of S2's append, and S2's answer to it: `AppendInput` and `AppendAck` of its
 * protobuf schema `s2.v1`. PURE.
 *
 * By hand, because it is on the way of every append. Each record is measured first and then
 * written into one buffer: the length of a message stands before it.
 */
import { Buffer } from 'node:buffer'
import { utf8Length } from './log.ts'
import type { AppendAck, AppendBatch, AppendRecord, RecordHeader } from './log.ts'
import { bytesField, ProtobufReader, readPosition, type Position } from './s2-protobuf.ts'

/** The field's number, shifted, and its type: 2 is bytes with their length before, 0 a varint. */
const INPUT_RECORD = 0x0a
const INPUT_MATCH_SEQ_NUM = 0x10
const INPUT_FENCING_TOKEN = 0x1a
const RECORD_HEADER = 0x12
const RECORD_BODY = 0x1a
const HEADER_NAME = 0x0a
const HEADER_VALUE = 0x12
const ACK_START = bytesField(1)
const ACK_END = bytesField(2)

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
  const reader = new ProtobufReader(bytes)
  let start: Position | undefined
  let end: Position | undefined
  while (reader.at < bytes.length) {
    const tag = reader.varint()
    if (tag === ACK_START) start = readPosition(reader, reader.end(bytes.length))
    else if (tag === ACK_END) end = readPosition(reader, reader.end(bytes.length))
    else reader.skip(tag, bytes.length)
  }
  if (start === undefined || end === undefined) {
    throw new Error('the acknowledgement of an append has no end')
  }
  return { start: start.seqNum, end: end.seqNum, timestamp: end.timestamp }
}
