/**
 * Sends webhooks, and is the only code here that connects to where a client asked us to.
 *
 * A name is resolved once for each connection, and the connection goes to the addresses that were
 * checked: an answer of the DNS that changes has no moment to slip in. Whoever wants a limit on what
 * a host gets takes a slot of `HostSlots` first; when to try again is the caller's to decide, too.
 */
import type { LookupAddress } from 'node:dns'
import { isIP } from 'node:net'
import type { LookupFunction } from 'node:net'
import { Agent, request } from 'undici'
import type { Dispatcher } from 'undici'
import { systemClock } from '../clock.ts'
import type { Outgoing, Tracing } from '../tracing/tracing.ts'
import { systemLookup } from './webhook-address.ts'
import type { Lookup } from './webhook-address.ts'
import { judgeWebhookUrl, mayReach } from './webhook-url.ts'

/** Why a delivery failed. Only `refused_address` is certain to have sent nothing. */
export type WebhookFailure =
  /** The URL, or an address of its host, is forbidden (now). */
  | 'refused_address'
  /** Never followed: the target was not checked, and a POST would lose its body on the way. */
  | 'redirect'
  /** Any other status than 2xx. */
  | 'status'
  | 'timeout'
  /** The name, the connection, TLS or HTTP itself. */
  | 'network'
  /** The sender was closed meanwhile. */
  | 'closed'

export type WebhookOutcome =
  /** 2xx. `done` is what the body says: `{"done": true}` (PROTOCOL §7.1). */
  | { readonly kind: 'accepted'; readonly done: boolean }
  /** `detail` is a status, an error code or a short reason: never what the host has sent. */
  | { readonly kind: 'failed'; readonly reason: WebhookFailure; readonly detail: string }

export type WebhookSenderOptions = {
  /** For development only: see `judgeWebhookUrl`. */
  readonly allowLocalhost: boolean
  /** For all of an exchange: name, connection, headers, body. */
  readonly timeoutMs: number
  /** A longer body is cut off; it can't be the short one that means something. */
  readonly maxResponseBytes: number
  /** Connections, not deliveries: those are counted by who asks for them. */
  readonly maxConcurrentPerHost: number
  readonly lookup?: Lookup
  /** Is told of each exchange, if anybody wants to know. */
  readonly tracing?: Pick<Tracing, 'outgoing'> | undefined
}

const USER_AGENT = 'durable-streams-gateway'

/** The name has an address that a webhook may not go to. */
class RefusedAddressError extends Error {}

/** Ends an exchange from our side. */
class InterruptedError extends Error {
  readonly reason: 'timeout' | 'closed'
  constructor(reason: InterruptedError['reason'], detail: string) {
    super(detail)
    this.reason = reason
  }
}

export class WebhookSender {
  readonly #options: WebhookSenderOptions
  readonly #agent: Agent
  readonly #underWay = new Set<AbortController>()
  #closing: Promise<void> | undefined

