/** What tests of subscriptions with gateway processes need: a receiver of webhooks, and the API. */
import { once } from 'node:events'
import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, vi } from 'vitest'
import { call, JSON_TYPE } from './http-calls.ts'
import type { Answer } from './http-calls.ts'
import type { Environment, GatewayProcess } from './gateway-process.ts'

/** What a gateway needs that delivers to this machine, over an S2 at `endpoint`. */
export function subscriptionEnv(endpoint: string, basin: string, takeoverMs: number): Environment {
  return { S2_ENDPOINT: endpoint, S2_BASIN: basin, AUTH: 'none', ...localWebhooks(takeoverMs) }
}

/** The same without an S2. */
export function localWebhooks(takeoverMs: number): Environment {
  return {
    ALLOW_LOCAL_WEBHOOKS: 'true',
    SUBSCRIPTION_TAKEOVER_MS: String(takeoverMs),
    LONG_POLL_TIMEOUT_MS: '1000',
  }
}

export type WorkStream = {
  readonly path: string
  readonly link_type: string
  readonly acked_offset: string
  readonly tail_offset: string
  readonly has_pending: boolean
}

export type WakeBody = {
  readonly subscription_id: string
  readonly wake_id: string
  readonly generation: number
  readonly streams: readonly WorkStream[]
  readonly callback_url: string
  readonly callback_token: string
}

/** One POST that has arrived. */
export type Delivered = {
  /** When it was there in full, in ms since 1970. */
  readonly at: number
  readonly path: string
  readonly raw: string
  readonly signature: string
  readonly wake: WakeBody
}

/** What to answer; `hang` never does. */
export type Reply = { readonly status: number; readonly body?: string; readonly afterMs?: number }
export type Script = (delivered: Delivered, nth: number) => Reply | 'hang'

export const DONE: Reply = { status: 200, body: '{"done":true}' }
export const ACCEPTED: Reply = { status: 202 }
export const BROKEN: Reply = { status: 500 }

/** Takes webhooks, and answers those of each path by a script: by default that all is done. */
export class WebhookSink {
  readonly deliveries: Delivered[] = []
  readonly #scripts = new Map<string, Script>()
  readonly #server: http.Server

  /** Call it inside a test. */
  static async start(): Promise<WebhookSink> {
    const sink = new WebhookSink()
    sink.#server.listen(0, '127.0.0.1')
    await once(sink.#server, 'listening')
    onTestFinished(async () => {
      sink.#server.closeAllConnections()
      sink.#server.close()
      await once(sink.#server, 'close')
    })
    return sink
  }

  private constructor() {
    this.#server = http.createServer((request, response) => void this.#take(request, response))
  }

  url(path: string): string {
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('not listening')
    return `http://127.0.0.1:${address.port}/${path}`
  }

  script(path: string, script: Script): void {
    this.#scripts.set(path, script)
  }

  /** What has arrived at a path, the earliest first. */
  at(path: string): readonly Delivered[] {
    return this.deliveries.filter((delivered) => delivered.path === path)
  }

  /** Waits for the `count`th delivery at a path. */
  async nth(path: string, count: number, timeout: number): Promise<Delivered> {
    await vi.waitFor(
      () => {
        expect(`${path}: ${this.at(path).length >= count}`).toBe(`${path}: true`)
      },
      { timeout, interval: 10 },
    )
    return this.at(path)[count - 1]!
  }

  async #take(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    try {
      let raw = ''
      for await (const chunk of request.setEncoding('utf8')) raw += String(chunk)
      const path = (request.url ?? '/').slice(1)
      const wake = JSON.parse(raw) as WakeBody
      const signature = String(request.headers['webhook-signature'])
      const delivered = { at: Date.now(), path, raw, signature, wake }
      this.deliveries.push(delivered)
      const script = this.#scripts.get(path) ?? (() => DONE)
      const reply = script(delivered, this.at(path).length)
      if (reply === 'hang') return
      if (reply.afterMs !== undefined) await sleep(reply.afterMs)
      response.writeHead(reply.status, JSON_TYPE).end(reply.body)
    } catch {
      response.destroy() // the gateway died in the middle of its request
    }
  }
}

