/** Catch-up reads, and what caches may do with every kind of response (PROTOCOL §5.6, §10). */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { DurableLog } from '../../src/log/log.ts'
import { call } from '../support/http-calls.ts'
import type { Answer } from '../support/http-calls.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGateway } from '../support/gateway.ts'
import { SseClient } from '../support/sse-client.ts'

const TEXT = { 'content-type': 'text/plain' }
const CLOSE = { 'stream-closed': 'true' }

let log: DurableLog
let gateway: TestGateway

beforeAll(async () => {
  log = await openEmbeddedLog({ location: { kind: 'memory' } })
  gateway = await startGateway({ log, env: { LONG_POLL_TIMEOUT_MS: '50' } })
})
afterAll(async () => {
  await gateway.shutdown()
  await log.close()
})

async function create(name: string, body = '', headers: Record<string, string> = {}) {
  const url = gateway.stream(name)
  const created = await call(url, { method: 'PUT', headers: { ...TEXT, ...headers }, body })
  expect(created.status).toBe(201)
  return { url, offset: next(created) }
}

async function append(url: string, body: string, headers: Record<string, string> = {}) {
  const answer = await call(url, { method: 'POST', headers: { ...TEXT, ...headers }, body })
  expect(answer.status).toBe(204)
  return next(answer)
}

const next = ({ headers }: Answer) => String(headers['stream-next-offset'])

/** All pages from an offset to the one that says it is the end. */
async function pages(url: string, offset = '-1'): Promise<Answer[]> {
  const found: Answer[] = []
  for (let from = offset; ; from = next(found.at(-1)!)) {
    const page = await call(`${url}?offset=${from}`)
    expect(page.status).toBe(200)
    found.push(page)
    if (page.headers['stream-up-to-date'] === 'true') return found
  }
}

describe('pages', () => {
  test('of more than 1 MiB join to the exact bytes', async () => {
    const { url } = await create('bytes')
    const bodies = Array.from({ length: 5 }, (_, n) => String(n).repeat(400_000))
    for (const body of bodies) await append(url, body)
    const found = await pages(url)
    expect(found.map(({ body }) => body).join('') === bodies.join('')).toBe(true)
    expect(found.length).toBeGreaterThan(1)
    for (const { body } of found) expect(body.length).toBeLessThanOrEqual(1024 * 1024)
  })

  test('of more than 1,000 records join to all messages, from any page on', async () => {
    const type = { 'content-type': 'application/json' }
    const { url } = await create('records', '', type)
    const messages = Array.from({ length: 2500 }, (_, n) => n)
    for (const part of [0, 900, 1800]) {
      await append(url, JSON.stringify(messages.slice(part, part + 900)), type)
    }
    const found = await pages(url)
    const parsed = found.map(({ body }) => JSON.parse(body) as number[])
    expect(parsed.flat()).toEqual(messages)
    expect(found.length).toBeGreaterThan(2)
    const rest = await pages(url, next(found[0]!))
    expect(rest.flatMap(({ body }) => JSON.parse(body) as number[])).toEqual(parsed.slice(1).flat())
  })

  test('say that they reach the tail or the end only when they do', async () => {
    const { url } = await create('flags')
    for (let n = 0; n < 3; n += 1) await append(url, 'x'.repeat(500_000))
    await append(url, 'end', CLOSE)
    const flags = (await pages(url)).map(({ headers }) => [
      headers['stream-up-to-date'],
      headers['stream-closed'],
    ])
    expect(flags.length).toBeGreaterThan(1)
    expect(flags.pop()).toEqual(['true', 'true'])
    for (const flag of flags) expect(flag).toEqual([undefined, undefined])
  })
})

