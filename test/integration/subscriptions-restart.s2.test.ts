/** The only gateway goes and comes back, and so does s2-lite: subscriptions go on where they were. */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { startGatewayProcess } from '../support/gateway-process.ts'
import type { Environment, GatewayProcess } from '../support/gateway-process.ts'
import { appendJson, createJsonStream } from '../support/http-calls.ts'
import { findS2Lite, startS2Lite } from '../support/s2-lite.ts'
import type { S2Lite } from '../support/s2-lite.ts'
import {
  ACCEPTED,
  allAcked,
  allOf,
  BROKEN,
  describeSubscription,
  DONE,
  expectSoundWakes,
  keySet,
  localWebhooks,
  progress,
  subscribe,
  subscriptionEnv,
  webhook,
  WebhookSink,
  Worker,
} from '../support/subscription-processes.ts'
import type { Delivered } from '../support/subscription-processes.ts'
import { temporaryDirectory } from '../support/temporary.ts'

const ROUNDING_MS = 20
const PROMPT_MS = 2_000
const LEASE_MS = 3_000

/** An s2-lite on disk, for one test. */
async function startDurableS2(): Promise<S2Lite> {
  const s2 = await startS2Lite({ localRoot: await temporaryDirectory() })
  onTestFinished(() => s2.stop('SIGKILL'))
  return s2
}

async function appended(gateway: GatewayProcess, stream: string): Promise<void> {
  const { status, body } = await appendJson(gateway.stream(stream), { at: Date.now() })
  expect({ stream, status, body }).toMatchObject({ status: 204 })
}

describe.skipIf(findS2Lite() === undefined)('the only gateway is started again', () => {
  type Env = (takeoverMs: number) => Promise<Environment>
  /** The environment over each kind of log, empty and on disk. */
  const logs: readonly Env[] = [
    async (takeoverMs) => ({ DATA_DIR: await temporaryDirectory(), ...localWebhooks(takeoverMs) }),
    async (takeoverMs) => {
      const { url } = await startDurableS2()
      return subscriptionEnv(url, `restart-${randomUUID().slice(0, 8)}`, takeoverMs)
    },
  ]
  type Signal = 'SIGTERM' | 'SIGKILL'
  const signals: readonly Signal[] = ['SIGTERM', 'SIGKILL']

  // Both logs at once: most of it is waiting.
  test.each(signals)('after %s: retries and leases go on as they were', async (signal) => {
    await Promise.all(logs.map((env) => restartOnce(env, signal)))
  })

  async function restartOnce(env: Env, signal: Signal): Promise<void> {
    // Long enough to tell: who leaves with good manners has not to be waited for.
    const takeoverMs = signal === 'SIGTERM' ? 10_000 : 2_000
    const environment = await env(takeoverMs)
    const sink = await WebhookSink.start()
    sink.script('in-flight', (_, nth) => (nth === 1 ? 'hang' : DONE))
    sink.script('retried', (_, nth) => (nth <= 2 ? BROKEN : DONE))
    sink.script('leased', (_, nth) => (nth === 1 ? ACCEPTED : DONE))
    sink.script('kept', () => ACCEPTED)
    const ids = ['in-flight', 'retried', 'leased', 'kept']
    const before = await startGatewayProcess(environment)
    for (const id of ids) {
      const lease = id === 'leased' ? LEASE_MS : 60_000
      await subscribe(before, id, webhook(sink, id, `${id}/*`, lease))
    }
    await createJsonStream(before.stream('wake/pool'))
    const pull = { type: 'pull-wake', wake_stream: 'wake/pool', pattern: 'pull/*' }
    await subscribe(before, 'pull', pull)
    for (const id of [...ids, 'pull']) {
      await createJsonStream(before.stream(`${id}/a`))
      await appended(before, `${id}/a`)
    }
    await sink.nth('retried', 2, 5_000)
    await sleep(50) // for the failure to be written down
    const due = Date.parse(
      (await describeSubscription(before, 'retried')).next_attempt_at ?? 'never',
    )
    const keys = await keySet(before)
    // What comes last is noticed by who comes next.
    await appended(before, 'in-flight/a')
    const exit = await before.stop(signal)
    expect(exit).toEqual(
      signal === 'SIGTERM' ? { code: 0, signal: null } : { code: null, signal: 'SIGKILL' },
    )

    const after = await startGatewayProcess(environment)
    const ready = Date.now()
    const wait = signal === 'SIGTERM' ? 0 : takeoverMs
    const bound = wait + PROMPT_MS
    const worker = Worker.start(() => after, 'wake/pool')
    const again = await sink.nth('in-flight', 2, bound)
    expect(again.wake).toMatchObject({
      wake_id: sink.at('in-flight')[0]!.wake.wake_id,
      generation: 1,
    })
    const retry = await sink.nth('retried', 3, Math.max(bound, due - Date.now() + PROMPT_MS))
    expect(retry.at).toBeGreaterThanOrEqual(due - ROUNDING_MS)
    expect(retry.at).toBeLessThan(Math.max(ready + bound, due + PROMPT_MS))
    expect(retry.wake.wake_id).toBe(sink.at('retried')[0]!.wake.wake_id)
    const leaseEnd = sink.at('leased')[0]!.at + LEASE_MS
    const next = await sink.nth('leased', 2, LEASE_MS + bound)
    expect(next.at).toBeGreaterThanOrEqual(leaseEnd - ROUNDING_MS)
    expect(next.at).toBeLessThan(Math.max(ready + bound, leaseEnd + PROMPT_MS))
    expect(next.wake.generation).toBe(2)
    expect(again.signature).toContain(`kid=${String(keys.keys[0]?.kid)},`)

    // A token of the process before is as good as ever, and so are the keys.
    expect(await keySet(after)).toEqual(keys)
    const [kept] = sink.at('kept')
    const { wake } = kept!
    const token = wake.callback_token
    const answer = await progress(after, 'kept', { wake, token, acks: allOf(wake), done: true })
    expect(answer).toMatchObject({ status: 200 })
    expect(sink.at('kept')).toHaveLength(1)
    for (const id of [...ids, 'pull']) await allAcked(after, id, [`${id}/a`], PROMPT_MS)
    expect(worker.events.map(({ generation }) => generation)).toEqual([1])
    for (const id of ids) expectSoundWakes(sink.at(id))
  }

  test('right after the last append of many: all of them wake', async () => {
    await Promise.all(logs.map((env) => restartOften(env)))
  })

  async function restartOften(env: Env): Promise<void> {
    const environment = await env(2_000)
    const sink = await WebhookSink.start()
    let gateway = await startGatewayProcess(environment)
    await subscribe(gateway, 'sub', webhook(sink, 'sub', 'events/*'))
    const streams = Array.from({ length: 8 }, (_, index) => `events/${index}`)
    for (const stream of streams) await createJsonStream(gateway.stream(stream))
    for (const signal of ['SIGKILL', 'SIGTERM', 'SIGKILL', 'SIGTERM'] as const) {
      await Promise.all(streams.map((stream) => appended(gateway, stream)))
      await gateway.stop(signal)
      gateway = await startGatewayProcess(environment)
      const bound = (signal === 'SIGKILL' ? 2_000 : 0) + PROMPT_MS
      await allAcked(gateway, 'sub', streams, bound)
    }
    expectSoundWakes(sink.at('sub'))
  }
})

