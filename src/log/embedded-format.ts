/**
 * How the embedded log's keys and values look on disk. Pure, both ways.
 *
 * Keys begin with one byte that says what they hold. A stream's name is the whole rest of its key
 * and record keys have a fixed width, so no two names can meet and key order is seq num order. Of
 * streams it is the order of their names' UTF-8 bytes, which is S2's.
 */
import type { StreamState } from './embedded-state.ts'
import type { LogRecord, RecordHeader, SeqNum } from './log.ts'

/** Written into a data directory when it is made; another version is refused, never guessed at. */
export const FORMAT_VERSION = 1

/** Holds the format version, in decimal. */
export const FORMAT_KEY: Buffer = Buffer.of(0)

/** Holds the id that the next new stream gets, in decimal. */
export const NEXT_STREAM_ID_KEY: Buffer = Buffer.of(1)

const STREAM_PREFIX = 2
const RECORD_PREFIX = 3

/** Ids, seq nums and milliseconds take 48 bits: 280 trillion records, or the year 10889. */
const UINT48_BYTES = 6
const RECORD_KEY_BYTES = 1 + 2 * UINT48_BYTES

const TRIM_BYTES = 8

const KIND_CODES = { data: 0, fence: 1, trim: 2 } as const

/** A stream as it is kept: the id its record keys begin with, and its state. */
export type StoredStream = { readonly id: number; readonly state: StreamState }

/** Keys from `gte` up to, not including, `lt`. Empty when they are the wrong way round. */
export type KeyRange = { readonly gte: Buffer; readonly lt: Buffer }

export function streamKey(name: string): Buffer {
  return Buffer.concat([Buffer.of(STREAM_PREFIX), Buffer.from(name, 'utf8')])
}

export function nameOfStreamKey(key: Buffer): string {
  return key.toString('utf8', 1)
}

/** The keys of the streams whose names begin with `prefix` and come after `startAfter`. */
export function streamKeyRange(prefix: string, startAfter: string): KeyRange {
  const first = streamKey(prefix)
  // Between a key and the same with a zero byte at its end there is no other.
  const next = Buffer.concat([streamKey(startAfter), Buffer.of(0)])
  const lt = Buffer.from(first)
  // Never overflows: neither STREAM_PREFIX nor a byte of UTF-8 is 255.
  lt.writeUInt8(lt.readUInt8(lt.length - 1) + 1, lt.length - 1)
  return { gte: Buffer.compare(first, next) < 0 ? next : first, lt }
}

export function recordKey(streamId: number, seqNum: SeqNum): Buffer {
  const key = Buffer.allocUnsafe(RECORD_KEY_BYTES)
  key.writeUInt8(RECORD_PREFIX, 0)
  key.writeUIntBE(streamId, 1, UINT48_BYTES)
  key.writeUIntBE(seqNum, 1 + UINT48_BYTES, UINT48_BYTES)
  return key
}

export function seqNumOfKey(key: Buffer): SeqNum {
  return key.readUIntBE(1 + UINT48_BYTES, UINT48_BYTES)
}

/** Layout: id, tail, trim point and timestamp in 48 bits each, then the token. */
export function encodeStream({ id, state }: StoredStream): Buffer {
  const head = Buffer.allocUnsafe(4 * UINT48_BYTES)
  const numbers = [id, state.tail, state.trimPoint, state.timestamp]
  numbers.forEach((number, index) => head.writeUIntBE(number, index * UINT48_BYTES, UINT48_BYTES))
  return Buffer.concat([head, Buffer.from(state.token, 'utf8')])
}

export function decodeStream(value: Buffer): StoredStream {
  const number = (index: number): number => value.readUIntBE(index * UINT48_BYTES, UINT48_BYTES)
  return {
    id: number(0),
    state: {
      tail: number(1),
      trimPoint: number(2),
      timestamp: number(3),
      token: value.toString('utf8', 4 * UINT48_BYTES),
    },
  }
}

