/** kill -9 of a gateway with subscriptions in hand: another one goes on, with the same wakes. */
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { CleanUps } from '../support/clean-ups.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import type { GatewayProcess } from '../support/gateway-process.ts'
import { appendJson, createJsonStream } from '../support/http-calls.ts'
import { findS2Lite, startS2Lite } from '../support/s2-lite.ts'
import type { S2Lite } from '../support/s2-lite.ts'
import { startS2Proxy } from '../support/s2-proxy.ts'
import type { S2CallCounts, S2Proxy } from '../support/s2-proxy.ts'
import {
  ACCEPTED,
  allAcked,
  allOf,
  BROKEN,
  describeSubscription,
  DONE,
  expectSoundWakes,
  keySet,
  progress,
  subscribe,
  subscriptionEnv,
  tailOf,
  tryToSubscribe,
  webhook,
  WebhookSink,
  Worker,
} from '../support/subscription-processes.ts'
import { WriteGate } from '../support/write-gate.ts'

const TAKEOVER_MS = 2_000
/** By then a gateway that died must have been replaced, whatever it had in hand. */
const BOUND_MS = 3 * TAKEOVER_MS
/** The clocks are one and the same, but timers and records are rounded. */
const ROUNDING_MS = 20
/** From an append to its webhook, when all is well. */
const PROMPT_MS = 1_500

/** Each victim dies this long after its last append was acknowledged; -1: while it is under way. */
const KILL_AFTER_MS = [
  [-1, 0, 2, 4, 6],
  [8, 11, 14, 17, 20],
]

