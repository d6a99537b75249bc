import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Wheel } from '../../../src/http/wheel.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const TURN_MS = 100

function turning() {
  const clock = new ManualClock()
  const wheel = new Wheel(clock, TURN_MS)
  const begunAt = clock.now()
  const called: [name: string, ms: number][] = []
  const wait = (name: string, ms: number) => {
    const waiter = { due: () => void called.push([name, clock.now() - begunAt]) }
    const turn = wheel.after(ms)
    wheel.add(waiter, turn)
    return { stop: () => wheel.remove(waiter, turn) }
  }
  return { clock, wheel, called, wait }
}

describe('a wheel', () => {
  test('calls each waiter once, in its turn, and then rests', () => {
    const { clock, called, wait } = turning()
    wait('b', 3 * TURN_MS)
    wait('a', TURN_MS)
    clock.advance(10 * TURN_MS)
    expect(called).toEqual([
      ['a', TURN_MS],
      ['b', 3 * TURN_MS],
    ])
    expect(clock.timers).toBe(0)
  })

  test('calls nobody who was taken out, and rests when nobody is left', () => {
    const { clock, called, wait } = turning()
    const { stop } = wait('a', TURN_MS)
    stop()
    stop()
    expect(clock.timers).toBe(0)
    wait('b', TURN_MS)
    clock.advance(TURN_MS)
    expect(called).toEqual([['b', TURN_MS]])
  })

  test('lets a waiter take out another of its turn, and wait again', () => {
    const { clock, wheel, called, wait } = turning()
    const first = {
      due: () => {
        second.stop()
        wait('again', TURN_MS)
      },
    }
    wheel.add(first, wheel.after(2 * TURN_MS))
    const second = wait('second', 2 * TURN_MS)
    clock.advance(5 * TURN_MS)
    expect(called).toEqual([['again', 3 * TURN_MS]])
    expect(clock.timers).toBe(0)
  })

  test('is late by a turn and the last delay, whatever those before it were', () => {
    const { clock, called, wait } = turning()
    wait('a', 20 * TURN_MS)
    while (called.length === 0) {
      clock.advance(TURN_MS - 1)
      clock.stall(31)
      clock.advance(0)
    }
    const [[, ms] = []] = called
    expect(ms).toBeGreaterThanOrEqual(20 * TURN_MS)
    expect(ms).toBeLessThanOrEqual(21 * TURN_MS + 31)
  })

  test('makes up for turns that were missed, in their order', () => {
    const { clock, called, wait } = turning()
    for (const turns of [1, 3, 2, 9]) wait(String(turns), turns * TURN_MS)
    clock.stall(5 * TURN_MS)
    clock.advance(0)
    expect(called.map(([name]) => name)).toEqual(['1', '2', '3'])
    clock.advance(10 * TURN_MS)
    expect(called.map(([name]) => name)).toEqual(['1', '2', '3', '9'])
  })

  test('calls a waiter whose turn should have come before it was added', () => {
    const { clock, wheel, called } = turning()
    const turn = wheel.after(TURN_MS)
    clock.stall(5 * TURN_MS)
    wheel.add({ due: () => void called.push(['late', clock.now()]) }, turn)
    clock.advance(TURN_MS)
    expect(called).toHaveLength(1)
  })

  test('heeds no time of day', () => {
    const { clock, called, wait } = turning()
    wait('a', 3 * TURN_MS)
    clock.set(clock.now() + 3_600_000)
    clock.advance(TURN_MS)
    expect(called).toEqual([])
    clock.advance(3 * TURN_MS)
    expect(called).toHaveLength(1)
  })

  test('is never early, and late by no more than a turn', () => {
    const steps = fc.array(
      fc.record({ ms: fc.integer({ min: 1, max: 2000 }), after: fc.integer({ min: 0, max: 300 }) }),
      { minLength: 1, maxLength: 30 },
    )
    fc.assert(
      fc.property(steps, (waits) => {
        const { clock, called, wait } = turning()
        const due = new Map<string, number>()
        let now = 0
        for (const [index, { ms, after }] of waits.entries()) {
          wait(String(index), ms)
          due.set(String(index), now + ms)
          clock.advance(after)
          now += after
        }
        clock.advance(3000)
        expect(called).toHaveLength(waits.length)
        for (const [name, at] of called) {
          const late = at - (due.get(name) ?? NaN)
          expect(late).toBeGreaterThanOrEqual(0)
          expect(late).toBeLessThanOrEqual(TURN_MS)
        }
        expect(clock.timers).toBe(0)
      }),
    )
  })
})