/**
 * Each generation has one wake of its own, none is left out, and none comes back after a later
 * one. The same wake may come any number of times.
 */
export function expectSoundWakes(deliveries: readonly Delivered[]): void {
  const wakes = new Map<number, string>()
  let latest = 0
  for (const { wake } of deliveries) {
    const { generation, wake_id: id } = wake
    expect({ generation, id: wakes.get(generation) ?? id }).toEqual({ generation, id })
    wakes.set(generation, id)
    expect(generation).toBeGreaterThanOrEqual(latest)
    latest = generation
  }
  expect(new Set(wakes.values()).size).toBe(wakes.size)
  expect([...wakes.keys()]).toEqual(Array.from({ length: latest }, (_, index) => index + 1))
}

const urlOf = ({ url }: { readonly url: string }, id: string, action = ''): string =>
  `${url}/v1/stream/__ds/subscriptions/${id}${action}`

export type Described = {
  readonly status: 'active' | 'failed'
  readonly next_attempt_at?: string
  readonly streams: readonly { readonly path: string; readonly acked_offset: string }[]
}

/** Creates a subscription that is not there yet. */
export async function subscribe(
  gateway: GatewayProcess,
  id: string,
  config: Readonly<Record<string, unknown>>,
): Promise<void> {
  expect({ id, status: await tryToSubscribe(gateway, id, config) }).toEqual({ id, status: 201 })
}

/** Creates or re-confirms a subscription. Returns the status. */
export async function tryToSubscribe(
  gateway: GatewayProcess,
  id: string,
  config: Readonly<Record<string, unknown>>,
): Promise<number> {
  const body = JSON.stringify(config)
  const { status } = await call(urlOf(gateway, id), { method: 'PUT', headers: JSON_TYPE, body })
  return status
}

/** A webhook subscription's configuration. */
export function webhook(
  sink: WebhookSink,
  path: string,
  pattern: string,
  leaseTtlMs = 30_000,
): Readonly<Record<string, unknown>> {
  return {
    type: 'webhook',
    pattern,
    webhook: { url: sink.url(path) },
    lease_ttl_ms: leaseTtlMs,
  }
}

export async function describeSubscription(
  gateway: GatewayProcess,
  id: string,
): Promise<Described> {
  const { status, body } = await call(urlOf(gateway, id))
  expect({ id, status, body }).toMatchObject({ status: 200 })
  return JSON.parse(body) as Described
}

/** The `kid`s of the key set, and what it holds. */
export async function keySet(gateway: GatewayProcess): Promise<{ keys: { kid: string }[] }> {
  const { body } = await call(gateway.stream('__ds/jwks.json'))
  return JSON.parse(body) as { keys: { kid: string }[] }
}

export type ProgressRequest = {
  readonly wake: Pick<WakeBody, 'wake_id' | 'generation'>
  readonly token: string
  readonly acks?: readonly { readonly stream: string; readonly offset: string }[]
  readonly done?: boolean
}

/** A callback of a webhook's subscriber, or with `ack` a worker's. */
export function progress(
  gateway: { readonly url: string },
  id: string,
  { wake, token, acks = [], done = false }: ProgressRequest,
  action: 'callback' | 'ack' = 'callback',
): Promise<Answer> {
  return call(urlOf(gateway, id, `/${action}`), {
    method: 'POST',
    headers: { ...JSON_TYPE, authorization: `Bearer ${token}` },
    body: JSON.stringify({
      wake_id: wake.wake_id,
      generation: wake.generation,
      acks,
      done,
    }),
  })
}

/** All that a wake or a claim names, as acks. */
export function allOf({ streams }: Pick<WakeBody, 'streams'>): ProgressRequest['acks'] & object {
  return streams.map(({ path, tail_offset: offset }) => ({ stream: path, offset }))
}

