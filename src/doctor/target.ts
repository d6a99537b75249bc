/** Where the deployment is: from the URL of the command line to the paths of requests. PURE. */

export type Target = {
  /** Scheme, host and port. */
  readonly origin: URL
  /** What comes before the name of a stream: `/v1/stream/`, behind the base path if there is one. */
  readonly streams: string
}

const STREAMS = '/v1/stream'

/**
 * Reads the URL of a deployment: `https://host`, with the path below which the gateway is if it is
 * not the root, with or without `/v1/stream`. Undefined for what is no such URL.
 */
export function parseTarget(text: string): Target | undefined {
  if (!URL.canParse(text)) return undefined
  const { protocol, origin, pathname, username, search, hash } = new URL(text)
  if (protocol !== 'http:' && protocol !== 'https:') return undefined
  if (username !== '' || search !== '' || hash !== '') return undefined
  const path = pathname.replace(/\/+$/, '')
  return {
    origin: new URL(origin),
    streams: `${path.endsWith(STREAMS) ? path : `${path}${STREAMS}`}/`,
  }
}

/** A name as it stands in a path: each segment escaped. */
export function encodeName(name: string): string {
  return name.split('/').map(encodeURIComponent).join('/')
}
