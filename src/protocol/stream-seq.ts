/** `Stream-Seq` (PROTOCOL §5.2): the writers' own sequence, opaque, in byte order. */
import { RequestError } from '../errors.ts'
import { STREAM_SEQ, singleHeader } from './headers.ts'
import type { RequestHeaders } from './headers.ts'

/** It is stored with each append that carries it and in every checkpoint. */
export const MAX_STREAM_SEQ_BYTES = 256

// Node decodes header values as latin1: one code unit per byte the client sent.
const BYTES = /^[\0-\xff]+$/

/**
 * Reads `Stream-Seq` as a string whose code units are the bytes the client sent.
 *
 * @throws RequestError `invalid_stream_seq`, `invalid_header`
 */
export function parseStreamSeq(headers: RequestHeaders): string | undefined {
  const value = singleHeader(headers, STREAM_SEQ)
  if (value === undefined) return undefined
  if (value.length > MAX_STREAM_SEQ_BYTES || !BYTES.test(value)) {
    throw new RequestError(
      'invalid_stream_seq',
      `${STREAM_SEQ} is 1 to ${MAX_STREAM_SEQ_BYTES} bytes`,
    )
  }
  return value
}

/**
 * Orders two parsed values byte by byte: negative, 0 or positive (PROTOCOL §5.2).
 *
 * JavaScript orders strings by code unit, and here each code unit is one byte of the header as
 * sent, so this is the byte order of whatever encoding the client used, UTF-8 included.
 */
export function compareStreamSeq(a: string, b: string): number {
  if (a === b) return 0
  return a < b ? -1 : 1
}
