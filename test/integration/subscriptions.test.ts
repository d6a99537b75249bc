/** Subscriptions over HTTP: what they are, and which streams they have (PROTOCOL §6). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import { CleanUps } from '../support/clean-ups.ts'
import { startGateway } from '../support/gateway.ts'
import { JSON_TYPE, appendJson, call, readJson } from '../support/http-calls.ts'
import { ACCEPTED, DONE, WebhookReceiver, subscriptionsAt } from '../support/webhook-receiver.ts'
import type { Json } from '../support/webhook-receiver.ts'

const LOCAL = { ALLOW_LOCAL_WEBHOOKS: 'true' }
const HOOK = { type: 'webhook', webhook: { url: 'http://127.0.0.1:1/hooks' } }
const POOL = { type: 'pull-wake', wake_stream: 'wake/pool' }
const BEFORE_FIRST = '-1'

let cleanUps: CleanUps
beforeEach(() => {
  cleanUps = new CleanUps()
})
afterEach(() => cleanUps.run())

async function start(env: Record<string, string> = LOCAL) {
  const receiver = await WebhookReceiver.start()
  cleanUps.add(() => receiver.close())
  const log = await openEmbeddedLog({ location: { kind: 'memory' } })
  cleanUps.add(() => log.close())
  const gateway = await startGateway({ log, env })
  cleanUps.add(() => gateway.shutdown())
  const create = async (name: string, body = '', headers: Record<string, string> = JSON_TYPE) => {
    const answer = await call(gateway.stream(name), { method: 'PUT', headers, body })
    expect(answer.status).toBe(201)
    return String(answer.headers['stream-next-offset'])
  }
  const append = async (name: string, message: unknown = 1) => {
    const answer = await appendJson(gateway.stream(name), message)
    expect(answer.status).toBe(204)
    return String(answer.headers['stream-next-offset'])
  }
  const deleteStream = (name: string) => call(gateway.stream(name), { method: 'DELETE' })
  const calls = subscriptionsAt(gateway)
  /** A subscription of the receiver. */
  const subscribe = async (id: string, body: object) => {
    const webhook = { url: receiver.url }
    const answer = await calls.put(id, { type: 'webhook', webhook, ...body })
    expect(answer.status).toBe(201)
  }
  const linksOf = async (id: string) => (await calls.get(id)).json.streams
  return { gateway, receiver, create, append, deleteStream, ...calls, subscribe, linksOf }
}

const link = (path: string, link_type: string, acked_offset: string) => ({
  path,
  link_type,
  acked_offset,
})

