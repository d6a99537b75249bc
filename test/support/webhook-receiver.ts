/**
 * The subscriber's side of subscriptions: a server that gets webhooks and answers as a test wants
 * it, and plain calls to the subscription APIs.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingHttpHeaders, IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { JSON_TYPE, call } from './http-calls.ts'
import type { Answer } from './http-calls.ts'

export type WireStream = {
  readonly path: string
  readonly link_type: 'explicit' | 'glob'
  readonly acked_offset: string
  readonly tail_offset: string
  readonly has_pending: boolean
}

/** The body of a webhook (PROTOCOL §7.1). */
export type WakePayload = {
  readonly subscription_id: string
  readonly wake_id: string
  readonly generation: number
  readonly streams: readonly WireStream[]
  readonly callback_url: string
  readonly callback_token: string
}

/** One webhook as it came in. */
export type Delivered = {
  readonly url: string
  readonly headers: IncomingHttpHeaders
  /** The body, byte for byte. */
  readonly raw: Buffer
  readonly payload: WakePayload
}

/** What becomes of a webhook: an answer, none ever, or a connection that breaks. */
export type Reply =
  | {
      readonly status?: number
      readonly body?: string
      readonly headers?: Readonly<Record<string, string>>
      readonly delayMs?: number
    }
  | 'never'
  | 'reset'
/** A reply, or how to come by one: a test can so answer when it wants to. */
export type Script = Reply | ((delivered: Delivered) => Reply | Promise<Reply>)

/** Taken, to be worked on. */
export const ACCEPTED: Reply = { body: '{}' }
/** Processed already (PROTOCOL §7.1). */
export const DONE: Reply = { body: '{"done":true}' }

/** Longer than any webhook takes that comes at all. */
const PATIENCE_MS = 8_000

export class WebhookReceiver {
  /** All webhooks so far, in the order in which they were complete. */
  readonly delivered: Delivered[] = []
  /** The answer to all that nothing is scripted for. */
  otherwise: Script = ACCEPTED
  readonly #server: Server
  readonly #scripts: Script[] = []
  readonly #waiting: ((delivered: Delivered) => void)[] = []
  #taken = 0

