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
  const head = Buffer.allocUnsafe(1 + UINT48_BYTES)
  head.writeUInt8(KIND_CODES[record.kind], 0)
  head.writeUIntBE(record.timestamp, 1, UINT48_BYTES)
  switch (record.kind) {
    case 'fence':
      return Buffer.concat([head, Buffer.from(record.token, 'utf8')])
    case 'trim': {
      const before = Buffer.allocUnsafe(8)
      before.writeBigUInt64BE(BigInt(record.before))
      return Buffer.concat([head, before])
    }
    case 'data':
      return Buffer.concat([head, ...encodeHeaders(record.headers), record.body])
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

function encodeHeaders(headers: readonly RecordHeader[]): Buffer[] {
  const parts = [encodeVarint(headers.length)]
  for (const text of headers.flat()) {
    const bytes = Buffer.from(text, 'utf8')
    parts.push(encodeVarint(bytes.length), bytes)
  }
  return parts
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
function encodeVarint(number: number): Buffer {
  const bytes: number[] = []
  let rest = number
  for (; rest >= 0x80; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80)
  bytes.push(rest)
  return Buffer.from(bytes)
}
