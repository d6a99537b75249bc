/**
 * Clients of every kind, right ones and wrong ones, who do what they do again and again until the
 * test is over. Each goes round about ten times a second at most: what is measured is that it is
 * measured.
 */
import http from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import type { CleanUps } from '../support/clean-ups.ts'
import { JSON_TYPE, appendJson, call, claim, createJsonStream } from '../support/http-calls.ts'
import type { Answer } from '../support/http-calls.ts'
import { SseClient } from '../support/sse-client.ts'
import { DONE, acksOf, subscriptionsAt } from '../support/webhook-receiver.ts'
import type { Json } from '../support/webhook-receiver.ts'
import { ROOM } from './site.ts'
import type { Bearer, Site } from './site.ts'

const PAUSE_MS = 100
const SSE_READERS = 6
const MIB = 1024 * 1024
/** Sockets on loopback take some MiB. */
const DROPS = 10
/** Longer than it is between two scrapes. */
const STALL_MS = 2000

type Headers = Readonly<Record<string, string>>

export class Load {
  /** What a client did not expect: the load is not what it should be. */
  readonly failures: unknown[] = []
  readonly #running: Promise<void>[] = []
  #isOver = false

  /** Starts all clients, once what they share is there. They end with the clean-ups. */
  static async start(site: Site, cleanUps: CleanUps): Promise<Load> {
    const load = new Load()
    cleanUps.add(() => load.stop())
    const bearer = await site.bearer({ sub: 'demo' })
    await prepare(site, bearer)
    const { guarded } = site
    const feed = guarded.stream('demo/feed')
    for (let n = 0; n < SSE_READERS; n += 1) load.#again(() => readEvents(feed, bearer))
    load.#again(poller(feed, bearer))
    load.#again(poller(guarded.stream('demo/quiet'), bearer))
    load.#again(producer(feed, bearer))
    load.#again(() => fewWords(guarded.stream('demo/life'), bearer))
    load.#again(() => readHistory(guarded.stream('demo/history'), bearer))
    load.#again(() => beStrange(site))
    load.#again(() => visit(guarded.url, feed, bearer))
    load.#again(subscriber(site))
    load.#again(() => crowd(site.full.url))
    load.#again(() => flood(guarded.stream('demo/flood'), bearer))
    return load
  }

  async stop(): Promise<void> {
    this.#isOver = true
    await Promise.all(this.#running)
  }

  #again(step: () => Promise<void>): void {
    this.#running.push(this.#repeat(step))
  }

  async #repeat(step: () => Promise<void>): Promise<void> {
    while (!this.#isOver) {
      await step().catch((error: unknown) => this.failures.push(error))
      await sleep(PAUSE_MS)
    }
  }
}

/** @throws Error unless it is one of these */
function expectStatus({ status, body }: Answer, ...expected: readonly number[]): void {
  if (!expected.includes(status))
    throw new Error(`${status} in place of ${expected.join()}: ${body}`)
}

async function prepare({ guarded, open, receiver }: Site, bearer: Bearer): Promise<void> {
  for (const name of ['demo/feed', 'demo/quiet', 'demo/history', 'demo/flood']) {
    await put(guarded.stream(name), bearer)
  }
  for (const name of ['wakes', 'good/jobs', 'bad/jobs', 'pull/jobs']) {
    await createJsonStream(open.stream(name))
  }
  const piece = 'x'.repeat(MIB / 2)
  for (let n = 0; n < 5; n += 1) {
    expectStatus(await appendJson(guarded.stream('demo/history'), piece, { headers: bearer }), 204)
  }
  receiver.otherwise = ({ payload: { subscription_id: id } }) =>
    id === 'good' ? DONE : { status: 500, body: '' }
  const { put: subscribe } = subscriptionsAt(open)
  const webhook = { url: receiver.url }
  for (const id of ['good', 'bad']) {
    expectStatus(await subscribe(id, { type: 'webhook', pattern: `${id}/*`, webhook }), 201)
  }
  expectStatus(
    await subscribe('pull', { type: 'pull-wake', pattern: 'pull/*', wake_stream: 'wakes' }),
    201,
  )
}

async function put(url: string, headers: Headers): Promise<void> {
  expectStatus(await call(url, { method: 'PUT', headers: { ...JSON_TYPE, ...headers } }), 201)
}

/** Follows until the gateway ends it, as it does when its time is over. */
async function readEvents(url: string, headers: Headers): Promise<void> {
  const client = await SseClient.open(`${url}?offset=now&live=sse`, headers)
  if (client.status !== 200) throw new Error(`SSE: ${client.status}`)
  await client.ended()
}

/** One long-poll after the other. */
function poller(url: string, headers: Headers): () => Promise<void> {
  let query = 'offset=now&live=long-poll'
  return async () => {
    const answer = await call(`${url}?${query}`, { headers })
    expectStatus(answer, 200, 204)
    const { 'stream-next-offset': next, 'stream-cursor': cursor } = answer.headers
    query = `offset=${String(next)}&live=long-poll&cursor=${String(cursor)}`
  }
}

