/** Reads as responses: status, headers, body. PURE: the clock is an argument. */
import { encodeBody } from '../hub/frames.ts'
import type { HubStream } from '../hub/stream.ts'
import { cacheControl, cacheHeaders, etag, matchesETag } from '../protocol/caching.ts'
import type { Audience, CacheKind } from '../protocol/caching.ts'
import {
  STREAM_CLOSED,
  STREAM_CURSOR,
  STREAM_EXPIRES_AT,
  STREAM_NEXT_OFFSET,
  STREAM_PUBLIC,
  STREAM_READER_KEY,
  STREAM_TRACEPARENT,
  STREAM_TTL,
  STREAM_UP_TO_DATE,
} from '../protocol/headers.ts'
import type { ReadRequest } from '../protocol/requests.ts'
import { latestTraceparent } from '../streams/codec.ts'
import type { ReadResult } from '../streams/reader.ts'
import { offsetOf } from '../streams/lineage.ts'
import type { OwnPart } from '../streams/lineage.ts'
import type { StreamView } from '../streams/view.ts'
import type { LongPollResult } from './long-poll.ts'

export type Headers = Readonly<Record<string, string>>

export type Rendered = {
  readonly status: number
  /** What caches may do with it; whose, the audience says. */
  readonly cache: CacheKind
  readonly headers: Headers
  readonly body?: Buffer
}

/** What the answer depends on besides the stream. */
export type Asked = {
  readonly read: ReadRequest
  readonly ifNoneMatch: string | undefined
  /** In ms. */
  readonly now: number
  /** Whose caches may answer with it. */
  readonly audience: Audience
}

/**
 * Renders the metadata of a stream (PROTOCOL §5.5). The reader key is for those who may read it:
 * a URL that has it may be kept by shared caches.
 */
export function renderMetadata(view: StreamView, readerKey?: string): Rendered {
  const headers: Record<string, string> = {
    'content-type': view.contentType,
    'cache-control': cacheControl('uncached'),
    [STREAM_NEXT_OFFSET]: offsetOf(view, view.dataTail),
  }
  if (view.expiry.kind === 'ttl') headers[STREAM_TTL] = String(view.expiry.seconds)
  if (view.expiry.kind === 'at') headers[STREAM_EXPIRES_AT] = view.expiry.text
  if (view.closed) headers[STREAM_CLOSED] = 'true'
  if (view.isPublic) headers[STREAM_PUBLIC] = 'true'
  if (readerKey !== undefined) headers[STREAM_READER_KEY] = readerKey
  return { status: 200, cache: 'uncached', headers }
}

/** Renders a catch-up read (PROTOCOL §5.6). */
export function renderChunk(result: ReadResult, asked: Asked): Rendered {
  const { view, from, next, records, upToDate } = result
  const now = asked.read.offset.kind === 'now'
  const closed = upToDate && view.closed
  const kind = now ? 'now' : upToDate ? 'tail' : 'chunk'
  const headers: Record<string, string> = {
    'content-type': view.contentType,
    ...cacheHeaders(kind, remaining(view.expiresAt, asked.now), asked.audience),
    ...progress(view, next, upToDate, closed),
  }
  const traceparent = latestTraceparent(records)
  if (traceparent !== undefined) headers[STREAM_TRACEPARENT] = traceparent
  const tag = rangeTag(view, from, next, closed)
  const answer = { cache: kind, headers, tag: now ? undefined : tag } as const
  return revalidated(answer, asked.ifNoneMatch, () => encodeBody(records, view.contentType))
}

/** Renders the answer to a long-poll (PROTOCOL §5.7). */
export function renderLongPoll(result: LongPollResult, asked: Asked): Rendered {
  const { stream, from, next, upToDate, closed, body, cursor, traceparent } = result
  const headers = progress(stream, next, upToDate, closed)
  if (cursor !== undefined) headers[STREAM_CURSOR] = String(cursor)
  if (body === undefined) {
    headers['cache-control'] = cacheControl('long_poll_empty')
    return { status: 204, cache: 'long_poll_empty', headers }
  }
  const now = asked.read.offset.kind === 'now'
  const kind = now || asked.read.cursor === undefined ? 'long_poll_unkeyed' : 'long_poll'
  headers['content-type'] = stream.contentType
  if (traceparent !== undefined) headers[STREAM_TRACEPARENT] = traceparent
  Object.assign(headers, cacheHeaders(kind, remainingOf(stream, asked.now), asked.audience))
  const tag = rangeTag(stream, from, next, closed)
  const answer = { cache: kind, headers, tag: now ? undefined : tag } as const
  return revalidated(answer, asked.ifNoneMatch, () => body)
}

/** Where a response ends, in the protocol's words. */
function progress(
  stream: OwnPart,
  next: number,
  upToDate: boolean,
  closed: boolean,
): Record<string, string> {
  const headers: Record<string, string> = { [STREAM_NEXT_OFFSET]: offsetOf(stream, next) }
  if (upToDate) headers[STREAM_UP_TO_DATE] = 'true'
  if (closed) headers[STREAM_CLOSED] = 'true'
  return headers
}

function rangeTag(
  stream: OwnPart & { readonly incarnation: string },
  from: number,
  next: number,
  closed: boolean,
): string {
  const { incarnation } = stream
  return etag({ incarnation, start: offsetOf(stream, from), end: offsetOf(stream, next), closed })
}

/** 304 without a body when the client has that very response already (RFC 9110 §13.1.2). */
function revalidated(
  { cache, headers, tag }: Pick<Rendered, 'cache' | 'headers'> & { tag: string | undefined },
  ifNoneMatch: string | undefined,
  body: () => Buffer,
): Rendered {
  if (tag === undefined) return { status: 200, cache, headers, body: body() }
  const tagged = { ...headers, etag: tag }
  if (matchesETag(ifNoneMatch, tag)) return { status: 304, cache, headers: tagged }
  return { status: 200, cache, headers: tagged, body: body() }
}

/** This very read has renewed a TTL: all of its window is left. */
function remainingOf({ ttlMs, endsAt }: HubStream, now: number): number | undefined {
  return ttlMs ?? remaining(endsAt, now)
}

function remaining(end: number | undefined, now: number): number | undefined {
  return end === undefined ? undefined : Math.max(0, end - now)
}
