/**
 * How batches get to the log. One by one in unary appends, and in an append session when more than
 * one batch waits: only behind one another in a session may a batch be sent before the one that it
 * counts on is durable.
 */
import type { Clock } from '../clock.ts'
import type { AppendAck, AppendBatch, AppendSession, DurableLog } from '../log/log.ts'

/** A session that nobody has used for as long is let go of: it holds a part of a connection. */
const IDLE_MS = 5000

export class Sender {
  readonly #log: DurableLog
  readonly #stream: string
  readonly #clock: Clock
  #session: AppendSession | undefined
  #usedAt = 0
  #underWay = 0
  #isWatched = false

  constructor(log: DurableLog, stream: string, clock: Clock) {
    this.#log = log
    this.#stream = stream
    this.#clock = clock
  }

  /** Sends a batch on its own: nothing is ahead of it, and nothing may be sent behind it. */
  sendAlone(batch: AppendBatch): Promise<AppendAck> {
    return this.#log.append(this.#stream, batch)
  }

  /** Whether a batch can be sent behind those in flight. */
  get isOpen(): boolean {
    return this.#session?.isOpen === true
  }

  /** Sends a batch that others may be sent behind: they are applied in order, or not at all. */
  sendInSession(batch: AppendBatch): Promise<AppendAck> {
    if (!this.isOpen) this.#session = undefined
    const session = (this.#session ??= this.#log.openAppendSession(this.#stream))
    this.#usedAt = this.#clock.now()
    if (!this.#isWatched) this.#watch(IDLE_MS)
    const append = session.append(batch)
    this.#underWay += 1
    const settled = (): void => {
      this.#underWay -= 1
      this.#usedAt = this.#clock.now()
    }
    append.then(settled, settled)
    return append
  }

  /** Lets go of the session: what is under way in it is never acknowledged. */
  close(): void {
    this.#session?.close()
    this.#session = undefined
  }

  #watch(ms: number): void {
    this.#isWatched = true
    this.#clock.after(ms, () => {
      this.#isWatched = false
      if (this.#session === undefined) return
      const idleMs = this.#clock.now() - this.#usedAt
      if (this.#underWay > 0) this.#watch(IDLE_MS)
      else if (idleMs >= 0 && idleMs < IDLE_MS) this.#watch(IDLE_MS - idleMs)
      else this.close()
    })
  }
}
