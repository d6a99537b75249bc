/** How a request says who sends it: a header, a query parameter or a cookie. PURE. */

export type Credentials = {
  /** The header as sent. */
  readonly authorization: string | undefined
  /** The query parameter `ticket`, for `EventSource`, which can't send headers. */
  readonly ticket: string | undefined
  /** The header as sent. */
  readonly cookie: string | undefined
}

/**
 * The token of RFC 6750 §2.1; empty for one that is malformed. Undefined for other schemes: they
 * are for somebody else, a proxy say.
 */
export function bearerOf(authorization: string): string | undefined {
  const [, rest] = /^Bearer(?: +|$)(.*)$/i.exec(authorization) ?? []
  if (rest === undefined) return undefined
  return /^[\w.~+/-]+=*$/.test(rest.trimEnd()) ? rest.trimEnd() : ''
}

/** The value of a cookie (RFC 6265 §5.4): the first one, which has the most specific path. */
export function cookieOf(header: string, name: string): string | undefined {
  for (const pair of header.split(';')) {
    const equals = pair.indexOf('=')
    if (equals !== -1 && pair.slice(0, equals).trim() === name) return pair.slice(equals + 1).trim()
  }
  return undefined
}
