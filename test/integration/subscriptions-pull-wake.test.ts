/** Pull-wake over HTTP: wake streams, claims and leases (PROTOCOL §7.2, §7.3). */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import { CleanUps } from '../support/clean-ups.ts'
import { startGateway } from '../support/gateway.ts'
import { appendJson, call, createJsonStream, readJson } from '../support/http-calls.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { SseClient } from '../support/sse-client.ts'
import { acksOf, subscriptionsAt } from '../support/webhook-receiver.ts'
import type { Json } from '../support/webhook-receiver.ts'

const LEASE_MS = 1000
const WAKE = 'wake/pool'
const BEFORE_FIRST = '-1'

let cleanUps: CleanUps
beforeEach(() => {
  cleanUps = new CleanUps()
})
afterEach(() => cleanUps.run())

async function start({ clock }: { readonly clock?: ManualClock } = {}) {
  const now = clock === undefined ? {} : { now: () => clock.now() }
  const log = await openEmbeddedLog({ location: { kind: 'memory' }, ...now })
  cleanUps.add(() => log.close())
  // Nothing is looked at again by itself for as long as a test takes.
  const env = { SUBSCRIPTION_TAKEOVER_MS: '600000' }
  const gateway = await startGateway({ log, env, ...(clock && { clock }) })
  cleanUps.add(() => gateway.shutdown())
  const create = (name: string) => createJsonStream(gateway.stream(name))
  const append = async (name: string, message: unknown = 1) => {
    const answer = await appendJson(gateway.stream(name), message)
    expect(answer.status).toBe(204)
    return String(answer.headers['stream-next-offset'])
  }
  const calls = subscriptionsAt(gateway)
  const subscribe = async (id: string, body: object) => {
    const answer = await calls.put(id, { type: 'pull-wake', wake_stream: WAKE, ...body })
    expect(answer.status).toBe(201)
  }
  const events = async (): Promise<Json[]> => {
    const found = await call(gateway.stream(WAKE))
    return found.status === 404 ? [] : ((await readJson(gateway.stream(WAKE))) as Json[])
  }
  /** Waits until so many wake events are there, and says what they are. */
  const eventsOnce = async (count: number): Promise<Json[]> => {
    await expect.poll(async () => (await events()).length).toBeGreaterThanOrEqual(count)
    return events()
  }
  return { gateway, create, append, ...calls, subscribe, events, eventsOnce }
}

/** A subscription `s` of the streams `x` and `y`, with one message of work in `x`. */
async function startWoken(setup: { readonly clock?: ManualClock } = {}) {
  const started = await start(setup)
  const { create, append, subscribe, eventsOnce, get } = started
  for (const name of [WAKE, 'x', 'y']) await create(name)
  const begin = await append('x')
  await subscribe('s', { streams: ['x', 'y'], lease_ttl_ms: LEASE_MS })
  const tail = await append('x')
  await eventsOnce(1)
  const ackedOf = async (path: string): Promise<string> =>
    (await get('s')).json.streams.find((link) => link.path === path)!.acked_offset
  /** Appends, and lets the subscription hear of it. */
  const appendNoted = async (name: string): Promise<void> => {
    await append(name)
    await setup.clock?.advanceAsync(50)
    for (let times = 0; times < 5; times += 1) await get('s')
  }
  return { ...started, begin, tail, ackedOf, appendNoted }
}

const told = ({ status, json }: { readonly status: number; readonly json: Json }) => [status, json]
const refusal = ({ status, json }: { readonly status: number; readonly json: Json }) => [
  status,
  json.error.code,
]
const OK = (next_wake: boolean) => [200, { ok: true, next_wake }]
const generationsOf = (events: readonly Json[]) => events.map(({ generation }) => generation)