describe.skipIf(findS2Lite() === undefined)('a gateway that dies', () => {
  const cleanUps = new CleanUps()
  let s2: S2Lite

  beforeAll(async () => {
    const root = await mkdtemp(join(tmpdir(), 'ds-subscriptions-'))
    cleanUps.add(() => rm(root, { recursive: true }))
    s2 = await startS2Lite({ localRoot: root })
    cleanUps.add(() => s2.stop('SIGKILL'))
  })
  afterAll(() => cleanUps.run())

  /** Starts gateways that share a basin with nobody else. */
  function cluster(): (endpoint?: string) => Promise<GatewayProcess> {
    const basin = `crash-${randomUUID().slice(0, 8)}`
    return (endpoint = s2.url) => startGatewayProcess(subscriptionEnv(endpoint, basin, TAKEOVER_MS))
  }

  async function appended(gateway: GatewayProcess, stream: string): Promise<void> {
    const { status, body } = await appendJson(gateway.stream(stream), { at: Date.now() })
    expect({ stream, status, body }).toMatchObject({ status: 204 })
  }

  /** Lets a gateway append to a stream three times and dies by kill -9 right after. */
  async function appendAndDie(
    victim: GatewayProcess,
    stream: string,
    killAfterMs: number,
  ): Promise<void> {
    await createJsonStream(victim.stream(stream))
    for (let count = 0; count < 2; count += 1) await appended(victim, stream)
    if (killAfterMs < 0) {
      // Whether it is stored or not, nobody was told.
      const append = appendJson(victim.stream(stream), 'unanswered').catch(() => undefined)
      await sleep(2)
      await victim.stop('SIGKILL')
      await append
      return
    }
    await appended(victim, stream)
    if (killAfterMs > 0) await sleep(killAfterMs)
    await victim.stop('SIGKILL')
  }

  /** Waits until a gateway has begun its first append, and that many calls after it. */
  async function callsAfterAppend(proxy: S2Proxy, calls: number): Promise<void> {
    const sum = (counts: S2CallCounts): number => Object.values(counts).reduce((a, b) => a + b, 0)
    let before: number | undefined
    for (;;) {
      const counts = proxy.counts()
      if (counts.append > 0) before ??= sum(counts)
      if (before !== undefined && sum(counts) >= before + calls) return
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  type Victim = { readonly name: string; readonly stream: string; readonly killAfterMs: number }

  const victimsOf = (delays: readonly number[], prefix: string): readonly Victim[] =>
    delays.map((killAfterMs) => {
      const name = killAfterMs < 0 ? 'early' : `after-${killAfterMs}`
      return { name, stream: `${prefix}/${name}/log`, killAfterMs }
    })

  async function killAll(
    victims: readonly Victim[],
    start: () => Promise<GatewayProcess>,
  ): Promise<void> {
    const gateways = await Promise.all(victims.map(() => start()))
    for (const [index, { stream, killAfterMs }] of victims.entries()) {
      await appendAndDie(gateways[index]!, stream, killAfterMs)
    }
  }

  test('between an acknowledged append and its webhook leaves nothing undelivered', async () => {
    const start = cluster()
    const survivor = await start()
    const sink = await WebhookSink.start()
    const rounds = KILL_AFTER_MS.map((delays) => victimsOf(delays, 'events'))
    // One for each victim's own stream, and one for all, which mostly has a wake in flight.
    await subscribe(survivor, 'all', webhook(sink, 'all', 'events/**'))
    for (const { name } of rounds.flat()) {
      await subscribe(survivor, name, webhook(sink, name, `events/${name}/*`))
    }
    // Those of a later round may take over from those before, and die of it in their turn.
    for (const victims of rounds) await killAll(victims, start)
    const streams = rounds.flat().map(({ stream }) => stream)
    await Promise.all([
      allAcked(survivor, 'all', streams, BOUND_MS),
      ...rounds.flat().map(({ name, stream }) => allAcked(survivor, name, [stream], BOUND_MS)),
    ])

    for (const { name } of [{ name: 'all' }, ...rounds.flat()]) expectSoundWakes(sink.at(name))
  })

  test('leaves its work to others while it can not reach S2, and is of use afterwards', async () => {
    const start = cluster()
    const proxy = await startS2Proxy({ target: s2.port })
    onTestFinished(() => proxy.stop())
    const [cutOff, survivor] = await Promise.all([start(proxy.url), start()])
    const sink = await WebhookSink.start()
    await subscribe(survivor, 'sub', webhook(sink, 'sub', 'events/*'))

    for (const name of ['one', 'two']) {
      const stream = `events/${name}`
      await createJsonStream(cutOff.stream(stream))
      await appended(cutOff, stream)
      proxy.pause()
      await allAcked(survivor, 'sub', [stream], BOUND_MS)
      proxy.resume()
      await appended(cutOff, stream)
      await allAcked(survivor, 'sub', [stream], BOUND_MS)
    }
    expectSoundWakes(sink.at('sub'))
  })

  test('and was only stopped for a while does no harm when it goes on', async () => {
    const start = cluster()
    const survivor = await start()
    const sleepAfterMs = [0, 5, 10, 15]
    const sleepers = await Promise.all(sleepAfterMs.map(() => start()))
    const sink = await WebhookSink.start()
    const ids = sleepAfterMs.map((ms) => `after-${ms}`)
    for (const id of ids) {
      await subscribe(survivor, id, webhook(sink, id, `${id}/*`))
      await createJsonStream(survivor.stream(`${id}/a`))
    }
    const settled = (): Promise<unknown> =>
      Promise.all(ids.map((id) => allAcked(survivor, id, [`${id}/a`], BOUND_MS)))

    for (const [index, id] of ids.entries()) {
      await appended(sleepers[index]!, `${id}/a`)
      await sleep(sleepAfterMs[index])
      sleepers[index]!.kill('SIGSTOP')
    }
    await settled()
    await Promise.all(ids.map((id) => appended(survivor, `${id}/a`)))
    await settled()
    for (const sleeper of sleepers) sleeper.kill('SIGCONT')
    await Promise.all(ids.map((id, index) => appended(sleepers[index]!, `${id}/a`)))
    await settled()
    for (const id of ids) {
      const wakes = sink.at(id).map(({ wake }) => `${wake.generation} ${wake.wake_id}`)
      const generations = new Set(sink.at(id).map(({ wake }) => wake.generation))
      expect({ id, wakes: new Set(wakes).size }).toEqual({ id, wakes: generations.size })
    }
  })

  test('when a stream is appended to again just as it is given up', async () => {
    const start = cluster()
    const survivor = await start()
    const sink = await WebhookSink.start()
    // Its mark goes from one to two halves of the time after the append before.
    const gaps = [1_000, 1_250, 1_500, 1_750]
    const victims = await Promise.all(gaps.map(() => start()))
    for (const gap of gaps) {
      await subscribe(survivor, `${gap}`, webhook(sink, `${gap}`, `gap-${gap}/*`))
    }
    await Promise.all(
      gaps.map(async (gap, index) => {
        const [victim, stream] = [victims[index]!, `gap-${gap}/a`]
        await createJsonStream(victim.stream(stream))
        await appended(victim, stream)
        await sleep(gap)
        await appended(victim, stream)
        await victim.stop('SIGKILL')
      }),
    )
    await Promise.all(gaps.map((gap) => allAcked(survivor, `${gap}`, [`gap-${gap}/a`], BOUND_MS)))
    for (const gap of gaps) expectSoundWakes(sink.at(`${gap}`))
  })

  test('while it creates a subscription: the next attempt makes it whole', async () => {
    const start = cluster()
    const survivor = await start()
    const sink = await WebhookSink.start()
    const callsBeforeDeath = [0, 2, 4, 8]
    const ids = callsBeforeDeath.map((calls) => `after-${calls}`)
    for (const id of ids) {
      await createJsonStream(survivor.stream(`${id}/old`))
      await appended(survivor, `${id}/old`)
    }
    const proxies = await Promise.all(ids.map(() => startS2Proxy({ target: s2.port })))
    const victims = await Promise.all(proxies.map(({ url }) => start(url)))
    for (const [index, id] of ids.entries()) {
      const [proxy, victim] = [proxies[index]!, victims[index]!]
      proxy.reset()
      const config = webhook(sink, id, `${id}/*`)
      const first = subscribe(victim, id, config).catch(() => undefined)
      await callsAfterAppend(proxy, callsBeforeDeath[index]!)
      await victim.stop('SIGKILL')
      await proxy.stop()
      await first
    }
    const begun = Date.now()
    const again = ids.map((id) => tryToSubscribe(survivor, id, webhook(sink, id, `${id}/*`)))
    for (const status of await Promise.all(again)) expect([200, 201]).toContain(status)
    // One that is half made is left to its maker for a while.
    expect(Date.now() - begun).toBeLessThan(5 * TAKEOVER_MS)
    for (const id of ids) await appended(survivor, `${id}/old`)
    await Promise.all(ids.map((id) => allAcked(survivor, id, [`${id}/old`], BOUND_MS)))
    for (const id of ids) expectSoundWakes(sink.at(id))
  })

  test('while a webhook is under way: the same wake comes again, and its token works', async () => {
    const start = cluster()
    const [victim, survivor] = await Promise.all([start(), start()])
    const sink = await WebhookSink.start()
    for (const id of ['again', 'finished', 'partly']) {
      sink.script(id, (_, nth) => (nth === 1 ? 'hang' : ACCEPTED))
      await subscribe(survivor, id, webhook(sink, id, `${id}/*`))
      await createJsonStream(survivor.stream(`${id}/a`))
      await appended(victim, `${id}/a`)
    }
    const [again, finished, partly] = await Promise.all(
      ['again', 'finished', 'partly'].map((id) => sink.nth(id, 1, PROMPT_MS)),
    )
    await victim.stop('SIGKILL')

    // The subscribers got their wakes, and tell whoever is there. Nobody has taken over yet.
    const { callback_token: token } = finished!.wake
    const done = { wake: finished!.wake, token, acks: allOf(finished!.wake), done: true }
    expect(await progress(survivor, 'finished', done)).toMatchObject({
      status: 200,
      body: '{"ok":true,"next_wake":false}',
    })
    const beat = { wake: partly!.wake, token: partly!.wake.callback_token }
    expect(await progress(survivor, 'partly', beat)).toMatchObject({ status: 200 })

    const second = await sink.nth('again', 2, BOUND_MS)
    expect(second.wake).toMatchObject({
      wake_id: again!.wake.wake_id,
      generation: 1,
      streams: again!.wake.streams,
    })
    const late = { wake: again!.wake, token: again!.wake.callback_token, acks: allOf(again!.wake) }
    expect(await progress(survivor, 'again', late)).toMatchObject({ status: 200 })
    expect(await progress(survivor, 'again', { ...late, done: true })).toMatchObject({
      status: 200,
    })
    expect(await progress(survivor, 'again', late)).toMatchObject({ status: 409 })
    await allAcked(survivor, 'again', ['again/a'], PROMPT_MS)

    await appended(survivor, 'again/a')
    const next = await sink.nth('again', 3, PROMPT_MS)
    expect(next.wake).toMatchObject({ generation: 2 })
    const fenced = await progress(survivor, 'again', { ...late, done: true })
    expect(fenced).toMatchObject({ status: 409 })
    expect(JSON.parse(fenced.body)).toMatchObject({ error: { code: 'FENCED' } })

    // Those that said that they have it were not woken again.
    expect(sink.at('finished')).toHaveLength(1)
    expect(sink.at('partly')).toHaveLength(1)
    const rest = { ...beat, acks: allOf(partly!.wake), done: true }
    expect(await progress(survivor, 'partly', rest)).toMatchObject({ status: 200 })
  })

  test('while a retry is scheduled: it is made when it is due, as the same wake', async () => {
    const start = cluster()
    const [victim, survivor] = await Promise.all([start(), start()])
    const sink = await WebhookSink.start()
    const failing = 4
    sink.script('sub', (_, nth) => (nth <= failing ? BROKEN : DONE))
    await subscribe(survivor, 'sub', webhook(sink, 'sub', 'events/*'))
    await createJsonStream(survivor.stream('events/a'))
    await appended(victim, 'events/a')
    // The third wait of about 4 s is longer than it takes to replace a gateway.
    await sink.nth('sub', 3, 10_000)
    await sleep(50) // for the failure to be written down
    const before = await describeSubscription(survivor, 'sub')
    await victim.stop('SIGKILL')
    const due = Date.parse(before.next_attempt_at ?? '')
    expect(before.status).toBe('failed')
    expect(due - Date.now()).toBeGreaterThan(TAKEOVER_MS + TAKEOVER_MS / 2)
    expect(await describeSubscription(survivor, 'sub')).toEqual(before)

    const fourth = await sink.nth('sub', 4, 10_000)
    expect(fourth.at).toBeGreaterThanOrEqual(due - ROUNDING_MS)
    expect(fourth.at).toBeLessThan(due + PROMPT_MS)
    // The fourth wait is 8 s, give or take a fifth: the schedule goes on where it was.
    await sleep(50)
    const after = await describeSubscription(survivor, 'sub')
    const wait = Date.parse(after.next_attempt_at ?? '') - fourth.at
    expect(wait).toBeGreaterThan(6_400 - ROUNDING_MS)
    expect(wait).toBeLessThan(9_600 + PROMPT_MS)
    expect(new Set(sink.at('sub').map(({ wake }) => wake.wake_id)).size).toBe(1)
    expectSoundWakes(sink.at('sub'))
  })

  test('while a lease is running: when it is over there is a new generation', async () => {
    const start = cluster()
    const [victim, survivor] = await Promise.all([start(), start()])
    expect(await keySet(survivor)).toEqual(await keySet(victim))
    const sink = await WebhookSink.start()
    const leaseMs = 3_500
    for (const id of ['left', 'renewed']) {
      sink.script(id, (_, nth) => (nth === 1 ? ACCEPTED : DONE))
      await subscribe(survivor, id, webhook(sink, id, `${id}/*`, leaseMs))
      await createJsonStream(survivor.stream(`${id}/a`))
      await appended(victim, `${id}/a`)
    }
    const left = await sink.nth('left', 1, PROMPT_MS)
    const renewed = await sink.nth('renewed', 1, PROMPT_MS)
    await sleep(50) // for the leases to be written down
    await victim.stop('SIGKILL')
    await sleep(1_500)
    const beat = { wake: renewed.wake, token: renewed.wake.callback_token }
    expect(await progress(survivor, 'renewed', beat)).toMatchObject({ status: 200 })
    const renewedAt = Date.now()

    const [next, later] = await Promise.all([
      sink.nth('left', 2, leaseMs + BOUND_MS),
      sink.nth('renewed', 2, leaseMs + BOUND_MS),
    ])
    expect(next.at - left.at).toBeGreaterThanOrEqual(leaseMs - ROUNDING_MS)
    expect(later.at - renewedAt).toBeGreaterThanOrEqual(leaseMs - PROMPT_MS / 10)
    for (const delivered of [next, later]) expect(delivered.wake.generation).toBe(2)
    expect(next.wake.wake_id).not.toBe(left.wake.wake_id)
    const fenced = { wake: left.wake, token: left.wake.callback_token, done: true }
    expect(await progress(survivor, 'left', fenced)).toMatchObject({ status: 409 })
    await allAcked(survivor, 'left', ['left/a'], PROMPT_MS)
    await allAcked(survivor, 'renewed', ['renewed/a'], PROMPT_MS)
    for (const id of ['left', 'renewed']) expectSoundWakes(sink.at(id))
  })

  test('in the middle of a callback does not keep the rest of the work waiting', async () => {
    const start = cluster()
    const survivor = await start()
    const sink = await WebhookSink.start()
    // What becomes of the victim's write of the callback: S2 never has it, has it when another
    // gateway has taken the callback already, or has it and answers into the void.
    const fates = { lost: 'request', late: 'request', unanswered: 'answer' } as const
    const ids = ['lost', 'late', 'unanswered'] as const
    for (const id of ids) {
      sink.script(id, (_, nth) => (nth === 1 ? ACCEPTED : DONE))
      await subscribe(survivor, id, webhook(sink, id, `${id}/*`))
      await createJsonStream(survivor.stream(`${id}/a`))
      await appended(survivor, `${id}/a`)
    }
    await Promise.all(ids.map((id) => sink.nth(id, 1, PROMPT_MS)))
    const tails = new Map<string, string>()
    for (const id of ids) {
      tails.set(id, await tailOf(survivor, `${id}/a`))
      await appended(survivor, `${id}/a`) // work that is left when the wake is over
    }
    // By now the survivor has forgotten that these streams have grown, but for the subscriptions.
    await sleep(TAKEOVER_MS * 2)

    for (const id of ids) {
      const gate = await WriteGate.start(s2.port)
      const victim = await start(gate.url)
      const { wake } = sink.at(id)[0]!
      const acks = [{ stream: `${id}/a`, offset: tails.get(id)! }]
      const done = { wake, token: wake.callback_token, acks, done: true }
      const held = gate.hold(1, fates[id], `__ds/subscriptions/${id}`)
      const answer = progress(victim, id, done).catch(() => undefined)
      const { deliver } = await held
      await victim.stop('SIGKILL')
      expect(await answer).toBeUndefined()
      // As a subscriber does that got no answer.
      const again = await progress(survivor, id, done)
      expect({ id, status: again.status }).toEqual({ id, status: id === 'unanswered' ? 409 : 200 })
      if (id === 'late') expect(await deliver()).toBe(412)
    }
    await Promise.all(ids.map((id) => allAcked(survivor, id, [`${id}/a`], BOUND_MS)))
    for (const id of ids) expectSoundWakes(sink.at(id))
  })

  test('between a wake and its event: a follower of the wake stream sees all work', async () => {
    const start = cluster()
    const survivor = await start()
    await createJsonStream(survivor.stream('wake/pool'))
    const worker = Worker.start(() => survivor, 'wake/pool')
    const rounds = KILL_AFTER_MS.map((delays) => victimsOf(delays, 'jobs'))
    const pull = { type: 'pull-wake', wake_stream: 'wake/pool' }
    await subscribe(survivor, 'all', { ...pull, pattern: 'jobs/**' })
    for (const { name } of rounds.flat()) {
      await subscribe(survivor, name, { ...pull, pattern: `jobs/${name}/*` })
    }
    // Those of a later round may take over from those before, and die of it in their turn.
    for (const victims of rounds) await killAll(victims, start)
    const streams = rounds.flat().map(({ stream }) => stream)
    await Promise.all([
      allAcked(survivor, 'all', streams, BOUND_MS),
      ...rounds.flat().map(({ name, stream }) => allAcked(survivor, name, [stream], BOUND_MS)),
    ])

    for (const { name } of [{ name: 'all' }, ...rounds.flat()]) {
      const events = worker.events.filter(({ subscription_id: id }) => id === name)
      const generations = events.map(({ generation }) => generation)
      const claimed = worker.claims.filter(({ subscription }) => subscription === name)
      expect({ name, generations }).toEqual({ name, generations: generations.map((_, n) => n + 1) })
      expect({ name, claimed: claimed.map(({ generation }) => generation) }).toEqual({
        name,
        claimed: generations,
      })
    }
    expect(worker.surprises).toEqual([])
  })
})
