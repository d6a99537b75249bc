/**
 * Names of the protocol's headers (PROTOCOL §13.2), and the rules that hold for reading any of them.
 *
 * One spelling per header: the canonical one, written as it stands and read by `singleHeader`
 * without regard to case.
 */
import { RequestError } from '../errors.ts'

export const STREAM_NEXT_OFFSET = 'Stream-Next-Offset'
export const STREAM_UP_TO_DATE = 'Stream-Up-To-Date'
export const STREAM_CLOSED = 'Stream-Closed'
export const STREAM_CURSOR = 'Stream-Cursor'
export const STREAM_TTL = 'Stream-TTL'
export const STREAM_EXPIRES_AT = 'Stream-Expires-At'
export const STREAM_SEQ = 'Stream-Seq'
export const STREAM_SSE_DATA_ENCODING = 'Stream-SSE-Data-Encoding'

/** Not in PROTOCOL: where a stream that has lost its beginning can still be read from. */
export const STREAM_EARLIEST_OFFSET = 'Stream-Earliest-Offset'

/** Not in PROTOCOL: whether anybody may read the stream. */
export const STREAM_PUBLIC = 'Stream-Public'

/** Not in PROTOCOL: with it in its URL (`rk`) a read of a private stream may be cached for all. */
export const STREAM_READER_KEY = 'Stream-Reader-Key'

/** Not in PROTOCOL: the `traceparent` of the latest append whose data a response has. */
export const STREAM_TRACEPARENT = 'Stream-Traceparent'

export const STREAM_FORKED_FROM = 'Stream-Forked-From'
export const STREAM_FORK_OFFSET = 'Stream-Fork-Offset'
export const STREAM_FORK_SUB_OFFSET = 'Stream-Fork-Sub-Offset'

export const PRODUCER_ID = 'Producer-Id'
export const PRODUCER_EPOCH = 'Producer-Epoch'
export const PRODUCER_SEQ = 'Producer-Seq'
export const PRODUCER_EXPECTED_SEQ = 'Producer-Expected-Seq'
export const PRODUCER_RECEIVED_SEQ = 'Producer-Received-Seq'

/** Every request is asked for most of the names above: they are turned once. */
const lowerCaseNames = new Map<string, string>()

function inLowerCase(name: string): string {
  const known = lowerCaseNames.get(name)
  if (known !== undefined) return known
  const lowerCase = name.toLowerCase()
  lowerCaseNames.set(name, lowerCase)
  return lowerCase
}

/** A request's headers as Node hands them out: names in lower case, values as latin1 text. */
export type RequestHeaders = Readonly<Record<string, string | string[] | undefined>>

/**
 * Reads a header that may be given once. `name` is one that we know, never one that was sent.
 *
 * Node joins most repeated headers with `, ` before we see them; the grammar of each header then
 * decides. An array is a repetition it could not join.
 *
 * @throws RequestError `invalid_header`
 */
export function singleHeader(headers: RequestHeaders, name: string): string | undefined {
  const value = headers[inLowerCase(name)]
  if (Array.isArray(value)) throw new RequestError('invalid_header', `${name} is given twice`)
  return value
}

/**
 * Tells whether the request closes the stream: `Stream-Closed: true`, in any case.
 *
 * Every other value counts as absent and is never an error (PROTOCOL §4.1).
 */
export function parseStreamClosed(headers: RequestHeaders): boolean {
  const value = headers[inLowerCase(STREAM_CLOSED)]
  return typeof value === 'string' && value.toLowerCase() === 'true'
}

/**
 * Tells whether the request makes the stream public: `Stream-Public: true`, in any case.
 *
 * Unlike `Stream-Closed` any other value but `false` is an error: who gets it wrong would learn
 * only from readers who are refused, or from those who are not.
 *
 * @throws RequestError `invalid_header`
 */
export function parseStreamPublic(headers: RequestHeaders): boolean {
  const value = singleHeader(headers, STREAM_PUBLIC)?.toLowerCase() ?? 'false'
  if (value === 'true' || value === 'false') return value === 'true'
  throw new RequestError('invalid_header', `${STREAM_PUBLIC} is true or false`)
}