describe('a wake event', () => {
  test('names the subscription, a stream with work and the generation', async () => {
    const { create, append, subscribe, eventsOnce, gateway } = await start()
    await create(WAKE)
    await create('e/x')
    await subscribe('s/1', { pattern: 'e/*' })
    const reader = await SseClient.open(`${gateway.stream(WAKE)}?offset=-1&live=sse`)
    await append('e/x')
    await reader.until(({ text }) => text.includes('wake'))
    reader.leave()
    const [event] = await eventsOnce(1)
    expect(event).toEqual({
      type: 'wake',
      subscription_id: 's/1',
      stream: 'e/x',
      generation: 1,
      ts: expect.any(Number) as unknown,
    })
    expect(Math.abs(event!.ts - Date.now())).toBeLessThan(60_000)
  })

  test('comes once for each generation, however much is appended', async () => {
    const { append, claim, ack, eventsOnce, events, ackedOf } = await startWoken()
    let last = ''
    for (let n = 1; n <= 4; n += 1) {
      expect(generationsOf(await eventsOnce(n))).toEqual([1, 2, 3, 4].slice(0, n))
      for (let more = 0; more < 5; more += 1) last = await append('x')
      const claimed = (await claim('s')).json
      expect(claimed.generation).toBe(n)
      const progress = { acks: [{ stream: 'x', offset: last }], done: true }
      if (n < 4) await append('x')
      expect(told(await ack('s', claimed.token, claimed, progress))).toEqual(OK(n < 4))
    }
    expect(generationsOf(await events())).toEqual([1, 2, 3, 4])
    expect(await ackedOf('x')).toBe(last)
  })

  test('is no work for the subscription itself', async () => {
    const { create, append, subscribe, claim, ack, eventsOnce, events, get } = await start()
    await create(WAKE)
    await create('x')
    await append(WAKE, 'before')
    await subscribe('s', { pattern: '**' })
    expect((await get('s')).json.streams).toMatchObject([{ path: 'x' }])
    await append('x')
    await eventsOnce(2)
    const claimed = (await claim('s')).json
    expect(claimed.streams).toMatchObject([{ path: 'x' }])
    const done = await ack('s', claimed.token, claimed, { acks: acksOf(claimed), done: true })
    expect(told(done)).toEqual(OK(false))
    await append(WAKE, 'by hand')
    expect(refusal(await claim('s'))).toEqual([409, 'NO_PENDING_WORK'])
    expect(await events()).toHaveLength(3)
    expect((await get('s')).json.streams).toMatchObject([{ path: 'x' }])
  })

  test('of a subscription is work for another one', async () => {
    const { create, append, subscribe, put, claim, eventsOnce } = await start()
    for (const name of [WAKE, 'wakes', 'x']) await create(name)
    await subscribe('s', { streams: ['x'] })
    await put('watcher', { type: 'pull-wake', wake_stream: 'wakes', streams: [WAKE] })
    await append('x')
    await eventsOnce(1)
    await expect.poll(async () => (await claim('watcher')).status).toBe(200)
  })

  test('comes once its stream is there; a claim need not wait for it', async () => {
    const clock = new ManualClock()
    const { create, append, subscribe, claim, release, eventsOnce, get } = await start({ clock })
    await create('x')
    await subscribe('s', { streams: ['x'], lease_ttl_ms: 600_000 })
    await append('x')
    const failed = { status: 'failed', next_attempt_at: new Date(clock.now() + 1000).toISOString() }
    await expect.poll(async () => (await get('s')).json).toMatchObject(failed)
    const claimed = (await claim('s')).json
    expect(claimed).toMatchObject({ generation: 1, streams: [{ path: 'x' }] })
    expect((await get('s')).json.status).toBe('active')
    expect((await release('s', claimed.token, claimed)).status).toBe(204)
    const again = { status: 'failed', next_attempt_at: new Date(clock.now() + 1000).toISOString() }
    await expect.poll(async () => (await get('s')).json).toMatchObject(again)
    await create(WAKE)
    await clock.advanceAsync(1000)
    expect(generationsOf(await eventsOnce(1))).toEqual([2])
    await expect.poll(async () => (await get('s')).json.status).toBe('active')
  })
})

