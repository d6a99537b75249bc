import type { Socket } from 'node:net'
import type { FastifyBaseLogger } from 'fastify'
import { describe, expect, test } from 'vitest'
import type { Connection } from '../../../../src/http/fast/connection.ts'
import type {
  DirectHandle,
  DirectOwner,
  DirectResult,
  DirectWrites,
} from '../../../../src/http/fast/direct.ts'
import { Connections } from '../../../../src/http/fast/connections.ts'
import { LiveLines } from '../../../../src/http/plugins/request-log.ts'
import { Wheel } from '../../../../src/http/wheel.ts'
import { toChunk } from '../../../../src/protocol/chunk.ts'
import { FakeWritable } from '../../../support/fake-writable.ts'
import { ManualClock } from '../../../support/manual-clock.ts'

const MAX_AHEAD_BYTES = 16 * 1024
const FIRST_MS = 60_000
const KEEP_ALIVE_MS = 5000
const TURN_MS = 100
const request = (offset: string) =>
  Buffer.from(`GET /v1/stream/s?offset=${offset}&live=sse HTTP/1.1\r\nHost: h\r\n\r\n`)

class FakeSocket extends FakeWritable {
  allowHalfOpen = true
  isPaused = false
  unshifted: string | undefined

  cork(): void {
    // Nothing to be seen of it here.
  }

  uncork(): void {
    // Nothing to be seen of it here.
  }

  pause(): void {
    this.isPaused = true
  }

  resume(): void {
    this.isPaused = false
  }

  unshift(bytes: Buffer): void {
    this.unshifted = bytes.toString()
  }

  destroySoon(): void {
    this.ended = true
  }
}

/** Takes a number of writes, then lets the next one wait. */
class FakeDirect implements DirectWrites {
  room = Infinity
  isOpen = true
  fails = false
  queue = 0
  readonly waits: DirectOwner[] = []

  open(socket: Socket): DirectHandle | undefined {
    return this.isOpen ? (socket as unknown as DirectHandle) : undefined
  }

  write(handle: DirectHandle, bytes: Buffer, owner: DirectOwner): DirectResult {
    if (this.fails) return 'failed'
    const socket = handle as unknown as FakeSocket
    socket.text += `<${bytes.toString()}>`
    this.room -= 1
    if (this.room > 0) return 'written'
    this.waits.push(owner)
    return 'waiting'
  }

  waiting(): number {
    return this.queue
  }
}

function open(direct?: DirectWrites) {
  const socket = new FakeSocket()
  const clock = new ManualClock()
  const served: [Buffer, Connection][] = []
  const handedOver: unknown[] = []
  const refused: unknown[] = []
  const lane = { isLeaving: false, isFull: false }
  const connections = new Connections({
    serve: (...asked) => served.push(asked),
    toNode: (given) => handedOver.push(given),
    refuseLate: (late) => refused.push(late),
    admits: () => !lane.isFull,
    isLeaving: () => lane.isLeaving,
    direct,
    wheel: new Wheel(clock, TURN_MS),
    firstMs: FIRST_MS,
    keepAliveMs: KEEP_ALIVE_MS,
  })
  connections.open(socket as unknown as Socket)
  const [connection] = connections.all() as [Connection]
  const owner = { drains: 0, ends: 0 }
  connection.own({ drained: () => (owner.drains += 1), closed: () => (owner.ends += 1) })
  const ask = (offset = '-1') => socket.emit('data', request(offset))
  const begin = () => {
    connection.begin(HEAD, LINES.begin({ path: '/', live: 'sse' }))
    connection.flush()
  }
  const isGone = () => connections.all().length === 0
  return {
    ...{ socket, clock, connection, lane, served, handedOver, refused, isGone, owner },
    ...{ ask, begin },
  }
}

const LINES = new LiveLines({ level: 'silent' } as FastifyBaseLogger)
const HEAD = Buffer.from('HEAD ')
const EVENT = toChunk(Buffer.from('event'))

