/**
 * A stream's content type: its syntax (RFC 9110 §8.3.1), when two are the same, and what follows
 * from it (PROTOCOL §5.8, §9).
 */
import { RequestError } from '../errors.ts'

/** The content type of a stream created without one (PROTOCOL §5.1). */
export const DEFAULT_CONTENT_TYPE = 'application/octet-stream'

/** How SSE carries a stream's bytes (PROTOCOL §5.8). */
export type SseEncoding = 'text' | 'base64'

/** It is stored with the stream and sent with every read; real ones stay far below. */
const MAX_LENGTH = 256

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+"
const QUOTED = String.raw`"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"`
// Spaces are matched in one place only per parameter: text that fails does so in linear time.
const MEDIA_TYPE = new RegExp(
  `^${TOKEN}/${TOKEN}(?:[\\t ]*;(?:[\\t ]*${TOKEN}=(?:${TOKEN}|${QUOTED}))?)*[\\t ]*$`,
)

/**
 * Checks a content type and returns it trimmed, otherwise as given: it goes back to readers.
 *
 * @throws RequestError `invalid_content_type`
 */
export function parseContentType(value: string): string {
  const text = value.trim()
  if (text.length > MAX_LENGTH || !MEDIA_TYPE.test(text)) {
    throw new RequestError('invalid_content_type', 'Content-Type is not a media type')
  }
  return text
}

/** The `type/subtype` of a content type in lower case, without its parameters. */
export function essence(contentType: string): string {
  const end = contentType.indexOf(';')
  return (end === -1 ? contentType : contentType.slice(0, end)).trim().toLowerCase()
}

/**
 * Tells whether two content types match (PROTOCOL §5.1, §5.2).
 *
 * Parameters are not compared: `fetch` adds `;charset=UTF-8` to a string body by itself, so a
 * stream created as `text/plain` would refuse the plainest append. The reference server does the
 * same, and the conformance suite expects `application/json; charset=utf-8` to be JSON mode.
 */
export function sameContentType(a: string, b: string): boolean {
  return a === b || essence(a) === essence(b)
}

/** Tells whether a stream of this type is in JSON mode (PROTOCOL §9.1). `+json` types are not. */
export function isJson(contentType: string): boolean {
  return essence(contentType) === 'application/json'
}

/** How SSE carries a stream of this type (PROTOCOL §5.8). */
export function sseEncoding(contentType: string): SseEncoding {
  return isJson(contentType) || essence(contentType).startsWith('text/') ? 'text' : 'base64'
}
