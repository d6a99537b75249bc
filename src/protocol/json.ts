/**
 * JSON mode (PROTOCOL §9.1): an append's body into messages, messages into a read's body.
 *
 * A message keeps the bytes it was sent as. Parsing and writing it again would round large
 * numbers, drop duplicate keys and change what a signature covers.
 */
import { isUtf8 } from 'node:buffer'
import { RequestError } from '../errors.ts'
import { MAX_JSON_DEPTH, NO_VALUE, TOO_DEEP, endOfValue, skipSpace } from './json-syntax.ts'

const OPEN_ARRAY = 0x5b
const COMMA = 0x2c
const CLOSE_ARRAY = 0x5d

/**
 * Splits the body of a create or an append into its messages: the elements of an array, one level
 * deep, or the one value it is (PROTOCOL §9.1.2). An empty array has none; the caller decides
 * whether that is an error (§9.1.3).
 *
 * The messages are views of `body`, without the whitespace around them.
 *
 * @throws RequestError `invalid_json`, `too_many_messages`
 */
export function splitMessages(body: Uint8Array, maxMessages = Infinity): Uint8Array[] {
  const messages: Uint8Array[] = []
  const scan = new Scan(body)
  while (scan.next()) {
    checkCount(messages.length + 1, maxMessages)
    messages.push(scan.message())
  }
  return messages
}

/**
 * How many messages {@link splitMessages} would find. Nothing is built that grows with them.
 *
 * @throws RequestError `invalid_json`, `too_many_messages`
 */
export function countMessages(body: Uint8Array, maxMessages: number): number {
  const scan = new Scan(body)
  let count = 0
  while (scan.next()) checkCount(++count, maxMessages)
  return count
}

/** The messages of {@link splitMessages}, each one made when it is asked for. */
export function* messagesIn(body: Uint8Array): Generator<Uint8Array, void, void> {
  const scan = new Scan(body)
  while (scan.next()) yield scan.message()
}

/** Joins messages into one JSON array (PROTOCOL §9.1.5). */
export function joinMessages(messages: readonly Uint8Array[]): Buffer {
  let size = Math.max(2, messages.length + 1)
  for (const message of messages) size += message.length
  const array = Buffer.allocUnsafe(size)
  array[0] = OPEN_ARRAY
  let at = 1
  for (const message of messages) {
    if (at > 1) array[at++] = COMMA
    array.set(message, at)
    at += message.length
  }
  array[at] = CLOSE_ARRAY
  return array
}

/**
 * Makes a message of a record that did not come through `splitMessages`.
 *
 * Any S2 client may append to the stream. What is one JSON value stays as it is; anything else
 * becomes a JSON string of its text, so that one such record can't break a whole array.
 */
export function asJsonMessage(body: Uint8Array): Uint8Array {
  try {
    splitMessages(body)
    return body
  } catch {
    // Refused as a message; why makes no difference.
    return Buffer.from(JSON.stringify(decode(body)))
  }
}

/** A byte order mark stays, and is no JSON: `TextDecoder` would hide it. */
function decode(body: Uint8Array): string {
  return Buffer.from(body.buffer, body.byteOffset, body.length).toString()
}

/** A body that is gone through message by message; it was JSON when there is no further one. */
class Scan {
  readonly #body: Uint8Array
  readonly #isBatch: boolean
  #start = 0
  /** Behind the latest message, or behind the bracket that opens the array. */
  #end: number
  #isFirst = true

  constructor(body: Uint8Array) {
    if (!isUtf8(body)) throw invalid()
    this.#body = body
    const start = skipSpace(body, 0)
    this.#isBatch = body[start] === OPEN_ARRAY
    this.#end = this.#isBatch ? start + 1 : start
  }

  /** Finds the next message, if there is one. */
  next(): boolean {
    const body = this.#body
    const at = skipSpace(body, this.#end)
    const isFirst = this.#isFirst
    this.#isFirst = false
    if (!this.#isBatch) return isFirst ? this.#take(at) : this.#finish(at)
    if (body[at] === CLOSE_ARRAY) return this.#finish(at + 1)
    if (isFirst) return this.#take(at)
    if (body[at] !== COMMA) throw invalid()
    return this.#take(skipSpace(body, at + 1))
  }

  /** The one that was found. */
  message(): Uint8Array {
    return this.#body.subarray(this.#start, this.#end)
  }

  #take(start: number): true {
    const end = endOfValue(this.#body, start, this.#isBatch ? 1 : 0)
    if (end === TOO_DEEP) {
      throw new RequestError('invalid_json', `JSON nests at most ${MAX_JSON_DEPTH} levels deep`)
    }
    if (end === NO_VALUE) throw invalid()
    this.#start = start
    this.#end = end
    return true
  }

  #finish(at: number): false {
    if (skipSpace(this.#body, at) < this.#body.length) throw invalid()
    return false
  }
}

function invalid(): RequestError {
  return new RequestError('invalid_json', 'the body is not valid JSON')
}

function checkCount(count: number, limit: number): void {
  if (count <= limit) return
  throw new RequestError('too_many_messages', `a request carries at most ${limit} messages`)
}
