/** Webhooks over HTTP: what a subscriber gets, and what it may say to it (PROTOCOL §7.1, §7.3). */
import { createPublicKey, verify } from 'node:crypto'
import type { JsonWebKey } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { DurableLog } from '../../src/log/log.ts'
import { CleanUps } from '../support/clean-ups.ts'
import { startGateway } from '../support/gateway.ts'
import { appendJson, call, createJsonStream } from '../support/http-calls.ts'
import { ManualClock } from '../support/manual-clock.ts'
import {
  ACCEPTED,
  DONE,
  WebhookReceiver,
  acksOf,
  callBack,
  gate,
  subscriptionsAt,
} from '../support/webhook-receiver.ts'
import type { Delivered, Json, Reply } from '../support/webhook-receiver.ts'

/** Nothing is looked at again by itself for as long as a test takes. */
const ENV = { ALLOW_LOCAL_WEBHOOKS: 'true', SUBSCRIPTION_TAKEOVER_MS: '600000' }
const LEASE_MS = 1000

let cleanUps: CleanUps
beforeEach(() => {
  cleanUps = new CleanUps()
})
afterEach(() => cleanUps.run())

type Setup = {
  readonly env?: Readonly<Record<string, string>>
  readonly clock?: ManualClock
  readonly log?: DurableLog
  readonly receiver?: WebhookReceiver
}

async function startReceiver(): Promise<WebhookReceiver> {
  const receiver = await WebhookReceiver.start()
  cleanUps.add(() => receiver.close())
  return receiver
}

async function openLog(clock: ManualClock | undefined): Promise<DurableLog> {
  const now = clock === undefined ? {} : { now: () => clock.now() }
  const log = await openEmbeddedLog({ location: { kind: 'memory' }, ...now })
  cleanUps.add(() => log.close())
  return log
}

async function start({ env, clock, ...given }: Setup = {}) {
  const receiver = given.receiver ?? (await startReceiver())
  const log = given.log ?? (await openLog(clock))
  const options = { log, env: { ...ENV, ...env } }
  const gateway = await startGateway(clock === undefined ? options : { ...options, clock })
  let isDown = false
  const shutdown = async (): Promise<void> => {
    if (!isDown) await gateway.shutdown()
    isDown = true
  }
  cleanUps.add(shutdown)
  const create = (name: string) => createJsonStream(gateway.stream(name))
  const append = async (name: string, message: unknown = 1) => {
    const answer = await appendJson(gateway.stream(name), message)
    expect(answer.status).toBe(204)
    return String(answer.headers['stream-next-offset'])
  }
  const calls = subscriptionsAt(gateway)
  const subscribe = async (id: string, body: object) => {
    const webhook = { url: receiver.url }
    const answer = await calls.put(id, { type: 'webhook', webhook, ...body })
    expect(answer.status).toBe(201)
  }
  /** How far the subscriber has got in each stream. */
  const ackedOf = async (id: string): Promise<Record<string, string>> => {
    const streams = (await calls.get(id)).json.streams
    return Object.fromEntries(streams.map(({ path, acked_offset }) => [path, acked_offset]))
  }
  const statusOf = async (id: string): Promise<unknown[]> => {
    const { status, next_attempt_at } = (await calls.get(id)).json
    return [status, next_attempt_at]
  }
  return {
    gateway,
    log,
    receiver,
    shutdown,
    create,
    append,
    ...calls,
    subscribe,
    ackedOf,
    statusOf,
  }
}

type Started = Awaited<ReturnType<typeof start>>

/** Proves that the gateway has had every opportunity to deliver something else first. */
async function expectNothingElse({ receiver, create, append, subscribe, remove }: Started) {
  const id = `witness-${receiver.delivered.length}`
  await create(id)
  await subscribe(id, { streams: [id] })
  await append(id)
  expect((await receiver.next()).payload.subscription_id).toBe(id)
  await remove(id)
  expect(receiver.untaken).toBe(0)
}

const told = ({ status, json }: { readonly status: number; readonly json: Json }) => [status, json]
const refusal = ({ status, json }: { readonly status: number; readonly json: Json }) => [
  status,
  json.error.code,
]
const OK = (next_wake: boolean) => [200, { ok: true, next_wake }]

