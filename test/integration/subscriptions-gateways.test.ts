/** Subscriptions over several gateways and one log: any of them will do, and any may be gone. */
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { AppendOutcomeUnknownError, LogUnavailableError } from '../../src/errors.ts'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { AppendSession, DurableLog } from '../../src/log/log.ts'
import { CleanUps } from '../support/clean-ups.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGateway } from '../support/gateway.ts'
import { JSON_TYPE, appendJson, call, createJsonStream } from '../support/http-calls.ts'
import { ManualClock } from '../support/manual-clock.ts'
import {
  ACCEPTED,
  DONE,
  WebhookReceiver,
  acksOf,
  gate,
  subscriptionsAt,
} from '../support/webhook-receiver.ts'
import type { Delivered, Reply, Told, WireStream } from '../support/webhook-receiver.ts'
import { wrapAppends } from '../support/wrapped-appends.ts'

const TAKEOVER_MS = 1000
const BEFORE_FIRST = '-1'

let cleanUps: CleanUps
beforeEach(() => {
  cleanUps = new CleanUps()
})
afterEach(() => cleanUps.run())

/** What a gateway asks of the log, of one stream if it names one. */
type Ask = { readonly what: string; readonly stream: string }

const CUT_OFF = new LogUnavailableError(new Error('cut off'))
const NOT_ANSWERED = new AppendOutcomeUnknownError(new Error('cut off'))

/** A gateway's line to the log, which can be cut, or held up for some of what goes over it. */
class Line {
  /** `refused`: every call fails. `silent`: none is ever answered. */
  state: 'up' | 'refused' | 'silent' = 'up'
  /** How long every call is on its way, in ms. */
  latencyMs = 0
  readonly log: DurableLog
  #isHeld: (ask: Ask) => boolean = () => false
  #held: (() => void)[] = []
  #onHeld: (() => void) | undefined
  readonly #silenced: ((error: Error) => void)[] = []

  constructor(log: DurableLog) {
    this.log = new Proxy(log, {
      get: (target, property) => {
        const value: unknown = Reflect.get(target, property)
        if (typeof value !== 'function' || property === 'openReadSession') return value
        if (property === 'openAppendSession') {
          return (stream: string) => this.#wrap(target.openAppendSession(stream), stream)
        }
        return async (...args: unknown[]): Promise<unknown> => {
          await this.#go({ what: String(property), stream: String(args[0]) })
          const answer: unknown = await value.apply(target, args)
          await this.#pass({ what: 'answer', stream: '' })
          return answer
        }
      },
    })
  }

