/** Tokens, tickets, cookies and public streams, as readers use them; on both ways to a live read. */
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import { bearer, inSeconds, JWT_ENV, SECRET, sign, tokenOf } from '../support/access-tokens.ts'
import { startGateway } from '../support/gateway.ts'
import { call } from '../support/http-calls.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { SseClient } from '../support/sse-client.ts'

const TEXT = { 'content-type': 'text/plain' }
const STREAM = 'acme/s'
const MANAGE = { sub: 'acme', org: 'acme', scope: 'manage' }
const TICKETS = '__ds/tickets'
const COOKIE = '__Secure-reader'
const ENV = {
  ...JWT_ENV,
  GATEWAY_SECRETS: 'g'.repeat(32),
  AUTH_COOKIE: COOKIE,
  PUBLIC_STREAMS: 'acme/open/**',
  SSE_LIFETIME_MS: '3600000',
}
const FUTURE = 4_000_000_000

type Setup = { readonly env?: Readonly<Record<string, string>>; readonly clock?: ManualClock }

/** A gateway, and one stream with data in it. */
async function start({ env, clock }: Setup = {}) {
  const now = clock === undefined ? {} : { now: () => clock.now() }
  const log = await openEmbeddedLog({ location: { kind: 'memory' }, ...now })
  // By a clock that stands still they would not end.
  const off = clock === undefined ? {} : { SUBSCRIPTIONS: 'off' }
  const options = { log, env: { ...ENV, ...off, ...env } }
  const gateway = await startGateway(clock === undefined ? options : { ...options, clock })
  onTestFinished(async () => {
    await gateway.shutdown()
    await log.close()
  })
  const headersOf = (claims: object, more: object = {}) => ({
    ...(bearer({ exp: FUTURE, ...claims }) as Record<string, string>),
    ...more,
  })
  const create = async (name: string, more: object = {}) => {
    const headers = headersOf(MANAGE, { ...TEXT, ...more })
    return call(gateway.stream(name), { method: 'PUT', headers, body: 'data' })
  }
  const append = async (name = STREAM) => {
    const headers = headersOf(MANAGE, TEXT)
    return call(gateway.stream(name), { method: 'POST', headers, body: 'more' })
  }
  const ticketOf = async (body: object, claims: object = MANAGE) => {
    const headers = headersOf(claims)
    const answer = await call(gateway.stream(TICKETS), {
      method: 'POST',
      headers,
      body: JSON.stringify(body),
    })
    return { ...answer, json: JSON.parse(answer.body) as Record<string, string> }
  }
  await create(STREAM)
  return { gateway, create, append, ticketOf, headersOf }
}

const live = (url: string, transport = 'sse') => `${url}?offset=-1&live=${transport}`
const authorized = (token: string) => ({ authorization: `Bearer ${token}` })

