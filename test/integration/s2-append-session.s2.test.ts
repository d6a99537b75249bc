/** Append sessions of the S2 adapter on a broken network: a real s2-lite behind a proxy. */
import { randomUUID } from 'node:crypto'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  expect,
  onTestFinished,
  test,
  vi,
} from 'vitest'
import { AppendOutcomeUnknownError, LogUnavailableError } from '../../src/errors.ts'
import type { AppendAck, AppendSession, DurableLog } from '../../src/log/log.ts'
import { openS2Log } from '../../src/log/s2-log.ts'
import { CleanUps } from '../support/clean-ups.ts'
import { findS2Lite, startS2Lite, type S2Lite } from '../support/s2-lite.ts'
import { startS2Proxy, type S2Proxy } from '../support/s2-proxy.ts'

const TIMEOUT_MS = 1000
/** What a bounded append may take on a busy machine. */
const BOUND_MS = TIMEOUT_MS + 600
const ALL = { maxRecords: 1000, maxBytes: 1024 * 1024 }

const UNKNOWN = AppendOutcomeUnknownError.name
const UNAVAILABLE = LogUnavailableError.name

const batch = (matchSeqNum: number) => ({
  records: [{ kind: 'data' as const, headers: [], body: Buffer.from(`r${matchSeqNum}`) }],
  matchSeqNum,
  fencingToken: '',
})
const range = (from: number, before: number): number[] =>
  Array.from({ length: before - from }, (_, index) => from + index)

/** `ok`, or the name of the error. */
async function outcomes(appends: readonly Promise<AppendAck>[]): Promise<string[]> {
  const results = await Promise.allSettled(appends)
  return results.map((result) =>
    result.status === 'fulfilled' ? 'ok' : (result.reason as Error).constructor.name,
  )
}

