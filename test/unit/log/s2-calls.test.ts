import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { LogUnavailableError } from '../../../src/errors.ts'
import { BoundedCalls } from '../../../src/log/s2-calls.ts'

const never = () => new Promise<never>(() => undefined)

beforeEach(() => vi.useFakeTimers())
afterEach(() => vi.useRealTimers())

test('a call gives back what it gives, and leaves no timer', async () => {
  const calls = new BoundedCalls(100)
  expect(await calls.run(() => Promise.resolve(7))).toBe(7)
  await expect(calls.run(() => Promise.reject(new Error('no')))).rejects.toThrow('no')
  expect(vi.getTimerCount()).toBe(0)
})

test('a call that ignores its signal still ends at the deadline', async () => {
  const result = expect(new BoundedCalls(100).run(never)).rejects.toThrow('no answer within 100 ms')
  await vi.advanceTimersByTimeAsync(100)
  await result
})

test("the caller's signal ends a call, and one that is aborted already begins none", async () => {
  const calls = new BoundedCalls(100)
  const controller = new AbortController()
  const seen: AbortSignal[] = []
  const result = calls.run((signal) => {
    seen.push(signal)
    return never()
  }, controller.signal)
  controller.abort()
  await expect(result).rejects.toThrow('the caller gave up')
  expect(seen[0]?.aborted).toBe(true)

  const call = vi.fn(never)
  await expect(calls.run(call, controller.signal)).rejects.toThrow('the caller gave up')
  expect(call).not.toHaveBeenCalled()
})

test('close gives up what runs and refuses what comes, as never sent', async () => {
  const calls = new BoundedCalls(100)
  const running = calls.run(never)
  calls.close()
  await expect(running).rejects.toThrow('the log is closed')
  await expect(calls.run(never)).rejects.toThrow(LogUnavailableError)
})
