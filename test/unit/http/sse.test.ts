import { EventEmitter } from 'node:events'
import type { ServerResponse } from 'node:http'
import { describe, expect, test } from 'vitest'
import { LogUnavailableError } from '../../../src/errors.ts'
import { ResponseSink } from '../../../src/http/event-sink.ts'
import type { DisconnectReason } from '../../../src/http/event-sink.ts'
import { Leases } from '../../../src/http/leases.ts'
import { SseSubscriber } from '../../../src/http/sse.ts'
import { Wheel } from '../../../src/http/wheel.ts'
import type { Chunk } from '../../../src/streams/shared-chunk.ts'
import { FakeWritable } from '../../support/fake-writable.ts'
import { STREAM, closed, data, dataRecord, finalData, startHub } from '../hub/fakes.ts'

class FakeResponse extends FakeWritable {
  readonly req = { socket: new EventEmitter() }
  writes = 0
  refusal: Error | undefined

  override write(bytes: Buffer): boolean {
    if (this.refusal !== undefined) throw this.refusal
    expect(this.ended || this.destroyed).toBe(false)
    this.writes += 1
    return super.write(bytes)
  }

  end(): void {
    this.ended = true
  }

  /** The records that arrived, in order. */
  get records(): string[] {
    return [...this.text.matchAll(/^data:(r\d+(?:r\d+)*)$/gm)].flatMap(([, text]) =>
      text!.split(/(?=r)/),
    )
  }

  get controls(): unknown[] {
    return [...this.text.matchAll(/^data:(\{.*\})$/gm)].map(
      ([, json]) => JSON.parse(json!) as unknown,
    )
  }
}

const offset = (seqNum: number) => `0000000000000000_${String(seqNum).padStart(16, '0')}`
const cursor = (seqNum: number, slot = 0) => String(2 ** 40 + seqNum * 1024 + slot)
const range = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => `r${from + index}`)

const HEARTBEAT_MS = 15_000
const LIFETIME_MS = 60_000
const STALL_MS = 20_000
const TURN_MS = 1000
/** By the manual clock's chance: 90 %. */
const JITTERED_MS = 54_000

type Setup = {
  readonly scene?: ReturnType<typeof startHub>
  readonly position?: number
  readonly cursor?: number
  readonly history?: (position: number) => Promise<Chunk>
  readonly past?: Chunk
  readonly room?: number
  /** Of the key `key`, in ms from now. */
  readonly leaseMs?: number
}

function open({ scene = startHub(), position = STREAM.dataTail, ...rest }: Setup = {}) {
  const response = new FakeResponse()
  response.room = rest.room ?? Infinity
  const ends: [DisconnectReason, unknown][] = []
  const counted: DisconnectReason[] = []
  const { history = () => Promise.reject(new Error('no history')) } = rest
  const sink = new ResponseSink(response as unknown as ServerResponse, (reason, cause) => {
    ends.push([reason, cause])
  })
  const { leaseMs, past, cursor } = rest
  const leases = new Leases(scene.clock)
  const lease =
    leaseMs === undefined ? undefined : { until: scene.clock.now() + leaseMs, keyId: 'key' }
  const subscriber = new SseSubscriber(
    { place: { hub: scene.hub, position, past }, cursor, sink, lease },
    {
      clock: scene.clock,
      wheel: new Wheel(scene.clock, TURN_MS),
      heartbeatMs: HEARTBEAT_MS,
      lifetimeMs: LIFETIME_MS,
      stallMs: STALL_MS,
      leases,
      onEnd: (reason) => counted.push(reason),
      history: (_hub, from) => history(from),
    },
  )
  subscriber.begin()
  return { ...scene, leases, response, ends, counted, subscriber }
}

/** History in portions that end where it says. */
function chunkOf(from: number, ...ends: number[]): Chunk {
  const portions = ends.map((end, index) => {
    const start = ends[index - 1] ?? from
    return { records: recordsIn(start, end), end }
  })
  const end = ends.at(-1) ?? from
  const records = portions.flatMap((portion) => portion.records)
  return { records, end, portions: portions.filter(({ records }) => records.length > 0) }
}

