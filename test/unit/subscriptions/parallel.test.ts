import { describe, expect, test } from 'vitest'
import { sleep } from '../../../src/clock.ts'
import { forEachParallel } from '../../../src/subscriptions/parallel.ts'
import { ManualClock } from '../../support/manual-clock.ts'

/** Runs that take 10 ms each, and what there is to see of them. */
function runs(items: Iterable<number>, limit: number, fails: readonly number[] = []) {
  const clock = new ManualClock({ now: 0 })
  const seen = { begun: [] as number[], ended: [] as number[], atOnce: 0, most: 0 }
  const over = forEachParallel(items, limit, async (item) => {
    seen.begun.push(item)
    seen.atOnce += 1
    seen.most = Math.max(seen.most, seen.atOnce)
    // Later ones are a little slower, so that there is one order.
    await sleep(clock, 10 + item / 100)
    seen.atOnce -= 1
    seen.ended.push(item)
    if (fails.includes(item)) throw new Error(`broken: ${item}`)
  })
  return { clock, seen, over: clock.runUntil(over) }
}
const upTo = (count: number) => Array.from({ length: count }, (_, index) => index)

describe('forEachParallel', () => {
  test.each([
    [0, 3, 0],
    [1, 3, 1],
    [3, 3, 3],
    [10, 3, 3],
    [10, 1, 1],
    [3, 100, 3],
  ])('runs each of %i items once, with a limit of %i: %i at a time', async (count, limit, most) => {
    const { seen, over } = runs(upTo(count), limit)
    await over
    expect([seen.begun, seen.ended.toSorted((a, b) => a - b)]).toEqual([upTo(count), upTo(count)])
    expect([seen.most, seen.atOnce]).toEqual([most, 0])
  })

  test('begins the next one as soon as one is over', async () => {
    const { clock, over } = runs(upTo(9), 3)
    await over
    expect(Math.floor(clock.now())).toBe(30)
  })

  test('takes items from an iterator when there is room for them', async () => {
    const taken: number[] = []
    const endless = function* () {
      for (let item = 0; ; item += 1) {
        taken.push(item)
        yield item
      }
    }
    const { over } = runs(endless(), 2, [0])
    await expect(over).rejects.toThrow('broken: 0')
    expect(taken.length).toBeLessThanOrEqual(4)
  })

  test('throws the first failure once all that had begun are over, and begins no more', async () => {
    const { seen, over } = runs(upTo(10), 3, [1, 2])
    await expect(over).rejects.toThrow('broken: 1')
    // 0 made room for 3 before 1 failed.
    expect(seen.begun).toEqual([0, 1, 2, 3])
    expect([seen.ended, seen.atOnce]).toEqual([[0, 1, 2, 3], 0])
  })
})
