/** The S2 adapter on a broken network, against a real s2-lite behind a proxy. */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { AppendOutcomeUnknownError, LogUnavailableError } from '../../src/errors.ts'
import {
  AppendConflictError,
  BeyondTailError,
  InvalidAppendError,
  LogStreamMissingError,
  type AppendRecord,
  type DurableLog,
  type LogRecord,
  type ReadSessionHandlers,
} from '../../src/log/log.ts'
import { openS2Log } from '../../src/log/s2-log.ts'
import { findS2Lite, startS2Lite, type S2Lite } from '../support/s2-lite.ts'
import { startS2Proxy, type S2Proxy } from '../support/s2-proxy.ts'

const TIMEOUT_MS = 400
/** What a bounded call may take on a busy machine. */
const BOUND_MS = TIMEOUT_MS + 600

const text = (body: string): AppendRecord => ({
  kind: 'data',
  headers: [],
  body: new TextEncoder().encode(body),
})

const bodyOf = (record: LogRecord): string =>
  record.kind === 'data' ? Buffer.from(record.body).toString() : record.kind

/** Keeps what a session hands over, and holds it to the port's promises. */
class Recorder implements ReadSessionHandlers {
  readonly records: LogRecord[] = []
  readonly batchSizes: number[] = []
  readonly tails: number[] = []
  readonly ends: unknown[] = []

  onRecords = (records: readonly LogRecord[]): void => {
    expect(this.ends).toEqual([])
    this.records.push(...records)
    this.batchSizes.push(records.length)
  }
  onCaughtUp = (tail: number): void => {
    expect(this.ends).toEqual([])
    const last = this.records.at(-1)
    if (last !== undefined) expect(last.seqNum).toBe(tail - 1)
    this.tails.push(tail)
  }
  onEnd = (cause: unknown): void => {
    this.ends.push(cause)
  }
}

async function timed(call: () => Promise<unknown>): Promise<{ error: unknown; ms: number }> {
  const start = performance.now()
  const error: unknown = await call().then(
    () => undefined,
    (cause: unknown) => cause,
  )
  return { error, ms: performance.now() - start }
}

