import { setImmediate as turn } from 'node:timers/promises'
import { describe, expect, test, vi } from 'vitest'
import { OverloadedError } from '../../../src/errors.ts'
import { HubRegistry } from '../../../src/hub/registry.ts'
import type { DurableLog } from '../../../src/log/log.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { FakeLog, IDLE_MS, STREAM, Witness, data } from './fakes.ts'

function start({ maxHubs = Infinity, maxBytes = Infinity } = {}) {
  const log = new FakeLog()
  const clock = new ManualClock()
  const nothing = () => undefined
  const registry = new HubRegistry({
    log: log as unknown as DurableLog,
    clock,
    ring: { maxRecords: 10, maxBytes: 1000 },
    idleMs: IDLE_MS,
    maxHubs,
    maxBytes,
    onRecords: nothing,
    onRenew: nothing,
    onTransition: nothing,
  })
  return { registry, log, clock }
}

describe('HubRegistry', () => {
  test('has one hub per stream', () => {
    const { registry, log } = start()
    const hub = registry.acquire(STREAM)
    expect(registry.acquire({ ...STREAM, dataTail: 20, nextSeq: 20 })).toBe(hub)
    expect(registry.acquire({ ...STREAM, name: 'other' })).not.toBe(hub)
    expect([registry.size, log.open]).toEqual([2, 2])
  })

  test('never gives out a hub that has stopped', () => {
    const { registry, clock } = start()
    const idle = registry.acquire(STREAM)
    clock.advance(IDLE_MS)
    expect([registry.find('s'), registry.size]).toEqual([undefined, 0])
    expect(registry.acquire(STREAM)).not.toBe(idle)
  })

  test('replaces the hub of an earlier incarnation and ends its readers', () => {
    const { registry, log } = start()
    const reader = new Witness()
    const earlier = registry.acquire(STREAM)
    earlier.add(reader)
    const later = registry.acquire({ ...STREAM, incarnation: 'i2', base: 20 })
    expect(reader.calls).toEqual(['stop: stream_deleted'])
    expect([registry.find('s'), registry.size, log.open]).toEqual([later, 1, 1])
  })

  test('keeps the hub of a later incarnation from one who is out of date', () => {
    const { registry } = start()
    const later = registry.acquire({ ...STREAM, incarnation: 'i2', base: 20 })
    expect(registry.acquire(STREAM)).toBe(later)
  })

  test('drains polls at once and streams of events over the time it is given', async () => {
    const { registry, clock } = start()
    const [poll, first, second] = [
      new Witness(undefined, 'long-poll'),
      new Witness(undefined, 'sse'),
      new Witness(undefined, 'sse'),
    ]
    const hub = registry.acquire(STREAM)
    for (const reader of [poll, first, second]) hub.add(reader)
    const random = vi.spyOn(clock, 'random').mockReturnValueOnce(0.25).mockReturnValueOnce(0.75)
    const drained = registry.drain(4000)
    expect(random).toHaveBeenCalledTimes(2)
    const left: unknown[] = [[poll, first, second].map(({ calls }) => calls.length)]
    for (const ms of [999, 1, 1999, 1]) {
      clock.advance(ms)
      await turn()
      left.push([poll, first, second].map(({ calls }) => calls.length))
    }
    await drained
    expect(left).toEqual([
      [1, 0, 0],
      [1, 0, 0],
      [1, 1, 0],
      [1, 1, 0],
      [1, 1, 1],
    ])
    expect([registry.size, registry.subscribers]).toEqual([0, 0])
    expect(first.calls).toEqual(['stop: shutdown'])
  })

  test('has no more hubs than it may, and keeps those with readers', () => {
    const { registry, clock } = start({ maxHubs: 2 })
    const names = ['a', 'b'] as const
    const readers = names.map((name) => {
      const reader = new Witness()
      registry.acquire({ ...STREAM, name }).add(reader)
      return reader
    })
    clock.advance(IDLE_MS / 2)
    expect(() => registry.acquire({ ...STREAM, name: 'c' })).toThrow(OverloadedError)
    expect(registry.acquire({ ...STREAM, name: 'a' })).toBe(registry.find('a'))
    expect(readers.flatMap(({ calls }) => calls)).toEqual([])
  })

  test('makes room by the hubs that wait for readers, but not for those on their way', () => {
    const { registry, clock, log } = start({ maxHubs: 1 })
    const waiting = registry.acquire(STREAM)
    const other = () => registry.acquire({ ...STREAM, name: 'other' })
    expect(other).toThrow(OverloadedError)
    clock.advance(5000)
    expect(other().state.phase).toBe('starting')
    expect([waiting.state, registry.size, log.open]).toEqual([
      { phase: 'stopped', reason: 'idle' },
      1,
      1,
    ])
  })

  test('makes no hub while the rings of the others hold what they may together', () => {
    const { registry, clock, log } = start({ maxBytes: 8 })
    const reader = new Witness()
    registry.acquire(STREAM).add(reader)
    log.last.give(data(11, '1234'))
    const other = () => registry.acquire({ ...STREAM, name: 'other' })
    const third = () => registry.acquire({ ...STREAM, name: 'third' })
    expect(other().state.phase).toBe('starting')
    log.sessions[0]!.give(data(12, '5678'))
    clock.advance(5000)
    // The other one holds nothing, and would be let go of in vain.
    expect(third).toThrow(OverloadedError)
    expect(registry.size).toBe(2)
    expect(registry.find('s')?.bytes).toBe(8)
  })

  test('after its shutdown gives out stopped hubs only, and keeps none', () => {
    const { registry, log } = start()
    const reader = new Witness()
    registry.acquire(STREAM).add(reader)
    registry.shutdown()
    const late = registry.acquire({ ...STREAM, name: 'late' })
    expect(reader.calls).toEqual(['stop: shutdown'])
    expect([late.state, registry.size, log.open]).toEqual([
      { phase: 'stopped', reason: 'shutdown' },
      0,
      0,
    ])
  })
})