describe('a subscription', () => {
  test('is created, confirmed, and told from another configuration', async () => {
    const { put } = await start()
    const config = { ...HOOK, pattern: 'a/*', streams: ['x', 'y'], description: 'd' }
    const created = await put('s', config)
    const confirmed = await put('s', {
      ...config,
      streams: ['/y/', 'x', 'y'],
      lease_ttl_ms: 30_000,
    })
    expect([created.status, confirmed.status]).toEqual([201, 200])
    expect(confirmed.json).toEqual(created.json)
    const others = [
      { ...config, pattern: 'a/**' },
      { ...config, streams: ['x'] },
      { ...config, webhook: { url: 'http://127.0.0.1:2/hooks' } },
      { ...config, lease_ttl_ms: 30_001 },
      { ...config, description: 'e' },
      { ...config, ...POOL, webhook: null },
    ]
    const answers = await Promise.all(others.map((other) => put('s', other)))
    expect(answers.map(({ status, json }) => [status, json.error.code])).toEqual(
      others.map(() => [409, 'SUBSCRIPTION_ALREADY_EXISTS']),
    )
  })

  test('is shown whole: by webhook', async () => {
    const { gateway, put, get } = await start()
    const config = { ...HOOK, pattern: 'a/*', streams: ['x'], description: 'd', lease_ttl_ms: 2000 }
    const created = await put('s', config)
    const jwks = await call(gateway.stream('__ds/jwks.json'))
    const expected = {
      id: 's',
      subscription_id: 's',
      type: 'webhook',
      pattern: 'a/*',
      streams: [link('x', 'explicit', BEFORE_FIRST)],
      webhook: {
        url: HOOK.webhook.url,
        signing: {
          alg: 'ed25519',
          kid: (JSON.parse(jwks.body) as Json).keys[0]!.kid,
          jwks_url: gateway.stream('__ds/jwks.json'),
        },
      },
      wake_stream: null,
      lease_ttl_ms: 2000,
      created_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/) as unknown,
      status: 'active',
      description: 'd',
    }
    expect(created.json).toEqual(expected)
    const shown = await get('s')
    expect([shown.status, shown.json]).toEqual([200, created.json])
    expect(shown.headers['content-type']).toBe('application/json')
    expect(shown.headers['cache-control']).toBe('no-store')
    expect(Math.abs(Date.parse(shown.json.created_at) - Date.now())).toBeLessThan(60_000)
  })

  test('is shown whole: by pull-wake', async () => {
    const { put, get } = await start()
    await put('s', { ...POOL, streams: ['x'] })
    expect((await get('s')).json).toEqual({
      id: 's',
      subscription_id: 's',
      type: 'pull-wake',
      pattern: null,
      streams: [link('x', 'explicit', BEFORE_FIRST)],
      webhook: null,
      wake_stream: 'wake/pool',
      lease_ttl_ms: 30_000,
      created_at: expect.any(String) as unknown,
      status: 'active',
      description: null,
    })
  })

  test('is deleted once, and again without harm', async () => {
    const { put, get, remove, linksOf } = await start()
    await put('s', { ...POOL, streams: ['x'] })
    const answers = [await remove('s'), await remove('s'), await remove('never')]
    expect(answers.map(({ status, body }) => [status, body])).toEqual([
      [204, ''],
      [204, ''],
      [204, ''],
    ])
    const { status, json, headers } = await get('s')
    expect([status, json]).toEqual([
      404,
      { error: { code: 'SUBSCRIPTION_NOT_FOUND', message: expect.any(String) as unknown } },
    ])
    expect(headers).toMatchObject({
      'content-type': 'application/json',
      'cache-control': 'no-store',
    })
    expect((await put('s', { ...POOL, streams: ['y'] })).status).toBe(201)
    expect(await linksOf('s')).toEqual([link('y', 'explicit', BEFORE_FIRST)])
  })

  test('begins anew under an id that was in use', async () => {
    const { create, append, subscribe, remove, receiver, linksOf } = await start()
    await create('x')
    await subscribe('s', { streams: ['x'] })
    await append('x')
    const before = await receiver.next()
    await remove('s')
    const tail = await append('x')
    await subscribe('s', { streams: ['x'] })
    expect(await linksOf('s')).toEqual([link('x', 'explicit', tail)])
    await append('x')
    const after = await receiver.next()
    expect(after.payload.generation).toBe(1)
    expect(after.payload.streams[0]!.acked_offset).toBe(tail)
    expect(after.payload.wake_id).not.toBe(before.payload.wake_id)
  })

  test('that is created many times at once is created once', async () => {
    const { put, get } = await start()
    const body = { ...POOL, streams: ['x'] }
    const answers = await Promise.all(Array.from({ length: 8 }, () => put('s', body)))
    const statuses = answers.map(({ status }) => status).sort()
    expect(statuses).toEqual([200, 200, 200, 200, 200, 200, 200, 201])
    expect((await get('s')).json).toEqual(answers[0]!.json)
  })

  test.each(['a/b', 'a b', 'ünï/çødé 🌍', '%2F', 'a?b#c', ':id', 'streams', '__ds', "'()*!~"])(
    'may be called %s',
    async (id) => {
      const { create, append, subscribe, get, remove, receiver } = await start()
      await create('x')
      await subscribe(id, { streams: ['x'] })
      expect((await get(id)).json).toMatchObject({ id, subscription_id: id })
      await append('x')
      const { payload } = await receiver.next()
      expect(payload.subscription_id).toBe(id)
      const { callback_url: url, callback_token: token, wake_id, generation } = payload
      const headers = { ...JSON_TYPE, authorization: `Bearer ${token}` }
      const body = JSON.stringify({ wake_id, generation })
      expect((await call(url, { method: 'POST', headers, body })).status).toBe(200)
      expect((await remove(id)).status).toBe(204)
      expect((await get(id)).status).toBe(404)
    },
  )
})

