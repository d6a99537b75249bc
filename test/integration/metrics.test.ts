/** What a running gateway counts, by what was really asked of it; and who is shown it. */
import { afterEach, describe, expect, test, vi } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { DurableLog } from '../../src/log/log.ts'
import { JWT_ENV, bearer } from '../support/access-tokens.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGateway } from '../support/gateway.ts'
import { SseReader, appendJson, call, claim, createJsonStream } from '../support/http-calls.ts'
import { scrape } from '../support/metrics-page.ts'
import { connect } from '../support/raw-http.ts'

const cleanups: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function start(env: Record<string, string> = {}, given?: DurableLog): Promise<TestGateway> {
  const log = given ?? (await openEmbeddedLog({ location: { kind: 'memory' } }))
  const gateway = await startGateway({ log, env: { SUBSCRIPTIONS: 'off', ...env } })
  cleanups.push(
    () => log.close(),
    () => gateway.shutdown(),
  )
  return gateway
}

/** On a port of its own nothing of what is counted is the scrape's. */
const OWN_PORT = { METRICS_PORT: '0' }

const LARGE = { body: '['.repeat(2_000_000) }

async function readersOf({ hubs }: TestGateway, name: string, count: number): Promise<void> {
  await expect.poll(() => hubs.find(name)?.subscribers ?? 0).toBe(count)
}

