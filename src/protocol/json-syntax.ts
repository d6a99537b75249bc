/**
 * JSON as bytes (RFC 8259): where a value ends, if it is one. PURE.
 *
 * `JSON.parse` builds all that it reads: seconds, and many times the memory, for 16 MiB of small
 * values. What an append needs is to know that its body is JSON. Strict, and without recursion;
 * that strings are UTF-8 is for the caller to see to, by `isUtf8`, which is much quicker.
 */

/**
 * How deep arrays and objects may nest (RFC 8259 §9 lets us choose). Readers get messages inside
 * one array, so one that their parser can't take (Jackson stops at 1000, Python near it) would
 * cost them all the others.
 */
export const MAX_JSON_DEPTH = 1000

/** What {@link endOfValue} answers when there is no value. */
export const NO_VALUE = -1
export const TOO_DEEP = -2

const QUOTE = 0x22
const PLUS = 0x2b
const COMMA = 0x2c
const MINUS = 0x2d
const DOT = 0x2e
const ZERO = 0x30
const NINE = 0x39
const COLON = 0x3a
const OPEN_ARRAY = 0x5b
const BACKSLASH = 0x5c
const CLOSE_ARRAY = 0x5d
const SMALL_E = 0x65
const SMALL_U = 0x75
const OPEN_OBJECT = 0x7b
const CLOSE_OBJECT = 0x7d

const TRUE = Buffer.from('true')
const FALSE = Buffer.from('false')
const NULL = Buffer.from('null')

/** What may follow a backslash. */
const ESCAPES = new Uint8Array(256)
for (const byte of Buffer.from('"\\/bfnrtu')) ESCAPES[byte] = 1

/** What closes each of the open containers, from 1. One for all: nothing waits in between. */
const closers = new Uint8Array(MAX_JSON_DEPTH + 1)

/** The index of the first byte at or after `start` that is no whitespace. */
export function skipSpace(body: Uint8Array, start: number): number {
  let at = start
  while (at < body.length && isSpace(body[at] ?? 0)) at += 1
  return at
}

function isSpace(byte: number): boolean {
  // Most bytes are told by the first comparison.
  return byte <= 0x20 && (byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09)
}

/**
 * The index behind the value that begins at `start`, inside of `depth` containers; `NO_VALUE` or
 * `TOO_DEEP` when there is none.
 */
export function endOfValue(body: Uint8Array, start: number, depth: number): number {
  let level = depth
  // Where a value has to begin.
  let at = start
  while (at !== NO_VALUE) {
    const byte = body[at]
    if (byte === OPEN_ARRAY || byte === OPEN_OBJECT) {
      level += 1
      if (level > MAX_JSON_DEPTH) return TOO_DEEP
      const closer = byte === OPEN_ARRAY ? CLOSE_ARRAY : CLOSE_OBJECT
      closers[level] = closer
      at = skipSpace(body, at + 1)
      if (body[at] !== closer) {
        at = startOfItem(body, at, closer)
        continue
      }
    } else {
      at = endOfScalar(body, at, byte)
      if (at === NO_VALUE) return NO_VALUE
    }
    // Here ends a value, or nothing but an empty one begins; with it end those it is the last of.
    for (; level > depth; level -= 1, at += 1) {
      at = skipSpace(body, at)
      if (body[at] !== closers[level]) break
    }
    if (level === depth) return at
    if (body[at] !== COMMA) return NO_VALUE
    at = startOfItem(body, skipSpace(body, at + 1), closers[level])
  }
  return NO_VALUE
}

/** Where the value of an element or member begins. */
function startOfItem(body: Uint8Array, start: number, closer: number | undefined): number {
  return closer === CLOSE_OBJECT ? endOfName(body, start) : start
}

/** Where the value of the member begins whose name begins at `start`. */
function endOfName(body: Uint8Array, start: number): number {
  if (body[start] !== QUOTE) return NO_VALUE
  const end = endOfString(body, start)
  if (end === NO_VALUE) return NO_VALUE
  const colon = skipSpace(body, end)
  return body[colon] === COLON ? skipSpace(body, colon + 1) : NO_VALUE
}

function endOfScalar(body: Uint8Array, start: number, byte: number | undefined): number {
  switch (byte) {
    case QUOTE:
      return endOfString(body, start)
    case 0x74:
      return endOfWord(body, start, TRUE)
    case 0x66:
      return endOfWord(body, start, FALSE)
    case 0x6e:
      return endOfWord(body, start, NULL)
    default:
      return endOfNumber(body, start)
  }
}

function endOfString(body: Uint8Array, start: number): number {
  const { length } = body
  for (let at = start + 1; at < length; at += 1) {
    const byte = body[at] ?? 0
    if (byte === QUOTE) return at + 1
    if (byte < 0x20) return NO_VALUE
    if (byte !== BACKSLASH) continue
    at += 1
    const escaped = body[at] ?? 0
    if (ESCAPES[escaped] !== 1) return NO_VALUE
    if (escaped !== SMALL_U) continue
    for (const end = at + 4; at < end; at += 1) if (!isHex(body[at + 1])) return NO_VALUE
  }
  return NO_VALUE
}

function endOfWord(body: Uint8Array, start: number, word: Uint8Array): number {
  for (let index = 1; index < word.length; index += 1) {
    if (body[start + index] !== word[index]) return NO_VALUE
  }
  return start + word.length
}

function endOfNumber(body: Uint8Array, start: number): number {
  const first = body[start] === MINUS ? start + 1 : start
  // A zero that digits follow is no number.
  let at = body[first] === ZERO ? first + 1 : endOfDigits(body, first)
  if (at !== NO_VALUE && body[at] === DOT) at = endOfDigits(body, at + 1)
  if (at === NO_VALUE || ((body[at] ?? 0) | 0x20) !== SMALL_E) return at
  const sign = body[at + 1]
  return endOfDigits(body, sign === PLUS || sign === MINUS ? at + 2 : at + 1)
}

/** The index behind one digit or more. */
function endOfDigits(body: Uint8Array, start: number): number {
  let at = start
  while (at < body.length && isDigit(body[at])) at += 1
  return at === start ? NO_VALUE : at
}

function isDigit(byte = 0): boolean {
  return byte >= ZERO && byte <= NINE
}

function isHex(byte = 0): boolean {
  const small = byte | 0x20
  return isDigit(byte) || (small >= 0x61 && small <= 0x66)
}
