/** Connections: their HTTP version, and that they are kept. */
import { ok, warn } from '../check.ts'
import type { Check, Verdict } from '../check.ts'

export type Version = {
  readonly isTls: boolean
  /** What the server chose of HTTP/2 and HTTP/1.1; undefined if it does not negotiate. */
  readonly protocol: string | undefined
  readonly altSvc: string | undefined
  /** Requests that one connection takes at a time. */
  readonly maxConcurrent: number | undefined
}

/** What servers should allow at least (RFC 9113 §6.5.2). */
const ENOUGH_STREAMS = 100

export function judgeVersion({ isTls, protocol, altSvc, maxConcurrent }: Version): Verdict {
  const hasH3 = altSvc !== undefined && /\bh3(-\d+)?=/.test(altSvc)
  const measured = {
    tls: isTls,
    alpn: protocol ?? 'none',
    h3: hasH3,
    ...(maxConcurrent !== undefined && { maxConcurrent }),
  }
  if (protocol !== 'h2' && !hasH3) {
    const why = isTls ? 'no HTTP/2 is offered' : 'without TLS browsers speak HTTP/1.1'
    return warn(
      `${why}: a browser has six connections to it over all tabs, and each live read is one`,
      {
        remedy: 'http2',
        measured,
      },
    )
  }
  const offers = [protocol === 'h2' ? 'HTTP/2' : '', hasH3 ? 'HTTP/3' : ''].filter(Boolean)
  if (maxConcurrent !== undefined && maxConcurrent < ENOUGH_STREAMS) {
    return warn(
      `${offers.join(' and ')}, but only ${maxConcurrent} requests at a time on a connection`,
      {
        remedy: 'concurrentStreams',
        measured,
      },
    )
  }
  return ok(`${offers.join(' and ')}: live reads share a connection`, measured)
}

export const httpVersion: Check = {
  id: 'http-version',
  title: 'browsers get more than six live reads',
  run: async (context) => {
    const stream = await context.streams.create()
    const { headers } = await stream.read()
    return judgeVersion({
      isTls: context.options.target.origin.protocol === 'https:',
      protocol: context.protocol,
      altSvc: headers['alt-svc'],
      maxConcurrent: context.wire.maxConcurrent(),
    })
  },
}

const REQUESTS = 5

export const keepAlive: Check = {
  id: 'keep-alive',
  title: 'connections are kept between requests',
  run: async (context) => {
    const stream = await context.streams.create()
    const wire = context.dial()
    const connections = new Set<number>()
    for (let n = 0; n < REQUESTS; n += 1) {
      connections.add((await stream.read({}, { wire })).connection)
    }
    return judgeKeepAlive(REQUESTS, connections.size)
  },
}

export function judgeKeepAlive(requests: number, connections: number): Verdict {
  const measured = { requests, connections }
  if (connections === 1) return ok(`${requests} requests on one connection`, measured)
  const how = connections === requests ? ': each is closed at once' : ''
  return warn(`${requests} requests took ${connections} connections${how}`, {
    remedy: 'keepAlive',
    measured,
  })
}