describe('a claim', () => {
  test('has the work, and a token for it', async () => {
    const { claim, begin, tail } = await startWoken()
    const { status, json, headers } = await claim('s')
    expect([status, json]).toEqual([
      200,
      {
        wake_id: expect.stringMatching(/^w_./) as unknown,
        generation: 1,
        token: expect.any(String) as unknown,
        streams: [
          {
            path: 'x',
            link_type: 'explicit',
            acked_offset: begin,
            tail_offset: tail,
            has_pending: true,
          },
        ],
        lease_ttl_ms: LEASE_MS,
      },
    ])
    expect(headers).toMatchObject({
      'content-type': 'application/json',
      'cache-control': 'no-store',
    })
  })

  test('may be acked for what came after it', async () => {
    const { append, claim, ack, ackedOf } = await startWoken()
    const { json } = await claim('s')
    const acks = [{ stream: 'x', offset: await append('x') }]
    expect(told(await ack('s', json.token, json, { acks, done: true }))).toEqual(OK(false))
    expect(await ackedOf('x')).toBe(acks[0]!.offset)
    expect(refusal(await claim('s'))).toEqual([409, 'NO_PENDING_WORK'])
  })

  test('is for one worker at a time', async () => {
    const { claim } = await startWoken()
    const workers = Array.from({ length: 6 }, (_, n) => `worker-${n}`)
    const answers = await Promise.all(workers.map((worker) => claim('s', worker)))
    const holder = workers[answers.findIndex(({ status }) => status === 200)]
    const others = answers.filter(({ status }) => status !== 200)
    expect(others.map(told)).toEqual(
      Array.from({ length: 5 }, () => [
        409,
        {
          error: {
            code: 'ALREADY_CLAIMED',
            message: expect.any(String) as unknown,
            current_holder: holder,
            generation: 1,
          },
        },
      ]),
    )
    expect(refusal(await claim('s', holder))).toEqual([409, 'ALREADY_CLAIMED'])
  })

  test('needs work, a name, and a subscription of its kind', async () => {
    const { create, append, subscribe, put, claim, at } = await start()
    await create(WAKE)
    await append(WAKE)
    await create('x')
    await append('x')
    await subscribe('s', { streams: ['x', 'y'] })
    expect(refusal(await claim('s'))).toEqual([409, 'NO_PENDING_WORK'])
    expect(refusal(await claim('s', ''))).toEqual([400, 'INVALID_REQUEST'])
    expect((await call(at('s', '/claim'), { method: 'POST' })).status).toBe(400)
    await put('hook', {
      type: 'webhook',
      webhook: { url: 'https://93.184.216.34/' },
      streams: ['x'],
    })
    expect((await claim('hook')).status).toBe(400)
  })

  test('right after an append finds its work, event or not', async () => {
    const { create, append, subscribe, claim, ack, ackedAll } = await withAcks()
    await create(WAKE)
    await create('x')
    await subscribe('s', { streams: ['x'] })
    for (let n = 0; n < 20; n += 1) {
      const tail = await append('x')
      const { status, json } = await claim('s')
      expect([status, json.streams[0]]).toMatchObject([200, { path: 'x', tail_offset: tail }])
      await ack('s', json.token, json, { acks: acksOf(json), done: true })
      expect(await ackedAll('s')).toEqual([tail])
    }
  })
})

async function withAcks() {
  const started = await start()
  const ackedAll = async (id: string) =>
    (await started.get(id)).json.streams.map((link) => link.acked_offset)
  return { ...started, ackedAll }
}

describe('an ack', () => {
  test('takes progress, and with done gives the lease back', async () => {
    const { claim, ack, tail, begin, ackedOf } = await startWoken()
    const { json } = await claim('s')
    expect(told(await ack('s', json.token, json))).toEqual(OK(false))
    expect(await ackedOf('x')).toBe(begin)
    const progress = { acks: [{ stream: 'x', offset: tail }] }
    expect(told(await ack('s', json.token, json, progress))).toEqual(OK(false))
    expect(await ackedOf('x')).toBe(tail)
    expect(refusal(await claim('s', 'worker-2'))).toEqual([409, 'ALREADY_CLAIMED'])
    expect(told(await ack('s', json.token, json, { done: true }))).toEqual(OK(false))
    expect(refusal(await claim('s', 'worker-2'))).toEqual([409, 'NO_PENDING_WORK'])
    expect(refusal(await ack('s', json.token, json, { done: true }))).toEqual([409, 'FENCED'])
  })

  test('that is done finds what came before an earlier one has acked', async () => {
    const { appendNoted, claim, ack, eventsOnce } = await startWoken({ clock: new ManualClock() })
    const { json } = await claim('s')
    await appendNoted('x')
    await ack('s', json.token, json, { acks: acksOf(json) })
    expect(told(await ack('s', json.token, json, { done: true }))).toEqual(OK(true))
    expect(generationsOf(await eventsOnce(2))).toEqual([1, 2])
  })

  test('extends the lease; without it another worker gets the work, in a new wake', async () => {
    const clock = new ManualClock()
    const { claim, ack, release, eventsOnce, events, begin, tail } = await startWoken({ clock })
    const first = (await claim('s', 'worker-1')).json
    for (let times = 0; times < 4; times += 1) {
      await clock.advanceAsync(LEASE_MS - 1)
      expect(told(await ack('s', first.token, first))).toEqual(OK(false))
    }
    expect(await events()).toHaveLength(1)
    await clock.advanceAsync(LEASE_MS)
    expect(generationsOf(await eventsOnce(2))).toEqual([1, 2])
    const second = (await claim('s', 'worker-2')).json
    expect(second).toMatchObject({
      generation: 2,
      streams: [{ path: 'x', acked_offset: begin, tail_offset: tail }],
    })
    expect(second.wake_id).not.toBe(first.wake_id)
    const stale = { acks: acksOf(first), done: true }
    expect(refusal(await ack('s', first.token, first, stale))).toEqual([409, 'FENCED'])
    expect(refusal(await ack('s', first.token, second, stale))).toEqual([409, 'FENCED'])
    expect(refusal(await release('s', first.token, first))).toEqual([409, 'FENCED'])
    expect(told(await ack('s', second.token, second, stale))).toEqual(OK(false))
  })

  test('needs the token of its claim', async () => {
    const { claim, ack, release, callback, subscribe, begin, ackedOf } = await startWoken()
    await subscribe('other', { streams: ['z'] })
    const { json } = await claim('s')
    const progress = { acks: acksOf(json), done: true }
    for (const token of [undefined, 'a.b.c', `${json.token}A`]) {
      expect(refusal(await ack('s', token, json, progress))).toEqual([401, 'TOKEN_INVALID'])
      expect(refusal(await release('s', token, json))).toEqual([401, 'TOKEN_INVALID'])
    }
    expect((await ack('other', json.token, json, progress)).status).toBe(401)
    expect((await callback('s', json.token, json, progress)).status).toBe(401)
    expect(await ackedOf('x')).toBe(begin)
  })
})