describe.each([
  ['the fast lane', 'on'],
  ['Fastify', 'off'],
])('live reads by %s', (_name, FAST_LANE) => {
  test('are counted by what became of them', async () => {
    const gateway = await start({ ...OWN_PORT, FAST_LANE, LONG_POLL_TIMEOUT_MS: '40' })
    const url = gateway.stream('a')
    await createJsonStream(url)
    const readers = await Promise.all([1, 2, 3].map(() => SseReader.open(url)))
    const empty = await call(`${url}?offset=now&live=long-poll`)
    expect(empty.status).toBe(204)
    await readersOf(gateway, 'a', 3)
    await appendJson(url, ['x', 'y'])
    for (const reader of readers) await expect.poll(() => reader.messages).toEqual(['x', 'y'])
    const full = await call(`${url}?offset=-1&live=long-poll`)
    const etag = { 'if-none-match': String(full.headers['etag']) }
    const same = await call(`${url}?offset=-1&live=long-poll`, { headers: etag })
    expect([full.status, same.status]).toEqual([200, 304])
    readers[0]?.leave()
    await readersOf(gateway, 'a', 2)

    const page = await scrape(gateway.opsUrl ?? '')
    const expected = {
      'live_readers{transport="sse"}': 2,
      'live_readers{transport="long_poll"}': 0,
      'live_reads_total{transport="sse"}': 3,
      'live_reads_total{transport="long_poll"}': 3,
      'live_read_duration_seconds_count{transport="sse"}': 1,
      'live_read_duration_seconds_count{transport="long_poll"}': 3,
      'sse_ends_total{reason="client"}': 1,
      'long_poll_results_total{status="200"}': 2,
      'long_poll_results_total{status="204"}': 1,
      'http_requests_total{method="GET",operation="read",status="200"}': 4,
      'http_requests_total{method="GET",operation="read",status="204"}': 1,
      'http_requests_total{method="GET",operation="read",status="304"}': 1,
      'http_request_duration_seconds_count{operation="read"}': undefined,
      'cache_class_total{class="sse",audience="private"}': 3,
      'cache_class_total{class="long_poll_unkeyed",audience="shared"}': 2,
      'cache_class_total{class="long_poll_empty",audience="shared"}': 1,
      not_modified_total: 1,
      batches_total: 1,
      deliveries_total: 3,
      delivery_latency_seconds_count: 1,
      'hubs{phase="live"}': 1,
      log_read_sessions: 1,
      readers_per_read_session: 2,
    }
    expect(page.pick(...Object.keys(expected))).toEqual(expected)
    expect(page.get('delivered_bytes_total')).toBeGreaterThan(3 * 'xy'.length)
    expect(page.get('hub_ring_bytes')).toBeGreaterThan(0)
  })

  test('a poll whose client leaves is answered by nobody', async () => {
    const gateway = await start({ ...OWN_PORT, FAST_LANE })
    await createJsonStream(gateway.stream('a'))
    const connection = await connect(gateway.url)
    connection.write('GET /v1/stream/a?offset=now&live=long-poll HTTP/1.1\r\nHost: a\r\n\r\n')
    await readersOf(gateway, 'a', 1)
    connection.destroy()
    await readersOf(gateway, 'a', 0)
    const left = 'http_requests_total{method="GET",operation="read",status="499"}'
    await expect.poll(async () => (await scrape(gateway.opsUrl ?? '')).get(left)).toBe(1)
    const page = await scrape(gateway.opsUrl ?? '')
    expect(page.get('long_poll_results_total{status="204"}')).toBe(0)
    expect(page.text).not.toContain('class="long_poll_empty"')
  })

  test.each(['sse', 'long-poll'])(
    'a reader (%s) who leaves before the log has told of the stream did not wait',
    async (live) => {
      const log = await openEmbeddedLog({ location: { kind: 'memory' } })
      const gateway = await start({ ...OWN_PORT, FAST_LANE }, log)
      await createJsonStream(gateway.stream('a'))
      const checkTail = log.checkTail.bind(log)
      let letGo = (): void => undefined
      const held = new Promise<void>((resolve) => (letGo = resolve))
      const tails = vi
        .spyOn(log, 'checkTail')
        .mockImplementation((stream) => held.then(() => checkTail(stream)))
      const connections = async () => (await scrape(gateway.opsUrl ?? '')).get('connections')
      const others = await connections()
      const connection = await connect(gateway.url)
      connection.write(`GET /v1/stream/a?offset=-1&live=${live} HTTP/1.1\r\nHost: a\r\n\r\n`)
      await expect.poll(() => tails.mock.calls.length).toBeGreaterThan(0)
      connection.destroy()
      await expect.poll(connections).toBe(others)
      letGo()
      const left = 'http_requests_total{method="GET",operation="read",status="499"}'
      await expect.poll(async () => (await scrape(gateway.opsUrl ?? '')).get(left)).toBe(1)
      const page = await scrape(gateway.opsUrl ?? '')
      expect(page.text).not.toContain('operation="read",status="200"')
    },
  )
})

