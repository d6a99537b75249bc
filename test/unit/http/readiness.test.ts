import { describe, expect, test, vi } from 'vitest'
import { LogUnavailableError, ShuttingDownError } from '../../../src/errors.ts'
import { Drain } from '../../../src/http/plugins/drain.ts'
import { Readiness } from '../../../src/http/readiness.ts'
import { ManualClock } from '../../support/manual-clock.ts'

function setUp() {
  const clock = new ManualClock()
  const drain = new Drain()
  const ping = vi.fn(() => Promise.resolve())
  return { clock, drain, ping, readiness: new Readiness({ clock, ping, drain }) }
}

describe('Readiness', () => {
  test('asks the log once for all who ask within a second', async () => {
    const { clock, ping, readiness } = setUp()
    await Promise.all([readiness.check(), readiness.check()])
    clock.advance(999)
    await readiness.check()
    expect(ping).toHaveBeenCalledTimes(1)
    clock.advance(1)
    await readiness.check()
    expect(ping).toHaveBeenCalledTimes(2)
    expect(readiness.isReady).toBe(true)
  })

  test('remembers no failure', async () => {
    const { ping, readiness } = setUp()
    ping.mockRejectedValueOnce(new LogUnavailableError())
    const both = [readiness.check(), readiness.check()]
    for (const one of both) await expect(one).rejects.toThrow(LogUnavailableError)
    expect(ping).toHaveBeenCalledTimes(1)
    expect(readiness.isReady).toBe(false)
    await readiness.check()
    expect(readiness.isReady).toBe(true)
  })

  test('is none while the gateway leaves, whatever was answered before', async () => {
    const { drain, readiness } = setUp()
    await readiness.check()
    drain.begin()
    await expect(readiness.check()).rejects.toThrow(ShuttingDownError)
    expect(readiness.isReady).toBe(false)
  })
})
