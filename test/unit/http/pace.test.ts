import { expect, test } from 'vitest'
import { Pace } from '../../../src/http/pace.ts'
import type { Paced } from '../../../src/http/pace.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const TIMEOUT_MS = 1000
/** What earns one second. */
const SECOND = 100

function watching() {
  const clock = new ManualClock()
  const pace = new Pace({ clock, timeoutMs: TIMEOUT_MS, bytesPerSecond: SECOND })
  const late: string[] = []
  const body = (name: string) => {
    const paced = {
      received: 0,
      late: () => {
        late.push(name)
        pace.forget(paced)
      },
    } satisfies Paced
    pace.watch(paced)
    return paced
  }
  return { clock, pace, late, body }
}

test('each body has its own time, with one timer for all', async () => {
  const { clock, late, body } = watching()
  body('a')
  await clock.advanceAsync(400)
  body('b')
  expect(clock.timers).toBe(1)
  await clock.advanceAsync(600)
  expect(late).toEqual(['a'])
  await clock.advanceAsync(399)
  expect(late).toEqual(['a'])
  await clock.advanceAsync(1)
  expect(late).toEqual(['a', 'b'])
  expect(clock.timers).toBe(0)
})

test('one that has earned more than others is looked at later than they', async () => {
  const { clock, late, body } = watching()
  const fast = body('fast')
  fast.received = 5 * SECOND
  await clock.advanceAsync(TIMEOUT_MS)
  body('slow')
  await clock.advanceAsync(TIMEOUT_MS)
  expect(late).toEqual(['slow'])
  await clock.advanceAsync(4 * 1000 - 1)
  expect(late).toEqual(['slow'])
  await clock.advanceAsync(1)
  expect(late).toEqual(['slow', 'fast'])
})

test('one that is there is not looked at', async () => {
  const { clock, pace, late, body } = watching()
  pace.forget(body('a'))
  await clock.advanceAsync(TIMEOUT_MS)
  expect(late).toEqual([])
  expect(clock.timers).toBe(0)
})

test('none has longer because the clock was set back', async () => {
  const { clock, late, body } = watching()
  body('a')
  await clock.advanceAsync(400)
  clock.set(clock.now() - 3_600_000)
  body('b')
  await clock.advanceAsync(TIMEOUT_MS)
  expect(late).toEqual(['a', 'b'])
})
