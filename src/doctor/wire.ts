/**
 * HTTP as the doctor needs it: one request, the head of its answer as soon as it is there, the body
 * as it comes, and when each was. No redirects, no retries, no decoding, paths exactly as given.
 */
import type { Readable } from 'node:stream'

export type Headers = Readonly<Record<string, string>>

export type Outgoing = {
  readonly method: string
  /** Path and query as they go over the wire. */
  readonly path: string
  readonly headers: Headers
  readonly body?: Uint8Array | string | undefined
  /** Its abort breaks the exchange off, the body of the answer included. */
  readonly signal: AbortSignal
}

/** An answer whose body is still to come. Times are of `performance.now()`. */
export type Incoming = {
  readonly status: number
  /** In lower case; what came several times is joined by `, `. */
  readonly headers: Headers
  readonly sentAt: number
  readonly headAt: number
  /** Names the connection it came on: the same number, the same connection. */
  readonly connection: number
  readonly body: Readable
  /** Whether the body has come to its proper end, and was not cut off. */
  readonly isWhole: () => boolean
}

/** Connections to one server, by one version of HTTP. */
export type Wire = {
  readonly version: '1.1' | '2'
  /** @throws WireError nobody answered */
  send(outgoing: Outgoing): Promise<Incoming>
  /** How many requests the server takes at a time on a connection; undefined where that is one. */
  maxConcurrent(): number | undefined
  close(): void
}

export type Endpoint = {
  /** Scheme, host and port. */
  readonly origin: URL
  /** Takes certificates that nobody trusts. */
  readonly insecure: boolean
}

/** Nobody answered, or the answer broke off. Its message is for people. */
export class WireError extends Error {
  /** Of Node, where there is one: `ECONNREFUSED`. */
  readonly code: string | undefined

  constructor(message: string, code?: string, cause?: unknown) {
    super(message, { cause })
    this.code = code
  }
}

/** Header lines as Node gives them, names and values in turn, as one value per name. */
export function joinLines(raw: readonly string[]): Headers {
  const headers: Record<string, string> = {}
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = (raw[i] ?? '').toLowerCase()
    const value = raw[i + 1] ?? ''
    const before = headers[name]
    headers[name] = before === undefined ? value : `${before}, ${value}`
  }
  return headers
}

const WORDS: Readonly<Record<string, string>> = {
  ECONNREFUSED: 'the connection was refused',
  ECONNRESET: 'the connection was reset',
  ENOTFOUND: 'the host has no address',
  EAI_AGAIN: 'the name of the host could not be looked up',
  EPIPE: 'the connection was closed while the request was sent',
  ETIMEDOUT: 'the connection could not be made in time',
  EHOSTUNREACH: 'the host cannot be reached',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'the certificate is self-signed (--insecure takes it)',
  SELF_SIGNED_CERT_IN_CHAIN: 'the certificate is self-signed (--insecure takes it)',
  ERR_TLS_CERT_ALTNAME_INVALID: 'the certificate is for another host (--insecure takes it)',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    'the certificate is signed by nobody known here, or its chain is incomplete (--insecure takes it)',
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    'the certificate is signed by nobody known here (--insecure takes it)',
  CERT_HAS_EXPIRED: 'the certificate has expired (--insecure takes it)',
  ERR_SSL_WRONG_VERSION_NUMBER: 'what answers does not speak TLS: is it http://?',
  HPE_INVALID_CONSTANT: 'what answers does not speak HTTP',
}

/** Of errors after which nothing of a request can have been heard. */
const UNHEARD: ReadonlySet<string> = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'HPE_INVALID_CONSTANT',
])

export function isUnheard({ code = '' }: WireError): boolean {
  return UNHEARD.has(code)
}

/** What went wrong, in words. */
export function wireError(error: unknown): WireError {
  if (error instanceof WireError) return error
  if (!(error instanceof Error)) return new WireError(String(error))
  if (error.name === 'TimeoutError') return new WireError('no answer in time', 'TIMEOUT', error)
  if (error.name === 'AbortError') {
    const { cause } = error
    if (cause instanceof Error && cause.name === 'TimeoutError') return wireError(cause)
    return new WireError('it was interrupted', 'ABORTED', error)
  }
  // Happy eyeballs: one error for each address.
  if (error instanceof AggregateError && error.errors.length > 0) return wireError(error.errors[0])
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined
  return new WireError(WORDS[code ?? ''] ?? error.message, code, error)
}
