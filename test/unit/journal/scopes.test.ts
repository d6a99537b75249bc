/** For whom the log is written to: each batch for those whose commands are in it. */
import { describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/clock.ts'
import type { AppendBatch, DurableLog } from '../../../src/log/log.ts'
import { Journal } from '../../../src/journal/journal.ts'
import { STREAM_RULES } from '../../../src/streams/state.ts'
import { traced } from '../../../src/tracing/traced-log.ts'
import { RecordingTracing } from '../../support/recording-tracing.ts'
import type { RecordedSpan } from '../../support/recording-tracing.ts'
import { STREAM, memoryLog } from '../streams/builders.ts'
import { create } from './gateways.ts'
import { say } from './stream-journal.ts'

/** A journal whose log holds up appends until it is told to go on. */
async function start() {
  const inner = await memoryLog()
  const tracing = new RecordingTracing()
  let goOn = (): void => undefined
  let held: Promise<void> | undefined
  const slow: DurableLog = Object.assign(Object.create(inner) as DurableLog, {
    append: async (stream: string, batch: AppendBatch) => {
      await held
      return inner.append(stream, batch)
    },
    openAppendSession: (stream: string) => inner.openAppendSession(stream),
    checkTail: (stream: string) => inner.checkTail(stream),
    read: (...args: Parameters<DurableLog['read']>) => inner.read(...args),
    createStream: (stream: string) => inner.createStream(stream),
  })
  const journal = new Journal(STREAM, STREAM_RULES, {
    log: traced(slow, tracing),
    clock: systemClock,
    commandTimeoutMs: 5000,
    gatewayId: 'g',
    scopes: tracing,
  })
  await journal.execute(create)
  const request = (name: string) => tracing.request(name, {}, {})
  const append = (span: RecordedSpan) =>
    tracing.within([span], () => journal.execute(say(span.name)))
  const hold = () => {
    held = new Promise((resolve) => (goOn = resolve))
  }
  return { tracing, request, append, journal, hold, goOn: () => goOn() }
}

const appends = (tracing: RecordingTracing) =>
  tracing.named('append').map(({ parent, links }) => ({ parent, links }))

describe('a journal', () => {
  test('writes for the request whose command it is', async () => {
    const { tracing, request, append } = await start()
    const [one, two] = [request('one'), request('two')]
    await append(one)
    await append(two)
    expect(appends(tracing)).toEqual([
      { parent: one.traceparent, links: [] },
      { parent: two.traceparent, links: [] },
    ])
  })

  test('writes a batch for all whose commands are in it, and not for the one before', async () => {
    const { tracing, request, append, hold, goOn } = await start()
    const spans = ['one', 'two', 'three', 'four'].map(request)
    const [one, two, three, four] = spans as [
      RecordedSpan,
      RecordedSpan,
      RecordedSpan,
      RecordedSpan,
    ]
    hold()
    const first = append(one)
    await expect.poll(() => tracing.named('append')).toHaveLength(1)
    const others = [two, three, four].map(append)
    goOn()
    await Promise.all([first, ...others])
    expect(appends(tracing)).toEqual([
      { parent: one.traceparent, links: [] },
      { parent: two.traceparent, links: [three.traceparent, four.traceparent] },
    ])
  })

  test('writes for whoever of them still waits', async () => {
    const { tracing, request, append, hold, goOn } = await start()
    const [one, gone, three] = [request('one'), request('gone'), request('three')]
    hold()
    const first = append(one)
    await expect.poll(() => tracing.named('append')).toHaveLength(1)
    const others = [gone, three].map(append)
    gone.end()
    goOn()
    await Promise.all([first, ...others])
    expect(appends(tracing)[1]).toEqual({ parent: three.traceparent, links: [] })
  })

  test('writes a large append for its request, in every batch', async () => {
    const { tracing, request, journal } = await start()
    const span = request('large')
    await tracing.within([span], () => journal.execute(say('x'.repeat(3 * 1024 * 1024))))
    const told = appends(tracing)
    expect(told.length).toBeGreaterThan(2)
    expect(told.every(({ parent }) => parent === span.traceparent)).toBe(true)
  })

  test('writes for nobody what nobody has asked for', async () => {
    const { tracing, request, journal } = await start()
    await tracing.within([request('other')], () =>
      tracing.within([], () => journal.execute(say('x'))),
    )
    expect(appends(tracing)).toEqual([])
  })
})
