import { setImmediate as nextTurn } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { LogUnavailableError, StreamNotFoundError } from '../../../src/errors.ts'
import type { StopReason } from '../../../src/hub/machine.ts'
import type { Batch } from '../../../src/hub/ring.ts'
import { Leases } from '../../../src/http/leases.ts'
import { LongPollSubscriber } from '../../../src/http/long-poll.ts'
import type { LongPollResult } from '../../../src/http/long-poll.ts'
import { Wheel } from '../../../src/http/wheel.ts'
import type { Hub } from '../../../src/hub/hub.ts'
import { STREAM, closed, data, dataRecord, finalData, group, startHub } from '../hub/fakes.ts'

const TIMEOUT_MS = 20_000
const TURN_MS = 100
const BEGUN_AT = 1234
const cursor = (seqNum: number, slot = 0) => 2 ** 40 + seqNum * 1024 + slot

type Setup = {
  readonly scene?: ReturnType<typeof startHub>
  readonly position?: number
  readonly cursor?: number
  /** Of the key `key`, in ms from now. */
  readonly leaseMs?: number
  readonly history?: (hub: Hub, position: number) => Promise<Batch>
  readonly isGone?: boolean
}

function poll({ scene = startHub(), position = STREAM.dataTail, ...rest }: Setup = {}) {
  const { leaseMs, isGone = false } = rest
  const ends: (readonly [begunAt: number, answer: LongPollResult | undefined])[] = []
  const leases = new Leases(scene.clock)
  const lease =
    leaseMs === undefined ? undefined : { until: scene.clock.now() + leaseMs, keyId: 'key' }
  const subscriber = new LongPollSubscriber(
    { place: { hub: scene.hub, position }, cursor: rest.cursor, lease, begunAt: BEGUN_AT, isGone },
    {
      wheel: new Wheel(scene.clock, TURN_MS),
      timeoutMs: TIMEOUT_MS,
      leases,
      history: rest.history ?? (() => Promise.reject(new Error('no history'))),
      onEnd: (...end) => ends.push(end),
    },
  )
  return { ...scene, leases, subscriber, result: subscriber.result, ends }
}

const EMPTY = { stream: STREAM, from: 10, next: 10, upToDate: true, body: undefined }

describe('a long-poll at the tail', () => {
  test('is answered by the next batch, once', async () => {
    const scene = startHub()
    const before = scene.clock.timers
    const { log, result, hub } = poll({ scene })
    log.last.give(data(11), data(12))
    log.last.give(data(13))
    expect(await result).toEqual({
      stream: STREAM,
      from: 10,
      next: 13,
      upToDate: true,
      closed: false,
      body: Buffer.from('r11r12'),
      cursor: cursor(13),
    })
    expect([hub.subscribers, scene.clock.timers]).toEqual([0, before])
  })

  test('gives all who wait at one position the same bytes and cursor', async () => {
    const scene = startHub()
    const polls = Array.from({ length: 50 }, (_, index) =>
      poll({ scene, cursor: cursor(9, index) }),
    )
    scene.log.last.give(data(11))
    const results = await Promise.all(polls.map(({ result }) => result))
    for (const { body, cursor } of results) {
      expect(body).toBe(results[0]!.body)
      expect(cursor).toBe(results[0]!.cursor)
    }
  })

  test('is answered empty when its time is up, with a cursor past the client’s', async () => {
    const { clock, result, hub } = poll({ cursor: cursor(10, 7) })
    clock.advance(TIMEOUT_MS)
    expect(await result).toEqual({ ...EMPTY, closed: false, cursor: cursor(10, 8) })
    expect(hub.subscribers).toBe(0)
  })

  test('fails when its time is up while nobody knows whether there is more', async () => {
    const { log, clock, result } = poll()
    log.last.handlers.onEnd(new Error('reset'))
    clock.advance(TIMEOUT_MS)
    await expect(result).rejects.toBeInstanceOf(LogUnavailableError)
  })

  test('is answered empty, and at once, on a closed stream', async () => {
    const { result, clock } = poll({ scene: startHub({ closed: true }) })
    expect(await result).toMatchObject({ next: 10, upToDate: true, closed: true, body: undefined })
    expect(clock.nextTimerMs).not.toBe(TIMEOUT_MS)
  })

  test.each([
    ['without data', [closed(11)], { next: 10, body: undefined, cursor: undefined }],
    ['with its last data', [finalData(11)], { next: 12, body: Buffer.from('r11') }],
  ])('is woken by closure %s', async (_name, records, expected) => {
    const { log, result } = poll()
    log.last.give(...records)
    expect(await result).toMatchObject({ ...expected, upToDate: true, closed: true })
  })
})