describe('a request', () => {
  test.each<[string, unknown]>([
    ['no object', []],
    ['no type', { streams: ['x'], webhook: HOOK.webhook }],
    ['another type', { type: 'carrier-pigeon', streams: ['x'] }],
    ['neither pattern nor streams', HOOK],
    ['no streams', { ...HOOK, streams: [] }],
    ['no webhook', { type: 'webhook', streams: ['x'] }],
    ['no wake stream', { type: 'pull-wake', streams: ['x'] }],
    ['a reserved stream', { ...HOOK, streams: ['__ds/keys'] }],
    ['a reserved wake stream', { ...POOL, wake_stream: '__ds/keys', streams: ['x'] }],
    ['a stream that leads out', { ...HOOK, streams: ['a/../b'] }],
    ['half a wildcard', { ...HOOK, pattern: 'a*' }],
    ['a lease too short', { ...HOOK, streams: ['x'], lease_ttl_ms: 999 }],
    ['a lease too long', { ...HOOK, streams: ['x'], lease_ttl_ms: 600_001 }],
    ['half a millisecond', { ...HOOK, streams: ['x'], lease_ttl_ms: 1000.5 }],
  ])('is refused: %s', async (_name, body) => {
    const { put, get } = await start()
    const { status, json, headers } = await put('s', body)
    expect([status, json]).toEqual([
      400,
      { error: { code: 'INVALID_REQUEST', message: expect.any(String) as unknown } },
    ])
    expect(headers['content-type']).toBe('application/json')
    expect((await get('s')).status).toBe(404)
  })

  test('is refused: a body that is no JSON', async () => {
    const { at } = await start()
    const { status, body } = await call(at('s'), { method: 'PUT', headers: JSON_TYPE, body: '{' })
    expect([status, (JSON.parse(body) as Json).error.code]).toEqual([400, 'INVALID_REQUEST'])
  })

  test('about a subscription that is not there finds nothing', async () => {
    const { link: add, unlink, claim } = await start()
    const answers = await Promise.all([add('s', 'x'), unlink('s', 'x'), claim('s')])
    expect(answers.map(({ status, json }) => [status, json.error.code])).toEqual(
      answers.map(() => [404, 'SUBSCRIPTION_NOT_FOUND']),
    )
  })

  test('about a wake does not say, without its token, what there is', async () => {
    const { callback, ack, release } = await start()
    const fence = { wake_id: 'w_1', generation: 1 }
    const answers = await Promise.all([
      callback('s', 'a.b.c', fence),
      ack('s', 'a.b.c', fence),
      release('s', 'a.b.c', fence),
    ])
    expect(answers.map(({ status, json }) => [status, json.error.code])).toEqual(
      answers.map(() => [401, 'TOKEN_INVALID']),
    )
  })
})

describe('the reserved paths', () => {
  test('have the public keys', async () => {
    const { gateway } = await start()
    const { status, headers, body } = await call(gateway.stream('__ds/jwks.json'))
    expect(status).toBe(200)
    expect(headers['content-type']).toBe('application/jwk-set+json')
    expect(headers['cache-control']).toBe('public, max-age=300')
    const text = expect.stringMatching(/^[\w-]{43}$/) as unknown
    const kid = expect.stringMatching(/^ds_[\w-]+$/) as unknown
    expect(JSON.parse(body)).toEqual({
      keys: [{ kty: 'OKP', crv: 'Ed25519', kid, use: 'sig', alg: 'EdDSA', x: text }],
    })
  })

  test('are no streams, with subscriptions or without', async () => {
    for (const env of [LOCAL, { SUBSCRIPTIONS: 'off' }]) {
      const { gateway, create } = await start(env)
      await create('plain')
      for (const name of ['__ds', '__ds/keys', '__ds/directory', '__ds/subscriptions']) {
        const { status, body } = await call(gateway.stream(name))
        expect([status, (JSON.parse(body) as Json).code]).toEqual([400, 'reserved_path'])
      }
    }
  })

  test('have nothing else when subscriptions are off', async () => {
    const { gateway, create, append, at } = await start({ SUBSCRIPTIONS: 'off' })
    const answers = await Promise.all([
      call(gateway.stream('__ds/jwks.json')),
      call(at('s')),
      call(at('s'), { method: 'PUT', headers: JSON_TYPE, body: JSON.stringify(HOOK) }),
      call(at('s'), { method: 'DELETE' }),
      call(at('s', '/claim'), { method: 'POST', headers: JSON_TYPE, body: '{"worker":"w"}' }),
    ])
    expect(answers.map(({ status, body }) => [status, (JSON.parse(body) as Json).code])).toEqual(
      answers.map(() => [400, 'reserved_path']),
    )
    await create('x')
    await append('x')
    expect(await readJson(gateway.stream('x'))).toEqual([1])
  })
})

