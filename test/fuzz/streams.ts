/** The streams that are there before anything hostile comes, and how to tell their data. */

/** In each record that nobody without a token may see. */
export const PRIVATE_MARK = 'not-for-strangers'
/** In each record that anybody may see. */
export const PUBLIC_MARK = 'for-everybody'

/** The stream that anybody may read. */
export const PUBLIC_STREAM = 'acme/public'

export type PreparedStream = {
  readonly name: string
  readonly headers: Readonly<Record<string, string>>
  /** The body it is created with, then what is appended. */
  readonly texts: readonly string[]
}

const TEXT = { 'content-type': 'text/plain' }
const JSON_TYPE = { 'content-type': 'application/json' }

/** All of one project, so that a token for another one is a stranger's to all of them. */
export const STREAMS: readonly [PreparedStream, ...PreparedStream[]] = [
  { name: 'acme/a', headers: TEXT, texts: [PRIVATE_MARK, PRIVATE_MARK, PRIVATE_MARK] },
  {
    name: 'acme/events',
    headers: JSON_TYPE,
    texts: [`["${PRIVATE_MARK}"]`, `[{"n":"${PRIVATE_MARK}"}]`],
  },
  { name: 'acme/empty', headers: TEXT, texts: [''] },
  {
    name: 'acme/closed',
    headers: { ...TEXT, 'stream-closed': 'true' },
    texts: [`${PRIVATE_MARK} any more`],
  },
  {
    name: 'acme/ttl',
    headers: { ...TEXT, 'stream-ttl': '86400' },
    texts: [PRIVATE_MARK, PRIVATE_MARK],
  },
  {
    name: PUBLIC_STREAM,
    headers: { ...TEXT, 'stream-public': 'true' },
    texts: [PUBLIC_MARK, PUBLIC_MARK],
  },
]
