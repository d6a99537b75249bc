/** What S2 asks for what was done, and what it would ask without fan-out. PURE. */
import { PRICE_KINDS } from './prices.ts'
import type { PriceKind, Prices } from './prices.ts'

/** How much there was of each kind. */
export type Quantities = Readonly<Record<PriceKind, number>>

/** What was used up to a moment. */
export type Usage = {
  /** In ms, by a clock that goes on evenly. */
  readonly at: number
  readonly quantities: Quantities
  /** What read sessions of hubs delivered: a part of what was read. */
  readonly sessionGib: number
  /** Minutes of read sessions that are not for readers: a part of all. */
  readonly ownSessionMinutes: number
  /** Minutes that live readers were there, all of them together. */
  readonly readerMinutes: number
  /** What readers were sent, of data as S2 has it: each its copy. */
  readonly deliveredGib: number
}

/** What a month costs if it goes on as it did. */
export type Month = {
  /** What it was judged by, in seconds. */
  readonly overSeconds: number
  readonly usd: number
  /** With a read session for each live reader in place of one per stream. */
  readonly usdWithoutFanOut: number
  /** On average. */
  readonly readers: number
  readonly readSessions: number
}

/** Of 30 days. */
const MONTH_MS = 30 * 24 * 60 * 60_000
/** What a start costs once, a minute later is no rate. */
const SHORTEST_MS = 60_000
const MINUTE_MS = 60_000

/** In USD, by kind. */
export function costs(quantities: Quantities, prices: Prices): Quantities {
  const costOf = (kind: PriceKind): number => quantities[kind] * prices[kind]
  return {
    append: costOf('append'),
    append_session_minute: costOf('append_session_minute'),
    read: costOf('read'),
    read_session_minute: costOf('read_session_minute'),
    check_tail: costOf('check_tail'),
    create_stream: costOf('create_stream'),
    list_streams: costOf('list_streams'),
    written_gib: costOf('written_gib'),
    read_gib: costOf('read_gib'),
  }
}

/** In USD. */
export function totalCost(quantities: Quantities, prices: Prices): number {
  const byKind = costs(quantities, prices)
  return PRICE_KINDS.reduce((sum, kind) => sum + byKind[kind], 0)
}

/**
 * A month at the rate between two moments.
 *
 * Without fan-out each live reader has a session of its own, for as long as it is there, and is
 * sent its own copy; all else stays as it is. So it is no more than what it would cost: history
 * would be read by each for itself, too.
 */
export function monthAtRate(from: Usage, to: Usage, prices: Prices): Month {
  const ms = Math.max(to.at - from.at, SHORTEST_MS)
  const used = totalCost(to.quantities, prices) - totalCost(from.quantities, prices)
  const sessionMinutes = to.quantities.read_session_minute - from.quantities.read_session_minute
  const ownMinutes = to.ownSessionMinutes - from.ownSessionMinutes
  const readerMinutes = to.readerMinutes - from.readerMinutes
  const moreGib = to.deliveredGib - from.deliveredGib - (to.sessionGib - from.sessionGib)
  const more =
    (readerMinutes - (sessionMinutes - ownMinutes)) * prices.read_session_minute +
    moreGib * prices.read_gib
  return {
    overSeconds: ms / 1000,
    usd: (used / ms) * MONTH_MS,
    usdWithoutFanOut: ((used + more) / ms) * MONTH_MS,
    readers: (readerMinutes * MINUTE_MS) / ms,
    readSessions: (sessionMinutes * MINUTE_MS) / ms,
  }
}

/** As JSON, for people and programs. */
export type Bill = {
  readonly currency: 'USD'
  /** ISO 8601: when counting began, with the process. */
  readonly since: string
  /** Whether anybody asks for that money; else it is what S2 would ask. */
  readonly billed_by_s2: boolean
  readonly operations: Readonly<
    Record<PriceKind, { readonly count: number; readonly price: number; readonly cost: number }>
  >
  /** So far. */
  readonly cost: number
  readonly month: {
    readonly over_seconds: number
    readonly cost: number
    readonly cost_without_fan_out: number
    /** How many times as much; null when nothing costs anything. */
    readonly ratio: number | null
    readonly readers: number
    readonly read_sessions: number
    /** Null without sessions. */
    readonly readers_per_read_session: number | null
  }
}

export type BillFacts = {
  readonly since: number
  readonly isBilled: boolean
  readonly prices: Prices
  readonly quantities: Quantities
  readonly month: Month
}

export function renderBill({ since, isBilled, prices, quantities, month }: BillFacts): Bill {
  const byKind = costs(quantities, prices)
  const row = (kind: PriceKind) => ({
    count: quantities[kind],
    price: prices[kind],
    cost: byKind[kind],
  })
  return {
    currency: 'USD',
    since: new Date(since).toISOString(),
    billed_by_s2: isBilled,
    operations: {
      append: row('append'),
      append_session_minute: row('append_session_minute'),
      read: row('read'),
      read_session_minute: row('read_session_minute'),
      check_tail: row('check_tail'),
      create_stream: row('create_stream'),
      list_streams: row('list_streams'),
      written_gib: row('written_gib'),
      read_gib: row('read_gib'),
    },
    cost: totalCost(quantities, prices),
    month: {
      over_seconds: month.overSeconds,
      cost: month.usd,
      cost_without_fan_out: month.usdWithoutFanOut,
      ratio: ratioOf(month.usdWithoutFanOut, month.usd),
      readers: month.readers,
      read_sessions: month.readSessions,
      readers_per_read_session: ratioOf(month.readers, month.readSessions),
    },
  }
}

function ratioOf(part: number, whole: number): number | null {
  return whole > 0 ? part / whole : null
}