describe.skipIf(findS2Lite() === undefined)('append sessions on a broken network', () => {
  const cleanUps = new CleanUps()
  let s2: S2Lite
  let proxy: S2Proxy
  let log: DurableLog
  /** Reaches s2-lite past the proxy. */
  let direct: DurableLog
  let stream: string

  const open = (endpoint: string, requestTimeoutMs = TIMEOUT_MS): Promise<DurableLog> =>
    openS2Log({ endpoint, accessToken: 'any', basin: 'append-sessions', requestTimeoutMs })
  /** For much at once on a busy machine, which a fault's short time-out would end. */
  const openPatient = async (endpoint = proxy.url): Promise<DurableLog> => {
    const patient = await open(endpoint, 10_000)
    onTestFinished(() => patient.close())
    proxy.reset()
    return patient
  }
  const appendMany = (session: AppendSession, from: number, before: number) =>
    range(from, before).map((next) => session.append(batch(next)))

  /** What is in the log is a prefix of what was sent, and holds all that was acknowledged. */
  async function expectPrefix(results: readonly string[]): Promise<number> {
    const acknowledged = results.filter((result) => result === 'ok').length
    const tail = await direct.checkTail(stream)
    expect(tail).toBeGreaterThanOrEqual(acknowledged)
    if (tail === 0) return 0
    const records = await direct.read(stream, { seqNum: 0 }, ALL)
    const bodies = records.map((record) =>
      record.kind === 'data' ? Buffer.from(record.body).toString() : record.kind,
    )
    expect(bodies).toEqual(range(0, bodies.length).map((next) => `r${next}`))
    return tail
  }

  beforeAll(async () => {
    const localRoot = await mkdtemp(join(tmpdir(), 'ds-append-sessions-'))
    cleanUps.add(() => rm(localRoot, { recursive: true }))
    s2 = await startS2Lite({ localRoot })
    cleanUps.add(() => s2.stop('SIGKILL'))
    direct = await open(s2.url)
    cleanUps.add(() => direct.close())
  })
  afterAll(() => cleanUps.run())
  beforeEach(async () => {
    proxy = await startS2Proxy({ target: s2.port })
    log = await open(proxy.url)
    stream = `stream/${randomUUID()}`
    await log.createStream(stream)
    proxy.reset()
  })
  afterEach(async () => {
    await log.close()
    await proxy.stop()
  })

  test('one HTTP/2 stream carries all appends, and is let go with the session', async () => {
    const session = (await openPatient()).openAppendSession(stream)
    expect(await outcomes(appendMany(session, 0, 100))).toEqual(range(0, 100).map(() => 'ok'))
    expect(await outcomes(appendMany(session, 100, 110))).toEqual(range(0, 10).map(() => 'ok'))
    expect(proxy.counts()).toMatchObject({ append: 0, appendSession: 1 })
    expect(proxy.openAppendSessions()).toBe(1)
    session.close()
    await vi.waitFor(() => expect(proxy.openAppendSessions()).toBe(0))
  })

  test('sessions share few connections, and a refused append lets go of its own', async () => {
    const patient = await openPatient()
    const maker = await openPatient(s2.url)
    const sessions = await Promise.all(
      range(0, 150).map(async (n) => {
        await maker.createStream(`${stream}/${n}`)
        const session = patient.openAppendSession(`${stream}/${n}`)
        await session.append(batch(0))
        return session
      }),
    )
    expect(proxy.openAppendSessions()).toBe(150)
    expect(proxy.connections()).toBeLessThan(20)
    for (const session of sessions)
      expect(await outcomes([session.append(batch(9))])).toHaveLength(1)
    await vi.waitFor(() => expect(proxy.openAppendSessions()).toBe(0), 5_000)
  })

  test('a connection cut with appends under way leaves them unknown, in a row', async () => {
    const session = log.openAppendSession(stream)
    await session.append(batch(0))
    // Both ways take about as long as the time-out.
    proxy.delay(TIMEOUT_MS / 2)
    const appends = appendMany(session, 1, 40)
    // Stored, with the answers still on their way.
    await vi.waitFor(async () => expect(await direct.checkTail(stream)).toBeGreaterThan(1), 2_000)
    proxy.cut()
    const results = await outcomes(appends)
    expect(results.at(-1)).toBe(UNKNOWN)
    expect(results).toEqual(results.toSorted().reverse())
    expect(session.isOpen).toBe(false)
    proxy.delay(0)
    const tail = await expectPrefix(['ok', ...results])
    const next = log.openAppendSession(stream)
    expect(await outcomes(appendMany(next, tail, tail + 3))).toEqual(['ok', 'ok', 'ok'])
  })

  test('a session whose connection was cut while it was idle is over at its next append', async () => {
    const session = log.openAppendSession(stream)
    await session.append(batch(0))
    proxy.cut()
    await sleep(50)
    const results = await outcomes(appendMany(session, 1, 4))
    expect(results.slice(1)).toEqual([UNKNOWN, UNKNOWN])
    expect([UNKNOWN, UNAVAILABLE]).toContain(results[0])
    expect(session.isOpen).toBe(false)
    expect(await direct.checkTail(stream)).toBe(1)
    expect(await outcomes(appendMany(log.openAppendSession(stream), 1, 2))).toEqual(['ok'])
  })

  test('a black hole is bounded, and the next session has a connection of its own', async () => {
    const session = log.openAppendSession(stream)
    await session.append(batch(0))
    proxy.strand()
    const begin = performance.now()
    expect(await outcomes(appendMany(session, 1, 5))).toEqual([UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN])
    expect(performance.now() - begin).toBeLessThan(BOUND_MS)
    expect(session.isOpen).toBe(false)

    const again = performance.now()
    expect(await outcomes(appendMany(log.openAppendSession(stream), 1, 3))).toEqual(['ok', 'ok'])
    expect(performance.now() - again).toBeLessThan(TIMEOUT_MS)
    // Read sessions leave the dead connection too, 20 seconds before they would find out.
    const caughtUp = new Promise((resolve) => {
      log.openReadSession(stream, 0, { onRecords: () => {}, onCaughtUp: resolve, onEnd: resolve })
    })
    expect(await caughtUp).toBe(3)
  })

  test('an S2 that answers too late leaves appends unknown, and none is applied twice', async () => {
    const session = log.openAppendSession(stream)
    await session.append(batch(0))
    proxy.pause()
    const results = await outcomes(appendMany(session, 1, 20))
    expect(new Set(results)).toEqual(new Set([UNKNOWN]))
    const next = log.openAppendSession(stream)
    const retried = appendMany(next, 1, 20)
    proxy.resume()
    // Whichever of both sent it: every seq num is taken once.
    const ends = await outcomes(retried)
    await vi.waitFor(() => expect(proxy.openAppendSessions()).toBeLessThan(2))
    expect(await expectPrefix(['ok', ...ends])).toBeLessThanOrEqual(20)
  })

  test('nothing was sent over a connection that was refused', async () => {
    await proxy.refuse()
    proxy.cut()
    const session = log.openAppendSession(stream)
    const begin = performance.now()
    expect(await outcomes(appendMany(session, 0, 3))).toEqual([UNAVAILABLE, UNKNOWN, UNKNOWN])
    expect(performance.now() - begin).toBeLessThan(TIMEOUT_MS)
    expect(session.isOpen).toBe(false)
    await proxy.listen()
    expect(await outcomes(appendMany(log.openAppendSession(stream), 0, 2))).toEqual(['ok', 'ok'])
  })

  test('nothing was sent by a log that never found its basin', async () => {
    await proxy.refuse()
    const early = await open(proxy.url)
    expect(await outcomes(appendMany(early.openAppendSession(stream), 0, 2))).toEqual([
      UNAVAILABLE,
      UNKNOWN,
    ])
    await proxy.listen()
    expect(await outcomes(appendMany(early.openAppendSession(stream), 0, 2))).toEqual(['ok', 'ok'])
    await early.close()
  })

  test('connecting into a black hole is bounded', async () => {
    proxy.pause()
    const begin = performance.now()
    const session = log.openAppendSession(stream)
    expect(await outcomes(appendMany(session, 0, 2))).toEqual([UNKNOWN, UNKNOWN])
    expect(performance.now() - begin).toBeLessThan(BOUND_MS)
    proxy.resume()
  })

  test('an s2-lite that is killed and comes back has all it acknowledged', async () => {
    const session = log.openAppendSession(stream)
    const appends: Promise<AppendAck>[] = []
    const feeding = (async () => {
      for (let next = 0; session.isOpen; next += 1) {
        appends.push(session.append(batch(next)))
        appends.at(-1)?.catch(() => undefined)
        await sleep(1)
      }
    })()
    await vi.waitFor(async () => expect(await direct.checkTail(stream)).toBeGreaterThan(20), 5_000)
    await s2.restart('SIGKILL')
    await feeding
    const results = await outcomes(appends)
    await vi.waitFor(() => direct.ping(), 5_000)
    const tail = await expectPrefix(results)
    const next = log.openAppendSession(stream)
    expect(await outcomes(appendMany(next, tail, tail + 3))).toEqual(['ok', 'ok', 'ok'])
  })

  test('closing the log is bounded when connections are dead', async () => {
    const session = log.openAppendSession(stream)
    await session.append(batch(0))
    proxy.strand()
    proxy.pause()
    const appends = appendMany(session, 1, 3)
    const begin = performance.now()
    const closed = log.close()
    expect(await outcomes(appends)).toEqual([UNKNOWN, UNKNOWN])
    await closed
    expect(performance.now() - begin).toBeLessThan(1_500)
  })
})