describe.skipIf(findS2Lite() === undefined)('S2 log on a broken network', () => {
  const basin = `faults-${randomUUID().slice(0, 8)}`
  let s2: S2Lite
  let proxy: S2Proxy
  let log: DurableLog
  let stream: string
  /** Reaches s2-lite past the proxy. */
  let direct: DurableLog

  const open = (url: string, basinName = basin): Promise<DurableLog> =>
    openS2Log({
      endpoint: url,
      accessToken: 'any',
      basin: basinName,
      requestTimeoutMs: TIMEOUT_MS,
    })

  const append = (to: DurableLog, matchSeqNum: number, ...bodies: string[]) =>
    to.append(stream, { records: bodies.map(text), matchSeqNum, fencingToken: '' })

  beforeAll(async () => {
    s2 = await startS2Lite()
    direct = await open(s2.url)
  })
  afterAll(async () => {
    await direct.close()
    await s2.stop('SIGKILL')
  })
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

  describe('without a fault', () => {
    test('appends, reads back and counts each call by its kind', async () => {
      const records: AppendRecord[] = [
        { kind: 'data', headers: [['k', '\ufeffv']], body: Uint8Array.of(0, 255, 128) },
        { kind: 'data', headers: [], body: new Uint8Array() },
        { kind: 'fence', token: 'o:1' },
        { kind: 'trim', before: 0 },
      ]
      const ack = await log.append(stream, { records, matchSeqNum: 0, fencingToken: '' })
      expect(ack).toEqual({ start: 0, end: 4, timestamp: expect.any(Number) as number })
      const page = await log.read(stream, { seqNum: 0 }, { maxRecords: 1000, maxBytes: 1 << 20 })
      expect(page).toEqual(
        records.map((record, seqNum) => ({ ...record, seqNum, timestamp: ack.timestamp })),
      )
      expect(await log.checkTail(stream)).toBe(4)
      expect(proxy.counts()).toEqual({
        append: 1,
        read: 1,
        checkTail: 1,
        create: 0,
        readSession: 0,
        appendSession: 0,
        other: 0,
      })
    })

    test('creates the basin when it is missing, and leaves one that is there alone', async () => {
      const name = `fresh-${randomUUID().slice(0, 8)}`
      const first = await open(s2.url, name)
      await first.createStream('a')
      const second = await open(proxy.url, name)
      expect(await second.checkTail('a')).toBe(0)
      expect(proxy.counts()).toMatchObject({ checkTail: 2, create: 0, other: 0 })
      await Promise.all([first.close(), second.close()])
    })

    test('refuses what the port says it refuses', async () => {
      const limits = { maxRecords: 10, maxBytes: 1000 }
      await append(log, 0, 'a')
      await log.createStream(stream)
      await expect(append(log, 0, 'b')).rejects.toMatchObject({
        conflict: { kind: 'seq_num', nextSeqNum: 1 },
      })
      await expect(
        log.append(stream, { records: [text('b')], matchSeqNum: 1, fencingToken: 'other' }),
      ).rejects.toMatchObject({ conflict: { kind: 'fencing_token', token: '' } })
      await expect(append(log, 0, 'b')).rejects.toThrow(AppendConflictError)
      await expect(
        log.append('none', { records: [text('b')], matchSeqNum: 0, fencingToken: '' }),
      ).rejects.toThrow(LogStreamMissingError)
      await expect(append(log, 1)).rejects.toThrow(InvalidAppendError)
      await expect(log.checkTail('none')).rejects.toThrow(LogStreamMissingError)
      await expect(log.read('none', { seqNum: 0 }, limits)).rejects.toThrow(LogStreamMissingError)
      await expect(log.read(stream, { seqNum: 7 }, limits)).rejects.toEqual(new BeyondTailError(1))
      await expect(log.read(stream, { tailOffset: 0 }, limits)).rejects.toThrow(BeyondTailError)
    })

    test('a page is never empty because the first record is over the byte limit', async () => {
      await append(log, 0, 'x'.repeat(500), 'y')
      const page = await log.read(stream, { seqNum: 0 }, { maxRecords: 10, maxBytes: 100 })
      expect(page.map((record) => record.seqNum)).toEqual([0])
    })

    test('a session hands over batches as they were appended and says when it is at the tail', async () => {
      await append(log, 0, 'a', 'b', 'c')
      const recorder = new Recorder()
      const session = log.openReadSession(stream, 1, recorder)
      await vi.waitFor(() => expect(recorder.tails).toEqual([3]))
      await append(log, 3, 'd', 'e')
      await append(log, 5, 'f')
      await vi.waitFor(() => expect(recorder.tails).toEqual([3, 5, 6]))
      expect(recorder.records.map(bodyOf)).toEqual(['b', 'c', 'd', 'e', 'f'])
      expect(recorder.batchSizes).toEqual([2, 2, 1])
      expect(proxy.openReadSessions()).toBe(1)
      session.cancel()
      await vi.waitFor(() => expect(proxy.openReadSessions()).toBe(0))
      await append(log, 6, 'g')
      await sleep(50)
      expect(recorder.records).toHaveLength(5)
      expect(recorder.ends).toEqual([])
    })

    test('a session that starts beyond the tail, or on no stream, ends with the error', async () => {
      const beyond = new Recorder()
      const missing = new Recorder()
      log.openReadSession(stream, 5, beyond)
      log.openReadSession('none', 0, missing)
      expect([beyond.ends, missing.ends]).toEqual([[], []])
      await vi.waitFor(() => {
        expect(beyond.ends).toEqual([new BeyondTailError(0)])
        expect(missing.ends).toEqual([new LogStreamMissingError('none')])
      })
    })

    test('a thousand sessions share a few connections and are all let go', async () => {
      await append(log, 0, 'a')
      const recorders = Array.from({ length: 1000 }, () => new Recorder())
      const sessions = recorders.map((recorder) => log.openReadSession(stream, 1, recorder))
      await vi.waitFor(
        () => expect(recorders.every((r) => r.tails.length === 1)).toBe(true),
        20_000,
      )
      expect(proxy.openReadSessions()).toBe(1000)
      expect(proxy.counts().readSession).toBe(1000)
      expect(proxy.connections()).toBeLessThan(20)
      await append(log, 1, 'b')
      await vi.waitFor(
        () => expect(recorders.every((r) => r.records.length === 1)).toBe(true),
        20_000,
      )
      for (const session of sessions) session.cancel()
      await vi.waitFor(() => expect(proxy.openReadSessions()).toBe(0), 10_000)
      expect(recorders.every((r) => r.ends.length === 0)).toBe(true)
    })
  })

  test('a refused connection is reported at once, and nothing was written', async () => {
    await proxy.refuse()
    proxy.cut()
    for (const call of [
      () => log.checkTail(stream),
      () => append(log, 0, 'a'),
      () => log.createStream(stream),
      () => log.ping(),
    ]) {
      const { error, ms } = await timed(call)
      expect(error).toBeInstanceOf(LogUnavailableError)
      expect(ms).toBeLessThan(TIMEOUT_MS)
    }
    const recorder = new Recorder()
    log.openReadSession(stream, 0, recorder)
    await vi.waitFor(() => expect(recorder.ends).toEqual([expect.any(LogUnavailableError)]))
    await proxy.listen()
    expect(await log.checkTail(stream)).toBe(0)
  })

  test('a black hole is bounded: reads are unavailable, appends have an unknown outcome', async () => {
    proxy.pause()
    const [tail, ping, appended] = await Promise.all([
      timed(() => log.checkTail(stream)),
      timed(() => log.ping()),
      timed(() => append(log, 0, 'late')),
    ])
    expect(tail.error).toBeInstanceOf(LogUnavailableError)
    expect(ping.error).toBeInstanceOf(LogUnavailableError)
    expect(appended.error).toBeInstanceOf(AppendOutcomeUnknownError)
    for (const { ms } of [tail, ping, appended]) expect(ms).toBeLessThan(BOUND_MS)

    proxy.resume()
    await log.ping()
    // Whichever of the two took seq num 0: never both, and never a third.
    await append(log, 0, 'again').catch((error: unknown) =>
      expect(error).toBeInstanceOf(AppendConflictError),
    )
    expect(await direct.checkTail(stream)).toBe(1)
  })

  test("a caller's signal ends a call early", async () => {
    proxy.pause()
    const reading = await timed(() => log.checkTail(stream, AbortSignal.timeout(50)))
    const writing = await timed(() =>
      log.append(
        stream,
        { records: [text('a')], matchSeqNum: 0, fencingToken: '' },
        AbortSignal.timeout(50),
      ),
    )
    const before = await timed(() => log.checkTail(stream, AbortSignal.abort()))
    expect(reading.error).toBeInstanceOf(LogUnavailableError)
    expect(writing.error).toBeInstanceOf(AppendOutcomeUnknownError)
    expect(before.error).toBeInstanceOf(LogUnavailableError)
    expect(Math.max(reading.ms, writing.ms, before.ms)).toBeLessThan(TIMEOUT_MS)
  })

  test('an append whose answer is lost has an unknown outcome, and is there', async () => {
    proxy.delay(100)
    const appending = timed(() => append(log, 0, 'a'))
    await vi.waitFor(async () => expect(await direct.checkTail(stream)).toBe(1), 2_000)
    proxy.cut()
    expect((await appending).error).toBeInstanceOf(AppendOutcomeUnknownError)
  })

  test('after its connections went silent, calls get through again on fresh ones', async () => {
    await Promise.all(Array.from({ length: 4 }, () => log.checkTail(stream)))
    proxy.strand()
    // A silent connection in use goes with the call that times out, an idle one after the 4
    // seconds that fetch keeps it.
    const burst = () => Promise.all(Array.from({ length: 4 }, () => log.checkTail(stream)))
    await vi.waitFor(async () => expect(await burst()).toEqual([0, 0, 0, 0]), 6_000)
    await append(log, 0, 'a')
  })

  test('a basin that was lost while running is created again by a ping', async () => {
    const other = await startS2Lite()
    const running = await open(other.url, 'lost-basin')
    await running.createStream('a')
    await other.restart('SIGKILL')
    await vi.waitFor(() => running.ping(), 3_000)
    await expect(running.checkTail('a')).rejects.toThrow(LogStreamMissingError)
    await running.close()
    await other.stop('SIGKILL')
  })

  test('a cut session ends once, and reopened where it ended gives every record once', async () => {
    const seen: LogRecord[] = []
    let ends = 0
    let isDone = false
    const follow = (from: number): void => {
      const recorder = new Recorder()
      log.openReadSession(stream, from, {
        onRecords: (records) => {
          recorder.onRecords(records)
          seen.push(...records)
        },
        onCaughtUp: recorder.onCaughtUp,
        onEnd: (cause) => {
          recorder.onEnd(cause)
          expect(recorder.ends).toHaveLength(1)
          ends += 1
          if (!isDone) setTimeout(() => follow(seen.length), 5)
        },
      })
    }
    follow(0)
    const total = 600
    for (let n = 0; n < total; n += 3) {
      await append(direct, n, `${n}`, `${n + 1}`, `${n + 2}`)
      if (n % 60 === 0) proxy.cut()
    }
    await vi.waitFor(() => expect(seen.length).toBe(total), 10_000)
    isDone = true
    expect(ends).toBeGreaterThan(3)
    expect(seen.map(bodyOf)).toEqual(Array.from({ length: total }, (_, n) => `${n}`))
    expect(seen.map((record) => record.seqNum)).toEqual(Array.from({ length: total }, (_, n) => n))
  })

  test('a session whose connection went silent ends, and the next one gets through', async () => {
    const recorder = new Recorder()
    log.openReadSession(stream, 0, recorder)
    await vi.waitFor(() => expect(recorder.tails).toEqual([0]))
    proxy.strand()
    await append(direct, 0, 'a')
    // S2's heartbeats stop, which is noticed after 20 seconds.
    await vi.waitFor(() => expect(recorder.ends).toEqual([expect.any(LogUnavailableError)]), {
      timeout: 25_000,
      interval: 200,
    })
    const next = new Recorder()
    log.openReadSession(stream, 0, next)
    await vi.waitFor(() => expect(next.records.map(bodyOf)).toEqual(['a']), 3_000)
  })

  test('opening while S2 is down works once it is up', async () => {
    const other = await startS2Lite()
    await other.stop('SIGKILL')
    const opening = performance.now()
    const early = await open(other.url, 'early-basin')
    expect(performance.now() - opening).toBeLessThan(BOUND_MS)
    expect((await timed(() => early.createStream('a'))).error).toBeInstanceOf(LogUnavailableError)
    await other.restart()
    await early.ping()
    await early.createStream('a')
    expect(await early.checkTail('a')).toBe(0)
    await early.close()
    await other.stop('SIGKILL')
  })

  test('close is bounded on dead connections, ends sessions and refuses what comes', async () => {
    const recorder = new Recorder()
    log.openReadSession(stream, 0, recorder)
    await vi.waitFor(() => expect(recorder.tails).toEqual([0]))
    proxy.strand()
    proxy.pause()
    const appending = timed(() => append(log, 0, 'a'))
    await sleep(20)
    const { ms } = await timed(() => log.close())
    expect(ms).toBeLessThan(1_500)
    expect(recorder.ends).toEqual([expect.any(LogUnavailableError)])
    expect((await appending).error).toBeInstanceOf(AppendOutcomeUnknownError)
    await expect(log.checkTail(stream)).rejects.toThrow(LogUnavailableError)
    await expect(append(log, 0, 'a')).rejects.toThrow(LogUnavailableError)
  })

  test('its description holds no token', () => {
    expect(log.description).toBe(`S2 at ${proxy.url}, basin ${basin}`)
  })
})
