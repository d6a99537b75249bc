/** Long-polls over real sockets (PROTOCOL §5.7). */
import http from 'node:http'
import type { Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { DurableLog } from '../../src/log/log.ts'
import { call } from '../support/http-calls.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGateway } from '../support/gateway.ts'

const TEXT = { 'content-type': 'text/plain' }
const cleanups: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup()
})

async function start(env: Record<string, string> = {}) {
  const log = await openEmbeddedLog({ location: { kind: 'memory' } })
  const gateway = await startGateway({ log, env })
  cleanups.push(async () => {
    await gateway.shutdown()
    await log.close()
  })
  const url = gateway.stream('s')
  await call(url, { method: 'PUT', headers: TEXT })
  const append = (body: string, headers = {}) =>
    call(url, { method: 'POST', headers: { ...TEXT, ...headers }, body })
  return { gateway, url, append }
}

function bound(target: DurableLog, property: string | symbol): unknown {
  const value: unknown = Reflect.get(target, property)
  return typeof value === 'function' ? value.bind(target) : value
}

/** Resolves once so many readers wait on the stream's hub. */
async function parked({ hubs }: TestGateway, count: number): Promise<void> {
  while ((hubs.find('s')?.subscribers ?? 0) !== count) {
    await new Promise((resolve) => setImmediate(resolve))
  }
}