describe('an offset', () => {
  test.each([
    ['', 'abc'],
    ['?offset=-1', 'abc'],
    ['?offset=now', ''],
  ])('%s of a stream with data', async (query, body) => {
    const { url } = await create(`offsets${query}`.replace(/\W/g, ''), 'abc')
    const { headers } = await call(url, { method: 'HEAD' })
    expect(await call(url + query)).toMatchObject({
      status: 200,
      body,
      headers: {
        'stream-next-offset': headers['stream-next-offset'],
        'stream-up-to-date': 'true',
      },
    })
  })

  test('now of a JSON stream is an empty array', async () => {
    const { url } = await create('now-json', '[1]', { 'content-type': 'application/json' })
    expect((await call(`${url}?offset=now`)).body).toBe('[]')
  })

  test('of an earlier life of the stream is gone, in every mode', async () => {
    const { url, offset } = await create('reborn', 'first')
    await call(url, { method: 'DELETE' })
    await create('reborn', 'second')
    for (const live of ['', '&live=long-poll', '&live=sse']) {
      const { status, headers, body } = await call(`${url}?offset=${offset}${live}`)
      expect([status, JSON.parse(body)]).toEqual([
        410,
        expect.objectContaining({ code: 'offset_gone' }),
      ])
      const { body: rest } = await call(
        `${url}?offset=${String(headers['stream-earliest-offset'])}`,
      )
      expect(rest).toBe('second')
    }
  })

  test('of a deleted stream finds nothing, in every mode, closed or not', async () => {
    for (const closing of [{}, CLOSE]) {
      const { url, offset } = await create('short-lived', 'x', closing)
      const reader = await SseClient.open(`${url}?offset=-1&live=sse`)
      await reader.until(({ controls }) => controls.length > 0)
      expect((await call(url, { method: 'DELETE' })).status).toBe(204)
      for (const from of ['-1', 'now', offset]) {
        for (const live of ['', '&live=long-poll', '&live=sse']) {
          const { status } = await call(`${url}?offset=${from}${live}`)
          expect([from, live, status]).toEqual([from, live, 404])
        }
      }
    }
  })
})

describe('ETag (PROTOCOL §10.1)', () => {
  const ask = (url: string, etag: string) => call(url, { headers: { 'if-none-match': etag } })

  test('spares the body as long as nothing changed, and no longer', async () => {
    const { url } = await create('etag', 'abc')
    const first = await call(`${url}?offset=-1`)
    const etag = String(first.headers.etag)
    const { 'content-length': _length, date: _date, ...kept } = first.headers
    const same = await ask(`${url}?offset=-1`, etag)
    expect([same.status, same.body]).toEqual([304, ''])
    expect(same.headers).toMatchObject(kept)
    await append(url, 'd')
    expect(await ask(`${url}?offset=-1`, etag)).toMatchObject({ status: 200, body: 'abcd' })
  })

  test('changes when the stream is closed, with no data and at the tail too', async () => {
    const { url, offset } = await create('etag-closed', 'abc')
    const asked = ['?offset=-1', `?offset=${offset}`]
    const before = await Promise.all(asked.map((query) => call(url + query)))
    await append(url, '', CLOSE)
    for (const [index, query] of asked.entries()) {
      const answer = await ask(url + query, String(before[index]!.headers.etag))
      expect(answer).toMatchObject({ status: 200, headers: { 'stream-closed': 'true' } })
    }
  })

  test('of another life of the stream is another one', async () => {
    const { url } = await create('etag-reborn', 'abc')
    const { headers } = await call(`${url}?offset=-1`)
    await call(url, { method: 'DELETE' })
    await create('etag-reborn', 'abc')
    expect((await ask(`${url}?offset=-1`, String(headers.etag))).status).toBe(200)
  })

  test('is absent where the tail is asked for', async () => {
    const { url } = await create('etag-now', 'abc')
    const { status, headers } = await ask(`${url}?offset=now`, '*')
    expect([status, headers.etag]).toEqual([200, undefined])
  })
})

