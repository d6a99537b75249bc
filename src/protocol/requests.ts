/**
 * Requests as they come, headers and query, to what they ask for. PURE.
 *
 * What can be said of a request without knowing its stream is said here, before any work.
 */
import { RequestError } from '../errors.ts'
import { parseContentType } from './content-type.ts'
import { parseCursor } from './cursor.ts'
import { parseExpiry } from './expiry.ts'
import type { Expiry } from './expiry.ts'
import { parseFork } from './fork.ts'
import type { ForkRequest } from './fork.ts'
import { parseStreamClosed, parseStreamPublic, singleHeader } from './headers.ts'
import type { RequestHeaders } from './headers.ts'
import { parseOffset } from './offset.ts'
import type { OffsetRequest } from './offset.ts'
import { parseProducerClaim } from './producer.ts'
import type { ProducerClaim } from './producer.ts'
import { parseStreamSeq } from './stream-seq.ts'

export type CreateRequest = {
  /** Undefined when the client names none: then it is the source's, or the default. */
  readonly contentType: string | undefined
  readonly expiry: Expiry
  readonly body: Uint8Array
  readonly close: boolean
  /** Anybody may read it. */
  readonly isPublic: boolean
  readonly fork: ForkRequest | undefined
  /** The step of a trace that its data is kept with. */
  readonly traceparent?: string | undefined
}

/**
 * Reads a PUT (PROTOCOL §5.1, §4.2). `Stream-Public` is ours.
 *
 * @throws RequestError a header is malformed
 */
export function parseCreate(headers: RequestHeaders, body: Uint8Array): CreateRequest {
  return {
    contentType: parseContentTypeOf(headers),
    expiry: parseExpiry(headers),
    body,
    close: parseStreamClosed(headers),
    isPublic: parseStreamPublic(headers),
    fork: parseFork(headers),
  }
}

export type AppendRequest = {
  readonly contentType: string | undefined
  readonly body: Uint8Array
  readonly close: boolean
  readonly producer: ProducerClaim | undefined
  readonly streamSeq: string | undefined
  /** The step of a trace that its data is kept with; what an append does never depends on it. */
  readonly traceparent?: string | undefined
}

/**
 * Reads a POST (PROTOCOL §5.2). With an empty body the content type does not matter.
 *
 * @throws RequestError a header is malformed, `empty_body`, `missing_content_type`
 */
export function parseAppend(headers: RequestHeaders, body: Uint8Array): AppendRequest {
  const close = parseStreamClosed(headers)
  const producer = parseProducerClaim(headers)
  const streamSeq = parseStreamSeq(headers)
  if (body.length === 0) {
    if (close) return { contentType: undefined, body, close, producer, streamSeq }
    throw new RequestError('empty_body', 'an append needs a body, unless it closes the stream')
  }
  const contentType = parseContentTypeOf(headers)
  if (contentType === undefined) {
    throw new RequestError('missing_content_type', 'an append with a body needs a Content-Type')
  }
  return { contentType, body, close, producer, streamSeq }
}

function parseContentTypeOf(headers: RequestHeaders): string | undefined {
  const value = singleHeader(headers, 'content-type')
  return value === undefined || value === '' ? undefined : parseContentType(value)
}

export type ReadRequest = {
  readonly mode: 'catch-up' | 'long-poll' | 'sse'
  readonly offset: OffsetRequest
  readonly cursor: number | undefined
}

export type Query = Readonly<Record<string, string | string[] | undefined>>

/**
 * Reads a GET (PROTOCOL §5.6-§5.8). A native `EventSource` resumes with `Last-Event-ID`, which
 * stands above the offset its URL still carries.
 *
 * @throws RequestError `invalid_offset`, `offset_required`, `invalid_live_mode`
 */
export function parseRead(query: Query, headers: RequestHeaders): ReadRequest {
  const mode = parseMode(query['live'])
  const offset = singleParameter(query['offset'])
  if (offset === undefined && mode !== 'catch-up') {
    throw new RequestError('offset_required', 'a live read names its offset')
  }
  const requested = parseOffset(offset ?? '-1')
  const lastEventId = mode === 'sse' ? singleHeader(headers, 'last-event-id') : undefined
  const cursor = query['cursor']
  return {
    mode,
    offset: lastEventId === undefined ? requested : parseOffset(lastEventId),
    cursor: typeof cursor === 'string' ? parseCursor(cursor) : undefined,
  }
}

function parseMode(live: Query[string]): ReadRequest['mode'] {
  if (live === undefined) return 'catch-up'
  if (live === 'long-poll' || live === 'sse') return live
  throw new RequestError('invalid_live_mode', 'live is long-poll or sse')
}

function singleParameter(value: Query[string]): string | undefined {
  if (Array.isArray(value)) throw new RequestError('invalid_offset', 'offset is given twice')
  return value
}