describe('a long-poll', () => {
  test('answers at once with what is there', async () => {
    const { url, append } = await start()
    await append('abc')
    const { status, headers, body } = await call(`${url}?offset=-1&live=long-poll`)
    expect([status, body, headers['stream-up-to-date']]).toEqual([200, 'abc', 'true'])
    expect(headers['stream-cursor']).toMatch(/^\d+$/)
    expect(headers.etag).toBeDefined()
  })

  test('waits for data: every waiter gets one answer, and all the same', async () => {
    const { gateway, url, append } = await start()
    await append('old')
    const agent = new http.Agent({ keepAlive: true })
    const waiting = Array.from({ length: 20 }, () =>
      call(`${url}?offset=now&live=long-poll`, { agent }),
    )
    await parked(gateway, 20)
    await append('new')
    const answers = await Promise.all(waiting)
    const [first] = answers
    expect(first).toMatchObject({ status: 200, body: 'new' })
    for (const { body, headers } of answers) {
      expect(body).toBe('new')
      expect(headers['stream-cursor']).toBe(first!.headers['stream-cursor'])
      expect(headers['stream-next-offset']).toBe(first!.headers['stream-next-offset'])
    }
    expect(gateway.hubs.find('s')!.subscribers).toBe(0)
    agent.destroy()
  })

  test('is answered empty when its time is up, with all that a client needs', async () => {
    const { url } = await start({ LONG_POLL_TIMEOUT_MS: '30' })
    const head = await call(url, { method: 'HEAD' })
    const first = await call(`${url}?offset=now&live=long-poll`)
    expect([first.status, first.body]).toEqual([204, ''])
    expect(first.headers).toMatchObject({
      'stream-next-offset': head.headers['stream-next-offset'],
      'stream-up-to-date': 'true',
    })
    expect(first.headers['stream-closed']).toBeUndefined()
    expect(first.headers['content-type']).toBeUndefined()
    const cursor = String(first.headers['stream-cursor'])
    const offset = String(first.headers['stream-next-offset'])
    const second = await call(`${url}?offset=${offset}&live=long-poll&cursor=${cursor}`)
    expect(Number(second.headers['stream-cursor'])).toBeGreaterThan(Number(cursor))
  })

  test('of a closed stream does not wait', async () => {
    const { url, append } = await start()
    const { headers } = await append('', { 'stream-closed': 'true' })
    for (const offset of ['now', '-1', String(headers['stream-next-offset'])]) {
      const { status, headers: told } = await call(`${url}?offset=${offset}&live=long-poll`)
      expect([status, told['stream-closed'], told['stream-up-to-date']]).toEqual([
        204,
        'true',
        'true',
      ])
    }
  })

  test.each([
    ['without data', '', 204],
    ['with data', 'bye', 200],
  ])('is woken by closure %s', async (_name, body, status) => {
    const { gateway, url, append } = await start()
    const waiting = call(`${url}?offset=now&live=long-poll`)
    await parked(gateway, 1)
    await append(body, { 'stream-closed': 'true' })
    expect(await waiting).toMatchObject({ status, body, headers: { 'stream-closed': 'true' } })
  })

  test('is told when its stream is deleted', async () => {
    const { gateway, url } = await start()
    const waiting = call(`${url}?offset=now&live=long-poll`)
    await parked(gateway, 1)
    await call(url, { method: 'DELETE' })
    expect((await waiting).status).toBe(404)
  })

  test('learns that its offset is gone when its stream was deleted and is there anew', async () => {
    const inner = await openEmbeddedLog({ location: { kind: 'memory' } })
    const news: (() => void)[] = []
    // What is written elsewhere is heard of late.
    const late = new Proxy(inner, {
      get(target, property) {
        if (property !== 'openReadSession') return bound(target, property)
        return ((stream, from, handlers) =>
          target.openReadSession(stream, from, {
            ...handlers,
            onRecords: (...given) => void news.push(() => handlers.onRecords(...given)),
            onCaughtUp: (tail) => void news.push(() => handlers.onCaughtUp(tail)),
          })) satisfies DurableLog['openReadSession']
      },
    })
    const gateway = await startGateway({ log: late })
    const elsewhere = await startGateway({ log: inner })
    cleanups.push(async () => {
      await Promise.all([gateway.shutdown(), elsewhere.shutdown()])
      await inner.close()
    })
    await call(elsewhere.stream('s'), { method: 'PUT', headers: TEXT, body: 'x' })
    const { headers } = await call(elsewhere.stream('s'), { method: 'HEAD' })
    const offset = String(headers['stream-next-offset'])
    const waiting = call(`${gateway.stream('s')}?offset=${offset}&live=long-poll`)
    await parked(gateway, 1)
    await call(elsewhere.stream('s'), { method: 'DELETE' })
    await call(elsewhere.stream('s'), { method: 'PUT', headers: TEXT, body: 'y' })
    const telling = setInterval(() => news.shift()?.(), 1)
    const { status, body } = await waiting
    clearInterval(telling)
    expect([status, JSON.parse(body)]).toMatchObject([410, { code: 'offset_gone' }])
  })

  test('learns what became of its stream when that was deleted under what it reads', async () => {
    const inner = await openEmbeddedLog({ location: { kind: 'memory' } })
    const network = { isSlow: false, isDeaf: false }
    let read = (): void => undefined
    let letGo = (): void => undefined
    const reading = new Promise<void>((resolve) => (read = resolve))
    const gate = new Promise<void>((resolve) => (letGo = resolve))
    // Reads history late, and does not hear of the deletion.
    const slow = new Proxy(inner, {
      get(target, property) {
        if (property === 'read') {
          return (async (...given) => {
            if (network.isSlow) read()
            if (network.isSlow) await gate
            return target.read(...given)
          }) satisfies DurableLog['read']
        }
        if (property !== 'openReadSession') return bound(target, property)
        return ((stream, from, handlers) =>
          target.openReadSession(stream, from, {
            ...handlers,
            onRecords: (...given) => {
              if (!network.isDeaf) handlers.onRecords(...given)
            },
            onCaughtUp: (tail) => {
              if (!network.isDeaf) handlers.onCaughtUp(tail)
            },
          })) satisfies DurableLog['openReadSession']
      },
    })
    // The fast lane would have Node's way look again.
    const gateway = await startGateway({ log: slow, env: { FAST_LANE: 'off' } })
    const elsewhere = await startGateway({ log: inner })
    cleanups.push(async () => {
      await Promise.all([gateway.shutdown(), elsewhere.shutdown()])
      await inner.close()
    })
    const url = elsewhere.stream('s')
    await call(url, { method: 'PUT', headers: TEXT })
    const waiting = call(`${gateway.stream('s')}?offset=-1&live=long-poll`)
    await parked(gateway, 1)
    network.isSlow = true
    // More than one batch of the log: readers find it in history.
    await call(url, { method: 'POST', headers: TEXT, body: 'x'.repeat(3_000_000) })
    await reading
    network.isDeaf = true
    await call(url, { method: 'DELETE' })
    letGo()
    const { status, body } = await waiting
    expect([status, JSON.parse(body)]).toMatchObject([404, { code: 'stream_not_found' }])
  })

  test('leaves nothing behind when its client goes away', async () => {
    const { gateway, url } = await start()
    const request = http.get(`${url}?offset=now&live=long-poll`)
    request.on('error', () => undefined)
    await parked(gateway, 1)
    request.destroy()
    await parked(gateway, 0)
  })

  test('leaves no listener on a connection that is used again and again', async () => {
    const { gateway, url } = await start({ LONG_POLL_TIMEOUT_MS: '5' })
    const sockets = new Set<Socket>()
    gateway.app.server.on('connection', (socket: Socket) => sockets.add(socket))
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    const counts: number[] = []
    for (let n = 0; n < 20; n += 1) {
      await call(`${url}?offset=now&live=long-poll`, { agent })
      const [socket] = sockets
      counts.push(...socket!.eventNames().map((name) => socket!.listenerCount(name)))
    }
    expect(sockets.size).toBe(1)
    expect(Math.max(...counts)).toBeLessThan(5)
    agent.destroy()
  })

  test('may come with a body, which means nothing', async () => {
    const { gateway, url, append } = await start()
    const waiting = call(`${url}?offset=now&live=long-poll`, {
      headers: { 'content-length': '1' },
      body: 'x',
    })
    await parked(gateway, 1)
    await append('new')
    expect(await waiting).toMatchObject({ status: 200, body: 'new' })
  })
})

