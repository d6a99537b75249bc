/** What plain live reads ask for, worked out once for all who send the very same bytes. */
import type { StreamNames } from '../../protocol/names.ts'
import { parseRead } from '../../protocol/requests.ts'
import type { ReadRequest } from '../../protocol/requests.ts'
import type { Cors } from '../cors.ts'
import type { Headers } from '../render.ts'
import { STREAM_PREFIX } from '../stream-url.ts'
import { MAX_HEAD_BYTES, readPlainGet } from './head.ts'

export type LiveGet = {
  /** As sent and not decoded, without the query. */
  readonly path: string
  /** The name of the stream. */
  readonly name: string
  readonly read: ReadRequest
  readonly ifNoneMatch: string | undefined
  /** What its answer carries, whatever it is. */
  readonly common: Headers
  /** The parameter `rk`, whatever it is worth. */
  readonly readerKey: string | undefined
  /** The parameter `ticket`. */
  readonly ticket: string | undefined
  /** The headers of these names, as sent. */
  readonly authorization: string | undefined
  readonly cookie: string | undefined
  /** The header `X-Forwarded-For`, whoever has written it. */
  readonly forwardedFor: string | undefined
  /** All headers, for whoever traces it. */
  readonly headers: Readonly<Record<string, string>>
}

export type LiveGetRules = {
  readonly names: StreamNames
  readonly cors: Cors
  /** Longer ones are refused, which is not done here. */
  readonly maxUrlBytes: number
}

/** Heads that are remembered; those who poll one stream send but a few at a time. */
const MAX_KNOWN = 256

/**
 * Heads that are of one client or request alone, and nothing to be kept; a ticket may be in
 * `Referer`, too.
 */
const ITS_OWN =
  /\r\n(?:authorization|cookie|traceparent|baggage|b3|x-b3-traceid|uber-trace-id):|[?&]ticket=/i

export class LiveGets {
  readonly #rules: LiveGetRules
  readonly #known = new Map<string, LiveGet>()

  constructor(rules: LiveGetRules) {
    this.#rules = rules
  }

  /** The live read in what a connection sent at once; undefined if it is not for the fast lane. */
  read(bytes: Buffer): LiveGet | undefined {
    if (bytes.length > MAX_HEAD_BYTES) return undefined
    const head = bytes.toString('latin1')
    const known = this.#known.get(head)
    if (known !== undefined) return known
    const get = parse(bytes, this.#rules)
    if (get === undefined || ITS_OWN.test(head)) return get
    if (this.#known.size === MAX_KNOWN) this.#known.clear()
    this.#known.set(head, get)
    return get
  }
}

function parse(bytes: Buffer, { names, cors, maxUrlBytes }: LiveGetRules): LiveGet | undefined {
  const plain = readPlainGet(bytes)
  if (plain === undefined || plain.url.length > maxUrlBytes) return undefined
  const { path, query, headers } = plain
  try {
    const name = names.parsePath(path.slice(STREAM_PREFIX.length))
    const read = parseRead(query, headers)
    const common = cors.headersFor(path, headers['origin'])
    return {
      path,
      name,
      read,
      ifNoneMatch: headers['if-none-match'],
      readerKey: query['rk'],
      ticket: query['ticket'],
      authorization: headers['authorization'],
      cookie: headers['cookie'],
      forwardedFor: headers['x-forwarded-for'],
      headers,
      common,
    }
  } catch {
    // What is refused is refused in one place, which is not here.
    return undefined
  }
}