describe('a webhook', () => {
  test('has the work in it, and is signed with a key of the JWKS', async () => {
    const { gateway, receiver, create, append, subscribe } = await start()
    await create('e/ü')
    await create('plain')
    const before = await append('e/ü')
    await subscribe('s/1', { pattern: 'e/*', streams: ['plain'] })
    const after = await append('e/ü')
    const { headers, raw, payload } = await receiver.next()
    expect(payload).toEqual({
      subscription_id: 's/1',
      wake_id: expect.stringMatching(/^w_./) as unknown,
      generation: 1,
      streams: [
        {
          path: 'e/ü',
          link_type: 'glob',
          acked_offset: before,
          tail_offset: after,
          has_pending: true,
        },
      ],
      callback_url: gateway.stream('__ds/subscriptions/s%2F1/callback'),
      callback_token: expect.any(String) as unknown,
    })
    expect(headers['content-type']).toBe('application/json')

    const signature = String(headers['webhook-signature'])
    const [, t = '', kid, ed25519 = ''] =
      /^t=(\d+),kid=([\w-]+),ed25519=([\w-]+)$/.exec(signature) ?? []
    expect(Math.abs(Number(t) * 1000 - Date.now())).toBeLessThan(60_000)
    const { keys } = JSON.parse((await call(gateway.stream('__ds/jwks.json'))).body) as {
      keys: (JsonWebKey & { kid: string })[]
    }
    const jwk = keys.find((key) => key.kid === kid)!
    const key = createPublicKey({ key: jwk, format: 'jwk' })
    const signed = (body: Buffer) => Buffer.concat([Buffer.from(`${t}.`), body])
    const bytes = Buffer.from(ed25519, 'base64url')
    expect(verify(null, signed(raw), key, bytes)).toBe(true)
    expect(verify(null, signed(Buffer.concat([raw, Buffer.from(' ')])), key, bytes)).toBe(false)
  })

  test('is verified by the lines in the README', async () => {
    const { gateway, receiver, create, append, subscribe } = await start()
    await create('x')
    await subscribe('s', { streams: ['x'] })
    await append('x')
    const { headers, raw } = await receiver.next()
    const readme = await readFile(new URL('../../src/subscriptions/README.md', import.meta.url))
    const [, code = ''] = /```js\n(.*?)```/s.exec(readme.toString()) ?? []
    const module = `data:text/javascript;base64,${Buffer.from(code).toString('base64')}`
    const { isFromGateway } = (await import(/* @vite-ignore */ module)) as {
      isFromGateway: (body: Buffer, signature: string, jwksUrl: string) => Promise<boolean>
    }
    const signature = String(headers['webhook-signature'])
    const jwks = gateway.stream('__ds/jwks.json')
    const later = signature.replace(/t=\d+/, `t=${Math.floor(Date.now() / 1000) - 301}`)
    const changed = Buffer.concat([raw, Buffer.from(' ')])
    expect(await isFromGateway(raw, signature, jwks)).toBe(true)
    expect(await isFromGateway(changed, signature, jwks)).toBe(false)
    expect(await isFromGateway(raw, later, jwks)).toBe(false)
    expect(await isFromGateway(raw, 'nonsense', jwks)).toBe(false)
  })

  test('leads back to where the gateway is from outside', async () => {
    const env = { PUBLIC_URL: 'https://streams.example.com/base' }
    const { create, append, subscribe, receiver, get } = await start({ env })
    await create('x')
    await subscribe('s', { streams: ['x'] })
    await append('x')
    const root = 'https://streams.example.com/base/v1/stream/__ds'
    expect((await receiver.next()).payload.callback_url).toBe(`${root}/subscriptions/s/callback`)
    expect((await get('s')).json.webhook.signing.jwks_url).toBe(`${root}/jwks.json`)
  })

  test('that says done has acked what it was told of, and nothing more', async () => {
    const { create, append, subscribe, receiver, ackedOf } = await start()
    await create('x')
    await create('y')
    await subscribe('s', { streams: ['x', 'y'] })
    const later: Record<string, string> = {}
    receiver.script(async () => {
      later['x'] = await append('x')
      later['y'] = await append('y')
      return DONE
    })
    receiver.otherwise = DONE
    const first = await append('x')
    const one = (await receiver.next()).payload
    expect(one.streams).toMatchObject([{ path: 'x', tail_offset: first }])
    const two = (await receiver.next()).payload
    expect([two.generation, two.wake_id === one.wake_id]).toEqual([2, false])
    await expect.poll(() => ackedOf('s')).toEqual(later)
    const told = receiver.delivered.slice(1).flatMap(({ payload }) => payload.streams)
    expect(told.filter(({ path }) => path === 'x')).toMatchObject([
      { acked_offset: first, tail_offset: later['x'] },
    ])
    expect(told.filter(({ path }) => path === 'y')).toMatchObject([{ tail_offset: later['y'] }])
  })

  test('is not sent again while the last one is worked on', async () => {
    const started = await start()
    const { create, append, subscribe, receiver, ackedOf } = started
    await create('x')
    await subscribe('s', { streams: ['x'] })
    await append('x')
    const first = await receiver.next()
    let tail = ''
    for (let n = 0; n < 10; n += 1) tail = await append('x')
    await expectNothingElse(started)
    expect(told(await callBack(first, { acks: acksOf(first.payload), done: true }))).toEqual(
      OK(true),
    )
    const second = await receiver.next()
    expect(second.payload).toMatchObject({ generation: 2, streams: [{ tail_offset: tail }] })
    expect(told(await callBack(second, { acks: acksOf(second.payload), done: true }))).toEqual(
      OK(false),
    )
    await expectNothingElse(started)
    expect(await ackedOf('s')).toEqual({ x: tail })
  })

  test('of the next wake does not wait for the answer to one that has called back', async () => {
    const { create, append, subscribe, receiver } = await start()
    await create('x')
    await subscribe('s', { streams: ['x'] })
    receiver.script('never')
    await append('x')
    const first = await receiver.next()
    await append('x')
    await callBack(first, { acks: acksOf(first.payload), done: true })
    expect((await receiver.next(3000)).payload.generation).toBe(2)
  })
})