describe('cursors', () => {
  test('of readers with different histories meet at the same offset', async () => {
    const { gateway, url, append } = await start({ LONG_POLL_TIMEOUT_MS: '20' })
    await append('1')
    // One has polled in vain a few times, one follows from the start, one joins now.
    let patient = await call(`${url}?offset=now&live=long-poll`)
    const offset = String(patient.headers['stream-next-offset'])
    const poll = (cursor: unknown) =>
      call(`${url}?offset=${offset}&live=long-poll&cursor=${String(cursor)}`)
    for (let n = 0; n < 3; n += 1) patient = await poll(patient.headers['stream-cursor'])
    const eager = await call(`${url}?offset=-1&live=long-poll`)
    expect(patient.headers['stream-cursor']).not.toBe(eager.headers['stream-cursor'])
    await append('2')
    const cursors = await Promise.all(
      [patient.headers['stream-cursor'], eager.headers['stream-cursor'], 3].map(
        async (cursor) => (await poll(cursor)).headers['stream-cursor'],
      ),
    )
    expect(new Set(cursors).size).toBe(1)
    expect(gateway.hubs.size).toBe(1)
  })
})

describe('a sliding TTL', () => {
  test('does not run out under a reader who waits', async () => {
    const { url, gateway } = await start({ LONG_POLL_TIMEOUT_MS: '2500' })
    const mortal = gateway.stream('mortal')
    await call(mortal, { method: 'PUT', headers: { ...TEXT, 'stream-ttl': '1' } })
    // Longer than its window and all that may be added to it.
    expect((await call(`${mortal}?offset=now&live=long-poll`)).status).toBe(204)
    expect((await call(mortal, { method: 'HEAD' })).status).toBe(200)
    expect((await call(url, { method: 'HEAD' })).status).toBe(200)
  })
})