export type Claim = Pick<WakeBody, 'wake_id' | 'generation' | 'streams'> & {
  readonly token: string
}

export function claimWork(gateway: { readonly url: string }, id: string): Promise<Answer> {
  const body = JSON.stringify({ worker: 'worker-1' })
  return call(urlOf(gateway, id, '/claim'), { method: 'POST', headers: JSON_TYPE, body })
}

/** The offset after the last message of a stream. */
export async function tailOf(gateway: GatewayProcess, stream: string): Promise<string> {
  const { status, headers } = await call(gateway.stream(stream), { method: 'HEAD' })
  expect({ stream, status }).toEqual({ stream, status: 200 })
  return String(headers['stream-next-offset'])
}

/** Waits until a subscription has acked its streams up to their tails. */
export async function allAcked(
  gateway: GatewayProcess,
  id: string,
  streams: readonly string[],
  timeout: number,
): Promise<void> {
  await vi.waitFor(
    async () => {
      const tails: Record<string, string> = {}
      for (const stream of streams) tails[stream] = await tailOf(gateway, stream)
      const described = await describeSubscription(gateway, id)
      const acked = described.streams.map(
        ({ path, acked_offset: offset }) => [path, offset] as const,
      )
      const found = Object.fromEntries(acked.filter(([path]) => path in tails))
      expect({ id, ...found }).toEqual({ id, ...tails })
    },
    { timeout, interval: 50 },
  )
}

export type WakeEvent = { readonly subscription_id: string; readonly generation: number }

/** A worker that only follows a wake stream: claims what it is told of, and acks all of it. */
export class Worker {
  readonly events: WakeEvent[] = []
  /** The work of each claim. */
  readonly claims: (Claim & { readonly subscription: string })[] = []
  /** Answers that neither succeed nor say that somebody else was first. */
  readonly surprises: string[] = []
  readonly #gateway: () => GatewayProcess
  readonly #stream: string
  readonly #running: Promise<void>
  #left = false

  /** Call it inside a test. `gateway` is asked anew for each request. */
  static start(gateway: () => GatewayProcess, stream: string): Worker {
    const worker = new Worker(gateway, stream)
    onTestFinished(() => worker.stop())
    return worker
  }

  private constructor(gateway: () => GatewayProcess, stream: string) {
    this.#gateway = gateway
    this.#stream = stream
    this.#running = this.#follow()
  }

  stop(): Promise<void> {
    this.#left = true
    return this.#running
  }

  async #follow(): Promise<void> {
    for (let offset = '-1'; !this.#left;) {
      const query = `offset=${offset}&live=long-poll`
      const answer = await this.#patiently(() =>
        call(`${this.#gateway().stream(this.#stream)}?${query}`),
      )
      if (answer?.status === 200) {
        const events = JSON.parse(answer.body) as WakeEvent[]
        this.events.push(...events)
        for (const { subscription_id: id } of events) await this.#work(id)
      }
      offset = String(answer?.headers['stream-next-offset'] ?? offset)
    }
  }

  async #work(id: string): Promise<void> {
    const claimed = await this.#patiently(() => claimWork(this.#gateway(), id))
    if (claimed === undefined || claimed.status === 409) return
    const claim = JSON.parse(claimed.body) as Claim
    this.claims.push({ ...claim, subscription: id })
    const { token } = claim
    const request = { wake: claim, token, acks: allOf(claim), done: true }
    await this.#patiently(() => progress(this.#gateway(), id, request, 'ack'))
  }

  /** Again while S2 or the gateway is away; undefined when the worker has left. */
  async #patiently(request: () => Promise<Answer>): Promise<Answer | undefined> {
    while (!this.#left) {
      const answer = await request().catch(() => undefined)
      const isOver = answer !== undefined && answer.status < 500
      const isExpected = answer === undefined || [200, 204, 409, 503].includes(answer.status)
      if (!isExpected) this.surprises.push(`${answer.status} ${answer.body}`)
      if (isOver) return answer
      await sleep(50)
    }
    return undefined
  }
}
