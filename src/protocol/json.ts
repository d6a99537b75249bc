/**
 * JSON mode (PROTOCOL §9.1): an append's body into messages, messages into a read's body.
 *
 * A message keeps the bytes it was sent as. Parsing and writing it again would round large
 * numbers, drop duplicate keys and change what a signature covers.
 */
import { isUtf8 } from 'node:buffer'
import { RequestError } from '../errors.ts'

/**
 * How deep arrays and objects may nest (RFC 8259 §9 lets us choose). Readers get messages inside
 * one array, so one that their parser can't take (Jackson stops at 1000, Python near it) would
 * cost them all the others. It also bounds `JSON.parse`, which takes seconds for 16 MiB of `[`.
 */
export const MAX_JSON_DEPTH = 1000

const QUOTE = 0x22
const COMMA = 0x2c
const OPEN_ARRAY = 0x5b
const BACKSLASH = 0x5c
const CLOSE_ARRAY = 0x5d
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d

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
  // Scanned before it is validated: the limits hold before anything of its size is built.
  const messages = scan(body, maxMessages)
  if (!isJsonText(body)) throw new RequestError('invalid_json', 'the body is not valid JSON')
  return messages
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

function isJsonText(body: Uint8Array): boolean {
  try {
    JSON.parse(decode(body))
    return isUtf8(body)
  } catch {
    // How it is broken is of no use to anybody: the answer is no.
    return false
  }
}

/** A byte order mark stays, and is no JSON: `TextDecoder` would hide it. */
function decode(body: Uint8Array): string {
  return Buffer.from(body.buffer, body.byteOffset, body.length).toString()
}

/**
 * Finds the messages of a body on the assumption that it is JSON: one pass, no recursion. Where
 * it is not, what is found means nothing.
 */
function scan(body: Uint8Array, maxMessages: number): Uint8Array[] {
  const value = trimmed(body, 0, body.length)
  const isBatch = value[0] === OPEN_ARRAY
  const messages: Uint8Array[] = []
  let depth = 0
  let start = 1
  for (let i = 0; i < value.length; i++) {
    const byte = value[i]
    if (byte === QUOTE) i = endOfString(value, i)
    else if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) checkDepth(++depth)
    else if (byte === CLOSE_ARRAY || byte === CLOSE_OBJECT) depth--
    else if (byte === COMMA && depth === 1 && isBatch) {
      messages.push(trimmed(value, start, i))
      checkCount(messages.length + 1, maxMessages)
      start = i + 1
    }
  }
  if (!isBatch) return [value]
  const last = trimmed(value, start, value.length - 1)
  if (last.length > 0) messages.push(last) // only an empty array has no last element
  return messages
}

function checkDepth(depth: number): void {
  if (depth <= MAX_JSON_DEPTH) return
  throw new RequestError('invalid_json', `JSON nests at most ${MAX_JSON_DEPTH} levels deep`)
}

function checkCount(count: number, limit: number): void {
  if (count <= limit) return
  throw new RequestError('too_many_messages', `a request carries at most ${limit} messages`)
}

/** The index of the quote that ends the string begun at `start`. */
function endOfString(body: Uint8Array, start: number): number {
  let i = start + 1
  while (i < body.length && body[i] !== QUOTE) i += body[i] === BACKSLASH ? 2 : 1
  return i
}

function trimmed(body: Uint8Array, start: number, end: number): Uint8Array {
  while (start < end && isSpace(body[start])) start++
  while (end > start && isSpace(body[end - 1])) end--
  return body.subarray(start, end)
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09
}