  static async start(): Promise<WebhookReceiver> {
    const server = createServer((request, response) => void receiver.#receive(request, response))
    const receiver = new WebhookReceiver(server)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return receiver
  }

  private constructor(server: Server) {
    this.#server = server
  }

  get url(): string {
    const { port } = this.#server.address() as AddressInfo
    return `http://127.0.0.1:${port}/hooks`
  }

  /** Says how the next webhooks are answered, in order. */
  script(...scripts: readonly Script[]): void {
    this.#scripts.push(...scripts)
  }

  /** The first webhook that was not taken by this yet; waits for it when there is none. */
  async next(patienceMs = PATIENCE_MS): Promise<Delivered> {
    const found = this.delivered[this.#taken]
    this.#taken += 1
    if (found !== undefined) return found
    const patience = new AbortController()
    const arrival = new Promise<Delivered>((resolve) => this.#waiting.push(resolve))
    const timeout = delay(patienceMs, undefined, { signal: patience.signal }).then(() => {
      throw new Error(`no webhook came, after ${this.delivered.length} before`)
    })
    timeout.catch(() => undefined)
    try {
      return await Promise.race([arrival, timeout])
    } finally {
      patience.abort()
    }
  }

  /** How many webhooks came that `next` has not given out. */
  get untaken(): number {
    return this.delivered.length - this.#taken
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }

  async #receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A gateway that leaves or gives up breaks the connection.
    request.on('error', () => undefined)
    const chunks: Buffer[] = []
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
    const raw = Buffer.concat(chunks)
    const payload = JSON.parse(raw.toString()) as WakePayload
    const delivered = { url: request.url ?? '', headers: request.headers, raw, payload }
    const script = this.#scripts.shift() ?? this.otherwise
    this.delivered.push(delivered)
    this.#waiting.shift()?.(delivered)
    answer(response, typeof script === 'function' ? await script(delivered) : script)
  }
}

function answer(response: ServerResponse, reply: Reply): void {
  if (reply === 'never') return
  if (reply === 'reset') {
    response.socket?.resetAndDestroy()
    return
  }
  const { status = 200, body = '', headers = JSON_TYPE, delayMs = 0 } = reply
  const send = (): unknown => response.writeHead(status, headers).end(body)
  if (delayMs === 0) send()
  else setTimeout(send, delayMs)
}

/** A promise with its own key. */
export function gate<T = undefined>(): {
  readonly opened: Promise<T>
  readonly open: (value: T) => void
} {
  let open!: (value: T) => void
  const opened = new Promise<T>((resolve) => {
    open = resolve
  })
  return { opened, open }
}

/** The answer of a subscription API. */
export type Told = Answer & { readonly json: Json }

/** What any of the answers may hold, and wake events; which of it is there is for a test to say. */
export type Json = Fence & {
  readonly streams: WireStream[]
  readonly webhook: { readonly signing: { readonly kid: string; readonly jwks_url: string } }
  readonly created_at: string
  readonly status: string
  readonly next_attempt_at?: string
  readonly token: string
  readonly ts: number
  readonly error: { readonly code: string }
  readonly keys: readonly { readonly kid: string }[]
  /** Of a problem. */
  readonly code: string
}

/** A wake as its subscriber names it. */
export type Fence = { readonly wake_id: string; readonly generation: number }

export type Progress = {
  readonly acks?: readonly { readonly stream: string; readonly offset: string }[]
  readonly done?: boolean
}

/** The subscription APIs of one gateway (PROTOCOL §6, §7). */
export function subscriptionsAt({ url }: { readonly url: string }) {
  const at = (id: string, rest = '') =>
    `${url}/v1/stream/__ds/subscriptions/${encodeURIComponent(id)}${rest}`
  const post = (target: string, body: unknown, token?: string) => send('POST', target, body, token)
  return {
    at,
    put: (id: string, body: unknown) => send('PUT', at(id), body),
    get: (id: string) => send('GET', at(id)),
    remove: (id: string) => send('DELETE', at(id)),
    link: (id: string, ...streams: string[]) => post(at(id, '/streams'), { streams }),
    /** `path` is sent as it is. */
    unlink: (id: string, path: string) => send('DELETE', at(id, `/streams/${path}`)),
    claim: (id: string, worker = 'worker-1') => post(at(id, '/claim'), { worker }),
    callback: (id: string, token: string | undefined, fence: Fence, progress: Progress = {}) =>
      post(at(id, '/callback'), { ...fenceOf(fence), ...progress }, token),
    ack: (id: string, token: string | undefined, fence: Fence, progress: Progress = {}) =>
      post(at(id, '/ack'), { ...fenceOf(fence), ...progress }, token),
    release: (id: string, token: string | undefined, fence: Fence) =>
      post(at(id, '/release'), fenceOf(fence), token),
  }
}

/** Calls back to where a webhook said, and nowhere else. */
export function callBack({ payload }: Delivered, progress: Progress = {}): Promise<Told> {
  const { callback_url: url, callback_token: token } = payload
  return send('POST', url, { ...fenceOf(payload), ...progress }, token)
}

/** Acks for all that a wake named. */
export function acksOf({ streams }: { readonly streams: readonly WireStream[] }) {
  return streams.map(({ path, tail_offset: offset }) => ({ stream: path, offset }))
}

function fenceOf({ wake_id, generation }: Fence): Fence {
  return { wake_id, generation }
}

async function send(method: string, url: string, body?: unknown, token?: string): Promise<Told> {
  const told = await call(url, {
    method,
    headers: {
      ...(body === undefined ? {} : JSON_TYPE),
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
    },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  })
  return { ...told, json: JSON.parse(told.body === '' ? '{}' : told.body) as Json }
}