describe('a pattern', () => {
  test('links what is there at its tail, and wakes for what comes after', async () => {
    const { create, append, subscribe, receiver, linksOf } = await start()
    const plain = await create('e/plain', '[1,2]')
    const empty = await create('e/empty')
    await create('source', '[1]')
    const fork = await create('e/fork', '', { 'stream-forked-from': '/v1/stream/source' })
    await create('e/deep/er', '[1]')
    await create('elsewhere', '[1]')
    await subscribe('s', { pattern: 'e/*' })
    const byPath = [
      link('e/empty', 'glob', empty),
      link('e/fork', 'glob', fork),
      link('e/plain', 'glob', plain),
    ]
    expect((await linksOf('s')).sort(byName)).toEqual(byPath)

    receiver.otherwise = DONE
    const paths = ['e/plain', 'e/empty', 'e/fork']
    for (const [n, path] of paths.entries()) {
      const { acked_offset } = byPath.find((one) => one.path === path)!
      const tail_offset = await append(path)
      const { payload } = await receiver.next()
      // Nothing that was there before has woken: this is the first wake, and of this stream alone.
      expect([payload.generation, payload.streams]).toEqual([
        n + 1,
        [{ path, link_type: 'glob', acked_offset, tail_offset, has_pending: true }],
      ])
    }
  })

  test('finds streams that come later, from their first message', async () => {
    const { create, append, subscribe, receiver } = await start()
    receiver.otherwise = DONE
    await subscribe('s', { pattern: '**' })
    const first = await create('a/b', '[1]')
    expect((await receiver.next()).payload.streams).toEqual([
      { ...link('a/b', 'glob', BEFORE_FIRST), tail_offset: first, has_pending: true },
    ])
    await create('empty')
    const second = await append('empty')
    expect((await receiver.next()).payload.streams).toEqual([
      { ...link('empty', 'glob', BEFORE_FIRST), tail_offset: second, has_pending: true },
    ])
    await create('fork', '[2]', { 'stream-forked-from': '/v1/stream/a/b', ...JSON_TYPE })
    const { streams } = (await receiver.next()).payload
    expect(streams.map(({ path, acked_offset }) => [path, acked_offset])).toEqual([
      ['fork', BEFORE_FIRST],
    ])
  })

  test.each(['ordinary', 'constructor', '__proto__'])(
    'wakes for a stream called %s as for any other',
    async (name) => {
      // Nothing is looked at again by itself for as long as this test takes.
      const env = { ...LOCAL, SUBSCRIPTION_TAKEOVER_MS: '600000' }
      const { create, append, subscribe, receiver, linksOf } = await start(env)
      receiver.otherwise = DONE
      await create('other')
      await subscribe('s', { pattern: '*' })
      await create(name)
      const first = await append(name)
      expect((await receiver.next(2000)).payload.streams).toMatchObject([
        { ...link(name, 'glob', BEFORE_FIRST), tail_offset: first },
      ])
      // What comes while a wake is in flight is only noted, and is for the next wake.
      let second = ''
      receiver.script(async () => {
        second = await append(name)
        return DONE
      })
      await append('other')
      expect((await receiver.next(2000)).payload.streams).toMatchObject([{ path: 'other' }])
      expect((await receiver.next(2000)).payload.streams).toMatchObject([
        { ...link(name, 'glob', first), tail_offset: second },
      ])
      await expect.poll(() => linksOf('s')).toContainEqual(link(name, 'glob', second))
    },
  )
})

