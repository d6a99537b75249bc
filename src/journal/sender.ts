/**
 * How batches get to the log: one unary append after the other while there are few, an append
 * session when there are many. A session costs a connection's stream for as long as it is kept,
 * a unary append several times the CPU; and only behind one another in a session may a batch be
 * sent before the one that it counts on is durable.
 */
import type { Clock } from '../clock.ts'
import type { AppendAck, AppendBatch, AppendSession, DurableLog } from '../log/log.ts'

/** A log that takes so many batches within so many ms is hot. */
const HOT = { batches: 4, withinMs: 1000 }
/** A session that nobody has used for as long is let go of, in ms. */
const IDLE_MS = 5000

export class Sender {
  readonly #log: DurableLog
  readonly #stream: string
  readonly #clock: Clock
  /** When the latest batches were sent, the oldest first. */
  #sentAt: readonly number[] = []
  #session: AppendSession | undefined
  #isWatched = false

  constructor(log: DurableLog, stream: string, clock: Clock) {
    this.#log = log
    this.#stream = stream
    this.#clock = clock
  }

  /** Whether batches sent from now on are applied in order, and none after one that is not. */
  get isPipelined(): boolean {
    return this.#session?.isOpen === true
  }

  /** Sends a batch: in a session, when the log is hot, or in a unary append. */
  send(batch: AppendBatch, mode: 'unary' | 'session' | 'any'): Promise<AppendAck> {
    const now = this.#clock.now()
    this.#sentAt = [...this.#sentAt.slice(1 - HOT.batches), now]
    if (mode === 'unary' || !this.isPipelined) this.close()
    if (mode === 'session' || (mode === 'any' && this.#isHot(now))) this.#open()
    return this.#session?.append(batch) ?? this.#log.append(this.#stream, batch)
  }

  /** Lets go of the session: what is under way in it is never acknowledged. */
  close(): void {
    this.#session?.close()
    this.#session = undefined
  }

  #open(): void {
    this.#session ??= this.#log.openAppendSession(this.#stream)
    if (!this.#isWatched) this.#watch(IDLE_MS)
  }

  #isHot(now: number): boolean {
    const [first = -Infinity] = this.#sentAt
    return this.#sentAt.length === HOT.batches && now - first <= HOT.withinMs
  }

  #watch(ms: number): void {
    this.#isWatched = true
    this.#clock.after(ms, () => {
      this.#isWatched = false
      if (this.#session === undefined) return
      const idleMs = this.#clock.now() - (this.#sentAt.at(-1) ?? 0)
      if (idleMs >= 0 && idleMs < IDLE_MS) this.#watch(IDLE_MS - idleMs)
      else this.close()
    })
  }
}
