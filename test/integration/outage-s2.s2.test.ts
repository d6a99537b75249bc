/** S2 refused, black-holed, slow, cut off, killed: bounded answers, patient readers, exact appends. */
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import http from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from 'vitest'
import { openS2Log } from '../../src/log/s2-log.ts'
import { CleanUps } from '../support/clean-ups.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGateway } from '../support/gateway.ts'
import { startGatewayProcess, statusOf } from '../support/gateway-process.ts'
import type { GatewayProcess } from '../support/gateway-process.ts'
import {
  appendJson,
  call,
  createJsonStream,
  JSON_TYPE,
  LongPoller,
  readJson,
  SseReader,
} from '../support/http-calls.ts'
import type { Answer } from '../support/http-calls.ts'
import type { HttpFault } from '../support/http-faults.ts'
import { findS2Lite, startS2Lite } from '../support/s2-lite.ts'
import type { S2Lite } from '../support/s2-lite.ts'
import { startS2Proxy } from '../support/s2-proxy.ts'
import type { S2Proxy } from '../support/s2-proxy.ts'
import { codeOf, Writer } from '../support/writers.ts'
import type { Message } from '../support/writers.ts'

const S2_TIMEOUT_MS = 500
const APPEND_TIMEOUT_MS = 1_500
/** The longest of the two, twice the other, and what a busy machine adds. */
const BOUND_MS = 3_500
/** Sessions come back after 2 s at most, connections after a time-out of 3 s. */
const RECOVERY_MS = 15_000
const READERS = 5
/** Appends that must succeed before, and after, for an outage to be in the middle of something. */
const SOME = 10

const BASIN = 'outage-tests'
const TOKEN = 's3cr3t-t0ken'

