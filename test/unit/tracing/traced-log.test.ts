import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { openEmbeddedLog } from '../../../src/log/embedded-log.ts'
import type { DurableLog } from '../../../src/log/log.ts'
import { traced } from '../../../src/tracing/traced-log.ts'
import { RecordingTracing } from '../../support/recording-tracing.ts'

const LIMITS = { maxRecords: 10, maxBytes: 1000 }
const batch = (matchSeqNum: number, ...bodies: string[]) => ({
  records: bodies.map((body) => ({
    kind: 'data' as const,
    headers: [],
    body: Buffer.from(body),
  })),
  matchSeqNum,
  fencingToken: '',
})

describe('a traced log', () => {
  let inner: DurableLog
  let log: DurableLog
  let tracing: RecordingTracing

  beforeEach(async () => {
    inner = await openEmbeddedLog({ location: { kind: 'memory' } })
    onTestFinished(() => inner.close())
    await inner.createStream('a')
    tracing = new RecordingTracing()
    log = traced(inner, tracing)
  })

  const request = () => tracing.request('GET', {}, {})
  const told = () =>
    tracing.spans
      .filter(({ name }) => name !== 'GET')
      .map(({ name, noted, failure }) => [name, noted['durable_streams.log.outcome'], failure])

  test('says of itself what the log inside says', async () => {
    expect([log.description, log.isShared]).toEqual([inner.description, inner.isShared])
    expect(await log.listStreams('', '')).toEqual(['a'])
    await log.ping()
  })

  test('tells of its calls as parts of the request that they are made for', async () => {
    const span = request()
    await tracing.within([span], async () => {
      await log.createStream('b')
      await log.append('a', batch(0, 'x', 'y'))
      await log.checkTail('a')
      await log.read('a', { seqNum: 0 }, LIMITS)
    })
    expect(told()).toEqual([
      ['create_stream', 'ok', undefined],
      ['append', 'ok', undefined],
      ['check_tail', 'ok', undefined],
      ['read', 'ok', undefined],
    ])
    const operations = tracing.spans.slice(1)
    expect(operations.every(({ parent }) => parent === span.traceparent)).toBe(true)
    expect(operations.every(({ isOver }) => isOver)).toBe(true)
    expect(tracing.named('append')[0]?.noted).toMatchObject({
      'db.operation.name': 'append',
      'durable_streams.stream': 'a',
      'durable_streams.records': 2,
    })
  })

  test('calls a failure only what the rules do not expect', async () => {
    await tracing.within([request()], async () => {
      await expect(log.append('a', batch(7, 'x'))).rejects.toThrow()
      await expect(log.append('none', batch(0, 'x'))).rejects.toThrow()
      await expect(log.read('a', { seqNum: 7 }, LIMITS)).rejects.toThrow()
      await expect(log.append('a', batch(0))).rejects.toThrow()
      await expect(log.checkTail('a', AbortSignal.abort())).rejects.toThrow()
    })
    expect(told()).toEqual([
      ['append', 'conflict', undefined],
      ['append', 'missing', undefined],
      ['read', 'beyond_tail', undefined],
      ['append', 'invalid', 'invalid'],
      ['check_tail', 'unavailable', 'unavailable'],
    ])
  })

  test('says nothing of what is done for nobody, or for a request that is over', async () => {
    await log.checkTail('a')
    const span = request()
    span.end()
    await tracing.within([span], () => log.checkTail('a'))
    expect(told()).toEqual([])
  })

  test('has appends in a session be parts of their own requests, and the session of none', async () => {
    const [first, second] = [request(), request()]
    const session = tracing.within([first], () => log.openAppendSession('a'))
    expect(session.isOpen).toBe(true)
    await tracing.within([first], () => session.append(batch(0, 'x')))
    await tracing.within([second], () => session.append(batch(1, 'y')))
    session.close()
    expect(session.isOpen).toBe(false)
    expect(tracing.named('append').map(({ parent }) => parent)).toEqual([
      first.traceparent,
      second.traceparent,
    ])
  })

  test('has what a read session gives be nobody’s', async () => {
    const scope = await new Promise((resolve) => {
      const session = tracing.within([request()], () =>
        log.openReadSession('a', 0, {
          onRecords: () => undefined,
          onCaughtUp: () => {
            resolve(tracing.current())
            session.cancel()
          },
          onEnd: resolve,
        }),
      )
    })
    expect(scope).toBeUndefined()
  })
})
