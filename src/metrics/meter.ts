/** Counts what S2 bills, and what readers make of it. */
import type { Clock } from '../clock.ts'
import type { BatchDelivery } from '../hub/hub-observer.ts'
import type { LogCall, ObservedCall } from '../log/log-observer.ts'
import { monthAtRate, renderBill } from './bill.ts'
import type { Bill, Month, Usage } from './bill.ts'
import { OpenTime } from './open-time.ts'
import type { PriceKind, Prices } from './prices.ts'

export type MeterOptions = {
  readonly clock: Clock
  readonly prices: Prices
  /** Whether the log is an S2 that sends bills. */
  readonly isBilled: boolean
}

type CallKind = Extract<
  PriceKind,
  'append' | 'read' | 'check_tail' | 'create_stream' | 'list_streams'
>

/** A session's append has no price of its own; a ping looks for the tail of a stream. */
const KINDS: Readonly<Record<LogCall, CallKind | undefined>> = {
  append: 'append',
  session_append: undefined,
  read: 'read',
  check_tail: 'check_tail',
  create_stream: 'create_stream',
  list_streams: 'list_streams',
  ping: 'check_tail',
}

const GIB = 1024 ** 3
const MINUTE_MS = 60_000
/** What a month is judged by. */
const WINDOW_MS = 5 * 60_000
const SAMPLE_MS = 15_000

export class Meter {
  readonly prices: Prices
  readonly readSessions: OpenTime
  /** Those of them that are not for readers. */
  readonly ownSessions: OpenTime
  readonly appendSessions: OpenTime
  readonly readers: OpenTime
  readonly #clock: Clock
  readonly #isBilled: boolean
  readonly #since: number
  readonly #calls = { append: 0, read: 0, check_tail: 0, create_stream: 0, list_streams: 0 }
  readonly #bytes = { written: 0, read: 0, bySession: 0, byOwnSession: 0, delivered: 0 }
  /** Of the window, the oldest first. */
  #samples: readonly Usage[]
  #cancelTimer = (): void => undefined

  constructor({ clock, prices, isBilled }: MeterOptions) {
    this.prices = prices
    this.#clock = clock
    this.#isBilled = isBilled
    this.#since = clock.now()
    this.readSessions = new OpenTime(clock)
    this.ownSessions = new OpenTime(clock)
    this.appendSessions = new OpenTime(clock)
    this.readers = new OpenTime(clock)
    this.#samples = [this.usage()]
    this.#sampleLater()
  }

  /** A call that got no answer is nobody's to pay for. */
  onCall({ call, outcome, bytes }: ObservedCall): void {
    if (outcome === 'unavailable') return
    const kind = KINDS[call]
    if (kind !== undefined) this.#calls[kind] += 1
    if (call === 'read') this.#bytes.read += bytes
    else if (outcome === 'ok') this.#bytes.written += bytes
  }

  onRecordsDelivered(bytes: number): void {
    this.#bytes.bySession += bytes
  }

  /** Of a session that is not for readers. They are told of as of any, too. */
  onOwnRecordsDelivered(bytes: number): void {
    this.#bytes.byOwnSession += bytes
  }

  onBatch({ readers, bytes }: BatchDelivery): void {
    this.#bytes.delivered += readers * bytes
  }

  /** Since the start. */
  usage(): Usage {
    const { written, read, bySession, byOwnSession, delivered } = this.#bytes
    return {
      at: this.#clock.elapsed(),
      quantities: {
        ...this.#calls,
        append_session_minute: this.appendSessions.ms / MINUTE_MS,
        read_session_minute: this.readSessions.ms / MINUTE_MS,
        written_gib: written / GIB,
        read_gib: (read + bySession) / GIB,
      },
      sessionGib: (bySession - byOwnSession) / GIB,
      ownSessionMinutes: this.ownSessions.ms / MINUTE_MS,
      readerMinutes: this.readers.ms / MINUTE_MS,
      deliveredGib: delivered / GIB,
    }
  }

  /** A month at the rate of the latest minutes. */
  month(): Month {
    const now = this.usage()
    return monthAtRate(this.#samples[0] ?? now, now, this.prices)
  }

  bill(): Bill {
    const { quantities } = this.usage()
    const facts = { since: this.#since, isBilled: this.#isBilled, prices: this.prices }
    return renderBill({ ...facts, quantities, month: this.month() })
  }

  stop(): void {
    this.#cancelTimer()
  }

  #sampleLater(): void {
    this.#cancelTimer = this.#clock.after(SAMPLE_MS, () => {
      const now = this.usage()
      // The oldest one is as old as the window, or the next one would not be.
      const kept = this.#samples.filter(({ at }) => now.at - at < WINDOW_MS + SAMPLE_MS)
      this.#samples = [...kept, now]
      this.#sampleLater()
    })
  }
}
