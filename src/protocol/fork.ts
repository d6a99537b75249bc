/** The headers that make a PUT a fork (PROTOCOL §4.2). PURE. */
import { RequestError } from '../errors.ts'
import {
  STREAM_FORKED_FROM,
  STREAM_FORK_OFFSET,
  STREAM_FORK_SUB_OFFSET,
  singleHeader,
} from './headers.ts'
import type { RequestHeaders } from './headers.ts'
import { parseOffset } from './offset.ts'
import type { OffsetRequest } from './offset.ts'

/** Where a fork leaves its source. */
export type ForkPoint = {
  /** Undefined: at the source's tail. */
  readonly offset: OffsetRequest | undefined
  /** Messages (JSON mode) or bytes to inherit past the offset. */
  readonly subOffset: number
}

export type ForkRequest = ForkPoint & {
  /** The path of the source's URL, as sent. */
  readonly sourcePath: string
}

const SUB_OFFSET = /^(?:0|[1-9]\d{0,15})$/

/**
 * Reads the fork headers; undefined when the request is no fork.
 *
 * @throws RequestError `invalid_fork`, `invalid_offset`
 */
export function parseFork(headers: RequestHeaders): ForkRequest | undefined {
  const sourcePath = singleHeader(headers, STREAM_FORKED_FROM)
  const offset = singleHeader(headers, STREAM_FORK_OFFSET)
  const subOffset = singleHeader(headers, STREAM_FORK_SUB_OFFSET)
  if (sourcePath === undefined) {
    const stray = offset === undefined && subOffset === undefined
    if (stray) return undefined
    throw new RequestError('invalid_fork', `a fork point needs ${STREAM_FORKED_FROM}`)
  }
  return {
    sourcePath,
    offset: offset === undefined ? undefined : parseOffset(offset),
    subOffset: parseSubOffset(subOffset ?? '0'),
  }
}

function parseSubOffset(text: string): number {
  const value = SUB_OFFSET.test(text) ? Number(text) : NaN
  if (Number.isSafeInteger(value)) return value
  throw new RequestError('invalid_fork', `${STREAM_FORK_SUB_OFFSET} is a whole number from 0`)
}
