/** What subscriptions cost in calls of S2: nothing while nothing happens, and little while it does. */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { startGatewayProcess } from '../support/gateway-process.ts'
import type { GatewayProcess } from '../support/gateway-process.ts'
import { appendJson, createJsonStream } from '../support/http-calls.ts'
import { findS2Lite, startS2Lite } from '../support/s2-lite.ts'
import { startS2Proxy } from '../support/s2-proxy.ts'
import type { S2Proxy } from '../support/s2-proxy.ts'
import {
  ACCEPTED,
  allAcked,
  allOf,
  progress,
  subscribe,
  subscriptionEnv,
  webhook,
  WebhookSink,
} from '../support/subscription-processes.ts'

const TAKEOVER_MS = 1_000
/** Streams are given up half a `TAKEOVER_MS` after their last append, in two steps of as much. */
const SETTLED_MS = 2.5 * TAKEOVER_MS
/** A gateway with something in hand shows that it lives four times in each `TAKEOVER_MS`. */
const BEAT_MS = TAKEOVER_MS / 4

describe.skipIf(findS2Lite() === undefined)('calls of S2', () => {
  async function open(): Promise<{ proxy: S2Proxy; gateway: GatewayProcess; sink: WebhookSink }> {
    const s2 = await startS2Lite()
    onTestFinished(() => s2.stop('SIGKILL'))
    const proxy = await startS2Proxy({ target: s2.port })
    onTestFinished(() => proxy.stop())
    const basin = `cost-${randomUUID().slice(0, 8)}`
    const gateway = await startGatewayProcess(subscriptionEnv(proxy.url, basin, TAKEOVER_MS))
    return { proxy, gateway, sink: await WebhookSink.start() }
  }

  const sum = (proxy: S2Proxy): number =>
    Object.values(proxy.counts()).reduce((total, count) => total + count, 0)

  async function callsWithin(proxy: S2Proxy, ms: number): Promise<number> {
    proxy.reset()
    await sleep(ms)
    return sum(proxy)
  }

  async function makeStreams(gateway: GatewayProcess, names: readonly string[]): Promise<void> {
    for (let begin = 0; begin < names.length; begin += 20) {
      const some = names.slice(begin, begin + 20)
      await Promise.all(some.map((name) => createJsonStream(gateway.stream(name))))
      await Promise.all(some.map((name) => append(gateway, name)))
    }
  }

  async function append(gateway: GatewayProcess, name: string): Promise<void> {
    const { status, body } = await appendJson(gateway.stream(name), 'message')
    expect({ name, status, body }).toMatchObject({ status: 204 })
  }

  const named = (prefix: string, count: number): readonly string[] =>
    Array.from({ length: count }, (_, index) => `${prefix}/${index}`)

  test('streams that nothing happens to cost nothing', async () => {
    const { proxy, gateway, sink } = await open()
    const before = named('events', 100)
    await makeStreams(gateway, before)
    await subscribe(gateway, 'sub', webhook(sink, 'sub', 'events/*'))
    const after = named('events/more', 100).map((name) => name.replace('/more/', '/more-'))
    await makeStreams(gateway, after)
    await allAcked(gateway, 'sub', after.slice(-1), 10_000)
    await sleep(SETTLED_MS)

    const idle = await callsWithin(proxy, 10_000)
    expect(idle).toBeLessThanOrEqual(2)
  })

  test('work that nobody does costs the same, of one stream and of 60', async () => {
    const { proxy, gateway, sink } = await open()
    sink.script('sub', () => ACCEPTED)
    await subscribe(gateway, 'sub', webhook(sink, 'sub', 'events/*', 600_000))
    await makeStreams(gateway, ['events/first'])
    await sink.nth('sub', 1, 5_000)
    await sleep(SETTLED_MS)
    const few = await callsWithin(proxy, 3_000)
    await makeStreams(gateway, named('events', 60))
    await sleep(SETTLED_MS)
    const many = await callsWithin(proxy, 3_000)
    // Only that it lives, for it holds the lease's timer.
    const beats = 3_000 / BEAT_MS + 2
    expect(few).toBeLessThanOrEqual(beats)
    expect(many).toBeLessThanOrEqual(beats)
  })

  test('a busy stream with a wake in flight costs a few calls for each append', async () => {
    const { proxy, gateway, sink } = await open()
    sink.script('sub', () => ACCEPTED)
    const wide = named('events', 200)
    await makeStreams(gateway, wide)
    await subscribe(gateway, 'sub', webhook(sink, 'sub', 'events/*'))
    await append(gateway, 'events/0')
    const { wake } = await sink.nth('sub', 1, 5_000)
    await sleep(100)

    proxy.reset()
    const begun = Date.now()
    for (let count = 0; count < 100; count += 1) await append(gateway, 'events/0')
    const took = Date.now() - begun
    const counts = proxy.counts()
    // The appends themselves, at most one look for each, and signs of life.
    expect(counts.append).toBeLessThanOrEqual(100 + took / BEAT_MS + 10)
    expect(sum(proxy)).toBeLessThanOrEqual(220 + (3 * took) / BEAT_MS)

    proxy.reset()
    await Promise.all(Array.from({ length: 100 }, () => append(gateway, 'events/0')))
    expect(sum(proxy)).toBeLessThanOrEqual(120)

    proxy.reset()
    const request = { wake, token: wake.callback_token, acks: allOf(wake), done: true }
    expect(await progress(gateway, 'sub', request)).toMatchObject({ status: 200 })
    await sink.nth('sub', 2, 5_000)
    await sleep(50)
    expect(sum(proxy)).toBeLessThanOrEqual(20)
  })
})