describe('requests', () => {
  test('are counted by what they are for, and problems by their codes', async () => {
    const gateway = await start(OWN_PORT)
    const url = gateway.stream('a')
    await createJsonStream(url)
    await appendJson(url, ['one'], { headers: claim('p', 1, 0) })
    await appendJson(url, ['one'], { headers: claim('p', 1, 0) })
    await appendJson(url, ['late'], { headers: claim('p', 0, 0) })
    await appendJson(url, ['far'], { headers: claim('p', 1, 7) })
    await call(`${url}?offset=-1`)
    await call(url, { method: 'HEAD' })
    await call(gateway.stream('missing'))
    await call(url, { method: 'POST', headers: { 'stream-closed': 'true' } })
    await call(url, { method: 'OPTIONS', headers: { origin: 'https://a.example' } })
    await call(`${gateway.url}/nothing`)
    await call(`${gateway.url}/healthz`)
    await call(url, { method: 'DELETE' })
    const request = (method: string, operation: string, status: number): string =>
      `http_requests_total{method="${method}",operation="${operation}",status="${status}"}`
    const expected = {
      [request('PUT', 'create', 201)]: 1,
      [request('POST', 'append', 200)]: 1,
      [request('POST', 'append', 204)]: 2,
      [request('POST', 'append', 403)]: 1,
      [request('POST', 'append', 409)]: 1,
      [request('GET', 'read', 200)]: 1,
      [request('GET', 'read', 404)]: 1,
      [request('HEAD', 'head', 200)]: 1,
      [request('OPTIONS', 'preflight', 204)]: 1,
      [request('GET', 'other', 404)]: 1,
      [request('GET', 'ops', 200)]: 1,
      [request('DELETE', 'delete', 204)]: 1,
      'http_request_duration_seconds_count{operation="append"}': 5,
      'problems_total{code="stream_not_found"}': 1,
      'problems_total{code="not_found"}': 1,
      'problems_total{code="stale_epoch"}': 1,
      'producer_refusals_total{reason="fenced"}': 1,
      'producer_refusals_total{reason="gap"}': 1,
      'appends_total{result="appended"}': 1,
      'appends_total{result="duplicate"}': 1,
      'appends_total{result="closed"}': 1,
      append_duration_seconds_count: 3,
      append_bytes_total: JSON.stringify(['one']).length,
      'cache_class_total{class="tail",audience="shared"}': 1,
      open_streams: 2,
    }
    await expect
      .poll(async () => (await scrape(gateway.opsUrl ?? '')).pick(...Object.keys(expected)))
      .toEqual(expected)
  })

  test('are what they are, whatever else they say', async () => {
    const gateway = await start(OWN_PORT)
    await call(`${gateway.url}/healthz?live=sse`)
    await call(`${gateway.url}/healthz?live=long-poll`)
    await call(`${gateway.url}/nothing?live=long-poll`)
    const expected = {
      'http_requests_total{method="GET",operation="ops",status="200"}': 2,
      'http_request_duration_seconds_count{operation="ops"}': 2,
      'http_request_duration_seconds_count{operation="other"}': 1,
    }
    await expect
      .poll(async () => (await scrape(gateway.opsUrl ?? '')).pick(...Object.keys(expected)))
      .toEqual(expected)
  })

  test('no name of a stream or anything else of a request shows', async () => {
    const gateway = await start(OWN_PORT)
    const names = [
      'odd-"quoted"',
      'odd-{a="b"}',
      'odd-line\nbreak',
      'odd-ünïcode',
      `odd-${'x'.repeat(300)}`,
    ]
    for (const name of names) {
      const url = gateway.stream(encodeURIComponent(name))
      await call(url, { method: 'PUT', headers: { 'content-type': 'text/plain' } })
      await call(`${url}?offset=odd-offset&live=odd-live`)
      await call(`${url}?offset=-1&live=odd`, { method: 'PATCH' })
    }
    const { text } = await scrape(gateway.opsUrl ?? '')
    expect(text).not.toContain('odd')
    expect(text).not.toContain('PATCH')
    // Every line is a comment or one series.
    const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('# '))
    const malformed = lines.filter(
      (line) =>
        !/^[a-z_][a-z0-9_]*(?:\{[a-z_]+="[^"\n]*"(?:,[a-z_]+="[^"\n]*")*\})? \S+$/.test(line),
    )
    expect(malformed).toEqual([])
  })

  test('what is no request counts as the problem that it is', async () => {
    const gateway = await start(OWN_PORT)
    const connection = await connect(gateway.url)
    connection.write('this is no request\r\n\r\n')
    const problem = 'problems_total{code="bad_request"}'
    await expect.poll(async () => (await scrape(gateway.opsUrl ?? '')).get(problem)).toBe(1)
    connection.destroy()
  })
})

