import { describe, expect, test } from 'vitest'
import { OpenTime } from '../../../src/metrics/open-time.ts'
import { Meter } from '../../../src/metrics/meter.ts'
import { S2_LIST } from '../../../src/metrics/prices.ts'
import type { LogCall, LogOutcome } from '../../../src/log/log-observer.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const MINUTE_MS = 60_000
const GIB = 1024 ** 3

function start() {
  const clock = new ManualClock()
  const meter = new Meter({ clock, prices: S2_LIST, isBilled: false })
  const call = (name: LogCall, outcome: LogOutcome = 'ok', bytes = 0): void =>
    meter.onCall({ call: name, outcome, ms: 1, records: 1, bytes })
  return { clock, meter, call }
}

test('OpenTime adds up the time of all that are open, and of those that were', () => {
  const clock = new ManualClock()
  const time = new OpenTime(clock)
  time.add()
  clock.advance(1000)
  time.add()
  clock.advance(1000)
  time.remove()
  clock.advance(500)
  expect([time.open, time.opened, time.ms]).toEqual([1, 2, 3500])
})

describe('Meter', () => {
  test('counts each call as what S2 bills it as', () => {
    const { meter, call } = start()
    call('append', 'ok', GIB)
    call('append', 'conflict')
    call('session_append', 'ok', GIB)
    call('read', 'ok', GIB / 2)
    call('check_tail')
    call('ping')
    call('create_stream')
    call('list_streams')
    expect(meter.usage().quantities).toEqual({
      append: 2,
      append_session_minute: 0,
      read: 1,
      read_session_minute: 0,
      check_tail: 2,
      create_stream: 1,
      list_streams: 1,
      written_gib: 2,
      read_gib: 0.5,
    })
  })

  test('counts no call that had no answer', () => {
    const { meter, call } = start()
    call('read', 'unavailable')
    expect(meter.usage().quantities.read).toBe(0)
  })

  test('counts the minutes of sessions while they are open', () => {
    const { clock, meter } = start()
    meter.readSessions.add()
    meter.readSessions.add()
    meter.appendSessions.add()
    clock.advance(3 * MINUTE_MS)
    meter.readSessions.remove()
    clock.advance(MINUTE_MS)
    const { read_session_minute: reads, append_session_minute: appends } = meter.usage().quantities
    expect([reads, appends]).toEqual([7, 4])
  })

  test('tells what a session read from what readers were sent of it', () => {
    const { meter } = start()
    meter.onRecordsDelivered(GIB)
    meter.onBatch({ readers: 50, bytes: GIB, sentBytes: 0, latencyMs: 0 })
    meter.onRecordsDelivered(GIB)
    meter.onOwnRecordsDelivered(GIB)
    const { sessionGib, deliveredGib, quantities } = meter.usage()
    expect([sessionGib, quantities.read_gib, deliveredGib]).toEqual([1, 2, 50])
  })

  test('judges a month by the last five minutes', () => {
    const { clock, meter } = start()
    meter.readSessions.add()
    meter.readers.add()
    meter.readers.add()
    clock.advance(60 * MINUTE_MS)
    const { overSeconds, usd, usdWithoutFanOut, readers, readSessions } = meter.month()
    expect(overSeconds).toBeGreaterThanOrEqual(300)
    expect(overSeconds).toBeLessThan(330)
    expect([readers, readSessions]).toEqual([2, 1])
    expect([usd, usdWithoutFanOut]).toEqual([
      expect.closeTo(0.0432, 9) as number,
      expect.closeTo(0.0864, 9) as number,
    ])
    meter.readSessions.remove()
    meter.readers.remove()
    meter.readers.remove()
    clock.advance(10 * MINUTE_MS)
    expect(meter.month()).toMatchObject({ usd: 0, usdWithoutFanOut: 0 })
  })

  test('bills since it began, and stops when told to', () => {
    const { clock, meter } = start()
    const since = new Date(clock.now()).toISOString()
    meter.readSessions.add()
    clock.advance(10 * MINUTE_MS)
    expect(meter.bill()).toMatchObject({ since, billed_by_s2: false })
    expect(meter.bill().cost).toBeCloseTo(10e-6, 12)
    meter.stop()
    expect(clock.timers).toBe(0)
  })
})
