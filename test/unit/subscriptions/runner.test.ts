import { describe, expect, test } from 'vitest'
import { retryDelayMs } from '../../../src/subscriptions/runner.ts'

describe('retryDelayMs', () => {
  // PROTOCOL §7.1: exponential from 1 s up to 60 s, with 20 % jitter.
  test.each([
    [1, 1000],
    [2, 2000],
    [3, 4000],
    [4, 8000],
    [5, 16_000],
    [6, 32_000],
    [7, 60_000],
    [8, 60_000],
    [100, 60_000],
    [100_000, 60_000],
  ])('waits about as long after %i failures: %i ms', (attempt, base) => {
    expect(retryDelayMs(attempt, 0.5)).toBe(base)
    expect(retryDelayMs(attempt, 0)).toBe(base * 0.8)
    expect(retryDelayMs(attempt, 1 - Number.EPSILON)).toBe(base * 1.2)
  })

  test('waits for whole milliseconds', () => {
    expect(retryDelayMs(1, 0.123456)).toBe(849)
  })
})