describe.each([
  ['past Node', 'on'],
  ['through Node', 'off'],
])('a live read %s', (_way, lane) => {
  const env = { FAST_LANE: lane }

  test('ends with a control event when its token expires', async () => {
    const clock = new ManualClock()
    const { gateway, append } = await start({ env, clock })
    const exp = clock.now() / 1000 + 60
    // The issuer's clock may be 30 s behind ours.
    const token = sign({ sub: 'acme', scope: 'read', exp })
    const reader = await SseClient.open(live(gateway.stream(STREAM)), authorized(token))
    await reader.until(({ text }) => text === 'data')
    clock.advance(89_000)
    await append()
    await reader.until(({ text }) => text === 'datamore')
    expect(reader.complete).toBeUndefined()
    clock.advance(2_000)
    await reader.ended()
    expect([reader.complete, reader.events.at(-1)?.event]).toEqual([true, 'control'])
    const again = await SseClient.open(live(gateway.stream(STREAM)), authorized(token))
    expect(again.status).toBe(401)
  })

  test('ends with a control event when its key is withdrawn, and others go on', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'keys-'))
    onTestFinished(() => rm(folder, { recursive: true }))
    const file = join(folder, 'jwks.json')
    const secrets = { old: 'o'.repeat(32), new: 'n'.repeat(32) }
    const write = async (...kids: (keyof typeof secrets)[]) => {
      const keys = kids.map((kid) => ({
        kty: 'oct',
        alg: 'HS256',
        kid,
        k: Buffer.from(secrets[kid]).toString('base64url'),
      }))
      await writeFile(`${file}.new`, JSON.stringify({ keys }))
      await rename(`${file}.new`, file)
    }
    await write('old', 'new')
    const { gateway, append } = await start({ env: { ...env, JWT_JWKS_FILE: file } })
    const open = async (secret: string) => {
      const token = sign({ ...MANAGE, exp: FUTURE }, { secret })
      const reader = await SseClient.open(live(gateway.stream(STREAM)), authorized(token))
      await reader.until(({ text }) => text === 'data')
      return reader
    }
    const [mine, others] = await Promise.all([open(secrets.old), open(secrets.new)])
    const poll = call(`${gateway.stream(STREAM)}?offset=now&live=long-poll`, {
      headers: authorized(sign({ ...MANAGE, exp: FUTURE }, { secret: secrets.old })),
    })
    await write('new')
    await mine.ended()
    expect([mine.complete, mine.events.at(-1)?.event]).toEqual([true, 'control'])
    expect((await poll).status).toBe(204)
    await append()
    await others.until(({ text }) => text === 'datamore')
    const again = await SseClient.open(
      live(gateway.stream(STREAM)),
      authorized(sign({ ...MANAGE, exp: FUTURE }, { secret: secrets.old })),
    )
    expect(again.status).toBe(401)
  })

  test('is not begun for the last second of a token', async () => {
    const clock = new ManualClock()
    const { gateway } = await start({ env: { ...env, JWT_CLOCK_TOLERANCE_S: '0' }, clock })
    const token = sign({ sub: 'acme', scope: 'read', exp: clock.now() / 1000 + 10 })
    clock.advance(9_500)
    const reader = await SseClient.open(live(gateway.stream(STREAM)), authorized(token))
    expect(reader.status).toBe(401)
    // A read that is over at once is no trouble.
    expect((await call(gateway.stream(STREAM), { headers: authorized(token) })).status).toBe(200)
  })

  test('a long-poll is answered empty when its token expires', async () => {
    const clock = new ManualClock()
    const { gateway } = await start({ env: { ...env, LONG_POLL_TIMEOUT_MS: '3600000' }, clock })
    const token = sign({ sub: 'acme', scope: 'read', exp: clock.now() / 1000 + 60 })
    const url = `${gateway.stream(STREAM)}?offset=now&live=long-poll`
    const poll = call(url, { headers: authorized(token) })
    await expect.poll(() => gateway.hubs.subscribers).toBe(1)
    clock.advance(90_000 + 3_600_000 / 64)
    expect((await poll).status).toBe(204)
    expect((await call(url, { headers: authorized(token) })).status).toBe(401)
  })

  test('begins with a ticket, again while that lasts, and goes on until the token ends', async () => {
    const clock = new ManualClock()
    const { gateway, ticketOf } = await start({ env, clock })
    const exp = clock.now() / 1000 + 300
    const { status, json } = await ticketOf({ stream: STREAM }, { ...MANAGE, exp })
    expect([status, json['expires_at']]).toEqual([
      201,
      new Date(clock.now() + 30_000).toISOString(),
    ])
    expect(json['url']).toBe(`${gateway.stream(STREAM)}?ticket=${json['ticket']}`)
    const url = `${json['url']}&offset=-1&live=sse`
    const reader = await SseClient.open(url)
    await reader.until(({ text }) => text === 'data')
    clock.advance(29_000)
    expect((await SseClient.open(url)).status).toBe(200)
    clock.advance(2_000)
    expect((await SseClient.open(url)).status).toBe(401)
    expect(reader.complete).toBeUndefined()
    clock.advance(300_000)
    await reader.ended()
    expect([reader.complete, reader.events.at(-1)?.event]).toEqual([true, 'control'])
  })

  test('of a public stream is for all, and of no other', async () => {
    const { gateway, create } = await start({ env })
    expect((await create('acme/public', { 'stream-public': 'true' })).status).toBe(201)
    expect((await create('acme/open/s')).status).toBe(201)
    for (const name of ['acme/public', 'acme/open/s']) {
      // Twice: the second one finds a hub.
      for (let round = 0; round < 2; round += 1) {
        const reader = await SseClient.open(live(gateway.stream(name)))
        await reader.until(({ text }) => text === 'data')
      }
    }
    for (const name of [STREAM, 'acme/nothing', 'acme/open', '__ds']) {
      const { status } = await SseClient.open(live(gateway.stream(name)))
      expect([name, status]).toEqual([
        name,
        name === 'acme/open' ? 404 : name === '__ds' ? 400 : 401,
      ])
    }
  })

  test('of a stream that was public is for nobody once a private one is in its place', async () => {
    const { gateway, create, headersOf } = await start({ env })
    const url = gateway.stream('acme/p')
    await create('acme/p', { 'stream-public': 'true' })
    const reader = await SseClient.open(live(url))
    await reader.until(({ text }) => text === 'data')
    await call(url, { method: 'DELETE', headers: headersOf(MANAGE) })
    await reader.ended()
    await create('acme/p')
    expect((await SseClient.open(live(url))).status).toBe(401)
    expect((await call(url)).status).toBe(401)
  })

  test('takes a cookie, which is for reading alone', async () => {
    const { gateway, ticketOf } = await start({ env })
    const { headers, json } = await ticketOf({ stream: STREAM, scope: 'write', cookie: true })
    expect(json).not.toHaveProperty('ticket')
    const [set = ''] = headers['set-cookie'] ?? []
    const [pair = '', ...attributes] = set.split('; ')
    expect(pair).toMatch(new RegExp(`^${COOKIE}=`))
    expect(attributes).toEqual([
      `Path=/v1/stream/${STREAM}`,
      expect.stringMatching(/^Expires=/) as string,
      'Secure',
      'HttpOnly',
      'SameSite=None',
    ])
    const cookie = { cookie: `theme=dark; ${pair}` }
    expect((await SseClient.open(live(gateway.stream(STREAM)), cookie)).status).toBe(200)
    const append = { method: 'POST', headers: { ...TEXT, ...cookie }, body: 'x' }
    expect((await call(gateway.stream(STREAM), append)).status).toBe(403)
    // An application may keep a token there by itself.
    const token = { cookie: `${COOKIE}=${tokenOf(MANAGE)}` }
    expect((await SseClient.open(live(gateway.stream(STREAM)), token)).status).toBe(200)
  })
})