describe.skipIf(findS2Lite() === undefined)('an S2 that is not there', () => {
  const cleanUps = new CleanUps()
  let s2: S2Lite

  beforeAll(async () => {
    const root = await mkdtemp(join(tmpdir(), 'ds-outage-'))
    cleanUps.add(() => rm(root, { recursive: true }))
    s2 = await startS2Lite({ localRoot: root })
    cleanUps.add(() => s2.stop('SIGKILL'))
  })
  afterAll(() => cleanUps.run())

  async function startProxy(): Promise<S2Proxy> {
    const proxy = await startS2Proxy({ target: s2.port })
    onTestFinished(() => proxy.stop())
    return proxy
  }

  async function open(endpoint: string, env: Record<string, string> = {}): Promise<TestGateway> {
    const log = await openS2Log({
      endpoint,
      accessToken: TOKEN,
      basin: BASIN,
      requestTimeoutMs: Number(env['S2_TIMEOUT_MS'] ?? S2_TIMEOUT_MS),
    })
    const gateway = await startGateway({
      log,
      env: {
        APPEND_TIMEOUT_MS: String(APPEND_TIMEOUT_MS),
        LONG_POLL_TIMEOUT_MS: '100000',
        SSE_LIFETIME_MS: '1000000',
        ...env,
      },
    })
    onTestFinished(async () => {
      await gateway.shutdown()
      await log.close()
    })
    return gateway
  }

  /** Readers of both kinds at the tail of a stream, and writers of both kinds at work on it. */
  async function crowd(gateway: TestGateway) {
    const url = gateway.stream(`crowd/${randomUUID()}`)
    await createJsonStream(url)
    const agent = new http.Agent({ keepAlive: true })
    const readers = await Promise.all(
      Array.from({ length: READERS }, () => SseReader.open(url, '-1', agent)),
    )
    const polls = Array.from({ length: READERS }, () => new LongPoller(url, '-1', agent))
    const writers = Array.from(
      { length: 4 },
      (_, index) => new Writer(url, `writer-${index}`, { idempotent: index % 2 === 0 }),
    )
    onTestFinished(async () => {
      for (const reader of [...readers, ...polls]) reader.leave()
      await Promise.allSettled(writers.map((writer) => writer.stop()))
      agent.destroy()
    })

    /** Every writer has that many more acknowledged than now. */
    const progress = async (count: number): Promise<void> => {
      const goals = writers.map(({ stored }) => stored + count)
      await vi.waitFor(
        () => {
          for (const [index, { stored }] of writers.entries()) {
            expect(stored).toBeGreaterThanOrEqual(goals[index]!)
          }
        },
        { timeout: RECOVERY_MS },
      )
    }
    const expectPatient = (): void => {
      expect(readers.map(({ end }) => end)).toEqual(readers.map(() => undefined))
      expect(polls.map(({ emptyAnswers }) => emptyAnswers)).toEqual(polls.map(() => 0))
    }
    /** Ends the writing, and finds everything once and in order: in the log, and at each reader. */
    const settle = async (): Promise<void> => {
      await Promise.all(writers.map((writer) => writer.stop()))
      const stored = (await readJson(url)) as Message[]
      for (const writer of writers) writer.expectIn(stored)
      await vi.waitFor(
        () => {
          for (const { messages } of [...readers, ...polls]) {
            expect(messages.length).toBeGreaterThanOrEqual(stored.length)
          }
        },
        { timeout: RECOVERY_MS },
      )
      for (const { messages } of [...readers, ...polls]) expect(messages).toEqual(stored)
      expectPatient()
    }
    const codes = (): string[] => [...new Set(writers.flatMap((writer) => writer.codes))].sort()
    const failures = (): number => Math.min(...writers.map((writer) => writer.failures))
    return { url, readers, progress, expectPatient, settle, codes, failures }
  }

  async function timed(request: () => Promise<Answer>): Promise<Answer> {
    const begin = performance.now()
    const answer = await request()
    expect(performance.now() - begin).toBeLessThan(BOUND_MS)
    return answer
  }

  async function expectUnavailable(name: string, request: () => Promise<Answer>): Promise<void> {
    const answer = await timed(request)
    expect({ name, status: answer.status }).toEqual({ name, status: 503 })
    expect(answer.headers['content-type']).toBe('application/problem+json')
    expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
    expect(answer.headers['cache-control']).toBe('no-store')
    // A HEAD's answer has no body that could hold it.
    if (answer.body === '') return
    expect(['log_unavailable', 'append_outcome_unknown']).toContain(codeOf(answer))
  }

  /** Every kind of request that needs S2: on a stream the gateway knows, and on one it does not. */
  const requests = (known: string, unknown: string): [string, () => Promise<Answer>][] => {
    const put = { method: 'PUT', headers: JSON_TYPE }
    return [
      ['GET of a known stream', () => call(`${known}?offset=-1`)],
      ['GET now of a known stream', () => call(`${known}?offset=now`)],
      ['HEAD of a known stream', () => call(known, { method: 'HEAD' })],
      ['POST to a known stream', () => appendJson(known, 'never')],
      ['long-poll of a stream nobody follows', () => call(`${known}?offset=-1&live=long-poll`)],
      ['SSE of a stream nobody follows', () => call(`${known}?offset=-1&live=sse`)],
      ['GET of an unknown stream', () => call(`${unknown}?offset=-1`)],
      ['HEAD of an unknown stream', () => call(unknown, { method: 'HEAD' })],
      ['POST to an unknown stream', () => appendJson(unknown, 'never')],
      ['PUT of an unknown stream', () => call(unknown, put)],
      ['long-poll of an unknown stream', () => call(`${unknown}?offset=-1&live=long-poll`)],
      ['SSE of an unknown stream', () => call(`${unknown}?offset=-1&live=sse`)],
      ['DELETE of an unknown stream', () => call(unknown, { method: 'DELETE' })],
    ]
  }

  type Fault = {
    readonly name: string
    readonly begin: (proxy: S2Proxy) => Promise<void> | void
    readonly end: (proxy: S2Proxy) => Promise<void> | void
  }

  const faults: readonly Fault[] = [
    {
      name: 'refuses connections',
      begin: async (proxy) => {
        await proxy.refuse()
        proxy.cut()
      },
      end: (proxy) => proxy.listen(),
    },
    {
      name: 'is a black hole',
      begin: (proxy) => proxy.pause(),
      end: (proxy) => proxy.resume(),
    },
    {
      name: 'is slower than the time-out',
      begin: (proxy) => proxy.delay(S2_TIMEOUT_MS),
      end: (proxy) => proxy.delay(0),
    },
    {
      name: 'answers everything with 503',
      begin: (proxy) => {
        proxy.answer({ status: 503 })
        proxy.cut()
      },
      end: (proxy) => proxy.answer(undefined),
    },
    {
      name: 'was killed, and comes back on its disk',
      begin: () => s2.stop('SIGKILL'),
      end: () => s2.restart(),
    },
  ]

  describe.each(faults)('that $name', ({ begin, end }) => {
    test('answers in time, keeps its readers, and goes on exactly where it was', async () => {
      const proxy = await startProxy()
      const gateway = await open(proxy.url)
      const {
        url: followed,
        progress,
        expectPatient,
        settle,
        codes,
        failures,
      } = await crowd(gateway)
      const known = gateway.stream(`known/${randomUUID()}`)
      await createJsonStream(known)
      await progress(SOME)
      expect(await statusOf(`${gateway.url}/readyz`)).toBe(200)

      await begin(proxy)
      await vi.waitFor(async () => expect(await statusOf(`${gateway.url}/readyz`)).toBe(503), {
        timeout: BOUND_MS,
      })
      expect(await statusOf(`${gateway.url}/healthz`)).toBe(200)
      const unknown = gateway.stream(`unknown/${randomUUID()}`)
      await Promise.all(
        requests(known, unknown).map(([name, request]) => expectUnavailable(name, request)),
      )
      await expectUnavailable('GET of a followed stream', () => call(`${followed}?offset=-1`))
      // Each writer was refused more than once: what it says now is said by the outage itself.
      const already = failures()
      await vi.waitFor(() => expect(failures()).toBeGreaterThan(already + 1), {
        timeout: RECOVERY_MS,
      })
      expectPatient()
      expect(await statusOf(`${gateway.url}/readyz`)).toBe(503)

      await end(proxy)
      await vi.waitFor(async () => expect(await statusOf(`${gateway.url}/readyz`)).toBe(200), {
        timeout: RECOVERY_MS,
      })
      await progress(SOME)
      await settle()
      for (const code of codes())
        expect(['append_outcome_unknown', 'log_unavailable']).toContain(code)
    }, 60_000)
  })

  test('cuts connections again and again: nobody misses or gets anything twice', async () => {
    const proxy = await startProxy()
    const gateway = await open(proxy.url)
    const { progress, expectPatient, settle } = await crowd(gateway)
    for (let round = 0; round < 10; round += 1) {
      await progress(2)
      proxy.cut()
    }
    await progress(SOME)
    expectPatient()
    await settle()
  }, 60_000)

  test.each<HttpFault>([
    { status: 429, code: 'rate_limited' },
    { status: 500, isApplied: true },
    { status: 500 },
    { status: 503, code: 'server_draining' },
  ])(
    'answers some appends with %o: they are settled exactly',
    async (fault) => {
      const proxy = await startProxy()
      const gateway = await open(proxy.url)
      const { progress, expectPatient, settle, codes } = await crowd(gateway)
      for (let round = 0; round < 5; round += 1) {
        await progress(2)
        proxy.answer({ ...fault, times: 2, kinds: ['append', 'appendSession'] })
      }
      await progress(SOME)
      expectPatient()
      await settle()
      for (const code of codes()) expect(code).toBe('log_unavailable')
    },
    60_000,
  )

  test('black-holed again and again while appends are under way: they are settled exactly', async () => {
    const proxy = await startProxy()
    const gateway = await open(proxy.url)
    const { progress, settle, failures } = await crowd(gateway)
    for (let round = 0; round < 3; round += 1) {
      await progress(3)
      proxy.pause()
      const already = failures()
      await vi.waitFor(() => expect(failures()).toBeGreaterThan(already), { timeout: RECOVERY_MS })
      proxy.resume()
    }
    await progress(SOME)
    await settle()
  }, 60_000)

  test('leaves connections silent for ever: readers go on over new ones', async () => {
    const proxy = await startProxy()
    const gateway = await open(proxy.url)
    const { url, readers, progress, settle } = await crowd(gateway)
    await progress(SOME)
    proxy.strand()
    await progress(SOME)
    // Idle connections to S2 are silent, too; each costs one request its time-out.
    const { length } = await vi.waitFor(() => readJson(url), { timeout: RECOVERY_MS })
    // A read session waits for 20 s for a sign of life.
    await vi.waitFor(() => {
      for (const { messages } of readers) expect(messages.length).toBeGreaterThanOrEqual(length)
    }, 45_000)
    await settle()
  }, 90_000)

  test('so slow that an append times out before it is written: then it never is', async () => {
    const proxy = await startProxy()
    const url = `stream/${randomUUID()}`
    const writer = await open(s2.url)
    await createJsonStream(writer.stream(url))
    await appendJson(writer.stream(url), ['a', 'b'])
    const gateway = await open(proxy.url, { APPEND_TIMEOUT_MS: '700', S2_TIMEOUT_MS: '5000' })
    // Opening the stream takes two reads, so 800 ms.
    proxy.delay(200)
    const { status, body } = await appendJson(gateway.stream(url), 'c')
    expect({ status, code: codeOf({ status, body, headers: {} }) }).toEqual({
      status: 503,
      code: 'log_unavailable',
    })
    proxy.delay(0)
    // Behind anything that was under way in that gateway.
    expect((await appendJson(gateway.stream(url), 'd')).status).toBe(204)
    expect(await readJson(writer.stream(url))).toEqual(['a', 'b', 'd'])
  })

  describe('for a process', () => {
    function start(endpoint: string): Promise<GatewayProcess> {
      return startGatewayProcess(
        {
          S2_ENDPOINT: endpoint,
          S2_ACCESS_TOKEN: TOKEN,
          S2_BASIN: `fresh-${randomUUID().slice(0, 8)}`,
          AUTH: 'none',
          LOG_LEVEL: 'debug',
          S2_TIMEOUT_MS: String(S2_TIMEOUT_MS),
          APPEND_TIMEOUT_MS: String(APPEND_TIMEOUT_MS),
          SHUTDOWN_GRACE_MS: '8000',
        },
        { ready: false },
      )
    }

    test.each([faults[0]!, faults[1]!])(
      'that starts while S2 $name: it waits, and serves when S2 is there',
      async ({ begin, end }) => {
        const proxy = await startProxy()
        await begin(proxy)
        const gateway = await start(proxy.url)
        expect(gateway.stdout()).toContain(`S2 at ${proxy.url}`)
        expect(await statusOf(`${gateway.url}/readyz`)).toBe(503)
        expect(await statusOf(`${gateway.url}/healthz`)).toBe(200)
        await expectUnavailable('PUT', () =>
          call(gateway.stream('a'), { method: 'PUT', headers: JSON_TYPE }),
        )
        await end(proxy)
        await vi.waitFor(async () => expect(await statusOf(`${gateway.url}/readyz`)).toBe(200), {
          timeout: RECOVERY_MS,
        })
        await createJsonStream(gateway.stream('a'))
        expect(await gateway.stop()).toEqual({ code: 0, signal: null })
        expect(gateway.stdout() + gateway.stderr()).not.toContain(TOKEN)
      },
    )

    test.each([faults[0]!, faults[1]!])(
      'that is told to leave while S2 $name: it ends its readers and goes in time',
      async ({ begin }) => {
        const proxy = await startProxy()
        const gateway = await start(proxy.url)
        const url = gateway.stream('left')
        await createJsonStream(url)
        const reader = await SseReader.open(url)
        await begin(proxy)
        const append = appendJson(url, 1)
        await vi.waitFor(async () => expect(await statusOf(`${gateway.url}/readyz`)).toBe(503), {
          timeout: BOUND_MS,
        })
        const begun = performance.now()
        expect(await gateway.stop()).toEqual({ code: 0, signal: null })
        expect(performance.now() - begun).toBeLessThan(8_000)
        expect(await reader.ended).toBe('complete')
        const answer = await append
        expect(answer.status).toBe(503)
        expect(['append_outcome_unknown', 'log_unavailable']).toContain(codeOf(answer))
      },
    )
  })
})