describe('a release', () => {
  test('leaves the work for the next claim, with an event of its own', async () => {
    const { claim, release, ack, eventsOnce, begin, ackedOf } = await startWoken()
    const first = (await claim('s', 'worker-1')).json
    const { status, body } = await release('s', first.token, first)
    expect([status, body]).toEqual([204, ''])
    expect(generationsOf(await eventsOnce(2))).toEqual([1, 2])
    expect(refusal(await release('s', first.token, first))).toEqual([409, 'FENCED'])
    expect(refusal(await ack('s', first.token, first, { done: true }))).toEqual([409, 'FENCED'])
    const second = (await claim('s', 'worker-2')).json
    expect([second.generation, await ackedOf('x')]).toEqual([2, begin])
  })

  test('without work left is the end of it', async () => {
    const { claim, release, ack, events, append, eventsOnce } = await startWoken()
    const { json } = await claim('s')
    await ack('s', json.token, json, { acks: acksOf(json) })
    expect((await release('s', json.token, json)).status).toBe(204)
    expect(refusal(await claim('s'))).toEqual([409, 'NO_PENDING_WORK'])
    expect(await events()).toHaveLength(1)
    await append('y')
    expect((await eventsOnce(2))[1]).toMatchObject({ stream: 'y', generation: 2 })
  })

  test('finds what came before an ack', async () => {
    const { appendNoted, claim, ack, release, eventsOnce } = await startWoken({
      clock: new ManualClock(),
    })
    const { json } = await claim('s')
    await appendNoted('x')
    await ack('s', json.token, json, { acks: acksOf(json) })
    expect((await release('s', json.token, json)).status).toBe(204)
    expect(generationsOf(await eventsOnce(2))).toEqual([1, 2])
  })
})

test('a deletion ends a claim, and its acks count for nothing', async () => {
  const { claim, ack, release, remove, subscribe, append, eventsOnce, begin, ackedOf } =
    await startWoken()
  const { json } = await claim('s')
  await remove('s')
  const gone = [404, 'SUBSCRIPTION_NOT_FOUND']
  const progress = { acks: acksOf(json), done: true }
  expect(refusal(await ack('s', json.token, json, progress))).toEqual(gone)
  expect(refusal(await release('s', json.token, json))).toEqual(gone)
  expect(refusal(await claim('s'))).toEqual(gone)
  await subscribe('s', { streams: ['x', 'never'] })
  await append('x')
  // The same generation of another life has an event of its own.
  expect(generationsOf(await eventsOnce(2))).toEqual([1, 1])
  expect(refusal(await ack('s', json.token, json, progress))).toEqual([401, 'TOKEN_INVALID'])
  expect(await ackedOf('never')).toBe(BEFORE_FIRST)
  expect(await ackedOf('x')).not.toBe(begin)
})