describe('a connection of the fast lane', () => {
  test('is refused when no first request comes in time', () => {
    const { socket, clock, refused, isGone } = open()
    clock.advance(FIRST_MS - 1)
    expect(refused).toEqual([])
    clock.advance(TURN_MS + 1)
    expect([refused, isGone(), clock.timers]).toEqual([[socket], true, 0])
    expect([socket.eventNames(), socket.destroyed]).toEqual([[], false])
  })

  test('has all the time for an answer, and some for the next request', () => {
    const { socket, clock, connection, ask, begin } = open()
    ask()
    expect(clock.timers).toBe(0)
    begin()
    connection.end()
    clock.advance(KEEP_ALIVE_MS - 1)
    expect(socket.destroyed).toBe(false)
    clock.advance(TURN_MS + 1)
    expect([socket.destroyed, clock.timers]).toEqual([true, 0])
  })

  test('sends a response in chunks, and tells its owner once when it is over', () => {
    const { socket, connection, owner, isGone, ask, begin } = open()
    ask()
    begin()
    expect(connection.send(EVENT)).toBe(true)
    connection.end()
    connection.end()
    expect(socket.text).toBe('HEAD 5\r\nevent\r\n0\r\n\r\n')
    expect(owner.ends).toBe(1)
    socket.emit('close')
    expect([owner.ends, isGone()]).toEqual([1, true])
  })

  test('is full until it is drained, and ends only then', () => {
    const { socket, connection, owner, ask, begin } = open()
    ask()
    begin()
    socket.room = 1
    expect([connection.send(EVENT), connection.isFull]).toEqual([false, true])
    socket.drain(0)
    expect(owner.drains).toBe(1)
    connection.end()
    expect(owner.ends).toBe(0)
    socket.drain(5)
    expect([owner.drains, owner.ends]).toEqual([1, 1])
  })

  test('takes what is sent ahead of an answer when that is over, up to a bound', () => {
    const { socket, connection, served, ask, begin } = open()
    ask('1')
    begin()
    ask('2')
    expect(served).toHaveLength(1)
    connection.end()
    expect(served.map(([sent]) => sent)).toEqual([request('1'), request('2')])
    begin()
    socket.emit('data', Buffer.alloc(MAX_AHEAD_BYTES + 1, 'G'))
    expect(socket.isPaused).toBe(true)
  })

  test('is dropped when no request can begin so, in the middle of an answer', () => {
    const { socket, owner, ask, begin } = open()
    ask()
    begin()
    socket.emit('data', Buffer.from('nonsense'))
    expect([socket.destroyed, owner.ends]).toEqual([true, 1])
  })

  test('goes to Node with all that came, and is heard of no more', () => {
    const { socket, connection, handedOver, isGone, owner, ask } = open()
    ask()
    expect(socket.allowHalfOpen).toBe(false)
    socket.emit('data', request('ahead'))
    connection.handOver()
    expect(handedOver).toEqual([socket])
    expect(socket.unshifted).toBe(`${String(request('-1'))}${String(request('ahead'))}`)
    expect([isGone(), socket.eventNames(), socket.allowHalfOpen]).toEqual([true, [], true])
    connection.destroy()
    expect([socket.destroyed, owner.ends]).toEqual([false, 0])
  })

  test('does not go to Node once an answer has begun', () => {
    const { connection, handedOver, ask, begin } = open()
    ask()
    begin()
    connection.handOver()
    expect(handedOver).toEqual([])
  })

  test('is dropped when what began to be answered fails, and Node answers what did not', () => {
    const early = open()
    early.ask()
    early.connection.fail()
    expect(early.handedOver).toHaveLength(1)
    const late = open()
    late.ask()
    late.begin()
    late.connection.fail()
    expect([late.handedOver, late.socket.destroyed]).toEqual([[], true])
  })

  test('that leaves gives further requests to Node, and closes after its answer', () => {
    const idle = open()
    idle.lane.isLeaving = true
    idle.ask()
    expect(idle.handedOver).toHaveLength(1)
    const busy = open()
    busy.ask()
    busy.begin()
    busy.lane.isLeaving = true
    busy.connection.closeIdle()
    expect([busy.socket.ended, busy.socket.destroyed]).toEqual([false, false])
    busy.connection.end()
    expect(busy.socket.ended).toBe(true)
  })

  test('has Node refuse what is not to be begun', () => {
    const { lane, ask, served, handedOver } = open()
    lane.isFull = true
    ask()
    expect([served, handedOver.length]).toEqual([[], 1])
  })

  test('is over for its owner when it closes', () => {
    const { socket, connection, owner, ask, begin } = open()
    ask()
    begin()
    socket.emit('error', new Error('reset'))
    socket.emit('close')
    expect([owner.ends, connection.isGone, socket.destroyed]).toEqual([1, true, true])
  })
})