  constructor(options: WebhookSenderOptions) {
    this.#options = options
    // Given to each request, it also keeps proxies of the environment out.
    this.#agent = new Agent({
      connections: options.maxConcurrentPerHost,
      connect: { lookup: checkedLookup(options), timeout: options.timeoutMs },
      // One time limit, for the whole exchange, is enough.
      headersTimeout: 0,
      bodyTimeout: 0,
    })
  }

  /** Sends one POST, without any retry; never throws. `timeoutMs` can only shorten the sender's. */
  async send(
    url: string,
    headers: Readonly<Record<string, string>>,
    body: string,
    timeoutMs: number,
  ): Promise<WebhookOutcome> {
    if (this.#closing !== undefined) return failed('closed', 'not sent')
    // Checked again: the rules, or the switch, can have changed since the URL was stored. And no
    // lookup is made for an address, so that this is the check of it.
    const verdict = judgeWebhookUrl(url, this.#options)
    if (verdict.kind === 'refused') return failed('refused_address', verdict.reason)
    // What has no time left must not be a race that a receiver next door can win.
    if (timeoutMs <= 0) return failed('timeout', 'not sent: no time was left')
    const ms = Math.min(timeoutMs, this.#options.timeoutMs)
    const traced = this.#trace(verdict.url)
    const outcome = await this.#interruptible(ms, (signal) =>
      this.#exchange(verdict.url, { headers: { ...headers, ...traced?.headers }, body, signal }),
    )
    traced?.span.end({}, outcome.kind === 'failed' ? outcome.reason : undefined)
    return outcome
  }

  /** Of the URL only the host is told: the rest may be a secret. */
  #trace({ hostname, port, protocol }: URL): Outgoing | undefined {
    const defaultPort = protocol === 'https:' ? 443 : 80
    return this.#options.tracing?.outgoing('POST', {
      'http.request.method': 'POST',
      'server.address': hostname,
      'server.port': port === '' ? defaultPort : Number(port),
    })
  }

  /** Breaks off what is under way: it fails as `closed`, though its host may have acted on it. */
  close(): Promise<void> {
    this.#closing ??= this.#agent.destroy()
    for (const controller of this.#underWay) {
      controller.abort(new InterruptedError('closed', 'broken off'))
    }
    return this.#closing
  }

  async #interruptible(
    ms: number,
    exchange: (signal: AbortSignal) => Promise<WebhookOutcome>,
  ): Promise<WebhookOutcome> {
    const controller = new AbortController()
    const { signal } = controller
    const cancelTimeout = systemClock.after(ms, () =>
      controller.abort(new InterruptedError('timeout', `no answer within ${Math.round(ms)} ms`)),
    )
    this.#underWay.add(controller)
    try {
      // undici looks at the signal only once it is connected.
      return await Promise.race([exchange(signal), rejectionBy(signal)])
    } catch (error) {
      return failureOf(signal.aborted ? signal.reason : error)
    } finally {
      cancelTimeout()
      this.#underWay.delete(controller)
    }
  }

  async #exchange(
    url: URL,
    sent: { headers: Readonly<Record<string, string>>; body: string; signal: AbortSignal },
  ): Promise<WebhookOutcome> {
    const response = await request(url, {
      ...sent,
      headers: { ...sent.headers, 'user-agent': USER_AGENT },
      method: 'POST',
      dispatcher: this.#agent,
    })
    const { statusCode, body } = response
    // Destroying a body makes an error of it, which is nobody's then.
    body.on('error', () => undefined)
    if (statusCode >= 200 && statusCode < 300) {
      return {
        kind: 'accepted',
        done: saysDone(await readUpTo(this.#options.maxResponseBytes, body)),
      }
    }
    body.destroy()
    const isRedirect = statusCode >= 300 && statusCode < 400
    return failed(isRedirect ? 'redirect' : 'status', `HTTP ${statusCode}`)
  }
}

/** Resolves a name for a connection to it, and fails unless all its addresses are allowed. */
function checkedLookup({
  allowLocalhost,
  lookup = systemLookup,
}: WebhookSenderOptions): LookupFunction {
  const resolve = async (hostname: string): Promise<LookupAddress[]> => {
    const addresses = await lookup(hostname)
    if (!addresses.every((address) => mayReach(hostname, address, allowLocalhost))) {
      throw new RefusedAddressError('the host has an address that is not public')
    }
    return addresses.map((address) => ({ address, family: isIP(address) }))
  }
  return (hostname, { all }, callback) => {
    resolve(hostname).then(
      (addresses) => {
        const [first] = addresses
        if (first === undefined) callback(new Error('the host has no address'), [])
        else if (all === true) callback(null, addresses)
        else callback(null, first.address, first.family)
      },
      (error: unknown) => callback(error instanceof Error ? error : new Error(String(error)), []),
    )
  }
}

function rejectionBy(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
  })
}

/** The whole body, or nothing if it is longer: leaving the loop early destroys the body. */
async function readUpTo(
  maxBytes: number,
  body: Dispatcher.ResponseData['body'],
): Promise<string | undefined> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > maxBytes) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString()
}

function saysDone(text: string | undefined): boolean {
  if (text === undefined) return false
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && 'done' in value && value.done === true
  } catch {
    // Not JSON: whoever answers so is not done, and calls back.
    return false
  }
}

const failed = (reason: WebhookFailure, detail: string): WebhookOutcome => ({
  kind: 'failed',
  reason,
  detail,
})

/** Of errors of others only the code or the class is told: a message can quote what the host has sent. */
function failureOf(error: unknown): WebhookOutcome {
  if (error instanceof InterruptedError) return failed(error.reason, error.message)
  if (error instanceof RefusedAddressError) return failed('refused_address', error.message)
  const code = codeOf(error)
  return failed(code === 'UND_ERR_CONNECT_TIMEOUT' ? 'timeout' : 'network', code)
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown'
  return 'code' in error && typeof error.code === 'string' ? error.code : error.name
}
