/** Limits over real sockets: who is refused, what it is told, and what is counted down again. */
import { once } from 'node:events'
import type { ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import Fastify from 'fastify'
import { afterEach, describe, expect, test } from 'vitest'
import { clientAddressReader } from '../../src/http/client-address.ts'
import { Cors } from '../../src/http/cors.ts'
import { Limits } from '../../src/http/limits.ts'
import type { LimitsOptions } from '../../src/http/limits.ts'
import { registerErrors } from '../../src/http/plugins/errors.ts'
import { registerLimits } from '../../src/http/plugins/limits.ts'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import { call } from '../support/http-calls.ts'
import type { Answer, Call } from '../support/http-calls.ts'
import { loadConfig } from '../../src/config.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGateway } from '../support/gateway.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { connect, readAnswers } from '../support/raw-http.ts'

const TEXT = { 'content-type': 'text/plain' }
const APPEND = { method: 'POST', headers: TEXT, body: '0123456789' }
const PUT = { method: 'PUT', headers: TEXT }

const cleanups: (() => unknown)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** A gateway with a stream `s`, in which time stands still. */
async function start(env: Readonly<Record<string, string>>) {
  const clock = new ManualClock({ random: () => 0 })
  const log = await openEmbeddedLog({ location: { kind: 'memory' } })
  const gateway = await startGateway({ log, clock, env: { FAST_LANE: 'off', ...env } })
  cleanups.push(async () => {
    // Time stands still, in which it would dismiss them.
    await expect.poll(() => gateway.hubs.subscribers).toBe(0)
    await gateway.shutdown()
    await log.close()
  })
  await call(gateway.stream('s'), PUT)
  clock.advance(60_000)
  return { gateway, clock, url: gateway.stream('s') }
}

const statuses = async (url: string, count: number, options?: Call) => {
  const answers: number[] = []
  for (let n = 0; n < count; n += 1) answers.push((await call(url, options)).status)
  return answers
}

const codeOf = ({ body }: Answer) => (JSON.parse(body) as { code: unknown }).code

describe('a caller over its limit', () => {
  test('is told so, what is limited, and when to come back', async () => {
    const { clock, url } = await start({ LIMITS_ADDRESS: 'requests=2 appends=1' })
    const passed = await call(url, APPEND)
    expect(passed).toMatchObject({
      status: 204,
      headers: {
        'ratelimit-policy': '"address-requests";q=2;w=1, "address-appends";q=1;w=1',
        ratelimit: '"address-requests";r=1;t=1, "address-appends";r=0;t=1',
      },
    })
    const refused = await call(url, APPEND)
    expect(refused).toMatchObject({
      status: 429,
      headers: {
        'content-type': 'application/problem+json',
        'cache-control': 'no-store',
        'access-control-allow-origin': '*',
        'access-control-expose-headers': expect.stringMatching(
          /^(?=.*Retry-After)(?=.*RateLimit-Policy)(?=.*RateLimit,)/,
        ) as string,
        'retry-after': '1',
        'ratelimit-policy': '"address-requests";q=2;w=1, "address-appends";q=1;w=1',
        ratelimit: '"address-requests";r=1;t=1, "address-appends";r=0;t=1',
      },
    })
    expect(JSON.parse(refused.body)).toEqual({
      title: 'Too Many Requests',
      status: 429,
      detail: 'used up: address-appends',
      code: 'rate_limited',
    })
    clock.advance(999)
    expect((await call(url, APPEND)).status).toBe(429)
    clock.advance(1)
    expect((await call(url, APPEND)).status).toBe(204)
  })

  test.each<[string, string, Call, number[]]>([
    ['requests', 'requests=2', {}, [200, 200, 429]],
    ['appends', 'appends=2', APPEND, [204, 204, 429]],
    ['creations', 'creates=2', PUT, [200, 200, 429]],
    ['bytes', 'bytes=15', APPEND, [204, 204, 429]],
  ])('is refused %s, and no others', async (_name, LIMITS_ADDRESS, options, expected) => {
    const { gateway, url } = await start({ LIMITS_ADDRESS })
    expect(await statuses(url, 3, options)).toEqual(expected)
    if (options.method !== undefined) expect(await statuses(url, 2)).toEqual([200, 200])
    expect(await statuses(`${gateway.url}/readyz`, 3)).toEqual([200, 200, 200])
    expect(await statuses(`${gateway.url}/healthz`, 3)).toEqual([200, 200, 200])
  })

  test('comes back after Retry-After and passes, however deep in debt', async () => {
    const { clock, url } = await start({ LIMITS_ADDRESS: 'bytes=1000' })
    const large = { ...APPEND, body: 'x'.repeat(7500) }
    expect((await call(url, large)).status).toBe(204)
    const refused = await call(url, APPEND)
    expect([refused.status, refused.headers['retry-after']]).toEqual([429, '7'])
    clock.advance(6000)
    expect((await call(url, APPEND)).status).toBe(429)
    clock.advance(1000)
    expect((await call(url, APPEND)).status).toBe(204)
  })

  test('has paid for whatever was refused for another reason', async () => {
    const { gateway } = await start({ LIMITS_ADDRESS: 'requests=3' })
    expect([
      ...(await statuses(gateway.stream('none'), 1)),
      ...(await statuses(`${gateway.url}/nowhere`, 1)),
      ...(await statuses(gateway.stream('s'), 2, { method: 'PATCH' })),
    ]).toEqual([404, 404, 405, 429])
  })

  test('gets the whole answer also when it is still sending', async () => {
    const { url } = await start({ LIMITS_ADDRESS: 'appends=1' })
    await call(url, APPEND)
    const large = await call(url, { ...APPEND, body: 'x'.repeat(4 * 1024 * 1024) })
    expect([large.status, codeOf(large)]).toEqual([429, 'rate_limited'])
  })

  test('is not told what others have left by an answer that a shared cache keeps', async () => {
    const { gateway, url } = await start({ LIMITS_ADDRESS: 'requests=3' })
    const keys = await call(`${gateway.url}/v1/stream/__ds/jwks.json`)
    expect(keys.headers['cache-control']).toMatch(/^public/)
    expect(keys.headers).not.toHaveProperty('ratelimit')
    expect((await call(url)).headers['ratelimit']).toBe('"address-requests";r=1;t=1')
  })
})

describe('a body of unknown length', () => {
  const TYPE = ['Content-Type: text/plain', 'Transfer-Encoding: chunked']
  const head = ['POST /v1/stream/s HTTP/1.1', 'Host: h', ...TYPE, '', ''].join('\r\n')
  const chunk = (bytes: number) => `${bytes.toString(16)}\r\n${'x'.repeat(bytes)}\r\n`

  test('counts as it comes', async () => {
    const { gateway, clock, url } = await start({ LIMITS_ADDRESS: 'bytes=1000' })
    const socket = await connect(gateway.url)
    cleanups.push(() => socket.destroy())
    socket.write(head + chunk(1500))
    await expect.poll(async () => (await call(url, APPEND)).status).toBe(429)
    // What was begun is not broken off.
    socket.write(chunk(500) + '0\r\n\r\n')
    const [stored] = await readAnswers(socket, 1)
    expect(stored!.status).toBe(204)
    const refused = await call(url, APPEND)
    expect([refused.status, Number(refused.headers['retry-after'])]).toEqual([429, 2])
    clock.advance(2000)
    expect((await call(url, APPEND)).status).toBe(204)
  })
})

describe('what a body announces', () => {
  test('is no debt where it would never have been taken in', async () => {
    const { gateway, clock, url } = await start({
      LIMITS_ADDRESS: 'bytes=1000',
      MAX_APPEND_BYTES: '2000',
    })
    const socket = await connect(gateway.url)
    socket.write('POST /v1/stream/s HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\n')
    socket.write('Content-Length: 999999999999\r\n\r\n')
    const [refused] = await readAnswers(socket, 1)
    socket.destroy()
    expect(refused!.status).toBe(413)
    expect((await call(url, APPEND)).status).toBe(429)
    clock.advance(1001)
    expect((await call(url, APPEND)).status).toBe(204)
  })
})

describe('live reads', () => {
  const live = async (gateway: TestGateway, mode: string) => {
    const socket = await connect(gateway.url)
    cleanups.push(() => socket.destroy())
    socket.on('error', () => undefined)
    socket.write(`GET /v1/stream/s?offset=now&live=${mode} HTTP/1.1\r\nHost: h\r\n\r\n`)
    return socket
  }
  const refused = async (gateway: TestGateway, mode: string) => {
    const [answer] = await readAnswers(await live(gateway, mode), 1)
    return answer
  }
  const LEAVING: [string, (socket: Socket) => unknown][] = [
    ['closes its connection', (socket) => socket.end()],
    ['is killed', (socket) => socket.resetAndDestroy()],
  ]

  describe.each(['sse', 'long-poll'])('%s', (mode) => {
    test.each(LEAVING)('are as many as may be, until one %s', async (_name, leave) => {
      const { gateway } = await start({ LIMITS_ADDRESS: 'connections=2' })
      const readers: Socket[] = []
      for (let n = 0; n < 2; n += 1) {
        readers.push(await live(gateway, mode))
        await expect.poll(() => gateway.hubs.subscribers).toBe(n + 1)
      }
      for (const other of ['sse', 'long-poll']) {
        const answer = await refused(gateway, other)
        expect(answer).toMatchObject({
          status: 429,
          headers: {
            'retry-after': '1',
            'ratelimit-policy': '"address-connections";q=2;qu="concurrent-requests"',
            ratelimit: '"address-connections";r=0',
          },
        })
      }
      leave(readers[0]!)
      await expect.poll(() => gateway.hubs.subscribers).toBe(1)
      readers.push(await live(gateway, mode))
      await expect.poll(() => gateway.hubs.subscribers).toBe(2)
      expect((await refused(gateway, mode))?.status).toBe(429)
    })
  })

  test('that have their answer are counted no more, on the same connection', async () => {
    const { gateway, url } = await start({ LIMITS_ADDRESS: 'connections=1' })
    const socket = await live(gateway, 'long-poll')
    for (let n = 0; n < 3; n += 1) {
      await expect.poll(() => gateway.hubs.subscribers).toBe(1)
      const answered = new Promise((resolve) => socket.once('data', resolve))
      await call(url, APPEND)
      await answered
      socket.write('GET /v1/stream/s?offset=now&live=long-poll HTTP/1.1\r\nHost: h\r\n\r\n')
    }
  })

  test('that fail, or are refused, are counted no more', async () => {
    const { gateway, url } = await start({ LIMITS_ADDRESS: 'connections=1 requests=10' })
    const query = '?offset=now&live=sse'
    expect(await statuses(`${gateway.stream('none')}${query}`, 4)).toEqual([404, 404, 404, 404])
    expect(await statuses(`${url}?live=sse`, 6)).toEqual(Array(6).fill(400))
    // Now of the requests.
    expect(await statuses(`${url}${query}`, 3)).toEqual([429, 429, 429])
    expect((await call(url)).headers['ratelimit']).toMatch(/requests/)
  })

  test('that are refused cost no request', async () => {
    const { gateway, url } = await start({ LIMITS_ADDRESS: 'connections=1 requests=3' })
    await live(gateway, 'sse')
    await expect.poll(() => gateway.hubs.subscribers).toBe(1)
    expect(await statuses(`${url}?offset=now&live=sse`, 5)).toEqual(Array(5).fill(429))
    expect(await statuses(url, 3)).toEqual([200, 200, 429])
  })
})

describe('the address of a caller', () => {
  const from = (forwarded: string) => ({ headers: { 'x-forwarded-for': forwarded } })

  test.each<[string, Record<string, string>]>([
    ['nobody is trusted', {}],
    ['others are trusted', { TRUST_PROXY: '10.0.0.0/8, ::1' }],
  ])('is the peer’s, whatever it says, when %s', async (_name, env) => {
    const { url } = await start({ LIMITS_ADDRESS: 'requests=2', ...env })
    const answers = [
      await call(url, from('192.0.2.1')),
      await call(url, from('192.0.2.2')),
      await call(url, from('192.0.2.3, 10.0.0.1')),
    ]
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 429])
  })

  test.each(['127.0.0.0/8', '1'])('is whom a trusted peer names, with %s', async (TRUST_PROXY) => {
    const { url } = await start({ LIMITS_ADDRESS: 'requests=2', TRUST_PROXY })
    expect(await statuses(url, 3, from('192.0.2.1'))).toEqual([200, 200, 429])
    // What the client itself has sent stands before what the proxy adds.
    expect(await statuses(url, 1, from('198.51.100.7, 192.0.2.1'))).toEqual([429])
    expect(await statuses(url, 3, from('192.0.2.1, 192.0.2.2'))).toEqual([200, 200, 429])
    expect(await statuses(url, 2, from('2001:db8::1'))).toEqual([200, 200])
    expect(await statuses(url, 2, from('2001:db8::ffff:2'))).toEqual([429, 429])
  })

  test('that no proxy names is the proxy’s', async () => {
    const { url } = await start({ LIMITS_ADDRESS: 'requests=3', TRUST_PROXY: '127.0.0.1' })
    expect(await statuses(url, 1)).toEqual([200])
    for (const name of ['unknown', '_hidden']) {
      expect(await statuses(url, 1, from(`192.0.2.1, ${name}`))).toEqual([200])
    }
    expect(await statuses(url, 1, from('x'.repeat(1000)))).toEqual([429])
  })

  test('is believed together with the scheme and host that clients see', async () => {
    const headers = { 'x-forwarded-proto': 'https', 'x-forwarded-host': 'streams.example' }
    const location = async (env: Record<string, string>) => {
      const { gateway } = await start(env)
      const created = await call(gateway.stream('new'), { method: 'PUT', headers })
      return { location: created.headers.location, own: gateway.stream('new') }
    }
    expect((await location({ TRUST_PROXY: '127.0.0.1' })).location).toBe(
      'https://streams.example/v1/stream/new',
    )
    const distrusted = await location({})
    expect(distrusted.location).toBe(distrusted.own)
  })
})