const byName = (a: { readonly path: string }, b: { readonly path: string }) =>
  a.path < b.path ? -1 : 1

describe("a client's own links", () => {
  test('may be to streams that are not there yet', async () => {
    const { create, subscribe, receiver, linksOf } = await start()
    await subscribe('s', { streams: ['later'] })
    expect(await linksOf('s')).toEqual([link('later', 'explicit', BEFORE_FIRST)])
    const tail = await create('later', '[1]')
    expect((await receiver.next()).payload.streams).toEqual([
      { ...link('later', 'explicit', BEFORE_FIRST), tail_offset: tail, has_pending: true },
    ])
  })

  test('begin at the tail, and at the same place however often they are added', async () => {
    const { create, append, subscribe, receiver, linksOf, ...calls } = await start()
    const tail = await create('x', '[1]')
    await subscribe('s', { streams: ['y'] })
    expect((await calls.link('s', 'x', 'later')).status).toBe(204)
    const links = [
      link('later', 'explicit', BEFORE_FIRST),
      link('x', 'explicit', tail),
      link('y', 'explicit', BEFORE_FIRST),
    ]
    expect((await linksOf('s')).sort(byName)).toEqual(links)
    const next = await append('x')
    expect((await receiver.next()).payload.streams).toEqual([
      { ...link('x', 'explicit', tail), tail_offset: next, has_pending: true },
    ])
    const again = await calls.link('s', 'x', 'y')
    expect([again.status, again.body]).toEqual([204, ''])
    expect((await linksOf('s')).sort(byName)).toEqual(links)
  })

  test('come before those of the pattern, and leave them there', async () => {
    const { create, append, subscribe, receiver, linksOf, ...calls } = await start()
    receiver.otherwise = DONE
    const tail = await create('e/x', '[1]')
    await subscribe('s', { pattern: 'e/*' })
    expect(await linksOf('s')).toEqual([link('e/x', 'glob', tail)])
    await calls.link('s', 'e/x')
    expect(await linksOf('s')).toEqual([link('e/x', 'explicit', tail)])
    for (let times = 0; times < 2; times += 1) {
      expect((await calls.unlink('s', 'e/x')).status).toBe(204)
      expect(await linksOf('s')).toEqual([link('e/x', 'glob', tail)])
    }
    await append('e/x')
    expect((await receiver.next()).payload.streams).toMatchObject([link('e/x', 'glob', tail)])
  })

  test('come before those of the pattern on creation', async () => {
    const { create, append, subscribe, receiver, linksOf, ...calls } = await start()
    const tail = await create('e/x', '[1]')
    await subscribe('s', { pattern: 'e/*', streams: ['e/x'] })
    expect(await linksOf('s')).toEqual([link('e/x', 'explicit', tail)])
    await append('e/x')
    expect((await receiver.next()).payload.streams).toMatchObject([link('e/x', 'explicit', tail)])
    await calls.unlink('s', 'e/x')
    expect(await linksOf('s')).toEqual([link('e/x', 'glob', tail)])
  })

  test.each(['a/b c/ü', 'a%2Fb%20c%2F%C3%BC', 'a/b%20c/%C3%BC', '%2Fa/b%20c%2f%c3%bc%2F'])(
    'are removed by their path, however it is written: %s',
    async (path) => {
      const { subscribe, linksOf, unlink } = await start()
      await subscribe('s/1', { streams: ['a/b c/ü', 'a'] })
      // Only what is not ASCII has to be encoded for the request to be one.
      const sent = path.replaceAll(' ', '%20').replaceAll('ü', '%C3%BC')
      expect((await unlink('s/1', sent)).status).toBe(204)
      expect(await linksOf('s/1')).toEqual([link('a', 'explicit', BEFORE_FIRST)])
    },
  )

  test('do not wake any more once they are removed', async () => {
    const { create, append, subscribe, receiver, linksOf, unlink } = await start()
    receiver.otherwise = DONE
    await create('x')
    await create('y')
    await subscribe('s', { streams: ['x', 'y'] })
    await unlink('s', 'x')
    await append('x')
    await append('y')
    expect((await receiver.next()).payload.streams).toMatchObject([{ path: 'y' }])
    expect(await linksOf('s')).toMatchObject([{ path: 'y' }])
  })
})

