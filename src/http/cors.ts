/**
 * What every answer carries, whichever way it goes: the security headers of PROTOCOL §12.7, and
 * what lets pages of other origins read it.
 *
 * Where all may read, that is one constant. Else it follows from the request's path and `Origin`,
 * and says that it does.
 */
import {
  PRODUCER_EPOCH,
  PRODUCER_EXPECTED_SEQ,
  PRODUCER_ID,
  PRODUCER_RECEIVED_SEQ,
  PRODUCER_SEQ,
  STREAM_CLOSED,
  STREAM_CURSOR,
  STREAM_EARLIEST_OFFSET,
  STREAM_EXPIRES_AT,
  STREAM_FORKED_FROM,
  STREAM_FORK_OFFSET,
  STREAM_FORK_SUB_OFFSET,
  STREAM_NEXT_OFFSET,
  STREAM_PUBLIC,
  STREAM_READER_KEY,
  STREAM_SEQ,
  STREAM_SSE_DATA_ENCODING,
  STREAM_TRACEPARENT,
  STREAM_TTL,
  STREAM_UP_TO_DATE,
} from '../protocol/headers.ts'
import { isAmong, originsOf } from '../protocol/origins.ts'
import type { OriginPolicy, Origins } from '../protocol/origins.ts'
import type { Headers } from './render.ts'
import { TICKETS_PATH, projectOf } from './stream-url.ts'

/** Pages may send and read all of them: which go which way is the protocol's to say. */
const PROTOCOL_HEADERS = [
  STREAM_NEXT_OFFSET,
  STREAM_CURSOR,
  STREAM_UP_TO_DATE,
  STREAM_CLOSED,
  STREAM_TTL,
  STREAM_EXPIRES_AT,
  STREAM_SEQ,
  STREAM_SSE_DATA_ENCODING,
  STREAM_EARLIEST_OFFSET,
  STREAM_FORKED_FROM,
  STREAM_FORK_OFFSET,
  STREAM_FORK_SUB_OFFSET,
  STREAM_PUBLIC,
  STREAM_READER_KEY,
  STREAM_TRACEPARENT,
  PRODUCER_ID,
  PRODUCER_EPOCH,
  PRODUCER_SEQ,
  PRODUCER_EXPECTED_SEQ,
  PRODUCER_RECEIVED_SEQ,
]

/** What pages may send, besides what they always may. */
export const ALLOWED_HEADERS: readonly string[] = [
  'Authorization',
  'Cache-Control',
  'Content-Type',
  'If-None-Match',
  'Last-Event-ID',
  // What OpenTelemetry in a page adds to its requests, if it is told to.
  'Traceparent',
  'Tracestate',
  'Baggage',
  ...PROTOCOL_HEADERS,
]

/** What pages may read, besides what they always may. */
export const EXPOSED_HEADERS: readonly string[] = [
  'Allow',
  'ETag',
  'Location',
  'RateLimit',
  'RateLimit-Policy',
  'Retry-After',
  'WWW-Authenticate',
  ...PROTOCOL_HEADERS,
]

const EXPOSED = { 'access-control-expose-headers': EXPOSED_HEADERS.join(', ') }

const SECURITY = {
  'x-content-type-options': 'nosniff',
  'cross-origin-resource-policy': 'cross-origin',
  // Whatever answers without a class of its own must not be stored.
  'cache-control': 'no-store',
}

/** Of what all may read. */
const FOR_ANY: Headers = { ...SECURITY, 'access-control-allow-origin': '*', ...EXPOSED }

/** For a page that may not read, and for who is no page. */
const FOR_NONE: Headers = { ...SECURITY, vary: 'Origin' }

/** Origins whose headers are kept; without subdomains all there are will do. */
const MAX_KNOWN = 256

export class Cors {
  /** What every answer carries, if all may read everything: then nothing has to be asked. */
  readonly forAll: Headers | undefined
  readonly #policy: OriginPolicy
  readonly #known = new Map<string, Headers>()

  constructor(policy: OriginPolicy) {
    const all = [policy.origins, ...policy.projects.values()]
    this.forAll = all.every(({ kind }) => kind === 'any') ? FOR_ANY : undefined
    this.#policy = policy
  }

  /**
   * What the answer to a request carries, by its path as sent, without the query, and its
   * `Origin`. The same object for the same headers, mostly.
   */
  headersFor(path: string, origin: string | undefined): Headers {
    if (this.forAll !== undefined) return this.forAll
    if (path === TICKETS_PATH) return this.#headersForAnyOf(origin)
    const origins = originsOf(this.#policy, projectOf(path))
    if (origins.kind === 'any') return FOR_ANY
    return origin !== undefined && isAmong(origins, origin) ? this.#headersTo(origin) : FOR_NONE
  }

  /** Which project it is about only its body says; and whoever asks has to have a token. */
  #headersForAnyOf(origin: string | undefined): Headers {
    const { origins, projects } = this.#policy
    if (origins.kind === 'any') return FOR_ANY
    const isAllowed = (allowed: Origins): boolean =>
      origin !== undefined && (allowed.kind === 'any' || isAmong(allowed, origin))
    if (origin === undefined || ![origins, ...projects.values()].some(isAllowed)) return FOR_NONE
    return this.#headersTo(origin)
  }

  /** What an answer carries when nobody knows to what. */
  get forUnknown(): Headers {
    return this.forAll ?? FOR_NONE
  }

  #headersTo(origin: string): Headers {
    const known = this.#known.get(origin)
    if (known !== undefined) return known
    const credentials = { 'access-control-allow-credentials': 'true' }
    const headers: Headers = {
      ...SECURITY,
      vary: 'Origin',
      'access-control-allow-origin': origin,
      ...(this.#policy.credentials ? credentials : {}),
      ...EXPOSED,
    }
    if (this.#known.size === MAX_KNOWN) this.#known.clear()
    this.#known.set(origin, headers)
    return headers
  }
}

/** Whether an answer with these headers may be read by the page that asks. */
export function isReadable(headers: Headers): boolean {
  return 'access-control-allow-origin' in headers
}

/** An answer's headers: those that every answer to the request carries, and its own. */
export function withCommon<Value>(
  common: Readonly<Record<string, Value>>,
  own: Headers,
): Record<string, Value | string> {
  const { vary } = common
  const headers = { ...common, ...own }
  if (vary === undefined || own['vary'] === undefined) return headers
  return { ...headers, vary: joinVary(own['vary'], String(vary)) }
}

/** One value of `Vary` for two. */
export function joinVary(own: string, common: string): string {
  const names = own.split(',').map((name) => name.trim().toLowerCase())
  return names.includes('*') || names.includes(common.toLowerCase()) ? own : `${own}, ${common}`
}