const recordsIn = (from: number, to: number) =>
  Array.from({ length: to - from }, (_, index) => dataRecord(from + index))

/** History that the test hands over when it likes. */
function deferredHistory() {
  const asked: number[] = []
  let settle: { resolve: (chunk: Chunk) => void; reject: (error: unknown) => void } | undefined
  const history = (position: number) => {
    asked.push(position)
    return new Promise<Chunk>((resolve, reject) => {
      settle = { resolve, reject }
    })
  }
  const turn = () => new Promise((resolve) => setImmediate(resolve))
  return {
    asked,
    history,
    give: (from: number, ...ends: number[]) => {
      settle!.resolve(chunkOf(from, ...ends))
      return turn()
    },
    fail: (error: unknown) => {
      settle!.reject(error)
      return turn()
    },
  }
}

describe('an SSE reader at the tail', () => {
  test('is told at once where it stands, then gets every batch with its control event', () => {
    const { log, response } = open()
    log.last.give(data(11), data(12))
    log.last.give(data(13))
    expect(response.records).toEqual(['r11', 'r12', 'r13'])
    expect(response.controls).toEqual([
      { streamNextOffset: offset(10), streamCursor: cursor(10), upToDate: true },
      { streamNextOffset: offset(13), streamCursor: cursor(13), upToDate: true },
      { streamNextOffset: offset(14), streamCursor: cursor(14), upToDate: true },
    ])
    expect(response.writes).toBe(3)
  })

  test('gets cursors that only grow, from its own on', () => {
    const { log, response } = open({ cursor: 2 ** 40 + 10 * 1024 + 5 })
    log.last.give(data(11))
    expect(response.controls).toMatchObject([
      { streamCursor: cursor(10, 6) },
      { streamCursor: cursor(12) },
    ])
  })

  test.each([
    ['with its last data', [finalData(11)], offset(12)],
    ['without data', [closed(11)], offset(10)],
  ])('ends when the stream is closed %s', (_name, records, streamNextOffset) => {
    const { log, response, ends, hub } = open()
    log.last.give(...records)
    expect(response.controls.at(-1)).toEqual({
      streamNextOffset,
      upToDate: true,
      streamClosed: true,
    })
    expect([response.ended, ends, hub.subscribers]).toEqual([
      true,
      [['stream_closed', undefined]],
      0,
    ])
  })
})

describe('a socket that pushes back', () => {
  test('gets everything in order, once, and never more than it asked for', () => {
    const { log, response } = open({ room: 1 })
    for (let seqNum = 11; seqNum < 60; seqNum += 1) log.last.give(data(seqNum))
    expect(response.writes).toBe(1)
    for (let drained = 1; drained < 100; drained += 1) {
      response.drain(2)
      expect(response.writes).toBeLessThanOrEqual(1 + 2 * drained)
    }
    expect(response.records).toEqual(range(11, 60))
  })

  test('is sent no heartbeat while it is full', () => {
    const { clock, response } = open({ room: 1 })
    clock.advance(HEARTBEAT_MS)
    expect(response.writes).toBe(1)
    response.drain(Infinity)
    clock.advance(HEARTBEAT_MS)
    expect(response.text.endsWith(':\n\n')).toBe(true)
  })

  test('is sent a heartbeat after a time without an event, and none beside events', () => {
    const scene = startHub()
    const { clock, response } = open({ scene })
    const heartbeats = (): number => response.text.split(/^:$/m).length - 1
    for (let seqNum = 11; seqNum < 15; seqNum += 1) {
      clock.advance(HEARTBEAT_MS / 2)
      scene.log.last.give(data(seqNum))
    }
    expect(heartbeats()).toBe(0)
    clock.advance(HEARTBEAT_MS + 2 * TURN_MS)
    expect(heartbeats()).toBe(1)
  })

  test('that falls behind the ring goes on from history without a gap', async () => {
    const scene = startHub({}, { ring: { maxRecords: 5, maxBytes: 1000 } })
    const past = deferredHistory()
    const { log, response } = open({ scene, room: 1, history: past.history })
    for (let seqNum = 11; seqNum < 40; seqNum += 1) log.last.give(data(seqNum))
    response.drain(Infinity)
    expect(past.asked).toEqual([10])
    log.last.give(data(40))
    await past.give(11, 30)
    log.last.give(data(41))
    await past.give(30, 38)
    expect(past.asked).toEqual([10, 30])
    expect(response.records).toEqual(range(11, 42))
    const [upToDate, rest] = [response.controls.at(-1), response.controls.slice(1, -1)]
    expect(upToDate).toMatchObject({ upToDate: true, streamNextOffset: offset(42) })
    expect(rest.every((control) => !('upToDate' in (control as object)))).toBe(true)
  })

  test('is given time for its last bytes, then cut', () => {
    const { clock, response, log } = open({ room: 1 })
    log.last.give(finalData(11))
    response.drain(1)
    expect([response.ended, response.destroyed]).toEqual([true, false])
    clock.advance(10_000 + TURN_MS)
    expect(response.destroyed).toBe(true)
  })
})

