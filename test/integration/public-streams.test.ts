/** The flag of streams that anybody may read, from its creation through every life of a name. */
import { afterEach, describe, expect, test } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGateway } from '../support/gateway.ts'
import { call, claim } from '../support/http-calls.ts'
import type { Answer } from '../support/http-calls.ts'

const TEXT = { 'content-type': 'text/plain' }
const PUBLIC = { 'stream-public': 'true' }
const MIB = 1024 * 1024
type Headers = Readonly<Record<string, string>>
const cleanups: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function start() {
  const log = await openEmbeddedLog({ location: { kind: 'memory' } })
  cleanups.push(() => log.close())
  const open = async (): Promise<TestGateway> => {
    const gateway = await startGateway({ log })
    cleanups.push(() => gateway.shutdown())
    return gateway
  }
  let gateway = await open()
  const ask = (method: string, name: string, headers: Headers = {}, body = '') =>
    call(gateway.stream(name), { method, headers, body })
  return {
    put: (name: string, headers: Headers = {}, body = '') =>
      ask('PUT', name, { ...TEXT, ...headers }, body),
    fork: (name: string, source: string, headers: Headers = {}) =>
      ask('PUT', name, { 'stream-forked-from': `/v1/stream/${source}`, ...headers }),
    post: (name: string, body: string, headers: Headers = {}) =>
      ask('POST', name, { ...TEXT, ...headers }, body),
    remove: (name: string) => ask('DELETE', name),
    get: (name: string, query = '') => call(gateway.stream(name) + query),
    /** What HEAD says of who may read it. */
    shown: async (name: string) => {
      const { status, headers } = await ask('HEAD', name)
      expect(status).toBe(200)
      return headers['stream-public']
    },
    /** Another gateway takes the place of this one: it knows only the log. */
    restart: async () => {
      await gateway.shutdown()
      gateway = await open()
    },
  }
}

/** Status, flag and code of a PUT's answer. */
function told({ status, headers, body }: Answer): unknown[] {
  const code = status < 400 ? undefined : (JSON.parse(body) as { code: string }).code
  return [status, headers['stream-public'], code]
}

const conflict = [409, undefined, 'stream_conflict']

describe('Stream-Public', () => {
  test('is shown by the PUT that sets it, by the same again and by HEAD', async () => {
    const { put, shown } = await start()
    expect(told(await put('s', PUBLIC))).toEqual([201, 'true', undefined])
    expect(told(await put('s', { 'stream-public': 'TRUE' }))).toEqual([200, 'true', undefined])
    expect(await shown('s')).toBe('true')
  })

  test('is not shown of a private stream, whether that was said or not', async () => {
    const { put, shown } = await start()
    expect(told(await put('s'))).toEqual([201, undefined, undefined])
    expect(told(await put('s', { 'stream-public': 'False' }))).toEqual([200, undefined, undefined])
    expect(await shown('s')).toBeUndefined()
  })

  test('is part of the configuration, and never changes', async () => {
    const { put, shown } = await start()
    await put('open', PUBLIC)
    await put('shut')
    const answer = await put('open')
    expect(told(answer)).toEqual(conflict)
    expect(answer.body).toContain('visibility')
    expect(told(await put('shut', PUBLIC))).toEqual(conflict)
    expect([await shown('open'), await shown('shut')]).toEqual(['true', undefined])
  })

  test.each(['', '1', 'yes', 'true, true'])('of %j creates nothing', async (value) => {
    const { put, get } = await start()
    expect(told(await put('s', { 'stream-public': value }))).toEqual([
      400,
      undefined,
      'invalid_header',
    ])
    expect((await get('s')).status).toBe(404)
  })

  test.each<[string, Headers, Headers]>([
    ['a public', PUBLIC, {}],
    ['a private', {}, PUBLIC],
  ])('of %s stream ends with it', async (_name, before, then) => {
    const { put, remove, shown, restart } = await start()
    await put('s', before)
    await remove('s')
    const created = await put('s', then)
    expect(told(created)).toEqual([201, then['stream-public'], undefined])
    expect(await shown('s')).toBe(then['stream-public'])
    await restart()
    expect(await shown('s')).toBe(then['stream-public'])
    expect(told(await put('s', before))).toEqual(conflict)
  })

  test('ends with a stream that expires', async () => {
    const { put, shown } = await start()
    await put('s', { ...PUBLIC, 'stream-expires-at': '2020-01-01T00:00:00Z' })
    expect(told(await put('s'))).toEqual([201, undefined, undefined])
    expect(await shown('s')).toBeUndefined()
  })

  test('is in the log, not in the gateway', async () => {
    const { put, shown, restart, get } = await start()
    await put('s', { ...PUBLIC, 'stream-ttl': '3600', 'stream-closed': 'true' }, 'x')
    await restart()
    expect(await shown('s')).toBe('true')
    expect((await get('s')).body).toBe('x')
    expect(told(await put('s', PUBLIC))).toEqual(conflict)
  })

  test('is there after checkpoints, of producers and of large appends', async () => {
    const { put, post, shown, restart } = await start()
    const large = 'x'.repeat(900 * 1024)
    expect(told(await put('s', PUBLIC, large))).toEqual([201, 'true', undefined])
    expect((await post('s', 'y'.repeat(5 * MIB))).status).toBe(204)
    expect((await post('s', large, claim('p', 0, 0))).status).toBe(200)
    expect((await post('s', large, claim('p', 0, 1))).status).toBe(200)
    await restart()
    expect(await shown('s')).toBe('true')
    expect((await post('s', 'z', claim('p', 0, 2))).status).toBe(200)
    expect(told(await put('s', PUBLIC))).toEqual([200, 'true', undefined])
  })
})

describe('a fork', () => {
  test.each<[string, Headers]>([
    ['public', PUBLIC],
    ['private', {}],
  ])('of a %s stream is what its own creator says', async (_name, of) => {
    const { put, fork, shown, restart } = await start()
    await put('s', of, 'x')
    expect(told(await fork('silent', 's'))).toEqual([201, undefined, undefined])
    expect(told(await fork('said', 's', PUBLIC))).toEqual([201, 'true', undefined])
    await restart()
    expect([await shown('silent'), await shown('said')]).toEqual([undefined, 'true'])
    expect(await shown('s')).toBe(of['stream-public'])
  })

  test('is found again by the same request only', async () => {
    const { put, fork } = await start()
    await put('s', PUBLIC, 'x')
    await fork('f', 's', PUBLIC)
    expect(told(await fork('f', 's', PUBLIC))).toEqual([200, 'true', undefined])
    expect(told(await fork('f', 's'))).toEqual(conflict)
  })
})

test('A page of another origin may send the flag, and see it and the reader key', async () => {
  const gateway = await startGateway({
    log: await openEmbeddedLog({ location: { kind: 'memory' } }),
  })
  cleanups.push(() => gateway.shutdown())
  const { headers } = await call(gateway.stream('s'), {
    method: 'OPTIONS',
    headers: { origin: 'https://a.example', 'access-control-request-method': 'PUT' },
  })
  expect(headers['access-control-allow-headers']).toContain('Stream-Public')
  expect(headers['access-control-expose-headers']).toContain('Stream-Public')
  expect(headers['access-control-expose-headers']).toContain('Stream-Reader-Key')
})