describe('Cache-Control', () => {
  const CHUNK = 'public, max-age=60, stale-while-revalidate=300'

  /** A stream of two chunks; the URL of its first has the offset of the first append. */
  async function twoChunks(name: string, headers: Record<string, string> = {}) {
    const { url, offset } = await create(name, 'x', headers)
    for (let n = 0; n < 3; n += 1) await append(url, 'x'.repeat(600_000))
    return { url, offset }
  }

  test('lets caches keep a chunk, but nothing that can still change', async () => {
    const { url, offset } = await twoChunks('cache')
    const tail = next(await call(url, { method: 'HEAD' }))
    const cursor = String(
      (await call(`${url}?offset=${offset}&live=long-poll`)).headers['stream-cursor'],
    )
    const kinds: [string, string][] = [
      ['a chunk before the tail', `?offset=${offset}`],
      ['the tail', `?offset=${tail}`],
      ['now', '?offset=now'],
      ['a long-poll with data and cursor', `?offset=${offset}&live=long-poll&cursor=${cursor}`],
      ['a long-poll with data, without cursor', `?offset=${offset}&live=long-poll`],
      ['a long-poll without data', `?offset=${tail}&live=long-poll&cursor=${cursor}`],
      ['an error', '?offset=x'],
    ]
    const found = await Promise.all(
      kinds.map(async ([kind, query]) => [
        kind,
        (await call(url + query)).headers['cache-control'],
      ]),
    )
    expect(Object.fromEntries(found)).toEqual({
      'a chunk before the tail': CHUNK,
      'the tail': 'no-cache',
      now: 'no-store',
      'a long-poll with data and cursor': 'public, max-age=20',
      'a long-poll with data, without cursor': 'no-store',
      'a long-poll without data': 'no-store',
      'an error': 'no-store',
    })
  })

  test.each(['HEAD', 'PUT', 'POST', 'DELETE'])('of %s is no-store', async (method) => {
    const { url } = await create(`cache-${method}`)
    const body = method === 'POST' ? { body: 'x' } : {}
    const { status, headers } = await call(url, { method, headers: TEXT, ...body })
    expect([status < 300, headers['cache-control']]).toEqual([true, 'no-store'])
  })

  test('of a closed stream’s end is no better than of an open one', async () => {
    const { url, offset } = await create('cache-closed', 'x', CLOSE)
    const classes = await Promise.all(
      ['?offset=-1', `?offset=${offset}`, `?offset=${offset}&live=long-poll&cursor=1`].map(
        async (query) => {
          const { status, headers } = await call(url + query)
          return [status, headers['cache-control']]
        },
      ),
    )
    expect(classes).toEqual([
      [200, 'no-cache'],
      [200, 'no-cache'],
      [204, 'no-store'],
    ])
  })

  test('of a stream with a TTL does not outlive it', async () => {
    const { url, offset } = await twoChunks('cache-ttl', { 'stream-ttl': '10' })
    const ages = await Promise.all(
      [`?offset=${offset}`, `?offset=${offset}&live=long-poll&cursor=1`].map(async (query) => {
        const { headers } = await call(url + query)
        return Number(/^public, max-age=(\d+)$/.exec(String(headers['cache-control']))?.[1])
      }),
    )
    // A TTL may end later by the tenth in which reads are not written down.
    for (const age of ages) expect([age > 0, age <= 11]).toEqual([true, true])
  })

  test('of a stream with an end does not outlive it', async () => {
    const end = new Date(Date.now() + 5000).toISOString()
    const { url, offset } = await twoChunks('cache-end', { 'stream-expires-at': end })
    for (const live of ['', '&live=long-poll&cursor=1']) {
      const { headers } = await call(`${url}?offset=${offset}${live}`)
      expect(headers['cache-control']).toMatch(/^public, max-age=[1-4]$/)
    }
  })

  test('of SSE keeps caches and proxies out', async () => {
    const { url } = await create('cache-sse')
    const reader = await SseClient.open(`${url}?offset=-1&live=sse`)
    expect(reader.headers).toMatchObject({
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache, no-store, no-transform',
      'x-accel-buffering': 'no',
      'x-content-type-options': 'nosniff',
      'cross-origin-resource-policy': 'cross-origin',
      'access-control-allow-origin': '*',
    })
    reader.leave()
  })
})

test('HEAD tells what the stream is, and renders no data (PROTOCOL §5.5)', async () => {
  const { url, offset } = await create('head', 'abc', { 'stream-ttl': '60', ...CLOSE })
  const { status, headers, body } = await call(`${url}?live=sse&offset=x`, { method: 'HEAD' })
  expect([status, body]).toEqual([200, ''])
  expect(headers).toMatchObject({
    'content-type': 'text/plain',
    'stream-next-offset': offset,
    'stream-closed': 'true',
    'stream-ttl': '60',
    'cache-control': 'no-store',
  })
})

test('A stream that an S2 client has forged puts no header of its own into any answer', async () => {
  const creation = { v: 1, id: 'i', fencingToken: 'o:i', base: 0, maxProducers: 1 }
  const contentType = 'text/plain\r\nset-cookie: a=b'
  const body = Buffer.from(JSON.stringify({ ...creation, expiry: { kind: 'never' }, contentType }))
  const data = { kind: 'data', headers: [], body: Buffer.from('x') } as const
  await log.createStream('forged')
  await log.append('forged', {
    records: [{ kind: 'data', headers: [['ds', 'created']], body }, data],
    matchSeqNum: 0,
    fencingToken: '',
  })
  for (const query of ['', '?offset=-1', '?offset=-1&live=long-poll', '?offset=-1&live=sse']) {
    const { status, headers } = await call(`${gateway.stream('forged')}${query}`)
    expect([status, headers['set-cookie']]).toEqual([500, undefined])
  }
})
