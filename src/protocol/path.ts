/**
 * Stream names in URLs (PROTOCOL §12.2): what may follow `/v1/stream/`.
 *
 * A name is a path whose segments every client, proxy and log writes the same way.
 */
import { RequestError } from '../errors.ts'

/** S2's bound on a stream name, in UTF-8. */
export const MAX_STREAM_NAME_BYTES = 512

/** The first segment of names that are the protocol's own (PROTOCOL §6). */
export const RESERVED = '__ds'

/**
 * Reads a stream name from the path after `/v1/stream/`, not decoded yet.
 *
 * It is decoded before it is checked and split: `a%2Fb` names the same stream as `a/b`, and
 * `%2e%2e` is refused like `..`.
 *
 * @throws RequestError `invalid_path`, `reserved_path`
 */
export function parseStreamPath(raw: string): string {
  return checkStreamName(decode(raw))
}

/**
 * Checks a stream name that comes as it is, in a body for instance.
 *
 * @throws RequestError `invalid_path`, `reserved_path`
 */
export function checkStreamName(name: string): string {
  if (Buffer.byteLength(name) > MAX_STREAM_NAME_BYTES) {
    throw invalid(`a stream name is at most ${MAX_STREAM_NAME_BYTES} bytes`)
  }
  // Browsers and some proxies turn a backslash into a slash; UTF-8 has no half of a surrogate pair.
  if (/[\p{Cc}\p{Cs}\\]/u.test(name)) {
    throw invalid('a stream name has no control characters, lone surrogates or \\')
  }
  const segments = name.split('/')
  if (segments.some((segment) => segment === '' || segment === '.' || segment === '..')) {
    throw invalid('a stream name has no empty, . or .. segments')
  }
  if (segments[0] === RESERVED) {
    throw new RequestError('reserved_path', `names under ${RESERVED}/ are reserved`)
  }
  return name
}

/**
 * The text without the slashes around it: in a name or pattern in a body they mean nothing.
 *
 * A loop, as a regex would try each slash of a run inside for the beginning of the last one.
 */
export function trimSlashes(text: string): string {
  let begin = 0
  let end = text.length
  while (text[begin] === '/') begin += 1
  while (end > begin && text[end - 1] === '/') end -= 1
  return text.slice(begin, end)
}

function decode(raw: string): string {
  if (raw === '') throw invalid('a stream has a name')
  // Node gives the bytes of a URL as latin1: beyond ASCII they would be decoded as other text.
  if (!/^[\x21-\x7e]+$/.test(raw)) throw invalid('a stream URL is percent-encoded ASCII')
  if (!raw.includes('%')) return raw
  try {
    return decodeURIComponent(raw)
  } catch {
    // Only malformed escapes and bytes that are not UTF-8 get here.
    throw invalid('a stream URL is percent-encoded UTF-8')
  }
}

function invalid(message: string): RequestError {
  return new RequestError('invalid_path', message)
}
