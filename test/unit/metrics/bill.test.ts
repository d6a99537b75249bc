import { describe, expect, test } from 'vitest'
import { costs, monthAtRate, renderBill, totalCost } from '../../../src/metrics/bill.ts'
import type { Quantities, Usage } from '../../../src/metrics/bill.ts'
import { FREE, PRICE_KINDS, S2_LIST } from '../../../src/metrics/prices.ts'

const NOTHING: Quantities = {
  append: 0,
  append_session_minute: 0,
  read: 0,
  read_session_minute: 0,
  check_tail: 0,
  create_stream: 0,
  list_streams: 0,
  written_gib: 0,
  read_gib: 0,
}

const usage = (at: number, quantities: Partial<Quantities> = {}, rest: Partial<Usage> = {}) => ({
  at,
  quantities: { ...NOTHING, ...quantities },
  sessionGib: 0,
  ownSessionMinutes: 0,
  readerMinutes: 0,
  deliveredGib: 0,
  ...rest,
})

const MINUTES = 60_000

describe('costs', () => {
  test('are quantities times prices, by kind', () => {
    const quantities = { ...NOTHING, append: 2_000_000, read: 3_000_000, written_gib: 4 }
    const byKind = costs(quantities, { ...S2_LIST, append: 0.5e-6, read: 1e-6, written_gib: 0.25 })
    expect(byKind).toEqual({ ...NOTHING, append: 1, read: 3, written_gib: 1 })
    expect(totalCost(quantities, { ...S2_LIST, append: 0.5e-6, written_gib: 0.25 })).toBe(5)
  })

  test('are nothing where nothing costs anything', () => {
    const one = Object.fromEntries(PRICE_KINDS.map((kind) => [kind, 1])) as Quantities
    expect(totalCost(one, FREE)).toBe(0)
  })
})

describe('monthAtRate', () => {
  test('10,000 readers of 100 streams: 432 USD a month with a session each, 4.32 with hubs', () => {
    const month = monthAtRate(
      usage(0),
      usage(5 * MINUTES, { read_session_minute: 5 * 100 }, { readerMinutes: 5 * 10_000 }),
      S2_LIST,
    )
    expect(month.overSeconds).toBe(300)
    expect([month.readers, month.readSessions]).toEqual([10_000, 100])
    expect(month.usd).toBeCloseTo(4.32, 9)
    expect(month.usdWithoutFanOut).toBeCloseTo(432, 9)
  })

  test('is about what was between the two moments, and no more', () => {
    const before = { read_session_minute: 900, append: 10_000 }
    const month = monthAtRate(
      usage(10 * MINUTES, before, { readerMinutes: 5000 }),
      usage(15 * MINUTES, { ...before, append: 10_500 }, { readerMinutes: 5000 }),
      S2_LIST,
    )
    // 100 a minute, 43,200 minutes.
    expect(month.usd).toBeCloseTo(100 * 43_200 * 1e-7, 9)
    expect(month.usdWithoutFanOut).toBeCloseTo(month.usd, 9)
    expect([month.readers, month.readSessions]).toEqual([0, 0])
  })

  test('without fan-out the sessions that are not for readers stay', () => {
    const idle = monthAtRate(
      usage(0),
      usage(5 * MINUTES, { read_session_minute: 5 }, { ownSessionMinutes: 5 }),
      S2_LIST,
    )
    expect(idle.usd).toBeCloseTo(0.0432, 9)
    expect(idle.usdWithoutFanOut).toBeCloseTo(0.0432, 9)
  })

  test('without fan-out each reader is sent its own copy', () => {
    const month = monthAtRate(
      usage(0),
      usage(
        5 * MINUTES,
        { read_session_minute: 5, read_gib: 2 },
        { readerMinutes: 50, sessionGib: 2, deliveredGib: 20 },
      ),
      S2_LIST,
    )
    const months = 43_200 / 5
    expect(month.usd).toBeCloseTo((5e-6 + 0.2) * months, 6)
    expect(month.usdWithoutFanOut).toBeCloseTo((50e-6 + 2) * months, 6)
  })

  test('takes less than a minute for a minute: what a start costs is no rate', () => {
    const month = monthAtRate(usage(0), usage(1000, { create_stream: 1 }), S2_LIST)
    expect(month.overSeconds).toBe(60)
    expect(month.usd).toBeCloseTo(43_200 * 1e-5, 9)
  })
})

describe('renderBill', () => {
  const facts = {
    since: Date.UTC(2026, 0, 2),
    isBilled: true,
    prices: { ...FREE, read: 0.5 },
    quantities: { ...NOTHING, read: 3 },
    month: { overSeconds: 300, usd: 2, usdWithoutFanOut: 8, readers: 6, readSessions: 3 },
  }

  test('says how many of each, at what price, and what that comes to', () => {
    const { operations, ...bill } = renderBill(facts)
    expect(Object.keys(operations)).toEqual([...PRICE_KINDS])
    expect(operations.read).toEqual({ count: 3, price: 0.5, cost: 1.5 })
    expect(bill).toEqual({
      currency: 'USD',
      since: '2026-01-02T00:00:00.000Z',
      billed_by_s2: true,
      cost: 1.5,
      month: {
        over_seconds: 300,
        cost: 2,
        cost_without_fan_out: 8,
        ratio: 4,
        readers: 6,
        read_sessions: 3,
        readers_per_read_session: 2,
      },
    })
  })

  test('has no ratio to what is nothing', () => {
    const month = { ...facts.month, usd: 0, readSessions: 0 }
    const { ratio, readers_per_read_session: perSession } = renderBill({ ...facts, month }).month
    expect([ratio, perSession]).toEqual([null, null])
  })
})