describe('the end of a long-poll', () => {
  test('is told of once, with when it began and its answer', async () => {
    const { log, clock, ends, subscriber, result } = poll()
    expect(ends).toEqual([])
    log.last.give(data(11))
    clock.advance(TIMEOUT_MS)
    subscriber.closed()
    expect(ends).toEqual([[BEGUN_AT, await result]])
  })

  test('is told of without an answer when nobody is there to have it', () => {
    const { subscriber, ends } = poll()
    subscriber.closed()
    expect(ends).toEqual([[BEGUN_AT, undefined]])
  })

  test('is told of without an answer when nobody was there from the beginning', () => {
    const scene = startHub()
    scene.log.last.give(data(11))
    expect(poll({ scene, isGone: true }).ends).toEqual([[BEGUN_AT, undefined]])
  })

  test.each([
    ['client has left', ({ subscriber }: ReturnType<typeof poll>) => subscriber.closed()],
    ['hub has stopped', ({ subscriber }) => subscriber.stop('stream_deleted')],
  ] satisfies [string, (waiting: ReturnType<typeof poll>) => void][])(
    'is told of once when its %s and its history fails then',
    async (_name, leave) => {
      let fail: (cause: Error) => void = () => undefined
      const history = new Promise<Batch>((_, reject) => (fail = reject))
      const waiting = poll({ position: 4, history: () => history })
      leave(waiting)
      fail(new LogUnavailableError())
      await Promise.allSettled([history, waiting.result])
      await nextTurn()
      expect(waiting.ends).toEqual([[BEGUN_AT, undefined]])
    },
  )

  test('is told of without an answer when there is none', async () => {
    const { hub, ends, result } = poll()
    hub.stop('stream_deleted')
    await expect(result).rejects.toBeInstanceOf(StreamNotFoundError)
    expect(ends).toEqual([[BEGUN_AT, undefined]])
  })
})

describe('a long-poll on a lease', () => {
  test('is answered empty when that is over', async () => {
    const { clock, result, hub } = poll({ leaseMs: 5000 })
    clock.advance(4999)
    expect(hub.subscribers).toBe(1)
    clock.advance(1 + TURN_MS)
    expect(await result).toEqual({ ...EMPTY, closed: false, cursor: cursor(10) })
  })

  test('waits no longer than any other', async () => {
    const { clock, result } = poll({ leaseMs: TIMEOUT_MS * 2 })
    clock.advance(TIMEOUT_MS)
    expect(await result).toMatchObject(EMPTY)
  })

  test('is answered empty when its key is withdrawn, and is not told of another', async () => {
    const { leases, result, hub } = poll({ leaseMs: 5000 })
    leases.withdraw('another')
    expect(hub.subscribers).toBe(1)
    leases.withdraw('key')
    expect(await result).toMatchObject(EMPTY)
  })

  test('is not told of its key once it has its answer', async () => {
    const { leases, log, result } = poll({ leaseMs: 5000 })
    log.last.give(data(11))
    leases.withdraw('key')
    expect(await result).toMatchObject({ body: Buffer.from('r11') })
  })
})

