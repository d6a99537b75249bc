/** A gateway with enough to do: refuses what is new, and keeps those that it serves. */
import http from 'node:http'
import type { Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import type { Clock } from '../../src/clock.ts'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import { call } from '../support/http-calls.ts'
import { startGateway } from '../support/gateway.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { connect, readAnswers } from '../support/raw-http.ts'
import { SseClient } from '../support/sse-client.ts'

const TEXT = { 'content-type': 'text/plain' }
const cleanups: (() => unknown)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function start(lane: string, env: Readonly<Record<string, string>>, clock?: Clock) {
  const log = await openEmbeddedLog({ location: { kind: 'memory' } })
  const gateway = await startGateway({
    log,
    ...(clock && { clock }),
    env: { FAST_LANE: lane, ...env },
  })
  cleanups.push(async () => {
    await gateway.shutdown()
    await log.close()
  })
  // By a connection of its own, which is not to be there any more when the test begins.
  const agent = new http.Agent({ keepAlive: false })
  const create = (name: string) =>
    call(gateway.stream(name), { method: 'PUT', headers: TEXT, agent })
  const read = async (name: string) => {
    const client = await SseClient.open(`${gateway.stream(name)}?offset=-1&live=sse`, {}, agent)
    cleanups.push(() => client.leave())
    return client
  }
  return { gateway, create, read }
}

/** Asks by a connection of its own, and says whether that is closed after the answer. */
async function askOnce(url: string, path: string) {
  const socket: Socket = await connect(url)
  socket.write(`GET ${path} HTTP/1.1\r\nHost: gateway\r\n\r\n`)
  const [answer] = await readAnswers(socket, 1)
  socket.destroy()
  return answer
}

const REFUSAL = {
  'content-type': 'application/problem+json',
  'cache-control': 'no-store',
  'retry-after': expect.stringMatching(/^[1-4]$/) as string,
}

/** `FAST_LANE`. */
const LANES = ['on', 'off'] as const

describe.each(LANES)('with as many connections as it may have, lane %s', (lane) => {
  test('refuses the requests of further ones, but for probes, and closes them', async () => {
    const { gateway, create, read } = await start(lane, { MAX_CONNECTIONS: '2' })
    await create('s')
    const readers = [await read('s'), await read('s')]
    const refused = await askOnce(gateway.url, '/v1/stream/s?offset=-1&live=sse')
    expect(refused).toMatchObject({ status: 503, headers: { ...REFUSAL, connection: 'close' } })
    expect(JSON.parse(refused!.body)).toMatchObject({ code: 'overloaded' })
    const probe = await askOnce(gateway.url, '/readyz')
    expect(probe).toMatchObject({ status: 200, headers: { connection: 'close' } })
    // Those that are there have not noticed.
    expect(readers.map(({ complete }) => complete)).toEqual([undefined, undefined])
    readers[0]!.leave()
    await expect.poll(async () => (await askOnce(gateway.url, '/v1/stream/s'))?.status).toBe(200)
  })
})

describe.each(LANES)('with as many new connections as it may have in a second, lane %s', (lane) => {
  test('refuses further ones, and takes them when the time has come', async () => {
    const clock = new ManualClock()
    const { gateway, create } = await start(lane, { MAX_CONNECTS_PER_S: '4' }, clock)
    await create('s')
    const statuses = async (count: number) => {
      const answers: unknown[] = []
      for (let n = 0; n < count; n += 1) {
        const answer = await askOnce(gateway.url, '/v1/stream/s?offset=-1')
        answers.push(answer?.status)
      }
      return answers
    }
    expect(await statuses(4)).toEqual([200, 200, 200, 503])
    clock.advance(500)
    expect(await statuses(3)).toEqual([200, 200, 503])
    const refused = await askOnce(gateway.url, '/v1/stream/s?offset=-1&live=sse')
    expect(refused).toMatchObject({ status: 503, headers: { ...REFUSAL, connection: 'close' } })
  })
})

describe.each(LANES)('with as many hubs as it may have, lane %s', (lane) => {
  test('refuses live readers of further streams, and takes those of the same', async () => {
    const { gateway, create, read } = await start(lane, { MAX_HUBS: '1' })
    for (const name of ['s', 't']) await create(name)
    const reader = await read('s')
    for (const mode of ['sse', 'long-poll']) {
      const refused = await askOnce(gateway.url, `/v1/stream/t?offset=-1&live=${mode}`)
      expect(refused).toMatchObject({ status: 503, headers: REFUSAL })
      expect(JSON.parse(refused!.body)).toMatchObject({ code: 'overloaded' })
    }
    expect((await read('s')).status).toBe(200)
    expect((await askOnce(gateway.url, '/v1/stream/t?offset=-1'))?.status).toBe(200)
    expect(reader.complete).toBeUndefined()
  })
})

describe.each(LANES)('with an event loop that is too late, lane %s', (lane) => {
  const TOO_LATE_MS = 60

  /** Keeps the loop from being on time until the returned function is called. */
  function hold(): () => void {
    let isHeld = true
    const busy = (): void => {
      const end = performance.now() + 3 * TOO_LATE_MS
      while (performance.now() < end);
      if (isHeld) setImmediate(busy)
    }
    busy()
    return () => (isHeld = false)
  }

  test('begins nothing new, keeps its readers, and goes on when it is on time again', async () => {
    const { gateway, create, read } = await start(lane, {
      MAX_EVENT_LOOP_DELAY_MS: `${TOO_LATE_MS}`,
    })
    await create('s')
    const reader = await read('s')
    const letGo = hold()
    const status = async (path: string) => (await askOnce(gateway.url, path))?.status
    await expect.poll(() => status('/v1/stream/s?offset=-1'), { timeout: 10_000 }).toBe(503)
    expect(await status('/healthz')).toBe(200)
    letGo()
    await expect.poll(() => status('/v1/stream/s?offset=-1'), { timeout: 10_000 }).toBe(200)
    await call(gateway.stream('s'), { method: 'POST', headers: TEXT, body: 'x' })
    await reader.until(({ events }) => events.some(({ data }) => data === 'x'))
  })
})