/** An idempotent producer with all its mistakes. */
function producer(url: string, bearer: Bearer): () => Promise<void> {
  let seq = 0
  const append = (epoch: number, n: number): Promise<Answer> =>
    appendJson(url, { n }, { headers: { ...bearer, ...claim('writer', epoch, n) } })
  return async () => {
    expectStatus(await append(1, seq), 200)
    expectStatus(await append(1, seq), 204)
    expectStatus(await append(1, seq + 10), 409)
    expectStatus(await append(0, seq), 403)
    expectStatus(await append(2, seq + 1), 400)
    seq += 1
  }
}

/** A stream from its creation to its deletion, with a reader, and with what can go wrong. */
async function fewWords(url: string, bearer: Bearer): Promise<void> {
  await put(url, bearer)
  const reader = readEvents(url, bearer)
  // Whoever waits for it gets its failure, unless another one comes before.
  reader.catch(() => undefined)
  expectStatus(await appendJson(url, 'a word', { headers: bearer }), 204)
  expectStatus(await call(`${url}?offset=nonsense`, { headers: bearer }), 400)
  const close = { method: 'POST', headers: { ...bearer, 'stream-closed': 'true' } }
  expectStatus(await call(url, close), 204)
  await reader
  expectStatus(await appendJson(url, 'too late', { headers: bearer }), 409)
  expectStatus(await call(url, { method: 'HEAD', headers: bearer }), 200)
  expectStatus(await call(url, { method: 'DELETE', headers: bearer }), 204)
  expectStatus(await call(url, { headers: bearer }), 404)
}

/** From the beginning to the end, and once more to hear that nothing has changed. */
async function readHistory(url: string, headers: Headers): Promise<void> {
  for (let offset = '-1'; ;) {
    const answer = await call(`${url}?offset=${offset}`, { headers })
    expectStatus(answer, 200)
    const { etag } = answer.headers
    const again = { headers: { ...headers, 'if-none-match': String(etag) } }
    expectStatus(await call(`${url}?offset=${offset}`, again), 304)
    if (answer.headers['stream-up-to-date'] === 'true') return
    offset = String(answer.headers['stream-next-offset'])
  }
}

/** More than sockets hold, at the same time, to readers who do not take it for a while. */
async function flood(url: string, headers: Headers): Promise<void> {
  const open = () => SseClient.open(`${url}?offset=now&live=sse`, headers)
  const readers = [await open(), await open()]
  for (const reader of readers) reader.stall()
  const drop = 'x'.repeat(0.9 * MIB)
  const appends = Array.from({ length: DROPS }, () => appendJson(url, drop, { headers }))
  for (const answer of await Promise.all(appends)) expectStatus(answer, 204)
  await sleep(STALL_MS)
  for (const reader of readers) reader.leave()
}

/** No token, a wrong one, one of another project, one with too little scope. */
async function beStrange({ guarded, bearer }: Site): Promise<void> {
  const url = guarded.stream('demo/feed')
  expectStatus(await call(url), 401)
  expectStatus(await call(url, { headers: { authorization: 'Bearer nonsense' } }), 401)
  expectStatus(await call(url, { headers: await bearer({ sub: 'other' }) }), 403)
  const reader = await bearer({ sub: 'demo', scope: 'read' })
  expectStatus(await appendJson(url, 1, { headers: reader }), 403)
}

/** What a page does, and a platform. */
async function visit(gateway: string, url: string, bearer: Bearer): Promise<void> {
  const preflight = { origin: 'https://page.example', 'access-control-request-method': 'GET' }
  expectStatus(await call(url, { method: 'OPTIONS', headers: preflight }), 204)
  const body = JSON.stringify({ stream: 'demo/feed' })
  const asks = { method: 'POST', headers: { ...bearer, ...JSON_TYPE }, body }
  expectStatus(await call(`${gateway}/v1/stream/__ds/tickets`, asks), 200, 201)
  expectStatus(await call(`${gateway}/readyz`), 200)
}

/** Makes work for subscribers, and does that which has to be asked for. */
function subscriber({ open }: Site): () => Promise<void> {
  const { claim: ask, ack } = subscriptionsAt(open)
  return async () => {
    for (const name of ['good/jobs', 'bad/jobs', 'pull/jobs']) {
      expectStatus(await appendJson(open.stream(name), { do: 'this' }), 204)
    }
    const claimed = await ask('pull')
    expectStatus(claimed, 200, 409)
    if (claimed.status === 409) return
    const { token, ...wake }: Json = claimed.json
    expectStatus(await ack('pull', token, wake, { acks: acksOf(wake), done: true }), 200)
  }
}

/**
 * Two more than there is room for: one who would read, one who would write. On a busy machine those
 * of the round before may leave meanwhile.
 */
async function crowd(url: string): Promise<void> {
  const agents = Array.from({ length: ROOM + 2 }, () => new http.Agent({ keepAlive: true }))
  const [writer, reader, ...others] = agents
  const stream = `${url}/v1/stream/none`
  try {
    for (const agent of others) await call(stream, { agent })
    expectStatus(await call(stream, { agent: reader! }), 503, 404)
    expectStatus(await appendJson(stream, 1, { agent: writer! }), 503, 404)
  } finally {
    for (const agent of agents) agent.destroy()
  }
}