describe('a connection whose events go past its stream', () => {
  const EVENT_TEXT = `<${String(EVENT.framed)}>`

  function following() {
    const direct = new FakeDirect()
    const scene = open(direct)
    scene.ask()
    scene.begin()
    return { ...scene, direct }
  }

  test('writes the head to the stream, and events past it once that has nothing', () => {
    const { connection, socket, direct } = following()
    direct.isOpen = false
    connection.send(EVENT)
    direct.isOpen = true
    connection.send(EVENT)
    expect(socket.text).toBe(`HEAD ${String(EVENT.framed)}${EVENT_TEXT}`)
  })

  test('is full while a write waits, and tells its owner once it is done', () => {
    const { connection, direct, owner } = following()
    direct.room = 1
    expect(connection.send(EVENT)).toBe(false)
    direct.queue = 7
    expect([connection.isFull, connection.waiting, owner.drains]).toEqual([true, 7, 0])
    direct.room = Infinity
    direct.waits[0]?.settled(true)
    expect([connection.isFull, owner.drains, connection.send(EVENT)]).toEqual([false, 1, true])
  })

  test('has what comes meanwhile wait behind it, and goes past the stream only when that is done', () => {
    const { connection, socket, direct } = following()
    direct.room = 1
    connection.send(EVENT)
    direct.isOpen = false
    expect(connection.send(EVENT)).toBe(false)
    direct.room = Infinity
    direct.waits[0]?.settled(true)
    connection.send(EVENT)
    direct.isOpen = true
    connection.send(EVENT)
    const framed = String(EVENT.framed)
    expect(socket.text).toBe(`HEAD ${EVENT_TEXT}${framed}${framed}${EVENT_TEXT}`)
  })

  test('is over when what waited is written, and not before', () => {
    const { connection, socket, direct, owner, ask, served } = following()
    direct.room = 1
    connection.send(EVENT)
    connection.end()
    ask('2')
    expect([owner.ends, served.length]).toEqual([0, 1])
    direct.waits[0]?.settled(true)
    expect([owner.ends, served.length]).toEqual([1, 2])
    expect(socket.text).toBe(`HEAD ${EVENT_TEXT}0\r\n\r\n`)
  })

  test.each(['at once', 'later'])('is dropped when a write fails %s', (when) => {
    const { connection, socket, direct, owner, isGone } = following()
    direct.fails = when === 'at once'
    direct.room = 1
    expect(connection.send(EVENT)).toBe(false)
    direct.waits[0]?.settled(false)
    expect([socket.destroyed, owner.ends, isGone()]).toEqual([true, 1, true])
  })

  test('that is gone hears of a write that still waited, and does nothing', () => {
    const { connection, direct, owner } = following()
    direct.room = 1
    connection.send(EVENT)
    connection.destroy()
    direct.waits[0]?.settled(true)
    expect([owner.drains, owner.ends]).toEqual([0, 1])
  })
})
