/** The streams that are there before anything hostile comes, and how to tell their data. */

/** In everything that nobody without a token may see. */
export const PRIVATE_MARK = 'not-for-strangers'
/** In everything that anybody may see. */
export const PUBLIC_MARK = 'for-everybody'

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
  { name: 'acme/a', headers: TEXT, texts: [PRIVATE_MARK, ' and', ' more'] },
  { name: 'acme/events', headers: JSON_TYPE, texts: [`["${PRIVATE_MARK}"]`, '[{"n":1},{"n":2}]'] },
  { name: 'acme/empty', headers: TEXT, texts: [''] },
  {
    name: 'acme/closed',
    headers: { ...TEXT, 'stream-closed': 'true' },
    texts: [`${PRIVATE_MARK} any more`],
  },
  { name: 'acme/ttl', headers: { ...TEXT, 'stream-ttl': '86400' }, texts: [PRIVATE_MARK, '.'] },
  { name: 'acme/public', headers: { ...TEXT, 'stream-public': 'true' }, texts: [PUBLIC_MARK, '!'] },
]