describe('a ticket', () => {
  test.each([
    ['more than the token allows', { stream: STREAM, scope: 'write' }, 403, 'insufficient_scope'],
    ['a stream that the token is not for', { stream: 'other/s' }, 403, 'forbidden'],
    ['no stream', {}, 400, 'bad_request'],
    ['a name that none can have', { stream: 'acme/../s' }, 400, 'invalid_path'],
    ['a scope that there is not', { stream: STREAM, scope: 'all' }, 400, 'bad_request'],
    ['something else besides', { stream: STREAM, ttl: 9 }, 400, 'bad_request'],
  ])('is not given for %s', async (_what, body, status, code) => {
    const { ticketOf } = await start()
    const answer = await ticketOf(body, { sub: 'acme', scope: 'read' })
    expect([answer.status, answer.json['code']]).toEqual([status, code])
  })

  test('is good for its stream and scope alone', async () => {
    const { gateway, create, ticketOf } = await start()
    await create('acme/t')
    const { json } = await ticketOf({ stream: STREAM })
    const query = `?ticket=${json['ticket']}`
    expect((await call(`${gateway.stream(STREAM)}${query}`)).status).toBe(200)
    expect((await call(`${gateway.stream('acme/t')}${query}`)).status).toBe(403)
    const append = { method: 'POST', headers: TEXT, body: 'x' }
    expect((await call(`${gateway.stream(STREAM)}${query}`, append)).status).toBe(403)
  })

  test('that is for writing writes', async () => {
    const { ticketOf } = await start()
    const { json } = await ticketOf({ stream: STREAM, scope: 'write' })
    const append = { method: 'POST', headers: TEXT, body: 'x' }
    expect((await call(json['url']!, append)).status).toBe(204)
  })

  test.each(['ticket', 'cookie'])('is not given for another %s', async (kind) => {
    const { gateway, ticketOf } = await start()
    const body = { stream: STREAM, ...(kind === 'cookie' && { cookie: true }) }
    const { json, headers } = await ticketOf(body)
    const [pair = ''] = (headers['set-cookie']?.[0] ?? '').split('; ')
    const query = kind === 'ticket' ? `?ticket=${json['ticket']}` : ''
    const answer = await call(`${gateway.stream(TICKETS)}${query}`, {
      method: 'POST',
      headers: kind === 'cookie' ? { cookie: pair } : {},
      body: JSON.stringify({ stream: STREAM }),
    })
    expect(answer.status).toBe(401)
  })

  test('is verified by another gateway that has the same secret', async () => {
    const [one, other] = [await start(), await start()]
    const { json } = await one.ticketOf({ stream: STREAM })
    const url = `${other.gateway.stream(STREAM)}?ticket=${json['ticket']}`
    expect((await call(url)).status).toBe(200)
  })

  test('is no access token, and an access token is none', async () => {
    const { gateway, ticketOf } = await start()
    const { json } = await ticketOf({ stream: STREAM })
    const headers = authorized(json['ticket']!)
    expect((await call(gateway.stream(STREAM), { headers })).status).toBe(401)
    const url = `${gateway.stream(STREAM)}?ticket=${tokenOf(MANAGE)}`
    expect((await call(url)).status).toBe(401)
  })

  test('is not to be had without a secret that gateways share', async () => {
    const { ticketOf } = await start({ env: { GATEWAY_SECRETS: '' } })
    const { status, json } = await ticketOf({ stream: STREAM })
    expect([status, json['code']]).toEqual([501, 'not_supported'])
  })
})