describe('a caller that is known', () => {
  /** Subject and project as headers say; of `/late`, when they are found. */
  function serve(quotas: LimitsOptions['quotas'], found?: Promise<void>) {
    const app = Fastify()
    const clock = new ManualClock()
    registerErrors(app, clock, new Cors(loadConfig({}).cors))
    app.addHook('onRequest', async (request) => {
      const { 'x-subject': subject, 'x-project': project } = request.headers
      request.principal = { subject: String(subject), project: String(project) }
      if (request.url.startsWith('/late')) await found
    })
    const limits = new Limits({ clock, quotas })
    registerLimits(app, { limits, clientAddressOf: clientAddressReader(false), maxBodyBytes: 100 })
    app.get('/*', (_request, reply) => reply.header('cache-control', 'no-store').send('yes'))
    cleanups.push(() => app.close())
    const url = () => `http://127.0.0.1:${(app.server.address() as AddressInfo).port}`
    const ask = async (subject: string, project: string, count = 1) => {
      if (!app.server.listening) await app.listen({ host: '127.0.0.1', port: 0 })
      return statuses(url(), count, { headers: { 'x-subject': subject, 'x-project': project } })
    }
    return { app, ask, url, clock, limits }
  }

  test('is limited as a subject, which is one within its project', async () => {
    const { ask, clock } = serve({ subject: { requests: 2 } })
    expect(await ask('ann', 'acme', 3)).toEqual([200, 200, 429])
    expect(await ask('bob', 'acme', 3)).toEqual([200, 200, 429])
    expect(await ask('ann', 'other', 3)).toEqual([200, 200, 429])
    clock.advance(1000)
    expect(await ask('ann', 'acme')).toEqual([200])
  })

  test('is limited together with its project', async () => {
    const { ask, clock } = serve({ project: { requests: 3 } })
    expect(await ask('ann', 'acme', 2)).toEqual([200, 200])
    expect(await ask('bob', 'acme', 2)).toEqual([200, 429])
    expect(await ask('ann', 'other')).toEqual([200])
    clock.advance(1000)
    expect(await ask('bob', 'acme')).toEqual([200])
  })

  test('and has left before that was found out is not counted for ever', async () => {
    let find = (): void => undefined
    const found = new Promise<void>((resolve) => (find = resolve))
    const { app, url, limits } = serve({ subject: { connections: 1 } }, found)
    const judged = new Promise<void>((resolve) => {
      app.addHook('onRequest', (_request, _reply, done) => {
        resolve()
        done()
      })
    })
    await app.listen({ host: '127.0.0.1', port: 0 })
    const requested = once(app.server, 'request')
    const socket = await connect(url())
    const headers = 'Host: h\r\nX-Subject: ann\r\nX-Project: acme\r\n'
    socket.write(`GET /late?live=sse HTTP/1.1\r\n${headers}\r\n`)
    const [, response] = (await requested) as [unknown, ServerResponse]
    const closed = once(response, 'close')
    socket.resetAndDestroy()
    await closed
    find()
    await judged
    expect(() => limits.enter({ subject: 'ann', project: 'acme' })).not.toThrow()
  })
})
