/**
 * Offsets on the wire (PROTOCOL §8): `<16 digits fork depth>_<16 digits seq num>`.
 *
 * Opaque to clients, sortable as text. The only place, with `streams/codec.ts`, where a seq num
 * becomes an offset.
 */
import { RequestError } from '../errors.ts'

declare const brand: unique symbol

/** A well-formed offset token. */
export type Offset = string & { readonly [brand]: 'Offset' }

/** A position in a stream: fork depth first, then the seq num inside that log. */
export type Position = { readonly depth: number; readonly seqNum: number }

/** What a client may ask for: the beginning, the tail, or a position (PROTOCOL §8). */
export type OffsetRequest =
  | { readonly kind: 'beginning' }
  | { readonly kind: 'now' }
  | { readonly kind: 'position'; readonly position: Position }

const DIGITS = 16
const PATTERN = /^(\d{16})_(\d{16})$/

/** Writes a position as an offset token. */
export function formatOffset({ depth, seqNum }: Position): Offset {
  return `${pad(depth)}_${pad(seqNum)}` as Offset
}

function pad(value: number): string {
  return String(value).padStart(DIGITS, '0')
}

/**
 * Reads the `offset` a client sent: `-1`, `now`, or a token we once gave out.
 *
 * @throws RequestError `invalid_offset`
 */
export function parseOffset(text: string): OffsetRequest {
  if (text === '-1') return { kind: 'beginning' }
  if (text === 'now') return { kind: 'now' }
  const match = PATTERN.exec(text)
  const depth = Number(match?.[1])
  const seqNum = Number(match?.[2])
  if (!Number.isSafeInteger(depth) || !Number.isSafeInteger(seqNum)) {
    throw new RequestError('invalid_offset', 'offset is -1, now, or a value this server returned')
  }
  return { kind: 'position', position: { depth, seqNum } }
}