describe('a port of its own', () => {
  test('has metrics, the bill and the probes, and the other one has no metrics', async () => {
    const gateway = await start({ ...OWN_PORT, ...JWT_ENV })
    const own = gateway.opsUrl ?? ''
    for (const path of ['/metrics', '/bill', '/healthz', '/readyz']) {
      const { status, headers } = await call(own + path)
      expect([path, status, headers['cache-control']]).toEqual([path, 200, 'no-store'])
    }
    const page = await call(`${own}/metrics`)
    expect(page.headers['content-type']).toBe('text/plain; version=0.0.4; charset=utf-8')
    expect((await call(`${own}/v1/stream/a`)).status).toBe(404)
    for (const path of ['/metrics', '/bill']) {
      const headers = bearer({ sub: '*', scope: 'manage' })
      expect((await call(gateway.url + path, { headers })).status).toBe(404)
    }
  })

  test.each([
    ['a body that is no JSON', '/metrics', 'POST', 'application/json', { body: '[' }, 404],
    ['a body that is too large', '/bill', 'POST', 'application/json', LARGE, 404],
    ['a body of no type', '/healthz', 'PUT', '', { body: 'x' }, 400],
    ['a URL that is none', '/%zz', 'GET', undefined, {}, 400],
  ])('says no to %s, and nothing is broken', async (_what, path, method, type, body, status) => {
    const gateway = await start(OWN_PORT)
    const failures = vi.spyOn(gateway.app.log, 'error')
    const headers: Record<string, string> = type === undefined ? {} : { 'content-type': type }
    const answer = await call(`${gateway.opsUrl}${path}`, { method, headers, ...body })
    expect([answer.status, answer.headers['content-type']]).toEqual([
      status,
      'application/problem+json',
    ])
    expect(failures).not.toHaveBeenCalled()
  })

  test('leaves descriptors for readers: whoever comes with hundreds of connections', async () => {
    const gateway = await start(OWN_PORT)
    const sockets = await Promise.all(
      Array.from({ length: 200 }, () => connect(gateway.opsUrl ?? '')),
    )
    for (const socket of sockets) cleanups.push(() => Promise.resolve(void socket.destroy()))
    for (const socket of sockets) socket.on('error', () => undefined).resume()
    const open = (): number => sockets.filter(({ readyState }) => readyState === 'open').length
    await expect.poll(open).toBeLessThanOrEqual(100)
    expect((await call(`${gateway.url}/healthz`)).status).toBe(200)
  })

  test('is there until the end of leaving, and says how many are left', async () => {
    const gateway = await start({ ...OWN_PORT, SHUTDOWN_GRACE_MS: '60000' })
    const url = gateway.stream('a')
    await createJsonStream(url)
    const readers = await Promise.all(Array.from({ length: 20 }, () => SseReader.open(url)))
    await readersOf(gateway, 'a', 20)
    const left = gateway.shutdown()
    const page = await scrape(gateway.opsUrl ?? '')
    expect(page.get('drain_remaining')).toBeGreaterThan(0)
    expect(page.get('ready')).toBe(0)
    expect((await call(`${gateway.opsUrl}/readyz`)).status).toBe(503)
    await left
    await Promise.all(readers.map(({ ended }) => ended))
    await expect(call(`${gateway.opsUrl}/healthz`)).rejects.toThrow()
  })
})

