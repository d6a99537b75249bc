/**
 * The contract of append sessions (`src/log/log.ts`), run over every adapter. A real s2-lite is the
 * judge, as in the suite for the rest of the log.
 */
import { afterEach, describe, expect, it } from 'vitest'
import { AppendOutcomeUnknownError, LogUnavailableError } from '../../src/errors.ts'
import {
  AppendConflictError,
  InvalidAppendError,
  LogStreamMissingError,
  type AppendAck,
  type AppendRecord,
  type AppendSession,
  type DurableLog,
  type LogRecord,
} from '../../src/log/log.ts'
import { logAdapters, useLog, type LogBackend } from '../support/log-adapters.ts'

const ALL = { maxRecords: 1000, maxBytes: 1024 * 1024 }

const data = (body: string): AppendRecord => ({
  kind: 'data',
  headers: [],
  body: new TextEncoder().encode(body),
})
const fence = (token: string): AppendRecord => ({ kind: 'fence', token })
const batch = (matchSeqNum: number, records: readonly AppendRecord[], fencingToken = '') => ({
  records,
  matchSeqNum,
  fencingToken,
})

const range = (from: number, before: number): number[] =>
  Array.from({ length: before - from }, (_, index) => from + index)

const bodiesOf = (records: readonly LogRecord[]): string[] =>
  records.map((record) =>
    record.kind === 'data' ? Buffer.from(record.body).toString() : record.kind,
  )

/** What each append came to: `start-end`, or the name of its error. */
async function outcomes(appends: readonly Promise<AppendAck>[]): Promise<string[]> {
  const results = await Promise.allSettled(appends)
  return results.map((result) => {
    if (result.status === 'fulfilled') return `${result.value.start}-${result.value.end}`
    return result.reason instanceof Error ? result.reason.constructor.name : 'no error'
  })
}

const UNKNOWN = AppendOutcomeUnknownError.name
const CONFLICT = AppendConflictError.name