describe('who may create', () => {
  test.each([
    ['false', 403],
    ['true', 201],
  ])('who writes, if AUTH_WRITE_MAY_CREATE is %s: %i', async (may, status) => {
    const { gateway, headersOf } = await start({ env: { AUTH_WRITE_MAY_CREATE: may } })
    const headers = headersOf({ sub: 'acme', scope: 'write' })
    const url = gateway.stream('acme/new')
    expect((await call(url, { method: 'PUT', headers })).status).toBe(status)
    expect((await call(url, { method: 'DELETE', headers })).status).toBe(403)
  })
})

describe('the project of a token', () => {
  test.each([
    ['sub', {}, { sub: 'acme' }, 200],
    ['sub', {}, { sub: 'other' }, 403],
    ['another claim', { AUTH_PROJECT_CLAIM: 'org' }, { sub: 'me', org: 'acme' }, 200],
    ['another claim', { AUTH_PROJECT_CLAIM: 'org' }, { sub: 'acme', org: 'other' }, 403],
    ['a claim it has not', { AUTH_PROJECT_CLAIM: 'org' }, { sub: 'acme' }, 401],
    ['nothing', { AUTH_PROJECT_CLAIM: 'none' }, { sub: 'me' }, 200],
  ])('is named by %s', async (_what, env, claims, status) => {
    const { gateway, headersOf } = await start({ env })
    const headers = headersOf({ scope: 'read', ...claims })
    expect((await call(gateway.stream(STREAM), { headers })).status).toBe(status)
  })

  test('owns the subscriptions that are made with it', async () => {
    const { gateway, headersOf } = await start()
    const url = gateway.stream('__ds/subscriptions/jobs')
    const pattern = 'acme/jobs/*'
    const body = JSON.stringify({ type: 'pull-wake', pattern, wake_stream: 'acme/wakes' })
    const wakes = {
      method: 'PUT',
      headers: headersOf(MANAGE, { 'content-type': 'application/json' }),
    }
    await call(gateway.stream('acme/wakes'), wakes)
    const mine = headersOf(MANAGE)
    expect((await call(url, { method: 'PUT', headers: mine, body })).status).toBe(201)
    const theirs = headersOf({ sub: 'other', scope: 'manage' })
    const other = JSON.stringify({
      type: 'webhook',
      pattern: 'other/*',
      webhook: { url: 'https://h.example/' },
    })
    for (const [method, path, sent] of [
      ['GET', '', undefined],
      ['DELETE', '', undefined],
      ['PUT', '', body],
      ['POST', '/claim', '{"worker":"w"}'],
      ['POST', '/streams', '{"streams":["other/s"]}'],
      ['DELETE', '/streams/other%2Fs', undefined],
    ] as const) {
      const answer = await call(`${url}${path}`, {
        method,
        headers: theirs,
        ...(sent !== undefined && { body: sent }),
      })
      expect([method, path, answer.status]).toEqual([method, path, 403])
    }
    expect((await call(url, { method: 'PUT', headers: theirs, body: other })).status).not.toBe(200)
    expect((await call(url, { headers: mine })).status).toBe(200)
  })
})

test('What is logged has neither tokens nor tickets nor cookies', async () => {
  const lines: string[] = []
  const { write } = process.stdout
  process.stdout.write = (line) => lines.push(String(line)) > 0
  onTestFinished(() => {
    process.stdout.write = write
  })
  const { gateway, ticketOf } = await start({ env: { LOG_LEVEL: 'trace' } })
  const { json } = await ticketOf({ stream: STREAM })
  const expired = sign({ ...MANAGE, exp: inSeconds(-3600) })
  const secrets = [json['ticket']!, expired, SECRET, 'a-cookie-value']
  const url = `${gateway.stream(STREAM)}?ticket=${json['ticket']}`
  const reader = await SseClient.open(`${url}&offset=-1&live=sse`)
  expect(reader.status).toBe(200)
  expect((await call(url)).status).toBe(200)
  const headers = { ...authorized(expired), cookie: `${COOKIE}=a-cookie-value` }
  expect((await call(gateway.stream(STREAM), { headers })).status).toBe(401)
  const isWritten = () => lines.some((line) => line.includes('token_expired'))
  await expect.poll(isWritten).toBe(true)
  const text = lines.join('')
  expect(secrets.filter((secret) => text.includes(secret))).toEqual([])
  expect(text).not.toContain('Bearer ')
})