/**
 * Layout: kind, timestamp, then the token, the trim's seq num in 64 bits, or, for data, the number
 * of headers, each name and value with its length before it, and the body up to the end.
 */
export function encodeRecord(record: LogRecord): Buffer {
  const start = 1 + UINT48_BYTES
  const value = Buffer.allocUnsafe(start + contentBytes(record))
  value.writeUInt8(KIND_CODES[record.kind], 0)
  value.writeUIntBE(record.timestamp, 1, UINT48_BYTES)
  switch (record.kind) {
    case 'fence':
      value.write(record.token, start, 'utf8')
      break
    case 'trim':
      value.writeBigUInt64BE(BigInt(record.before), start)
      break
    case 'data':
      value.set(record.body, writeHeaders(record.headers, value, start))
  }
  return value
}

/** The length of what follows a record's timestamp. */
function contentBytes(record: LogRecord): number {
  switch (record.kind) {
    case 'fence':
      return Buffer.byteLength(record.token)
    case 'trim':
      return TRIM_BYTES
    case 'data': {
      let bytes = varintBytes(record.headers.length) + record.body.length
      for (const [name, value] of record.headers) bytes += textBytes(name) + textBytes(value)
      return bytes
    }
  }
}

/** Reads what {@link encodeRecord} wrote. The body is a view on `value`, not a copy. */
export function decodeRecord(seqNum: SeqNum, value: Buffer): LogRecord {
  const code = value.readUInt8(0)
  const position = { seqNum, timestamp: value.readUIntBE(1, UINT48_BYTES) }
  const start = 1 + UINT48_BYTES
  switch (code) {
    case KIND_CODES.fence:
      return { kind: 'fence', token: value.toString('utf8', start), ...position }
    case KIND_CODES.trim:
      return { kind: 'trim', before: Number(value.readBigUInt64BE(start)), ...position }
    case KIND_CODES.data: {
      const { headers, end } = decodeHeaders(value, start)
      const body = new Uint8Array(value.buffer, value.byteOffset + end, value.length - end)
      return { kind: 'data', headers, body, ...position }
    }
    default:
      throw new Error(`record ${seqNum} has the unknown kind ${code}`)
  }
}

/** Writes the headers and returns where they end. */
function writeHeaders(headers: readonly RecordHeader[], value: Buffer, start: number): number {
  let end = writeVarint(headers.length, value, start)
  for (const [name, text] of headers) end = writeText(text, value, writeText(name, value, end))
  return end
}

function writeText(text: string, value: Buffer, start: number): number {
  const end = writeVarint(Buffer.byteLength(text), value, start)
  return end + value.write(text, end, 'utf8')
}

function textBytes(text: string): number {
  const bytes = Buffer.byteLength(text)
  return varintBytes(bytes) + bytes
}

function decodeHeaders(value: Buffer, start: number): { headers: RecordHeader[]; end: number } {
  let end = start
  const readVarint = (): number => {
    let number = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = value.readUInt8(end++)
      number += (byte & 0x7f) * scale
      if (byte < 0x80) return number
    }
  }
  const readText = (): string => {
    const length = readVarint()
    end += length
    return value.toString('utf8', end - length, end)
  }
  const headers: RecordHeader[] = []
  for (let left = readVarint(); left > 0; left--) headers.push([readText(), readText()])
  return { headers, end }
}

/** Seven bits a byte, the lowest first; all bytes but the last have the high bit set. */
function writeVarint(number: number, value: Buffer, start: number): number {
  let end = start
  let rest = number
  for (; rest >= 0x80; rest = Math.floor(rest / 128)) {
    end = value.writeUInt8((rest % 128) | 0x80, end)
  }
  return value.writeUInt8(rest, end)
}

function varintBytes(number: number): number {
  let bytes = 1
  for (let rest = number; rest >= 0x80; rest = Math.floor(rest / 128)) bytes += 1
  return bytes
}