describe('a stream that is deleted', () => {
  test('leaves the pattern, and comes back as a new one', async () => {
    const { create, append, deleteStream, subscribe, receiver, linksOf } = await start()
    receiver.otherwise = DONE
    await subscribe('s', { pattern: 'e/*' })
    await create('e/x', '[1]')
    await receiver.next()
    await expect.poll(() => linksOf('s')).toMatchObject([{ path: 'e/x' }])
    await deleteStream('e/x')
    await expect.poll(() => linksOf('s'), { timeout: 5000 }).toEqual([])
    await create('e/x')
    const tail = await append('e/x')
    expect((await receiver.next()).payload.streams).toEqual([
      { ...link('e/x', 'glob', BEFORE_FIRST), tail_offset: tail, has_pending: true },
    ])
  })

  test('keeps the link of the client, which begins anew', async () => {
    const { create, deleteStream, subscribe, receiver, linksOf } = await start()
    receiver.otherwise = DONE
    const before = await create('x', '[1]')
    await subscribe('s', { streams: ['x'] })
    expect(await linksOf('s')).toEqual([link('x', 'explicit', before)])
    await deleteStream('x')
    const anew = [link('x', 'explicit', BEFORE_FIRST)]
    await expect.poll(() => linksOf('s'), { timeout: 5000 }).toEqual(anew)
    const tail_offset = await create('x', '[2]')
    expect((await receiver.next()).payload.streams).toMatchObject([{ ...anew[0], tail_offset }])
  })

  test('and made anew at once loses nothing', async () => {
    const { gateway, create, append, deleteStream, subscribe, receiver } = await start()
    receiver.otherwise = DONE
    await create('e/x', '[1,2,3]')
    await subscribe('s', { pattern: 'e/*' })
    for (let round = 0; round < 5; round += 1) {
      await deleteStream('e/x')
      await create('e/x')
      await append('e/x', { round })
      const { acked_offset } = (await receiver.next()).payload.streams[0]!
      expect(await readJson(gateway.stream('e/x'), acked_offset)).toEqual([{ round }])
    }
  })

  test('and was a fork wakes as the plain stream that it is made at once', async () => {
    const { create, append, deleteStream, subscribe, receiver } = await start()
    receiver.otherwise = DONE
    await create('source', '[1,2,3]')
    await subscribe('s', { pattern: 'e/*' })
    for (let round = 0; round < 5; round += 1) {
      await create('e/x', '', { 'stream-forked-from': '/v1/stream/source' })
      await append('e/x', 'fork')
      expect((await receiver.next(3000)).payload.streams).toMatchObject([{ path: 'e/x' }])
      await deleteStream('e/x')
      await create('e/x')
      const tail_offset = await append('e/x', 'plain')
      expect((await receiver.next(3000)).payload.streams).toMatchObject([
        { path: 'e/x', tail_offset },
      ])
      await deleteStream('e/x')
    }
  })

  test('while its wake is in flight is no work any more', async () => {
    const { create, append, deleteStream, subscribe, receiver, linksOf, callback } = await start()
    receiver.otherwise = ACCEPTED
    await create('e/x')
    await create('e/y')
    await subscribe('s', { pattern: 'e/*' })
    await append('e/x')
    const { payload } = await receiver.next()
    await deleteStream('e/x')
    await expect.poll(() => linksOf('s'), { timeout: 5000 }).toMatchObject([{ path: 'e/y' }])
    const done = await callback('s', payload.callback_token, payload, { done: true })
    expect([done.status, done.json]).toEqual([200, { ok: true, next_wake: false }])
    await append('e/y')
    expect((await receiver.next()).payload).toMatchObject({
      generation: 2,
      streams: [{ path: 'e/y' }],
    })
  })
})