describe('the port of the streams', () => {
  const everything = { sub: '*', scope: 'manage' }

  test.each([
    ['nobody', undefined, 401],
    ['a token for all projects with the scope manage', everything, 200],
    ['less scope', { sub: '*', scope: 'write' }, 403],
    ['one project', { sub: 'acme', scope: 'manage' }, 403],
    ['one stream', { ...everything, stream_id: 'acme/a' }, 403],
  ])('shows metrics and the bill to %s: %s → %s', async (_who, claims, status) => {
    const gateway = await start(JWT_ENV)
    const headers = claims === undefined ? {} : bearer(claims)
    for (const path of ['/metrics', '/bill']) {
      expect([path, (await call(gateway.url + path, { headers })).status]).toEqual([path, status])
    }
    const page = await scrape(gateway.url, { headers: bearer(everything) })
    const refused = page.get('auth_failures_total{reason="unauthenticated"}')
    expect(refused).toBe(status === 401 ? 2 : 0)
  })

  test('says what the gateway is bounded by, as configured', async () => {
    const bounds = { connections: 50, hubs: 60, hub_ring_bytes: 7e6, buffered_append_bytes: 8e6 }
    const gateway = await start({
      MAX_CONNECTIONS: '50',
      MAX_HUBS: '60',
      MAX_HUBS_BYTES: '7000000',
      MAX_APPEND_BYTES: '1000000',
      MAX_BUFFERED_APPEND_BYTES: '8000000',
      MAX_CHUNK_CACHE_BYTES: '9000000',
    })
    const page = await scrape(gateway.url)
    for (const [name, value] of Object.entries({ ...bounds, chunk_cache_bytes: 9e6 })) {
      expect([name, page.get(`limit{limit="${name}"}`)]).toEqual([name, value])
    }
  })

  test('shows them to everybody where everybody may do everything', async () => {
    const gateway = await start()
    expect((await scrape(gateway.url)).get('ready')).toBe(1)
    expect(JSON.parse((await call(`${gateway.url}/bill`)).body)).toMatchObject({
      currency: 'USD',
      billed_by_s2: false,
      operations: { create_stream: { price: 1e-5 } },
    })
  })

  test('METRICS=off: there is nothing there', async () => {
    const gateway = await start({ METRICS: 'off' })
    await createJsonStream(gateway.stream('a'))
    for (const path of ['/metrics', '/bill']) {
      expect((await call(gateway.url + path)).status).toBe(404)
    }
  })
})

describe('the bill', () => {
  test('without readers it is the same without fan-out: subscriptions have a session, too', async () => {
    // Nothing but sessions costs anything.
    const S2_PRICES = 'append=0 read=0 check_tail=0 create_stream=0 written_gib=0 read_gib=0'
    const gateway = await start({ ...OWN_PORT, SUBSCRIPTIONS: 'on', S2_PRICES })
    const sessions = async () => (await scrape(gateway.opsUrl ?? '')).get('log_read_sessions')
    await expect.poll(sessions).toBe(1)
    const ratio = async (): Promise<unknown> => {
      const { month } = JSON.parse((await call(`${gateway.opsUrl}/bill`)).body) as {
        readonly month: Readonly<Record<string, number>>
      }
      expect(month['read_sessions']).toBeGreaterThan(0)
      return month['ratio']
    }
    // Of a session that has only just begun, microseconds are a part.
    await expect.poll(ratio, { timeout: 10_000 }).toBeCloseTo(1, 3)
  })

  test('counts what was asked of the log, at the prices that were set', async () => {
    const gateway = await start({ ...OWN_PORT, S2_PRICES: 'append=1 read=0 check_tail=0' })
    await createJsonStream(gateway.stream('a'))
    const readers = await Promise.all([1, 2, 3, 4].map(() => SseReader.open(gateway.stream('a'))))
    await readersOf(gateway, 'a', 4)
    type Row = { readonly count: number; readonly price: number; readonly cost: number }
    const bill = JSON.parse((await call(`${gateway.opsUrl}/bill`)).body) as {
      readonly operations: Readonly<Record<string, Row>>
      readonly month: { readonly readers: number; readonly read_sessions: number }
    }
    const { append, create_stream: create, read_session_minute: minutes } = bill.operations
    expect(append?.count).toBeGreaterThan(0)
    expect(append?.cost).toBe(append?.count)
    expect(create?.count).toBe(1)
    expect(minutes?.count).toBeGreaterThan(0)
    expect(bill.month.readers).toBeGreaterThan(bill.month.read_sessions)
    const page = await scrape(gateway.opsUrl ?? '')
    expect(page.get('s2_cost_usd_total{kind="append"}')).toBe(append?.cost)
    expect(page.get('readers_per_read_session')).toBe(4)
    for (const reader of readers) reader.leave()
  })
})