describe('a callback', () => {
  const startWoken = async (setup: Setup = {}) => {
    const started = await start(setup)
    const { create, append, subscribe, receiver } = started
    await create('x')
    const begin = await append('x')
    await subscribe('s', { streams: ['x', 'y'], lease_ttl_ms: LEASE_MS })
    const middle = await append('x')
    const woken = await receiver.next()
    /** Appends, and lets the subscription hear of it. */
    const appendNoted = async (name: string): Promise<string> => {
      const tail = await append(name)
      await setup.clock?.advanceAsync(50)
      for (let times = 0; times < 5; times += 1) await started.get('s')
      return tail
    }
    return { ...started, woken, begin, middle, appendNoted }
  }

  test('says that all is done, or that there is more', async () => {
    const { append, receiver, woken, middle, ackedOf } = await startWoken()
    const ack = [{ stream: 'x', offset: middle }]
    expect(told(await callBack(woken, { acks: ack }))).toEqual(OK(false))
    expect(await ackedOf('s')).toMatchObject({ x: middle })
    expect(told(await callBack(woken, { done: true }))).toEqual(OK(false))
    const tail = await append('x')
    const next = await receiver.next()
    expect(next.payload).toMatchObject({
      generation: 2,
      streams: [{ acked_offset: middle, tail_offset: tail }],
    })
    expect(told(await callBack(next, { done: true }))).toEqual(OK(true))
    const last = await receiver.next()
    expect(last.payload).toMatchObject({
      generation: 3,
      streams: [{ acked_offset: middle, tail_offset: tail }],
    })
    const further = await append('x')
    expect(told(await callBack(last, { acks: acksOf(last.payload), done: true }))).toEqual(OK(true))
    expect((await receiver.next()).payload).toMatchObject({
      generation: 4,
      streams: [{ acked_offset: tail, tail_offset: further }],
    })
  })

  test('that is done finds what came before an earlier one has acked', async () => {
    const { appendNoted, receiver, woken, middle } = await startWoken({ clock: new ManualClock() })
    const tail = await appendNoted('x')
    await callBack(woken, { acks: acksOf(woken.payload) })
    expect(told(await callBack(woken, { done: true }))).toEqual(OK(true))
    expect((await receiver.next(3000)).payload).toMatchObject({
      generation: 2,
      streams: [{ acked_offset: middle, tail_offset: tail }],
    })
  })

  test('after which the lease runs out leaves what came before it to the next wake', async () => {
    const clock = new ManualClock()
    const { appendNoted, receiver, woken, middle } = await startWoken({ clock })
    const tail = await appendNoted('x')
    await callBack(woken, { acks: acksOf(woken.payload) })
    await clock.advanceAsync(LEASE_MS)
    expect((await receiver.next(3000)).payload).toMatchObject({
      generation: 2,
      streams: [{ acked_offset: middle, tail_offset: tail }],
    })
  })

  test('may ack what came after the webhook', async () => {
    const started = await startWoken()
    const { append, woken, ackedOf } = started
    const tail = await append('x')
    const acks = [{ stream: 'x', offset: tail }]
    expect(told(await callBack(woken, { acks, done: true }))).toEqual(OK(false))
    expect(await ackedOf('s')).toMatchObject({ x: tail })
    await expectNothingElse(started)
  })

  test('of an earlier wake is fenced', async () => {
    const { append, receiver, woken, ackedOf, callback } = await startWoken()
    await callBack(woken, { acks: acksOf(woken.payload), done: true })
    const fenced = [409, 'FENCED']
    expect(refusal(await callBack(woken, { done: true }))).toEqual(fenced)
    const tail = await append('x')
    const { payload } = await receiver.next()
    const acks = [{ stream: 'x', offset: tail }]
    const { callback_token: token, wake_id, generation } = payload
    const stale = woken.payload
    const answers = [
      await callBack(woken, { acks, done: true }),
      await callback('s', stale.callback_token, payload, { acks }),
      await callback('s', token, stale, { acks }),
      await callback('s', token, { wake_id: stale.wake_id, generation }, { acks }),
      await callback('s', token, { wake_id, generation: stale.generation }, { acks }),
      await callback('s', token, { wake_id, generation: generation + 1 }, { acks }),
    ]
    expect(answers.map(refusal)).toEqual(answers.map(() => fenced))
    expect(await ackedOf('s')).toMatchObject({ x: stale.streams[0]!.tail_offset })
    expect(answers[0]!.headers['content-type']).toBe('application/json')
    expect(told(await callback('s', token, payload, { acks, done: true }))).toEqual(OK(false))
  })

  test('needs the token of its webhook', async () => {
    const { gateway, append, create, subscribe, receiver, woken, begin, callback, at } =
      await startWoken()
    await create('z')
    await subscribe('other', { streams: ['z'] })
    await append('z')
    const other = (await receiver.next()).payload
    await call(gateway.stream('wake'), { method: 'PUT' })
    const { callback_token: token } = woken.payload
    const [head = '', claims = '', mac = ''] = token.split('.')
    const altered = JSON.parse(Buffer.from(claims, 'base64url').toString()) as object
    const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url')
    const tokens = [
      undefined,
      'x',
      'a.b.c',
      other.callback_token,
      `${token}A`,
      token.slice(0, -1),
      `${head}.${encode({ ...altered, gen: 2 })}.${mac}`,
      `${head}.${claims}.`,
      `${encode({ alg: 'none', typ: 'JWT' })}.${claims}.`,
      `${encode({ alg: 'none', typ: 'JWT' })}.${claims}.${mac}`,
    ]
    const acks = acksOf(woken.payload)
    for (const wrong of tokens) {
      const answer = await callback('s', wrong, woken.payload, { acks, done: true })
      expect([wrong, ...refusal(answer)]).toEqual([wrong, 401, 'TOKEN_INVALID'])
      expect(answer.headers['www-authenticate']).toMatch(/^Bearer/)
    }
    const { wake_id, generation } = woken.payload
    const elsewhere = await call(`${at('s', '/callback')}?token=${token}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', authorization: `Basic ${token}` },
      body: JSON.stringify({ wake_id, generation, acks, token }),
    })
    expect(elsewhere.status).toBe(401)
    expect((await callback('other', token, woken.payload, { acks })).status).toBe(401)
    const shown = (await call(at('s'))).body
    expect(JSON.parse(shown)).toMatchObject({ streams: [{ path: 'x', acked_offset: begin }, {}] })
  })

  test('takes no offset that the subscriber can not have got to', async () => {
    const { append, receiver, woken, begin, middle, ackedOf, callback } = await startWoken()
    await callBack(woken, { acks: acksOf(woken.payload) })
    const tail = await append('x')
    const beyond = tail.replace(/\d{3}$/, '999')
    const wrong: [string, string][] = [
      ['x', beyond],
      ['x', begin],
      ['x', '-1'],
      ['x', 'now'],
      ['x', ''],
      ['x', 'garbage'],
      ['unlinked', middle],
      ['y', middle],
      ['constructor', middle],
      ['__proto__', middle],
    ]
    for (const [stream, offset] of wrong) {
      const acks = [
        { stream: 'x', offset: tail },
        { stream, offset },
      ]
      // The further of two acks of one stream counts, so that a wrong one has to come alone.
      const answer = await callBack(woken, { acks: stream === 'x' ? acks.slice(1) : acks })
      expect([stream, offset, ...refusal(answer)]).toEqual([stream, offset, 409, 'INVALID_OFFSET'])
    }
    expect(await ackedOf('s')).toEqual({ x: middle, y: '-1' })
    const { payload } = woken
    const again = await callback('s', payload.callback_token, payload, {
      acks: [{ stream: 'x', offset: middle }],
    })
    expect(told(again)).toEqual(OK(false))
    expect(receiver.untaken).toBe(0)
  })

  test.each<[string, object]>([
    ['no wake', { generation: 1 }],
    ['no generation', { wake_id: 'w_1' }],
    ['acks that are no list', { wake_id: 'w_1', generation: 1, acks: { x: '1' } }],
    [
      'a reserved stream',
      { wake_id: 'w_1', generation: 1, acks: [{ stream: '__ds/keys', offset: '1' }] },
    ],
    ['done that is no boolean', { wake_id: 'w_1', generation: 1, done: 'true' }],
  ])('is refused: %s', async (_name, body) => {
    const { woken } = await startWoken()
    const answer = await call(woken.payload.callback_url, {
      method: 'POST',
      headers: { authorization: `Bearer ${woken.payload.callback_token}` },
      body: JSON.stringify(body),
    })
    expect([answer.status, (JSON.parse(answer.body) as Json).error.code]).toEqual([
      400,
      'INVALID_REQUEST',
    ])
  })

  test('renews the lease; without one, the work goes out again as another wake', async () => {
    const clock = new ManualClock()
    const { receiver, woken, begin, middle } = await startWoken({ clock })
    for (let times = 0; times < 4; times += 1) {
      expect(told(await callBack(woken))).toEqual(OK(false))
      await clock.advanceAsync(LEASE_MS - 1)
    }
    expect(told(await callBack(woken))).toEqual(OK(false))
    expect(receiver.untaken).toBe(0)
    await clock.advanceAsync(LEASE_MS)
    const { payload } = await receiver.next()
    expect(payload).toMatchObject({
      generation: 2,
      streams: [{ path: 'x', acked_offset: begin, tail_offset: middle }],
    })
    expect(payload.wake_id).not.toBe(woken.payload.wake_id)
    expect(refusal(await callBack(woken, { done: true }))).toEqual([409, 'FENCED'])
  })

  test('comes too late when the lease has run out', async () => {
    const { receiver, woken } = await startWoken()
    const { payload } = await receiver.next()
    expect(payload.generation).toBe(2)
    expect(payload.wake_id).not.toBe(woken.payload.wake_id)
    expect(refusal(await callBack(woken, { done: true }))).toEqual([409, 'FENCED'])
  })
})

describe('a deletion', () => {
  const REPLIES: Record<string, Reply> = {
    'is worked on': ACCEPTED,
    'waits for its next attempt': { status: 500 },
  }
  test.each(Object.entries(REPLIES))('ends a wake that %s', async (_name, reply) => {
    const clock = new ManualClock()
    const started = await start({ clock })
    const { create, append, subscribe, remove, receiver, statusOf } = started
    await create('x')
    await subscribe('s', { streams: ['x'], lease_ttl_ms: LEASE_MS })
    receiver.script(reply)
    await append('x')
    const woken = await receiver.next()
    if (reply !== ACCEPTED) await expect.poll(() => statusOf('s')).toContain('failed')
    expect((await remove('s')).status).toBe(204)
    const late = await callBack(woken, { acks: acksOf(woken.payload), done: true })
    expect(refusal(late)).toEqual([404, 'SUBSCRIPTION_NOT_FOUND'])
    await append('x')
    for (let seconds = 0; seconds < 60; seconds += 1) await clock.advanceAsync(1000)
    await expectNothingElse(started)
  })

  test('ends a wake that waits for other webhooks of its host', async () => {
    const started = await start({ env: { MAX_WEBHOOKS_PER_HOST: '1' } })
    const { create, append, subscribe, remove, receiver, statusOf } = started
    for (const name of ['slow', 's']) {
      await create(name)
      await subscribe(name, { streams: [name] })
    }
    const slow = gate<Reply>()
    receiver.script(() => slow.opened)
    await append('slow')
    expect((await receiver.next()).payload.subscription_id).toBe('slow')
    await append('s')
    await expect.poll(() => statusOf('s')).toContain('active')
    await remove('s')
    slow.open(DONE)
    await expectNothingElse(started)
  })

  test('fences a wake of the same generation of the subscription before', async () => {
    const { create, append, subscribe, remove, receiver, callback, ackedOf } = await start()
    await create('x')
    await subscribe('s', { streams: ['x'] })
    const begin = await append('x')
    const before = (await receiver.next()).payload
    await remove('s')
    await subscribe('s', { streams: ['x'] })
    await append('x')
    const after = (await receiver.next()).payload
    expect(after.generation).toBe(before.generation)
    const acks = acksOf(after)
    const { callback_token: stale } = before
    expect(refusal(await callback('s', stale, after, { acks }))).toEqual([401, 'TOKEN_INVALID'])
    expect(refusal(await callback('s', stale, before, { acks }))).toEqual([401, 'TOKEN_INVALID'])
    expect(refusal(await callback('s', after.callback_token, before, { acks }))).toEqual([
      409,
      'FENCED',
    ])
    expect(await ackedOf('s')).toEqual({ x: begin })
  })
})

describe('a webhook that fails', () => {
  const at = (ms: number) => new Date(ms).toISOString()

  test('is sent again after 1, 2, 4, 8 and 16 s, as it was, and nothing overtakes it', async () => {
    const clock = new ManualClock()
    const started = await start({ clock, env: { WEBHOOK_TIMEOUT_MS: '200' } })
    const { create, append, subscribe, receiver, statusOf, ackedOf } = started
    const redirect = { status: 307, headers: { location: receiver.url } }
    receiver.script({ status: 500 }, 'reset', redirect, 'never', { status: 429 }, DONE, DONE)
    await create('x')
    await subscribe('s', { streams: ['x', 'y'] })
    expect(await statusOf('s')).toEqual(['active', undefined])
    const tail = await append('x')
    const first = await receiver.next()
    let last = ''
    for (const delayMs of [1000, 2000, 4000, 8000, 16_000]) {
      const due = clock.now() + delayMs
      await expect.poll(() => statusOf('s')).toEqual(['failed', at(due)])
      await append('x')
      await clock.advanceAsync(delayMs - 1)
      last = await append('x')
      expect(receiver.untaken).toBe(0)
      await clock.advanceAsync(1)
      const again = await receiver.next()
      expect(again.payload).toEqual({
        ...first.payload,
        callback_token: expect.any(String) as unknown,
      })
      expect(again.headers['webhook-signature']).toContain(`t=${Math.floor(clock.now() / 1000)},`)
    }
    const next = await receiver.next()
    expect(next.payload).toMatchObject({
      generation: 2,
      streams: [{ path: 'x', acked_offset: tail, tail_offset: last }],
    })
    await expect.poll(() => ackedOf('s')).toEqual({ x: last, y: '-1' })
    expect(await statusOf('s')).toEqual(['active', undefined])
    await expectNothingElse(started)
  })

  test('is sent again every 60 s at most, for as long as it takes', async () => {
    const clock = new ManualClock()
    const { create, append, subscribe, receiver, statusOf } = await start({ clock })
    receiver.otherwise = { status: 503 }
    await create('x')
    await subscribe('s', { streams: ['x'] })
    await append('x')
    for (const delayMs of [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]) {
      await receiver.next()
      await expect.poll(() => statusOf('s')).toEqual(['failed', at(clock.now() + delayMs)])
      await clock.advanceAsync(delayMs)
    }
    expect((await receiver.next()).payload.generation).toBe(1)
  })

  test('may be taken by a callback before it is sent again', async () => {
    const clock = new ManualClock()
    const started = await start({ clock })
    const { create, append, subscribe, receiver, statusOf, ackedOf } = started
    receiver.script({ status: 504 })
    await create('x')
    await subscribe('s', { streams: ['x'], lease_ttl_ms: 600_000 })
    const tail = await append('x')
    const woken = await receiver.next()
    await expect.poll(() => statusOf('s')).toContain('failed')
    expect(told(await callBack(woken))).toEqual(OK(false))
    expect(await statusOf('s')).toEqual(['active', undefined])
    for (let seconds = 0; seconds < 10; seconds += 1) await clock.advanceAsync(1000)
    await expectNothingElse(started)
    expect(told(await callBack(woken, { acks: acksOf(woken.payload), done: true }))).toEqual(
      OK(false),
    )
    expect(await ackedOf('s')).toEqual({ x: tail })
  })

  test('keeps its time over a restart', async () => {
    const clock = new ManualClock()
    const log = await openLog(clock)
    const before = await start({ clock, log })
    const { receiver } = before
    receiver.script({ status: 500 }, { status: 500 })
    await before.create('x')
    await before.subscribe('s', { streams: ['x'] })
    await before.append('x')
    const first = await receiver.next()
    await expect.poll(() => before.statusOf('s')).toEqual(['failed', at(clock.now() + 1000)])
    await clock.advanceAsync(1000)
    await receiver.next()
    const due = clock.now() + 2000
    await expect.poll(() => before.statusOf('s')).toEqual(['failed', at(due)])
    await before.shutdown()

    await clock.advanceAsync(500)
    const after = await start({ clock, log, receiver })
    expect(await after.statusOf('s')).toEqual(['failed', at(due)])
    await expectNothingElse(after)
    await clock.advanceAsync(due - clock.now() - 1)
    await expectNothingElse(after)
    await clock.advanceAsync(1)
    const { payload } = await receiver.next()
    expect([payload.wake_id, payload.generation]).toEqual([first.payload.wake_id, 1])
    expect(
      told(await after.callback('s', payload.callback_token, payload, { done: true })),
    ).toEqual(OK(true))
  })

  test('because its gateway leaves is sent by the next one, as the same wake', async () => {
    const log = await openLog(undefined)
    const before = await start({ log })
    const { receiver } = before
    receiver.script('never')
    await before.create('x')
    await before.subscribe('s', { streams: ['x'] })
    await before.append('x')
    const first = await receiver.next()
    await before.shutdown()
    const after = await start({ log, receiver })
    const { payload } = await receiver.next()
    expect([payload.wake_id, payload.generation]).toEqual([first.payload.wake_id, 1])
    expect(await after.statusOf('s')).toEqual(['active', undefined])
  })
})

test('a lease begins when its webhook is sent, however long that has waited for its turn', async () => {
  const clock = new ManualClock()
  const started = await start({ clock, env: { MAX_WEBHOOKS_PER_HOST: '1' } })
  const { create, append, subscribe, receiver } = started
  for (const name of ['slow', 's']) await create(name)
  await subscribe('slow', { streams: ['slow'] })
  await subscribe('s', { streams: ['s'], lease_ttl_ms: LEASE_MS })
  const slow = gate<Reply>()
  receiver.script(() => slow.opened)
  await append('slow')
  expect((await receiver.next()).payload.subscription_id).toBe('slow')
  await append('s')
  await clock.advanceAsync(2 * LEASE_MS)
  slow.open(DONE)
  const woken: Delivered = await receiver.next()
  expect(woken.payload.subscription_id).toBe('s')
  await expectNothingElse(started)
  expect(told(await callBack(woken, { acks: acksOf(woken.payload), done: true }))).toEqual(
    OK(false),
  )
})