describe('a reader that takes nothing of what it was sent', () => {
  test('is dropped after its time, and counted with the reason', () => {
    const { clock, hub, response, ends, counted } = open({ room: 1 })
    clock.advance(STALL_MS - 1)
    expect([response.destroyed, counted]).toEqual([false, []])
    clock.advance(TURN_MS + 1)
    expect([response.destroyed, hub.subscribers]).toEqual([true, 0])
    expect([ends, counted]).toEqual([[['stalled', undefined]], ['stalled']])
    expect(clock.timers).toBe(1) // the hub's: it has no reader any more
  })

  test('has longer for more, as nobody knows how far it is', () => {
    const { clock, log, response } = open({ room: 2 })
    response.writableLength = 64 * 5000
    log.last.give(data(11))
    clock.advance(STALL_MS + 4000)
    expect(response.destroyed).toBe(false)
    clock.advance(1000 + TURN_MS)
    expect(response.destroyed).toBe(true)
  })

  test('has all of it again whenever it has taken something', () => {
    const { clock, log, response, counted } = open({ room: 1 })
    for (let seqNum = 11; seqNum < 13; seqNum += 1) {
      clock.advance(STALL_MS - TURN_MS)
      log.last.give(data(seqNum))
      response.drain(1)
    }
    clock.advance(STALL_MS - TURN_MS)
    // As long as it may be there at all.
    expect([response.records, counted]).toEqual([range(11, 13), ['lifetime']])
  })
})

describe('history', () => {
  test('is sent in portions, and said to be all only with the last of the data', async () => {
    const past = deferredHistory()
    const { response, ends } = open({ position: 2, history: past.history })
    await past.give(2, 5, 8, 10)
    expect([response.records, response.writes, past.asked]).toEqual([range(2, 10), 3, [2]])
    expect(response.controls).toEqual([
      { streamNextOffset: offset(5), streamCursor: cursor(5) },
      { streamNextOffset: offset(8), streamCursor: cursor(8) },
      { streamNextOffset: offset(10), streamCursor: cursor(10), upToDate: true },
    ])
    expect(ends).toEqual([])
  })

  test('that was read before is not read again', () => {
    const { log, response } = open({ position: 4, past: chunkOf(4, 6, 10) })
    log.last.give(data(11))
    expect(response.records).toEqual([...range(4, 10), 'r11'])
  })

  test('goes on with the portion after, when the socket has room', () => {
    const { log, response } = open({ position: 2, past: chunkOf(2, 4, 7, 10), room: 1 })
    log.last.give(data(11))
    for (const records of [range(2, 4), range(2, 7), range(2, 10), [...range(2, 10), 'r11']]) {
      expect(response.records).toEqual(records)
      response.drain(1)
    }
  })

  test('is given back by one that takes nothing for long, and then read where it is', async () => {
    const past = deferredHistory()
    const setup = { position: 2, past: chunkOf(2, 4, 7, 10), history: past.history, room: 1 }
    const { clock, response } = open(setup)
    clock.advance(HEARTBEAT_MS + TURN_MS)
    response.drain(Infinity)
    expect([response.records, past.asked]).toEqual([range(2, 4), [4]])
    await past.give(4, 9, 10)
    expect(response.records).toEqual(range(2, 10))
  })

  test('that goes on into the ring is sent to its end', async () => {
    const scene = startHub({}, { ring: { maxRecords: 5, maxBytes: 1000 } })
    const past = deferredHistory()
    const { log, response } = open({ scene, room: 1, history: past.history })
    for (let seqNum = 11; seqNum < 40; seqNum += 1) log.last.give(data(seqNum))
    response.drain(Infinity)
    expect(scene.hub.history).toMatchObject({ dataTail: 40, isFinal: false })
    await past.give(11, 30, 38)
    expect(response.records).toEqual(range(11, 40))
    expect(response.controls.at(-1)).toMatchObject({ upToDate: true })
    expect(response.controls.at(-3)).toEqual({
      streamNextOffset: offset(38),
      streamCursor: cursor(38),
    })
  })
})

