import { beforeEach, describe, expect, test } from 'vitest'
import { AppendOutcomeUnknownError, LogUnavailableError } from '../../../src/errors.ts'
import { openEmbeddedLog } from '../../../src/log/embedded-log.ts'
import type { AppendRecord, DurableLog } from '../../../src/log/log.ts'
import { observed } from '../../../src/log/observed-log.ts'
import { RecordingObserver } from '../../support/recording-observer.ts'

const LIMITS = { maxRecords: 10, maxBytes: 1000 }
const data = (body: string): AppendRecord => ({
  kind: 'data',
  headers: [],
  body: Buffer.from(body),
})
const batch = (matchSeqNum: number, ...bodies: string[]) => ({
  records: bodies.map(data),
  matchSeqNum,
  fencingToken: '',
})
const failed = (call: Promise<unknown>) => expect(call).rejects.toThrow()

describe('an observed log', () => {
  let inner: DurableLog
  let log: DurableLog
  let observer: RecordingObserver

  beforeEach(async () => {
    inner = await openEmbeddedLog({ location: { kind: 'memory' }, heartbeatMs: 10_000 })
    await inner.createStream('a')
    observer = new RecordingObserver()
    log = observed(inner, observer)
  })

  test('says of itself what the log inside says', async () => {
    const alone = await openEmbeddedLog({ location: { kind: 'memory' }, isShared: false })
    expect([log, observed(alone, observer)]).toMatchObject([
      { description: inner.description, isShared: true },
      { description: alone.description, isShared: false },
    ])
    await alone.close()
  })

  test('tells of every call, what it came to, and how much it moved', async () => {
    await log.ping()
    await log.createStream('b')
    await log.listStreams('', '')
    await log.append('a', { ...batch(0, 'xx', 'yyy'), records: [data('xxyyy'), fence('')] })
    await log.checkTail('a')
    await log.read('a', { seqNum: 0 }, LIMITS)
    await failed(log.append('a', batch(7, 'x')))
    await failed(log.append('a', batch(2)))
    await failed(log.append('none', batch(0, 'x')))
    await failed(log.append('a', batch(2, 'x'), AbortSignal.abort()))
    await failed(log.read('a', { seqNum: 7 }, LIMITS))
    await failed(log.checkTail('none'))
    await failed(log.ping(AbortSignal.abort()))
    expect(observer.outcomes).toEqual([
      ...['ping ok', 'create_stream ok', 'list_streams ok'],
      ...['append ok', 'check_tail ok', 'read ok'],
      ...['append conflict', 'append invalid', 'append missing', 'append unknown'],
      ...['read beyond_tail', 'check_tail missing', 'ping unavailable'],
    ])
    const moved = observer.calls.filter(({ records }) => records > 0)
    expect(moved.map(({ call, records, bytes }) => ({ call, records, bytes }))).toEqual([
      { call: 'append', records: 2, bytes: 5 },
      { call: 'read', records: 2, bytes: 5 },
    ])
    for (const { ms } of observer.calls) expect(ms).toBeGreaterThanOrEqual(0)
  })

  test('tells of a bug as of a failure of its own', async () => {
    await failed(log.createStream(''))
    expect(observer.outcomes).toEqual(['create_stream error'])
  })

  test('tells of read sessions and what they deliver', async () => {
    const ends: unknown[] = []
    const follow = (stream: string, from: number) =>
      log.openReadSession(stream, from, {
        onRecords: () => {},
        onCaughtUp: () => {},
        onEnd: (cause) => ends.push(cause),
      })
    await log.append('a', batch(0, 'xx', 'yyy'))
    const session = follow('a', 0)
    await expect.poll(() => observer.delivered).toEqual({ records: 2, bytes: 5 })
    session.cancel()
    session.cancel()
    follow('a', 9)
    follow('none', 0)
    await expect.poll(() => ends.length).toBe(2)
    follow('a', 0)
    await log.close()
    expect(observer.readSessions).toEqual({
      opened: 4,
      ends: ['closed', 'beyond_tail', 'missing', 'unavailable'],
    })
  })

  test('tells of append sessions, their appends, and why they ended', async () => {
    const session = log.openAppendSession('a')
    await Promise.all([session.append(batch(0, 'xx')), session.append(batch(1, 'y', 'z'))])
    await failed(session.append(batch(3)))
    expect(session.isOpen).toBe(true)
    await Promise.all([
      failed(session.append(batch(9, 'x'))),
      failed(session.append(batch(3, 'x'))),
    ])
    session.close()
    const closed = log.openAppendSession('a')
    closed.close()
    closed.close()
    const left = log.openAppendSession('a')
    const underWay = failed(left.append(batch(3, 'x')))
    log.openAppendSession('a')
    await log.close()
    await underWay
    expect(observer.outcomes).toEqual([
      ...['session_append ok', 'session_append ok', 'session_append invalid'],
      ...['session_append conflict', 'session_append unknown', 'session_append unknown'],
    ])
    expect(observer.calls.map(({ records, bytes }) => [records, bytes]).slice(0, 2)).toEqual([
      [1, 2],
      [2, 2],
    ])
    expect(observer.appendSessions.opened).toBe(4)
    expect(observer.appendSessions.ends).toEqual(['conflict', 'closed', 'closed', 'closed'])
  })

  test('tells apart what is unavailable and what is unknown', async () => {
    const failing = observed(
      {
        ...inner,
        description: 'failing',
        append: () => Promise.reject(new AppendOutcomeUnknownError()),
        checkTail: () => Promise.reject(new LogUnavailableError()),
      },
      observer,
    )
    expect(failing.description).toBe('failing')
    await failed(failing.append('a', batch(0, 'x')))
    await failed(failing.checkTail('a'))
    expect(observer.outcomes).toEqual(['append unknown', 'check_tail unavailable'])
  })
})

function fence(token: string): AppendRecord {
  return { kind: 'fence', token }
}
