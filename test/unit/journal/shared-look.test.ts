import { describe, expect, test } from 'vitest'
import { SharedLook } from '../../../src/journal/shared-look.ts'

/** Looks that end when the test says so; each sees its own number. */
function looks() {
  const ends: ((error?: Error) => void)[] = []
  const shared = new SharedLook(() => {
    const number = ends.length
    return new Promise<number>((resolve, reject) => {
      ends.push((error) => (error === undefined ? resolve(number) : reject(error)))
    })
  })
  return { shared, ends }
}

describe('SharedLook', () => {
  test('starts at once when none is under way', async () => {
    const { shared, ends } = looks()
    const seen = shared.take()
    expect(ends).toHaveLength(1)
    ends[0]!()
    expect(await seen).toBe(0)
  })

  test('never joins a look that began before, but shares the next', async () => {
    const { shared, ends } = looks()
    const first = shared.take()
    const others = [shared.take(), shared.take()]
    expect(ends).toHaveLength(1)
    ends[0]!()
    expect(await first).toBe(0)
    expect(ends).toHaveLength(2)
    ends[1]!()
    expect(await Promise.all(others)).toEqual([1, 1])
  })

  test('has one look under way, whenever one asks', async () => {
    const { shared, ends } = looks()
    const first = shared.take()
    const second = shared.take()
    ends[0]!()
    // From every turn between the end of the first look and the start of the next.
    const asked: Promise<number>[] = []
    for (let turn = 0; turn < 6; turn += 1) {
      asked.push(shared.take())
      await Promise.resolve()
      expect(ends.length).toBeLessThanOrEqual(2)
    }
    ends[1]!()
    expect(await Promise.all([first, second])).toEqual([0, 1])
    while (ends.length < 3) await Promise.resolve()
    ends[2]!()
    expect(new Set(await Promise.all(asked))).toEqual(new Set([1, 2]))
    expect(ends).toHaveLength(3)
  })

  test('looks again after a failure, which only its own callers hear of', async () => {
    const { shared, ends } = looks()
    const first = shared.take()
    const second = shared.take()
    ends[0]!(new Error('lost'))
    await expect(first).rejects.toThrow('lost')
    ends[1]!()
    expect(await second).toBe(1)
  })
})
