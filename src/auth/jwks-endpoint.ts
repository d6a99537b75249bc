/**
 * Fetches an issuer's JWK set over HTTP, in bounded bytes and time.
 *
 * The URL is the operator's, but what answers there need not be well: redirects are refused, as
 * they would let it say where keys come from.
 */
import { Agent, request } from 'undici'
import type { Clock } from '../clock.ts'

const TIMEOUT_MS = 5000
/** Issuers' sets have some KiB. */
const MAX_BYTES = 512 * 1024

const HEADERS = {
  accept: 'application/jwk-set+json, application/json',
  'user-agent': 'durable-streams-gateway',
}

/** The set could not be fetched. `message` never shows what the issuer has sent, nor the URL. */
export class JwksEndpointError extends Error {}

export class JwksEndpoint {
  readonly #url: URL
  readonly #clock: Clock
  readonly #underWay = new Set<AbortController>()
  readonly #agent = new Agent({
    connections: 1,
    connect: { timeout: TIMEOUT_MS },
    maxResponseSize: MAX_BYTES,
    // One time limit, for the whole exchange, is enough.
    headersTimeout: 0,
    bodyTimeout: 0,
  })

  /** @param url https, or on loopback http: who can change a set of keys can sign tokens */
  constructor(url: string, clock: Clock) {
    this.#url = new URL(url)
    this.#clock = clock
  }

  /** @throws JwksEndpointError */
  async fetch(): Promise<string> {
    const controller = new AbortController()
    const { signal } = controller
    const cancelTimeout = this.#clock.after(TIMEOUT_MS, () =>
      controller.abort(new JwksEndpointError(`no whole answer within ${TIMEOUT_MS} ms`)),
    )
    this.#underWay.add(controller)
    try {
      // undici looks at the signal only once it is connected.
      return await Promise.race([this.#exchange(signal), rejectionBy(signal)])
    } catch (error) {
      throw explained(signal.aborted ? signal.reason : error)
    } finally {
      cancelTimeout()
      this.#underWay.delete(controller)
    }
  }

  /** Breaks off what is under way. */
  close(): Promise<void> {
    for (const controller of this.#underWay) controller.abort(new JwksEndpointError('closed'))
    return this.#agent.destroy()
  }

  async #exchange(signal: AbortSignal): Promise<string> {
    // Given to the request, the agent also keeps proxies of the environment out.
    const options = { dispatcher: this.#agent, headers: HEADERS, signal }
    const { statusCode, body } = await request(this.#url, options)
    // Destroying a body makes an error of it, which is nobody's then.
    body.on('error', () => undefined)
    if (statusCode === 200) return body.text()
    body.destroy()
    throw new JwksEndpointError(`HTTP ${statusCode}`)
  }
}

function rejectionBy(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
  })
}

/** Of errors of others only the code or the class: a message can quote what was sent. */
function explained(error: unknown): JwksEndpointError {
  if (error instanceof JwksEndpointError) return error
  if (!(error instanceof Error)) return new JwksEndpointError('unknown')
  const hasCode = 'code' in error && typeof error.code === 'string'
  return new JwksEndpointError(hasCode ? String(error.code) : error.name)
}