describe('a long-poll behind the tail', () => {
  test('is answered at once with all the ring has, in one body for all at its place', async () => {
    const scene = startHub()
    scene.log.last.give(data(11))
    scene.log.last.give(data(12))
    const [first, second] = [poll({ scene }), poll({ scene })]
    const answer = await first.result
    expect(answer).toMatchObject({ next: 13, upToDate: true, body: Buffer.from('r11r12') })
    expect((await second.result).body).toBe(answer.body)
    expect(scene.hub.subscribers).toBe(0)
  })

  test('is not called up to date when there is more than one answer holds', async () => {
    const scene = startHub({}, { ring: { maxRecords: 5000, maxBytes: 1_000_000 } })
    const seqNums = Array.from({ length: 1500 }, (_, index) => 11 + index)
    for (const seqNum of seqNums) scene.log.last.give(data(seqNum))
    expect(await poll({ scene }).result).toMatchObject({ next: 1011, upToDate: false })
  })

  test('is answered from history, past records that are no data', async () => {
    const chunks: Record<number, Batch> = {
      4: { records: [], end: 6 },
      6: { records: [dataRecord(7)], end: 8 },
    }
    const { result } = poll({
      position: 4,
      history: (_hub, from) => Promise.resolve(chunks[from]!),
    })
    expect(await result).toMatchObject({
      from: 4,
      next: 8,
      upToDate: false,
      body: Buffer.from('r7'),
    })
  })

  test('is up to date when history reaches the tail, and parks when there was no data', async () => {
    const last = { records: [dataRecord(9)], end: 10 }
    const { result } = poll({ position: 9, history: () => Promise.resolve(last) })
    expect(await result).toMatchObject({ next: 10, upToDate: true, closed: false })

    const parked = poll({ position: 9, history: () => Promise.resolve({ records: [], end: 10 }) })
    await Promise.resolve()
    await Promise.resolve()
    expect(parked.hub.subscribers).toBe(1)
    parked.log.last.give(data(11))
    expect(await parked.result).toMatchObject({ from: 9, next: 12 })
  })

  test('fails as its history does', async () => {
    const cause = new LogUnavailableError()
    const { result } = poll({ position: 4, history: () => Promise.reject(cause) })
    await expect(result).rejects.toBe(cause)
  })

  test('parks nobody whose client has left meanwhile', async () => {
    const scene = startHub()
    const before = scene.clock.timers
    let give: (batch: Batch) => void = () => undefined
    const history = () => new Promise<Batch>((resolve) => (give = resolve))
    const { subscriber, hub } = poll({ scene, position: 9, history })
    subscriber.closed()
    give({ records: [], end: 10 })
    await new Promise((resolve) => setImmediate(resolve))
    expect([hub.subscribers, scene.clock.timers]).toEqual([0, before])
  })

  test('is not woken while it reads', async () => {
    let asked = 0
    let give: (batch: Batch) => void = () => undefined
    const history = () => {
      asked += 1
      return new Promise<Batch>((resolve) => (give = resolve))
    }
    const { subscriber, result } = poll({ position: 9, history })
    subscriber.wake()
    subscriber.wake()
    give({ records: [dataRecord(9)], end: 10 })
    expect([await result, asked]).toMatchObject([{ next: 10 }, 1])
  })
})

describe('the end of its hub', () => {
  test.each<StopReason>(['shutdown', 'idle'])('%s answers empty', async (reason) => {
    const { hub, result } = poll()
    hub.stop(reason)
    expect(await result).toMatchObject({ ...EMPTY, closed: false })
  })

  test.each<[StopReason, new () => Error]>([
    ['stream_deleted', StreamNotFoundError],
    ['stream_expired', StreamNotFoundError],
    // An empty answer would be asked again at once, and after a gap it would not be true.
    ['gap', LogUnavailableError],
    ['failed', LogUnavailableError],
  ])('%s refuses', async (reason, error) => {
    const { hub, result, clock } = poll()
    hub.stop(reason)
    await expect(result).rejects.toBeInstanceOf(error)
    expect(clock.timers).toBe(0)
  })

  test.each(['shutdown', 'idle'] as const)(
    '%s keeps nobody from the data that is being read for him',
    async (reason) => {
      const give = new Map<number, (batch: Batch) => void>()
      const history = (_hub: Hub, from: number) =>
        new Promise<Batch>((resolve) => give.set(from, resolve))
      const { hub, log, result, clock } = poll({ history })
      const { begin, part, commit } = group
      log.last.give(begin(11), part(12), commit(13))
      expect([...give.keys()]).toEqual([10])
      hub.stop(reason)
      give.get(10)!({ records: [dataRecord(12), dataRecord(13)], end: 14 })
      expect(await result).toMatchObject({ next: 14, body: Buffer.from('r12r13') })
      expect(clock.timers).toBe(0)
    },
  )

  test('is told to one who finds nothing in what is read for him', async () => {
    let give: (batch: Batch) => void = () => undefined
    const history = () => new Promise<Batch>((resolve) => (give = resolve))
    const { hub, result, clock } = poll({ position: 9, history })
    hub.stop('shutdown')
    give({ records: [], end: 10 })
    expect(await result).toMatchObject({ ...EMPTY, from: 9, closed: false })
    expect(clock.timers).toBe(0)
  })

  test('before it parks is no different', async () => {
    const scene = startHub()
    scene.hub.stop('shutdown')
    const { result, clock } = poll({ scene })
    expect(await result).toMatchObject(EMPTY)
    expect(clock.timers).toBe(0)
  })

  test('after its answer changes nothing', async () => {
    const { hub, log, result, subscriber, ends } = poll()
    log.last.give(data(11))
    hub.stop('stream_deleted')
    subscriber.stop('stream_deleted')
    subscriber.closed()
    expect(await result).toMatchObject({ next: 12 })
    expect(ends).toHaveLength(1)
  })
})