describe('while history is read', () => {
  test('a wake changes nothing', async () => {
    const past = deferredHistory()
    const { log, response } = open({ position: 5, history: past.history })
    log.last.give(data(11))
    expect([response.writes, past.asked]).toEqual([0, [5]])
    await past.give(5, 10)
    expect(response.records).toEqual([...range(5, 10), 'r11'])
  })

  test('records that are no data are passed over', async () => {
    const past = deferredHistory()
    const { response } = open({ position: 5, history: past.history })
    await past.give(8, 8)
    await past.give(8, 10)
    expect([response.records, past.asked]).toEqual([
      ['r8', 'r9'],
      [5, 8],
    ])
    expect(response.controls).toMatchObject([{ upToDate: true, streamNextOffset: offset(10) }])
  })

  test('a stop ends the reader, and what comes late is not sent', async () => {
    const past = deferredHistory()
    const { hub, response, ends } = open({ position: 5, history: past.history })
    hub.stop('stream_deleted')
    await past.give(5, 10)
    expect([response.text, response.ended, ends]).toEqual([
      '',
      true,
      [['stream_deleted', undefined]],
    ])
  })

  test('a log that is away for a while is waited for', async () => {
    const past = deferredHistory()
    const { clock, response, ends } = open({ position: 5, history: past.history })
    await past.fail(new LogUnavailableError())
    expect([response.writes, response.ended, past.asked]).toEqual([0, false, [5]])
    clock.advance(75)
    await past.fail(new LogUnavailableError())
    clock.advance(150)
    await past.give(5, 10)
    expect([response.records, past.asked, ends]).toEqual([range(5, 10), [5, 5, 5], []])
  })

  test('a failure ends this reader alone and names its cause', async () => {
    const past = deferredHistory()
    const { hub, response, ends } = open({ position: 5, history: past.history })
    const cause = new Error('unreachable')
    await past.fail(cause)
    expect([response.ended, ends, hub.state.phase]).toEqual([
      true,
      [['read_failed', cause]],
      'starting',
    ])
  })
})

describe('while the hub looks for the log', () => {
  test('a reader is told where it stands, and that it has all only when that is known', () => {
    const scene = startHub()
    scene.log.last.handlers.onEnd(new Error('reset'))
    const { response, log, clock } = open({ scene })
    const place = { streamNextOffset: offset(10), streamCursor: cursor(10) }
    expect(response.controls).toEqual([place])
    clock.advance(75)
    log.last.handlers.onCaughtUp(11)
    expect(response.controls).toMatchObject([place, { upToDate: true }])
  })
})

