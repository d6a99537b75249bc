/**
 * The head of a plain live read, or nothing. PURE.
 *
 * Not an HTTP parser: it knows one conservative form of GET that every live client sends, and
 * leaves whatever differs in the least to Node's. What it takes, both must understand alike, which
 * a differential test sees to.
 */
import { STREAM_PREFIX } from '../stream-url.ts'

export type PlainGet = {
  /** The request target, as sent. */
  readonly url: string
  /** As sent and not decoded, without the query. */
  readonly path: string
  readonly query: Readonly<Record<string, string>>
  /** By their names in lower case; none is there twice. */
  readonly headers: Readonly<Record<string, string>>
}

/** Larger heads carry something that is not ours to judge. */
export const MAX_HEAD_BYTES = 4096

const METHOD = 'GET '
const BEGIN = Buffer.from(`${METHOD}${STREAM_PREFIX}`, 'latin1')
const END = '\r\n\r\n'
const REQUEST_LINE = /^GET (\/[!"$-~]*) HTTP\/1\.1$/
/** RFC 9110 §5.1 and §5.5, without obs-text, and without the quirks of white space. */
const HEADER = /^([A-Za-z0-9!#$%&'*+.^_`|~-]+): ?([!-~](?:[ -~]*[!-~])?)$/
/** Nothing in it is escaped, and no parameter has a meaning that is not known here. */
const PARAMETER = /^(?:(?:offset|live|cursor|rk)=[A-Za-z0-9_-]+|ticket=[A-Za-z0-9_.-]+)$/

/** With these the request has a body, wants another protocol, or waits for an answer before. */
const NOT_PLAIN: ReadonlySet<string> = new Set([
  'content-length',
  'transfer-encoding',
  'trailer',
  'te',
  'expect',
  'upgrade',
  'http2-settings',
  'proxy-connection',
  'keep-alive',
])

/** Reads what a connection sent at once; undefined unless it is one plain live read and no more. */
export function readPlainGet(bytes: Buffer): PlainGet | undefined {
  if (bytes.length > MAX_HEAD_BYTES || !startsWith(bytes, BEGIN)) return undefined
  const text = bytes.toString('latin1')
  if (text.indexOf(END) !== text.length - END.length) return undefined
  const [line = '', ...fields] = text.slice(0, -END.length).split('\r\n')
  const url = REQUEST_LINE.exec(line)?.[1]
  const headers = readHeaders(fields)
  if (url === undefined || headers === undefined) return undefined
  const question = url.indexOf('?')
  const query = question === -1 ? undefined : readQuery(url.slice(question + 1))
  if (query === undefined) return undefined
  // A slice would keep all of the head as long as the path is kept.
  const path = bytes.toString('latin1', METHOD.length, METHOD.length + question)
  return { url, path, query, headers }
}

function startsWith(bytes: Buffer, begin: Buffer): boolean {
  return (
    bytes.length >= begin.length && bytes.compare(begin, 0, begin.length, 0, begin.length) === 0
  )
}

function readHeaders(fields: readonly string[]): Record<string, string> | undefined {
  const headers: Record<string, string> = {}
  for (const field of fields) {
    const [, name, value] = HEADER.exec(field) ?? []
    if (name === undefined || value === undefined) return undefined
    const key = name.toLowerCase()
    if (key in headers || NOT_PLAIN.has(key)) return undefined
    headers[key] = value
  }
  const { host, connection = 'keep-alive' } = headers
  return host !== undefined && connection.toLowerCase() === 'keep-alive' ? headers : undefined
}

function readQuery(text: string): Record<string, string> | undefined {
  const query: Record<string, string> = {}
  for (const parameter of text.split('&')) {
    if (!PARAMETER.test(parameter)) return undefined
    const [name = '', value = ''] = parameter.split('=')
    if (name in query) return undefined
    query[name] = value
  }
  return 'live' in query ? query : undefined
}