describe.each(logAdapters)('append sessions of $name', (adapter) => {
  describe.skipIf(adapter.isMissing)('keep the contract', () => {
    let backend: LogBackend
    let log: DurableLog
    let stream: string
    let session: AppendSession

    useLog(adapter, 'sessions', (place) => {
      ;({ backend, log, stream } = place)
      session = log.openAppendSession(stream)
    })
    afterEach(() => session.close())

    const one = (matchSeqNum: number, body = `r${matchSeqNum}`, fencingToken = '') =>
      session.append(batch(matchSeqNum, [data(body)], fencingToken))
    const bodies = async () => bodiesOf(await log.read(stream, { seqNum: 0 }, ALL))

    it('acknowledges each append with its place, and keeps its promises in between', async () => {
      const first = await session.append(batch(0, [data('a'), data('b')]))
      expect(first).toEqual({ start: 0, end: 2, timestamp: expect.any(Number) as number })
      expect(await log.checkTail(stream)).toBe(2)
      const second = await one(2, 'c')
      expect(second).toMatchObject({ start: 2, end: 3 })
      expect(await bodies()).toEqual(['a', 'b', 'c'])
      const [last] = await log.read(stream, { tailOffset: 1 }, ALL)
      expect(last?.timestamp).toBe(second.timestamp)
      expect(session.isOpen).toBe(true)
    })

    it('applies appends that are under way together in the order of their calls', async () => {
      const answered: number[] = []
      const acks = await Promise.all(
        range(0, 300).map(async (next) => {
          const ack = await one(next)
          answered.push(next)
          return ack
        }),
      )
      expect(acks.map(({ start }) => start)).toEqual(range(0, 300))
      expect(answered).toEqual(range(0, 300))
      expect(await bodies()).toEqual(range(0, 300).map((next) => `r${next}`))
    })

    it('takes appends while earlier ones are under way, for as long as they come', async () => {
      const appends: Promise<AppendAck>[] = []
      for (const next of range(0, 60)) {
        appends.push(one(next))
        if (next % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 1))
      }
      expect(await outcomes(appends)).toEqual(range(0, 60).map((next) => `${next}-${next + 1}`))
    })

    it('applies batches of megabytes one behind the other', async () => {
      const body = 'x'.repeat(900_000)
      const appends = range(0, 12).map((next) => one(next, body))
      expect(await outcomes(appends)).toEqual(range(0, 12).map((next) => `${next}-${next + 1}`))
      expect(await log.checkTail(stream)).toBe(12)
    })

    it('can be read by everybody once acknowledged', async () => {
      for (const next of range(0, 5)) {
        await one(next)
        expect(await log.checkTail(stream)).toBe(next + 1)
        expect(await bodies()).toHaveLength(next + 1)
      }
    })

    it('applies nothing behind a refused append, though its seq num may match again', async () => {
      await one(0)
      // The rival takes the place of the next append, with as many records: to the one behind it
      // the log looks as predicted.
      await log.append(stream, batch(1, [data('rival')]))
      const appends = [one(1), one(2), one(3)]
      expect(await outcomes(appends)).toEqual([CONFLICT, UNKNOWN, UNKNOWN])
      await expect(appends[0]).rejects.toMatchObject({
        conflict: { kind: 'seq_num', nextSeqNum: 2 },
      })
      expect(session.isOpen).toBe(false)
      expect(await bodies()).toEqual(['r0', 'rival'])
    })

    it('applies what stands before a refused append', async () => {
      const appends = [one(0), one(1), one(7), one(2), one(3)]
      expect(await outcomes(appends)).toEqual(['0-1', '1-2', CONFLICT, UNKNOWN, UNKNOWN])
      await expect(appends[2]).rejects.toMatchObject({
        conflict: { kind: 'seq_num', nextSeqNum: 2 },
      })
      expect(await bodies()).toEqual(['r0', 'r1'])
    })

    it('applies no gaps while a rival appends at the same time', async () => {
      for (const round of range(0, 5)) {
        const from = await log.checkTail(stream)
        const racing = log.openAppendSession(stream)
        const appends = range(0, 20).map((n) =>
          racing.append(batch(from + n, [data(`${round}/${n}`)])),
        )
        const rival = log.append(stream, batch(from + (round % 3), [data('rival')]))
        const [results] = await Promise.all([outcomes(appends), rival.catch(() => undefined)])
        racing.close()
        const applied = (await bodies()).slice(from).filter((body) => body !== 'rival')
        expect(applied).toEqual(range(0, applied.length).map((n) => `${round}/${n}`))
        const acknowledged = results.filter((result) => result.includes('-')).length
        expect(applied.length).toBe(acknowledged)
        if (acknowledged < 20) {
          expect(results.slice(acknowledged)).toEqual([
            CONFLICT,
            ...range(acknowledged + 1, 20).map(() => UNKNOWN),
          ])
        }
      }
    })

    it('is over after a failure, whatever is appended', async () => {
      expect(await outcomes([one(5)])).toEqual([CONFLICT])
      expect(session.isOpen).toBe(false)
      expect(await outcomes([one(0), one(0)])).toEqual([UNKNOWN, UNKNOWN])
      expect(await log.checkTail(stream)).toBe(0)
      session.close()
      const next = log.openAppendSession(stream)
      expect(await outcomes([next.append(batch(0, [data('a')]))])).toEqual(['0-1'])
      next.close()
    })

    it('is refused with the token it finds', async () => {
      await log.append(stream, batch(0, [fence('theirs')]))
      const appends = [one(1), one(2)]
      expect(await outcomes(appends)).toEqual([CONFLICT, UNKNOWN])
      await expect(appends[0]).rejects.toMatchObject({
        conflict: { kind: 'fencing_token', token: 'theirs' },
      })
      expect(await log.checkTail(stream)).toBe(1)
    })

    it('lets a fence decide what the appends behind it need', async () => {
      const appends = [
        one(0),
        session.append(batch(1, [data('a'), fence('t1')])),
        one(3, 'b', 't1'),
        session.append(batch(4, [fence('t2'), data('c')], 't1')),
        one(6, 'd', 't2'),
        one(7, 'e', 't1'),
        one(8, 'f', 't2'),
      ]
      expect(await outcomes(appends)).toEqual([
        ...['0-1', '1-3', '3-4', '4-6', '6-7'],
        ...[CONFLICT, UNKNOWN],
      ])
      await expect(appends[5]).rejects.toMatchObject({
        conflict: { kind: 'fencing_token', token: 't2' },
      })
      expect(await bodies()).toEqual(['r0', 'a', 'fence', 'b', 'fence', 'c', 'd'])
    })

    it('says with the first append that the stream is missing', async () => {
      const missing = log.openAppendSession(`${stream}/missing`)
      expect(missing.isOpen).toBe(true)
      const appends = range(0, 3).map((next) => missing.append(batch(next, [data('x')])))
      expect(await outcomes(appends)).toEqual([LogStreamMissingError.name, UNKNOWN, UNKNOWN])
      expect(missing.isOpen).toBe(false)
      await expect(log.checkTail(`${stream}/missing`)).rejects.toThrow(LogStreamMissingError)
    })

    it('refuses a batch that breaks a limit and goes on', async () => {
      const tooMany = range(0, 1001).map((n) => data(`${n}`))
      const appends = [
        one(0),
        session.append(batch(1, tooMany)),
        session.append(batch(1, [])),
        session.append(batch(1, [data('x'.repeat(1024 * 1024))])),
        session.append(batch(1, [data('x')], 't'.repeat(37))),
        one(1),
      ]
      const invalid = InvalidAppendError.name
      expect(await outcomes(appends)).toEqual(['0-1', invalid, invalid, invalid, invalid, '1-2'])
      expect(session.isOpen).toBe(true)
      expect(await bodies()).toEqual(['r0', 'r1'])
    })

    it('leaves open what became of the appends under way when it is closed', async () => {
      await one(0)
      const appends = range(1, 20).map((next) => one(next))
      session.close()
      expect(session.isOpen).toBe(false)
      expect(await outcomes(appends)).toEqual(range(1, 20).map(() => UNKNOWN))
      expect(await outcomes([one(0)])).toEqual([UNKNOWN])
      session.close()
      // Some, all or none of them, but in their order and without a gap.
      const applied = await bodies()
      expect(applied).toEqual(range(0, applied.length).map((next) => `r${next}`))
    })

    it('can be closed before it was used, and while it opens', async () => {
      session.close()
      expect(await outcomes([one(0)])).toEqual([UNKNOWN])
      const opening = log.openAppendSession(stream)
      const append = opening.append(batch(0, [data('x')]))
      opening.close()
      expect(await outcomes([append])).toEqual([UNKNOWN])
    })

    it('shares a stream with other sessions and plain appends, which see each other', async () => {
      const other = log.openAppendSession(stream)
      await one(0, 'a')
      await other.append(batch(1, [data('b')]))
      await log.append(stream, batch(2, [data('c')]))
      await one(3, 'd')
      expect(await outcomes([other.append(batch(3, [data('x')]))])).toEqual([CONFLICT])
      expect(other.isOpen).toBe(false)
      await one(4, 'e')
      expect(await bodies()).toEqual(['a', 'b', 'c', 'd', 'e'])
    })

    it('feeds those who follow the stream', async () => {
      const seen: string[] = []
      const reading = log.openReadSession(stream, 0, {
        onRecords: (records) => seen.push(...bodiesOf(records)),
        onCaughtUp: () => {},
        onEnd: () => {},
      })
      await Promise.all(range(0, 50).map((next) => one(next)))
      await expect.poll(() => seen).toEqual(range(0, 50).map((next) => `r${next}`))
      reading.cancel()
    })

    it('is over when its log is closed, and does not open on one', async () => {
      const closing = await backend.open()
      await closing.createStream(stream)
      const from = await closing.checkTail(stream)
      const own = closing.openAppendSession(stream)
      await own.append(batch(from, [data('a')]))
      const underWay = own.append(batch(from + 1, [data('b')]))
      const closed = closing.close()
      expect(await outcomes([underWay])).toEqual([UNKNOWN])
      await closed
      expect(own.isOpen).toBe(false)
      expect(await outcomes([own.append(batch(from + 1, [data('c')]))])).toEqual([UNKNOWN])
      const late = closing.openAppendSession(stream)
      expect(await outcomes([late.append(batch(0, [data('d')]))])).toEqual([
        LogUnavailableError.name,
      ])
      own.close()
    })
  })
})
