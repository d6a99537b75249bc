/**
 * Reads messages of S2's protobuf schema `s2.v1` out of bytes. PURE.
 *
 * One cursor over the whole message and everything in it: a record that was read costs no objects
 * but its own. The caller knows the fields and passes over those it does not know.
 */

/** The types of fields: the lowest three bits of a tag. */
const VARINT = 0
const FIXED_64 = 1
const BYTES = 2
const FIXED_32 = 5

/** The longest varint there is: 64 bits, 7 in each byte. */
const MAX_VARINT_BYTES = 10

/** A field's tag as it is written: its number and its type. */
export const varintField = (number: number): number => number * 8 + VARINT
export const bytesField = (number: number): number => number * 8 + BYTES

export class ProtobufReader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  /** Where the next byte is read. */
  get at(): number {
    return this.#at
  }

  /**
   * A number of any size; over 2^53 not exact.
   *
   * @throws Error it is cut off
   */
  varint(): number {
    const bytes = this.#bytes
    let value = 0
    let factor = 1
    for (let length = 0; length < MAX_VARINT_BYTES; length += 1) {
      const byte = bytes[this.#at]
      if (byte === undefined) throw cutOff()
      this.#at += 1
      value += (byte & 0x7f) * factor
      if (byte < 0x80) return value
      factor *= 0x80
    }
    throw new Error('a number of the message has no end')
  }

  /**
   * A number that is exact.
   *
   * @throws Error it is cut off, or more than JavaScript can hold
   */
  integer(): number {
    const value = this.varint()
    if (!Number.isSafeInteger(value)) throw new Error('a number of the message is too large')
    return value
  }

  /**
   * The place where the field that begins here ends, for bytes, texts and messages. `limit` is the
   * end of the message that it is in.
   *
   * @throws Error it is cut off
   */
  end(limit: number): number {
    const length = this.varint()
    const end = this.#at + length
    if (!(end <= limit)) throw cutOff()
    return end
  }

  /** Goes on at a place that {@link end} has named. */
  moveTo(place: number): void {
    this.#at = place
  }

  /**
   * Passes over a field that nobody here knows.
   *
   * @throws Error it is cut off, or of no type there is
   */
  skip(tag: number, limit: number): void {
    const type = tag % 8
    if (type === VARINT) this.varint()
    else if (type === BYTES) this.#at = this.end(limit)
    else if (type === FIXED_64) this.#at += 8
    else if (type === FIXED_32) this.#at += 4
    else throw new Error('the message has a field of an unknown type')
    if (this.#at > limit) throw cutOff()
  }
}

function cutOff(): Error {
  return new Error('the message is cut off')
}

/** The position of a record, as S2 writes it: zero is not sent. */
export type Position = { readonly seqNum: number; readonly timestamp: number }

const POSITION_SEQ_NUM = varintField(1)
const POSITION_TIMESTAMP = varintField(2)

/**
 * Reads the `StreamPosition` that ends at `end`.
 *
 * @throws Error these bytes are none
 */
export function readPosition(reader: ProtobufReader, end: number): Position {
  let seqNum = 0
  let timestamp = 0
  while (reader.at < end) {
    const tag = reader.varint()
    if (tag === POSITION_SEQ_NUM) seqNum = reader.integer()
    else if (tag === POSITION_TIMESTAMP) timestamp = reader.integer()
    else reader.skip(tag, end)
  }
  checkEnd(reader, end)
  return { seqNum, timestamp }
}

/**
 * For the end of a message inside another.
 *
 * @throws Error its last field went over its end
 */
export function checkEnd(reader: ProtobufReader, end: number): void {
  if (reader.at !== end) throw cutOff()
}
