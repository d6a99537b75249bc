/** An S2 that answers with errors: a real s2-lite behind a proxy that gives some answers itself. */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { AppendOutcomeUnknownError, LogUnavailableError } from '../../src/errors.ts'
import type { DurableLog } from '../../src/log/log.ts'
import { openS2Log } from '../../src/log/s2-log.ts'
import type { HttpFault } from '../support/http-faults.ts'
import { findS2Lite, startS2Lite, type S2Lite } from '../support/s2-lite.ts'
import { startS2Proxy, type S2Proxy } from '../support/s2-proxy.ts'

const TIMEOUT_MS = 600
const LIMITS = { maxRecords: 10, maxBytes: 1000 }

const batch = (matchSeqNum: number) => ({
  records: [{ kind: 'data' as const, headers: [], body: Buffer.from('x') }],
  matchSeqNum,
  fencingToken: '',
})

const WITHOUT_EFFECT: readonly HttpFault[] = [
  { status: 429, code: 'rate_limited' },
  { status: 502, code: 'hot_server' },
  { status: 503, code: 'server_draining' },
]
const PERHAPS: readonly HttpFault[] = [
  { status: 500, code: 'storage' },
  { status: 502, code: 'bad_gateway' },
  { status: 503, code: 'unavailable' },
  { status: 504, code: 'timeout' },
]

describe.skipIf(findS2Lite() === undefined)('an S2 that answers with errors', () => {
  let s2: S2Lite
  let proxy: S2Proxy
  let log: DurableLog
  let stream: string

  beforeAll(async () => {
    s2 = await startS2Lite()
    proxy = await startS2Proxy({ target: s2.port })
    log = await openS2Log({
      endpoint: proxy.url,
      accessToken: 'any',
      basin: 'http-faults',
      requestTimeoutMs: TIMEOUT_MS,
    })
  })
  afterAll(async () => {
    await log.close()
    await proxy.stop()
    await s2.stop('SIGKILL')
  })
  beforeEach(async () => {
    stream = `stream/${randomUUID()}`
    await log.createStream(stream)
    proxy.reset()
  })
  afterEach(() => proxy.answer(undefined))

  test.each(WITHOUT_EFFECT)('wrote nothing when it says $status $code', async (fault) => {
    proxy.answer({ ...fault, times: 1 })
    await expect(log.append(stream, batch(0))).rejects.toThrow(LogUnavailableError)
    expect(await log.checkTail(stream)).toBe(0)
  })

  test.each(PERHAPS.flatMap((fault) => [fault, { ...fault, isApplied: true }]))(
    'may have written when it says $status $code (applied: $isApplied)',
    async (fault) => {
      proxy.answer({ ...fault, times: 1 })
      await expect(log.append(stream, batch(0))).rejects.toThrow(AppendOutcomeUnknownError)
      expect(await log.checkTail(stream)).toBe(fault.isApplied === true ? 1 : 0)
      expect(proxy.counts().append).toBe(1)
    },
  )

  test.each([...WITHOUT_EFFECT, ...PERHAPS])(
    'is unavailable to every other call when it says $status $code',
    async (fault) => {
      await log.append(stream, batch(0))
      proxy.answer(fault)
      await expect(log.createStream(`${stream}/new`)).rejects.toThrow(LogUnavailableError)
      await expect(log.listStreams(stream, '')).rejects.toThrow(LogUnavailableError)
      await expect(log.checkTail(stream)).rejects.toThrow(LogUnavailableError)
      await expect(log.read(stream, { seqNum: 0 }, LIMITS)).rejects.toThrow(LogUnavailableError)
      await expect(log.ping()).rejects.toThrow(LogUnavailableError)
      proxy.answer(undefined)
      expect(await log.checkTail(stream)).toBe(1)
    },
  )

  test('a call that writes nothing is made a second time, and not a third', async () => {
    await log.append(stream, batch(0))
    const calls = [
      () => log.checkTail(stream),
      () => log.read(stream, { seqNum: 0 }, LIMITS),
      () => log.listStreams(stream, ''),
      () => log.createStream(`${stream}/new`),
    ]
    for (const call of calls) {
      proxy.answer({ status: 500, times: 1 })
      await call()
      proxy.answer({ status: 500, times: 2 })
      await expect(call()).rejects.toThrow(LogUnavailableError)
    }
    expect(proxy.counts()).toMatchObject({ checkTail: 4, read: 4, create: 4 })
    // A stream that was created all the same is there the second time.
    proxy.answer({ status: 500, times: 1, isApplied: true })
    await log.createStream(`${stream}/other`)
    expect(await log.checkTail(`${stream}/other`)).toBe(0)
  })

  test('one that tells to wait, or is not there, is asked once', async () => {
    for (const status of [429, 503]) {
      proxy.reset()
      proxy.answer({ status, times: 1 })
      await expect(log.checkTail(stream)).rejects.toThrow(LogUnavailableError)
      expect(proxy.counts().checkTail).toBe(1)
    }
  })

  test('a lost connection costs a read nothing', async () => {
    await log.append(stream, batch(0))
    for (let round = 0; round < 5; round += 1) {
      proxy.delay(20)
      const tail = log.checkTail(stream)
      const page = log.read(stream, { seqNum: 0 }, LIMITS)
      await sleep(25)
      proxy.delay(0)
      proxy.cut()
      expect([await tail, (await page).length]).toEqual([1, 1])
    }
  })

  test.each([...WITHOUT_EFFECT, ...PERHAPS])(
    'ends sessions of both kinds when it says $status $code',
    async (fault) => {
      proxy.answer({ ...fault, times: 20 })
      const session = log.openAppendSession(stream)
      const appends = await Promise.allSettled([session.append(batch(0)), session.append(batch(1))])
      const ends: unknown[] = []
      log.openReadSession(stream, 0, {
        onRecords: () => {},
        onCaughtUp: () => ends.push('caught up'),
        onEnd: (cause) => ends.push(cause),
      })
      await vi.waitFor(() => expect(ends).toHaveLength(1), 5_000)
      proxy.answer(undefined)
      if (fault.code === 'server_draining') {
        // The SDK moves on to the next server by itself, as often as it takes: nothing was written.
        expect(appends.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled'])
        expect(ends).toEqual(['caught up'])
        return
      }
      const isWithoutEffect = WITHOUT_EFFECT.includes(fault)
      const failure = isWithoutEffect ? LogUnavailableError : AppendOutcomeUnknownError
      const reasons = appends.map((append) => 'reason' in append && (append.reason as unknown))
      expect(reasons[0]).toBeInstanceOf(failure)
      expect(reasons[1]).toBeInstanceOf(AppendOutcomeUnknownError)
      expect(session.isOpen).toBe(false)
      expect(ends).toEqual([expect.any(LogUnavailableError)])
      expect(await log.checkTail(stream)).toBe(0)
    },
  )

  test('an S2 that drains for ever is given up in time', async () => {
    proxy.answer({ status: 503, code: 'server_draining' })
    const session = log.openAppendSession(stream)
    const begin = performance.now()
    await expect(session.append(batch(0))).rejects.toThrow(AppendOutcomeUnknownError)
    expect(performance.now() - begin).toBeLessThan(TIMEOUT_MS + 600)
    proxy.answer({ status: 503, code: 'server_draining', kinds: ['append'] })
    await sleep(50)
    proxy.reset()
    await sleep(200)
    // Dropped: it does not go on behind our back.
    expect(proxy.counts().appendSession).toBe(0)
  })
})
