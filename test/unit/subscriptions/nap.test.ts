import { describe, expect, test } from 'vitest'
import { sleep } from '../../../src/clock.ts'
import { Nap } from '../../../src/subscriptions/nap.ts'
import { ManualClock } from '../../support/manual-clock.ts'

/** A nap, and a way to see whether it is over. */
function napping(ms: number) {
  const clock = new ManualClock()
  const nap = new Nap(clock)
  const seen = { isOver: false }
  const over = nap.take(ms).then(() => {
    seen.isOver = true
  })
  return { clock, nap, seen, over }
}

describe('Nap', () => {
  test('lasts as long as it is told', async () => {
    const { clock, seen } = napping(100)
    await clock.advanceAsync(99)
    expect(seen.isOver).toBe(false)
    await clock.advanceAsync(1)
    await Promise.resolve()
    expect([seen.isOver, clock.timers]).toEqual([true, 0])
  })

  test.each([0, -5])('is over at once after %d ms', async (ms) => {
    const { clock, over } = napping(ms)
    await over
    expect(clock.timers).toBe(0)
  })

  test('is cut short, and leaves no timer', async () => {
    const { clock, nap, over } = napping(100)
    nap.interrupt()
    await over
    expect(clock.timers).toBe(0)
  })

  test('is cut short before it begins', async () => {
    const clock = new ManualClock()
    const nap = new Nap(clock)
    nap.interrupt()
    await nap.take(100)
    expect(clock.timers).toBe(0)
  })

  test('tells of an interruption once, and lasts again after that', async () => {
    const { clock, nap, over } = napping(100)
    expect(nap.takeInterrupt()).toBe(false)
    nap.interrupt()
    await over
    expect([nap.takeInterrupt(), nap.takeInterrupt()]).toEqual([true, false])
    void nap.take(100)
    expect(clock.timers).toBe(1)
  })

  describe('races a promise, and', () => {
    const never = new Promise<never>(() => undefined)

    test('answers with it', async () => {
      const nap = new Nap(new ManualClock())
      expect([await nap.race(Promise.resolve('done')), nap.takeInterrupt()]).toEqual([
        'done',
        false,
      ])
    })

    test('fails with it', async () => {
      const nap = new Nap(new ManualClock())
      await expect(nap.race(Promise.reject(new Error('broken')))).rejects.toThrow('broken')
    })

    test('is interrupted, which can be told afterwards', async () => {
      const nap = new Nap(new ManualClock())
      const raced = nap.race(never)
      nap.interrupt()
      expect([await raced, nap.takeInterrupt(), nap.takeInterrupt()]).toEqual([
        'interrupted',
        true,
        false,
      ])
    })

    test('is interrupted before it begins, even by a promise that is settled', async () => {
      const nap = new Nap(new ManualClock())
      nap.interrupt()
      expect(await nap.race(Promise.resolve('done'))).toBe('interrupted')
      nap.takeInterrupt()
      expect(await nap.race(Promise.resolve('done'))).toBe('done')
    })

    test('goes on with the same promise after an interruption', async () => {
      const clock = new ManualClock()
      const nap = new Nap(clock)
      const promise = sleep(clock, 10).then(() => 'done')
      const first = nap.race(promise)
      nap.interrupt()
      await first
      nap.takeInterrupt()
      const second = nap.race(promise)
      clock.advance(10)
      expect(await second).toBe('done')
    })

    test('leaves a later nap its full time', async () => {
      const clock = new ManualClock()
      const nap = new Nap(clock)
      await nap.race(Promise.resolve('done'))
      const seen = { isOver: false }
      void nap.take(100).then(() => (seen.isOver = true))
      await clock.advanceAsync(99)
      expect(seen.isOver).toBe(false)
      nap.interrupt()
      await clock.advanceAsync(0)
      expect([seen.isOver, clock.timers]).toEqual([true, 0])
    })
  })
})