describe.skipIf(findS2Lite() === undefined)('s2-lite is killed and comes back', () => {
  test('while wakes are in flight: all is delivered in the end', async () => {
    const s2 = await startDurableS2()
    const basin = `killed-${randomUUID().slice(0, 8)}`
    const env = { ...subscriptionEnv(s2.url, basin, 2_000), S2_TIMEOUT_MS: '1000' }
    const gateways = await Promise.all([startGatewayProcess(env), startGatewayProcess(env)])
    const [one, other] = gateways
    const sink = await WebhookSink.start()
    const calls = new Set<Promise<void>>()
    sink.script('slow', () => ({ ...DONE, afterMs: 100 }))
    sink.script('async', (delivered) => {
      const call = callBack(other, delivered).finally(() => calls.delete(call))
      calls.add(call)
      return ACCEPTED
    })
    await subscribe(one, 'slow', webhook(sink, 'slow', 'events/*'))
    await subscribe(one, 'async', webhook(sink, 'async', 'events/*', 5_000))
    await createJsonStream(one.stream('wake/pool'))
    const pull = { type: 'pull-wake', wake_stream: 'wake/pool', lease_ttl_ms: 5_000 }
    await subscribe(one, 'pull', { ...pull, pattern: 'events/*' })
    const worker = Worker.start(() => other, 'wake/pool')
    const streams = Array.from({ length: 6 }, (_, index) => `events/${index}`)
    for (const stream of streams) await createJsonStream(one.stream(stream))

    let isOver = false
    let stored = 0
    const writers = streams.map(async (stream, index) => {
      while (!isOver) {
        const { status } = await appendJson(gateways[index % 2]!.stream(stream), Date.now())
        if (status === 204) stored += 1
        await sleep(10)
      }
    })
    for (const upMs of [800, 1_500]) {
      await sleep(upMs)
      await s2.restart('SIGKILL')
    }
    await sleep(1_000)
    isOver = true
    await Promise.all(writers)
    const ids = ['slow', 'async', 'pull']
    await Promise.all(ids.map((id) => allAcked(one, id, streams, 20_000)))
    await Promise.all(calls)
    expect(stored).toBeGreaterThan(100)
    expectSoundWakes(sink.at('slow'))
    expectSoundWakes(sink.at('async'))
    const generations = worker.events.map(({ generation }) => generation)
    expect(generations).toEqual(generations.map((_, index) => index + 1))
    expect(worker.surprises).toEqual([])
  })

  /** As a patient subscriber does: again until it is taken, or too late. */
  async function callBack(gateway: GatewayProcess, { wake }: Delivered): Promise<void> {
    const request = { wake, token: wake.callback_token, acks: allOf(wake), done: true }
    for (;;) {
      const answer = await progress(gateway, 'async', request).catch(() => undefined)
      if (answer !== undefined && answer.status < 500) return
      await sleep(50)
    }
  }
})