  #wrap(session: AppendSession, stream: string): AppendSession {
    return wrapAppends(session, {
      before: () => this.#go({ what: 'append', stream }),
      after: () => this.#pass({ what: 'answer', stream: '' }),
    })
  }

  async #go(ask: Ask): Promise<void> {
    await this.#pass(ask)
    if (this.latencyMs > 0) await delay(this.latencyMs)
  }

  /** Holds up what is asked for, until the returned function is called. */
  hold(isHeld: (ask: Ask) => boolean): { release: () => void; readonly caught: Promise<void> } {
    this.#isHeld = isHeld
    const caught = new Promise<void>((resolve) => {
      this.#onHeld = resolve
    })
    const release = (): void => {
      this.#isHeld = () => false
      for (const go of this.#held.splice(0)) go()
    }
    return { release, caught }
  }

  /** What was never answered has failed, as it does when a time limit is over. */
  repair(): void {
    this.state = 'up'
    for (const fail of this.#silenced.splice(0)) fail(CUT_OFF)
  }

  async #pass(ask: Ask): Promise<void> {
    if (this.state === 'up' && this.#isHeld(ask)) {
      this.#onHeld?.()
      await new Promise<void>((resolve) => {
        this.#held.push(resolve)
      })
    }
    if (this.state === 'silent') {
      await new Promise<never>((_resolve, reject) => this.#silenced.push(reject))
    }
    if (this.state === 'refused') throw ask.what === 'answer' ? NOT_ANSWERED : CUT_OFF
  }
}

type Member = TestGateway & ReturnType<typeof subscriptionsAt> & { readonly line: Line }

type Setup = {
  readonly gateways?: number
  readonly clock?: ManualClock
  readonly env?: Readonly<Record<string, string>>
}

async function start({ gateways = 2, clock, env = {} }: Setup = {}) {
  const receiver = await WebhookReceiver.start()
  cleanUps.add(() => receiver.close())
  const now = clock === undefined ? {} : { now: () => clock.now() }
  const log = await openEmbeddedLog({ location: { kind: 'memory' }, ...now })
  cleanUps.add(() => log.close())
  const join = async (): Promise<Member> => {
    const line = new Line(log)
    const settings = {
      ALLOW_LOCAL_WEBHOOKS: 'true',
      SUBSCRIPTION_TAKEOVER_MS: String(TAKEOVER_MS),
      SHUTDOWN_GRACE_MS: '100',
      ...env,
    }
    const gateway = await startGateway({ log: line.log, env: settings, ...(clock && { clock }) })
    cleanUps.add(() => {
      line.repair()
      const down = gateway.shutdown()
      return clock === undefined ? down : creep(clock, down)
    })
    return { ...gateway, ...subscriptionsAt(gateway), line }
  }
  const all: Member[] = []
  for (let n = 0; n < gateways; n += 1) all.push(await join())
  const [a, b] = all as [Member, Member]
  const create = (name: string) => createJsonStream(a.stream(name))
  const subscribe = async (at: Member, id: string, body: object) => {
    const answer = at.put(id, { type: 'webhook', webhook: { url: receiver.url }, ...body })
    expect((await (clock === undefined ? answer : creep(clock, answer))).status).toBe(201)
  }
  return { receiver, join, all, a, b, create, subscribe }
}

async function append(at: TestGateway, name: string, message: unknown = 1): Promise<string> {
  const answer = await appendJson(at.stream(name), message)
  expect([answer.status, answer.body]).toEqual([204, ''])
  return String(answer.headers['stream-next-offset'])
}

/** Lets time go on a little faster than it does, until a promise is settled. */
async function creep<T>(clock: ManualClock, settled: Promise<T>): Promise<T> {
  let isOver = false
  const over = (): void => {
    isOver = true
  }
  void settled.then(over, over)
  while (!(isOver as boolean)) {
    await delay(1)
    await clock.advanceAsync(5)
  }
  return settled
}

async function linksOf(at: Member, id: string): Promise<WireStream[]> {
  return (await at.get(id)).json.streams
}

async function ackedOf(at: Member, id: string): Promise<Record<string, string>> {
  const links = await linksOf(at, id)
  return Object.fromEntries(
    links.map(({ path, acked_offset }) => [path, acked_offset] as [string, string]),
  )
}

const told = ({ status, json }: Told) => [status, json]
const refusal = ({ status, json }: Told) => [status, json.error.code]
const OK = (next_wake: boolean) => [200, { ok: true, next_wake }]

/** Each generation once and in order; what a wake begins with is what the one before has ended with. */
function expectOneStory(delivered: readonly Delivered[], id: string): void {
  const wakes = delivered.map(({ payload }) => payload).filter((p) => p.subscription_id === id)
  expect(wakes.map(({ generation }) => generation)).toEqual(wakes.map((_, n) => n + 1))
  expect(new Set(wakes.map(({ wake_id }) => wake_id)).size).toBe(wakes.length)
  const acked = new Map<string, string>()
  for (const { streams } of wakes) {
    for (const { path, acked_offset, tail_offset } of streams) {
      expect(acked_offset).toBe(acked.get(path) ?? acked_offset)
      expect(tail_offset > acked_offset).toBe(true)
      acked.set(path, tail_offset)
    }
  }
}

describe('gateways together', () => {
  test('deliver each wake once, and all work is done in the end', async () => {
    // Longer than others may keep this process from running.
    const env = { SUBSCRIPTION_TAKEOVER_MS: '4000' }
    const { receiver, all, a, create, subscribe } = await start({ gateways: 3, env })
    const streams = Array.from({ length: 6 }, (_, n) => `e/${n}`)
    for (const name of streams) await create(name)
    await subscribe(a, 'sync', { pattern: 'e/*' })
    await subscribe(a, 'async', { pattern: 'e/*' })
    const wrong: unknown[] = []
    let turn = 0
    receiver.otherwise = ({ payload }) => {
      if (payload.subscription_id === 'sync') return DONE
      // Every gateway takes callbacks, whoever has woken.
      const at = all[(turn += 1) % all.length]!
      void at
        .callback('async', payload.callback_token, payload, { acks: acksOf(payload), done: true })
        .then((answer) => {
          if (answer.status !== 200) wrong.push(told(answer))
        })
      return ACCEPTED
    }
    const tails: Record<string, string> = {}
    const writers = all.flatMap((at) =>
      streams.map(async (name) => {
        for (let n = 0; n < 10; n += 1) {
          const tail = await append(at, name, n)
          if (tail > (tails[name] ?? '')) tails[name] = tail
        }
      }),
    )
    const settled = await Promise.allSettled(writers)
    expect(settled.filter(({ status }) => status === 'rejected')).toEqual([])
    for (const id of ['sync', 'async']) {
      await expect.poll(() => ackedOf(a, id), { timeout: 10_000 }).toEqual(tails)
      expectOneStory(receiver.delivered, id)
    }
    expect(wrong).toEqual([])
  })

  test('wake for what is appended anywhere right after a subscription is made', async () => {
    const { receiver, all, create, subscribe } = await start({ gateways: 3 })
    receiver.otherwise = DONE
    for (let n = 0; n < 6; n += 1) {
      const [here, there] = [all[n % 3]!, all[(n + 1) % 3]!]
      await create(`x${n}`)
      const acked_offset = await append(here, `x${n}`)
      const body = n % 2 === 0 ? { streams: [`x${n}`] } : { pattern: `x${n}` }
      await subscribe(here, `s${n}`, body)
      const tail_offset = await append(there, `x${n}`)
      expect((await receiver.next()).payload).toMatchObject({
        subscription_id: `s${n}`,
        streams: [{ path: `x${n}`, acked_offset, tail_offset }],
      })
      expect((await here.remove(`s${n}`)).status).toBe(204)
      expect((await there.get(`s${n}`)).status).toBe(404)
    }
  })

  test('miss nothing that is appended while a subscription is made', async () => {
    const { receiver, all, a, b, create, subscribe } = await start({ gateways: 3 })
    receiver.otherwise = DONE
    const streams = ['e/1', 'e/2', 'e/3']
    for (const name of streams) await create(name)
    const tails: Record<string, string> = {}
    let isMade = false
    const writers = streams.map(async (name, n) => {
      for (let more = 5; more > 0; more -= isMade ? 1 : 0) {
        tails[name] = await append(all[n]!, name)
      }
    })
    await subscribe(a, 's', { pattern: 'e/*' })
    isMade = true
    await Promise.all(writers)
    await expect.poll(() => ackedOf(b, 's'), { timeout: 10_000 }).toEqual(tails)
    expectOneStory(receiver.delivered, 's')
  })

  test('have their turn to append, however busy the others are', async () => {
    const env = { SUBSCRIPTION_TAKEOVER_MS: '10000', APPEND_TIMEOUT_MS: '3000' }
    const { receiver, all, a, b, create, subscribe } = await start({ gateways: 3, env })
    receiver.otherwise = DONE
    const last = all[2]!
    for (let n = 0; n < 8; n += 1) await create(`x${n}`)
    await subscribe(a, 's', { pattern: '**' })
    for (const { line } of all) line.latencyMs = 10
    const work = { isOver: false }
    const busy = [a, b].flatMap((at, n) =>
      [1, 2, 3].map(async (writer) => {
        for (let more = 0; !work.isOver; more += 1) {
          const name = `e/${n}/${writer}/${more}`
          await call(at.stream(name), { method: 'PUT', headers: JSON_TYPE, body: '[1]' })
        }
      }),
    )
    try {
      for (let n = 0; n < 8; n += 1) await append(last, `x${n}`)
    } finally {
      work.isOver = true
      await Promise.all(busy)
    }
  })

  test('make one subscription of the same request to all of them', async () => {
    const { receiver, all, create } = await start({ gateways: 3 })
    await create('x')
    const body = { type: 'webhook', webhook: { url: receiver.url }, streams: ['x'] }
    const answers = await Promise.all([...all, ...all].map((at) => at.put('s', body)))
    const statuses = answers.map(({ status }) => status).sort()
    expect(statuses).toEqual([200, 200, 200, 200, 200, 201])
    const ages = answers.map(({ json }) => json.created_at)
    expect(new Set(ages).size).toBe(1)
  })

  test('give a claim to one worker, wherever it asks', async () => {
    const { all, a, b, create } = await start({ gateways: 3 })
    for (const name of ['x', 'wakes']) await create(name)
    await a.put('s', { type: 'pull-wake', wake_stream: 'wakes', streams: ['x'] })
    for (let generation = 1; generation <= 5; generation += 1) {
      const tail = await append(b, 'x')
      const answers = await Promise.all(all.map((at, n) => at.claim('s', `worker-${n}`)))
      expect(answers.map(({ status }) => status).sort()).toEqual([200, 409, 409])
      const winner = answers.find(({ status }) => status === 200)!.json
      expect(winner.generation).toBe(generation)
      const at = all[generation % 3]!
      const acks = [{ stream: 'x', offset: tail }]
      expect(told(await at.ack('s', winner.token, winner, { acks, done: true }))).toEqual(OK(false))
    }
    const events = JSON.parse((await call(a.stream('wakes'))).body) as { generation: number }[]
    const generations = events.map(({ generation }) => generation)
    expect(generations).toEqual([...new Set(generations)].sort())
  })
})

describe('what one gateway is told', () => {
  const manual = { env: { SUBSCRIPTION_TAKEOVER_MS: '600000' } }
  const startWoken = async (reply: Reply, lease_ttl_ms: number) => {
    const clock = new ManualClock()
    const started = await start({ ...manual, clock })
    const { receiver, a, create, subscribe } = started
    await create('x')
    await create('witness')
    await subscribe(a, 's', { streams: ['x'], lease_ttl_ms })
    await subscribe(a, 'witness', { streams: ['witness'] })
    receiver.script(reply)
    const next = receiver.next()
    const tail = await creep(clock, append(a, 'x'))
    const { payload } = await creep(clock, next)
    /** Has the gateway that woke deliver something else, and nothing before. */
    const expectNothingElse = async () => {
      receiver.script(DONE)
      const next = receiver.next()
      await creep(clock, append(a, 'witness'))
      const { payload: delivered } = await creep(clock, next)
      expect([delivered.subscription_id, delivered.generation]).toEqual(['witness', 1])
      expect(receiver.untaken).toBe(0)
    }
    return { ...started, clock, tail, payload, expectNothingElse }
  }

  test('extends a lease that another one watches', async () => {
    const { b, clock, payload, receiver } = await startWoken(ACCEPTED, 1000)
    const { callback_token: token } = payload
    for (let times = 0; times < 4; times += 1) {
      expect(told(await b.callback('s', token, payload))).toEqual(OK(false))
      await clock.advanceAsync(999)
    }
    expect(told(await b.callback('s', token, payload))).toEqual(OK(false))
    expect(receiver.untaken).toBe(0)
    await creep(clock, receiver.next())
    expect(receiver.delivered.at(-1)!.payload.generation).toBe(2)
    expect(refusal(await b.callback('s', token, payload))).toEqual([409, 'FENCED'])
  })

  test('ends the retries of another one: a deletion', async () => {
    const { b, clock, expectNothingElse } = await startWoken({ status: 500 }, 30_000)
    await expect.poll(async () => (await b.get('s')).json).toMatchObject({ status: 'failed' })
    expect((await creep(clock, b.remove('s'))).status).toBe(204)
    await clock.advanceAsync(1000)
    await expectNothingElse()
  })

  test('ends the retries of another one: a callback', async () => {
    const { a, b, clock, receiver, payload, expectNothingElse } = await startWoken(
      { status: 500 },
      30_000,
    )
    await expect.poll(async () => (await b.get('s')).json).toMatchObject({ status: 'failed' })
    const done = { acks: acksOf(payload), done: true }
    const answer = await creep(clock, b.callback('s', payload.callback_token, payload, done))
    expect(told(answer)).toEqual(OK(false))
    const next = receiver.next()
    await creep(clock, append(b, 'x'))
    expect((await creep(clock, next)).payload.generation).toBe(2)
    await clock.advanceAsync(1000)
    await expectNothingElse()
    expect((await a.get('s')).json).toMatchObject({ status: 'active' })
  })
})

describe('a link', () => {
  test('of the client is no more than that, whatever is appended meanwhile', async () => {
    const { receiver, a, b, create, subscribe } = await start()
    receiver.otherwise = DONE
    await create('x')
    await create('y')
    await subscribe(a, 's', { streams: ['y'] })
    const before = await append(b, 'x')
    const held = a.line.hold(
      ({ what, stream }) => what === 'append' && stream === '__ds/subscriptions/s',
    )
    const adding = a.link('s', 'x')
    await held.caught
    await append(b, 'x')
    await append(b, 'y')
    await receiver.next()
    held.release()
    expect((await adding).status).toBe(204)
    const tail = await append(b, 'x')
    await expect.poll(() => ackedOf(b, 's')).toMatchObject({ x: tail })
    const told = receiver.delivered.flatMap(({ payload }) => payload.streams)
    const first = told.find(({ path }) => path === 'x')!
    expect([first.link_type, first.acked_offset >= before]).toEqual(['explicit', true])
    await a.unlink('s', 'x')
    expect(await linksOf(b, 's')).toMatchObject([{ path: 'y' }])
  })

  test('that the client has ended does not come back by an append elsewhere', async () => {
    const { receiver, a, b, create, subscribe } = await start()
    receiver.otherwise = DONE
    for (const name of ['x', 'y']) await create(name)
    await subscribe(a, 's', { streams: ['x', 'y'] })
    const held = a.line.hold(({ what, stream }) => what === 'append' && stream === '__ds/directory')
    const removing = a.unlink('s', 'x')
    await Promise.race([held.caught, removing])
    await append(b, 'x')
    const tail = await append(b, 'y')
    await expect.poll(() => ackedOf(b, 's')).toMatchObject({ y: tail })
    held.release()
    expect((await removing).status).toBe(204)
    await append(b, 'x')
    await append(b, 'y')
    await expect.poll(() => linksOf(b, 's')).toMatchObject([{ path: 'y' }])
  })

  test('to a fork wakes for the plain stream that comes after it, at another gateway', async () => {
    const { receiver, a, b, create, subscribe } = await start()
    receiver.otherwise = DONE
    await create('source')
    await append(a, 'source')
    await subscribe(a, 's', { pattern: 'e/*' })
    const headers = { ...JSON_TYPE, 'stream-forked-from': '/v1/stream/source' }
    expect((await call(a.stream('e/x'), { method: 'PUT', headers })).status).toBe(201)
    const fork = await append(a, 'e/x')
    await expect.poll(() => ackedOf(a, 's')).toEqual({ 'e/x': fork })
    // The gateway that deletes comes to look what is there when it is another stream already.
    const held = a.line.hold(({ stream }) => stream === '__ds/subscriptions/s')
    const deleted = call(a.stream('e/x'), { method: 'DELETE' })
    await held.caught
    await createJsonStream(b.stream('e/x'))
    const plain = await append(b, 'e/x')
    held.release()
    expect((await deleted).status).toBe(204)
    await expect.poll(() => ackedOf(b, 's'), { timeout: 4000 }).toEqual({ 'e/x': plain })
    expect(receiver.delivered.at(-1)!.payload.streams).toMatchObject([
      { path: 'e/x', acked_offset: BEFORE_FIRST, tail_offset: plain },
    ])
  })
})

describe.each(['refused', 'silent'] as const)('a gateway whose log is %s', (state) => {
  /** Some more than it takes when nothing else keeps this machine busy. */
  const IN_TIME_MS = TAKEOVER_MS * 3

  test('after an acknowledged append: another one wakes', async () => {
    const { receiver, a, b, create, subscribe } = await start({ gateways: 3 })
    await create('x')
    await subscribe(b, 's', { streams: ['x'] })
    const held = a.line.hold(
      ({ what, stream }) => what !== 'answer' && stream === '__ds/subscriptions/s',
    )
    const tail = await append(a, 'x')
    await held.caught
    a.line.state = state
    held.release()
    const begun = performance.now()
    const { payload } = await receiver.next()
    expect(performance.now() - begun).toBeLessThan(IN_TIME_MS)
    expect(payload).toMatchObject({ generation: 1, streams: [{ path: 'x', tail_offset: tail }] })
    const done = { acks: acksOf(payload), done: true }
    expect(told(await b.callback('s', payload.callback_token, payload, done))).toEqual(OK(false))
    a.line.repair()
    const next = await append(b, 'x')
    expect((await receiver.next()).payload).toMatchObject({
      generation: 2,
      streams: [{ acked_offset: tail, tail_offset: next }],
    })
    expectOneStory(receiver.delivered, 's')
  })

  test('while its webhook is under way: another one sends it again', async () => {
    const { receiver, a, b, create, subscribe } = await start({ gateways: 3 })
    await create('x')
    await subscribe(b, 's', { streams: ['x'] })
    const answer = gate<Reply>()
    receiver.script(() => answer.opened)
    await append(a, 'x')
    const first = await receiver.next()
    a.line.state = state
    const begun = performance.now()
    const again = await receiver.next()
    expect(performance.now() - begun).toBeLessThan(IN_TIME_MS)
    expect(again.payload).toEqual({
      ...first.payload,
      callback_token: expect.any(String) as unknown,
      callback_url: first.payload.callback_url,
    })
    answer.open({ status: 500 })
    for (const { callback_token: token } of [first.payload, again.payload]) {
      expect(told(await b.callback('s', token, again.payload))).toEqual(OK(false))
    }
  })

  test('while a lease runs: another one ends it', async () => {
    const { receiver, a, b, create, subscribe } = await start({ gateways: 3 })
    await create('x')
    await subscribe(b, 's', { streams: ['x'], lease_ttl_ms: 1000 })
    await append(a, 'x')
    const first = await receiver.next()
    // It is written down by then that the webhook was taken.
    expect(told(await b.callback('s', first.payload.callback_token, first.payload))).toEqual(
      OK(false),
    )
    a.line.state = state
    const second = await receiver.next()
    expect([first.payload.generation, second.payload.generation]).toEqual([1, 2])
    expect(second.payload.streams).toEqual(first.payload.streams)
    const { callback_token: token } = first.payload
    expect(refusal(await b.callback('s', token, first.payload))).toEqual([409, 'FENCED'])
  })

  test('does not keep others from making subscriptions', async () => {
    const { receiver, a, b, create, subscribe } = await start({ gateways: 3 })
    await create('x')
    a.line.state = state
    await subscribe(b, 's', { streams: ['x'] })
    await append(b, 'x')
    expect((await receiver.next()).payload.generation).toBe(1)
    a.line.repair()
  })
})

test('a gateway that leaves has its work done by the others', async () => {
  const { receiver, a, b, create, subscribe } = await start()
  await create('x')
  await subscribe(a, 's', { streams: ['x'] })
  receiver.script({ status: 500 }, DONE)
  const tail = await append(a, 'x')
  const first = await receiver.next()
  await expect.poll(async () => (await b.get('s')).json).toMatchObject({ status: 'failed' })
  await a.shutdown()
  const { payload } = await receiver.next()
  expect([payload.generation, payload.wake_id]).toEqual([1, first.payload.wake_id])
  await expect.poll(() => ackedOf(b, 's')).toEqual({ x: tail })
})

test('a gateway that was asleep for long finds what has come into force meanwhile', async () => {
  const { receiver, a, b, create, subscribe } = await start()
  await create('x')
  await subscribe(b, 'other', { streams: ['y'] })
  a.line.state = 'refused'
  await subscribe(b, 's', { streams: ['x'] })
  a.line.repair()
  const tail = await append(a, 'x')
  expect((await receiver.next()).payload).toMatchObject({
    subscription_id: 's',
    streams: [{ tail_offset: tail }],
  })
})