const REFUSED = [
  'http://example.com/hooks',
  'http://localhost/hooks',
  'http://localhost:8080/hooks',
  'https://localhost/hooks',
  'https://LOCALHOST./hooks',
  'https://worker.localhost/hooks',
  'http://127.0.0.1/hooks',
  'https://127.0.0.1/hooks',
  'https://127.1/hooks',
  'https://2130706433/hooks',
  'https://017700000001/hooks',
  'https://0177.0.0.1/hooks',
  'https://0x7f000001/hooks',
  'https://0x7f.1/hooks',
  'https://127.0.0.1./hooks',
  'https://１２７.0.0.1/hooks',
  'https://%31%32%37.0.0.1/hooks',
  'https://0.0.0.0/hooks',
  'https://0/hooks',
  'https://[::1]/hooks',
  'https://[::]/hooks',
  'https://[0:0:0:0:0:0:0:1]/hooks',
  'https://[::ffff:127.0.0.1]/hooks',
  'https://[::ffff:10.0.0.1]/hooks',
  'https://[::ffff:a00:1]/hooks',
  'https://[::10.0.0.1]/hooks',
  'https://[64:ff9b::10.0.0.1]/hooks',
  'https://[2002:a00:1::]/hooks',
  'https://[fe80::1]/hooks',
  'https://[fd00::1]/hooks',
  'https://[ff02::1]/hooks',
  'https://10.0.0.1/hooks',
  'https://172.16.0.1/hooks',
  'https://172.31.255.255/hooks',
  'https://192.168.1.1/hooks',
  'https://169.254.169.254/latest/meta-data/',
  'http://169.254.169.254/latest/meta-data/',
  'https://100.100.100.200/hooks',
  'https://metadata.google.internal/hooks',
  'https://printer.local/hooks',
  'https://intranet/hooks',
  'https://user:secret@example.com/hooks',
  'ftp://example.com/hooks',
  'file:///etc/passwd',
  'javascript:alert(1)',
  '//example.com/hooks',
  '/hooks',
  'hooks',
]
const LOCAL_ONES = [
  'http://localhost/hooks',
  'http://localhost:8080/hooks',
  'https://localhost/hooks',
  'https://LOCALHOST./hooks',
  'http://127.0.0.1/hooks',
  'https://127.0.0.1/hooks',
  'https://127.1/hooks',
  'https://2130706433/hooks',
  'https://017700000001/hooks',
  'https://0177.0.0.1/hooks',
  'https://0x7f000001/hooks',
  'https://0x7f.1/hooks',
  'https://127.0.0.1./hooks',
  'https://１２７.0.0.1/hooks',
  'https://%31%32%37.0.0.1/hooks',
]

describe('a webhook URL', () => {
  const register = async (env: Record<string, string>, urls: readonly string[]) => {
    const { put, get } = await start(env)
    const answers = await Promise.all(
      urls.map(async (url, n) => {
        const answer = await put(`s${n}`, { type: 'webhook', streams: ['x'], webhook: { url } })
        const isThere = (await get(`s${n}`)).status === 200
        return `${url} ${answer.status} ${String((answer.json.error as Json['error'] | undefined)?.code)} ${String(isThere)}`
      }),
    )
    return answers
  }
  const refused = (url: string) => `${url} 400 WEBHOOK_URL_REJECTED false`
  const taken = (url: string) => `${url} 201 undefined true`

  test('that leads to where we are is refused in every spelling', async () => {
    expect(await register({}, REFUSED)).toEqual(REFUSED.map(refused))
  })

  test('may lead to this machine alone when that is allowed', async () => {
    expect(await register(LOCAL, REFUSED)).toEqual(
      REFUSED.map((url) => (LOCAL_ONES.includes(url) ? taken(url) : refused(url))),
    )
  })

  test('of the public Internet is taken', async () => {
    const urls = ['https://93.184.216.34/hooks', 'https://[2606:4700::1111]:8443/hooks?a=b']
    expect(await register({}, urls)).toEqual(urls.map(taken))
  })
})