describe('the end of a connection', () => {
  test('comes after its lifetime less some chance, with word of where to go on', () => {
    const { clock, response, ends, hub, log } = open()
    log.last.give(data(11))
    clock.advance(JITTERED_MS - 1)
    expect(response.ended).toBe(false)
    clock.advance(1)
    expect(response.controls.at(-1)).toEqual({
      streamNextOffset: offset(12),
      streamCursor: cursor(12, 2),
      upToDate: true,
    })
    expect([response.ended, ends, hub.subscribers]).toEqual([true, [['lifetime', undefined]], 0])
  })

  test('on shutdown tells a reader that is behind where to go on, not that it has all', () => {
    const { hub, log, response, ends } = open({ room: 1 })
    log.last.give(data(11))
    hub.stop('shutdown')
    expect(response.controls.at(-1)).toEqual({
      streamNextOffset: offset(10),
      streamCursor: cursor(10, 1),
    })
    expect([response.ended, ends]).toEqual([true, [['shutdown', undefined]]])
  })

  test.each(['close', 'error'])('on %s leaves neither reader nor timer behind', (event) => {
    const scene = startHub()
    const before = scene.clock.timers
    const { hub, clock, response, ends, log } = open({ scene })
    response.emit(event, new Error('reset'))
    log.last.give(data(11))
    response.drain(1)
    expect([hub.subscribers, clock.timers, ends]).toEqual([0, before, [['client', undefined]]])
  })

  test('happens once, whatever comes after it', () => {
    const { hub, response, ends, subscriber, clock } = open()
    hub.stop('stream_deleted')
    const { text } = response
    subscriber.stop('shutdown')
    subscriber.wake()
    response.drain(9)
    clock.advance(LIFETIME_MS)
    expect([response.text, ends]).toEqual([text, [['stream_deleted', undefined]]])
    expect(clock.timers).toBe(0)
  })

  test('comes at once on a hub that has stopped meanwhile', () => {
    const scene = startHub()
    scene.hub.stop('stream_deleted')
    const { response, ends } = open({ scene })
    expect([response.text, response.ended, ends]).toEqual([
      '',
      true,
      [['stream_deleted', undefined]],
    ])
  })

  test('follows a write that throws, and harms nobody else', () => {
    const scene = startHub()
    const broken = open({ scene })
    const sound = open({ scene })
    const bug = new Error('a bug')
    broken.response.refusal = bug
    scene.log.last.give(data(11))
    expect(broken.ends).toEqual([['failed', bug]])
    expect([sound.response.records, scene.hub.state.phase]).toEqual([['r11'], 'live'])
  })
})

describe('an SSE reader on a lease', () => {
  const where = (seqNum: number) => ({
    streamNextOffset: offset(seqNum),
    streamCursor: cursor(seqNum, 1),
    upToDate: true,
  })

  test('is told where it stands and let go when that is over', () => {
    const { clock, log, response, counted, hub } = open({ leaseMs: 5000 })
    log.last.give(data(11))
    clock.advance(4999)
    expect([response.ended, hub.subscribers]).toEqual([false, 1])
    clock.advance(1 + TURN_MS)
    expect([response.ended, counted, hub.subscribers]).toEqual([true, ['token_expired'], 0])
    expect(response.controls.at(-1)).toMatchObject({ streamNextOffset: offset(12) })
  })

  test('lives no longer than any other', () => {
    const { clock, counted } = open({ leaseMs: LIFETIME_MS * 2 })
    clock.advance(LIFETIME_MS)
    expect(counted).toEqual(['lifetime'])
  })

  test('is told where it stands and let go when its key is withdrawn', () => {
    const { leases, response, counted } = open({ leaseMs: 5000 })
    leases.withdraw('another')
    expect(response.ended).toBe(false)
    leases.withdraw('key')
    expect([response.ended, counted]).toEqual([true, ['key_withdrawn']])
    expect(response.controls.at(-1)).toMatchObject(where(10))
  })

  test('is not told of its key once it is gone', () => {
    const { leases, subscriber, counted } = open({ leaseMs: 5000 })
    subscriber.closed()
    leases.withdraw('key')
    expect(counted).toEqual(['client'])
  })
})
