/**
 * Fairness among gateways that write one log. Of two that append at the same place the log takes
 * one; the other one learns so when the first is done. A gateway that always has something to
 * write would be first every time, and never know that others wait. So it leaves a gap now and
 * then, and takes turns with those it knows of.
 *
 * The records tell who wrote last, and all put the gateways that write in the same order: each
 * waits until it hears of the one before, and for a time for one that has nothing to write. Nobody
 * has to be asked.
 */
import type { Clock } from '../clock.ts'

/** How long gateways go on without a pause, in appends of each. */
const LONGEST_STREAK = 16
/** How long a pause is, in appends. */
const PAUSE = 2
/** How long a rival is waited for that does not write, in appends: he may be slower than we are. */
const TURN = 3
/** After how long the news of the one before are late, in appends. */
const LATE = 1.5
/** What chance adds to it: two whose view of the order differs must not meet for ever. */
const JITTER = 0.5
/** How long after a conflict rivals are reckoned with, in ms. */
const CONTENDED_MS = 1000
/** Before any append was timed: about one of s2-lite. In ms. */
const FIRST_APPEND_MS = 5
/** What is taken for the time of an append at most, in ms: outages are no measure. */
const LONGEST_APPEND_MS = 200
/** How much the latest append counts in the average. */
const WEIGHT = 0.2

export class Turns {
  readonly #clock: Clock
  readonly #own: string
  readonly #isShared: boolean
  /** The gateways that have written lately, and when they were seen to. */
  readonly #rivals = new Map<string, number>()
  /** Who wrote last, as far as it is known here, and when that was heard of. */
  #last: string
  #lastAt = -Infinity
  #appendMs = FIRST_APPEND_MS
  #busySince = -Infinity
  #endedAt = -Infinity
  #lostAt = -Infinity
  #wake = (): void => undefined

  /** `isShared` is the log's: nobody waits for others where there can't be any. */
  constructor(clock: Clock, own: string, { isShared } = { isShared: true }) {
    this.#clock = clock
    this.#own = own
    this.#isShared = isShared
    this.#last = own
  }

  /**
   * Whether there was a conflict, and others have written ever since: what is sent ahead of an
   * answer is in vain then.
   */
  isContended(): boolean {
    for (const [rival, at] of this.#rivals) if (!this.#isLate(at)) this.#rivals.delete(rival)
    const now = this.#clock.now()
    // A clock that was set back must not make it last.
    const isRecent = now >= this.#lostAt && now - this.#lostAt < CONTENDED_MS
    if (!isRecent && this.#rivals.size === 0) this.#lostAt = -Infinity
    return this.#lostAt > -Infinity
  }

  /** A batch of ours was first; it took so many ms. */
  won(ms: number): void {
    this.#endedAt = this.#clock.now()
    this.#heardOf(this.#own)
    const tookMs = Math.max(0, Math.min(ms, LONGEST_APPEND_MS))
    this.#appendMs += WEIGHT * (tookMs - this.#appendMs)
  }

  /** Another gateway was first. */
  lost(): void {
    this.#busySince = this.#clock.now()
    this.#lostAt = this.#busySince
  }

  /** A batch is in the log: who wrote it, and when. To be told of in the log's order. */
  saw(writer: string, at: number): void {
    if (writer !== this.#own && this.#isLate(at)) this.#rivals.set(writer, at)
    this.#heardOf(writer)
    this.#wake()
  }

  #heardOf(writer: string): void {
    this.#last = writer
    this.#lastAt = this.#clock.now()
  }

  /**
   * Waits for so many ms, or for as long as it takes to hear that it is this gateway's turn. News
   * that are late are looked for once. `over`: nobody was heard of, and whoever was silent may have
   * written nevertheless.
   */
  async rest(ms: number, look: () => Promise<unknown>): Promise<'heard' | 'over'> {
    let heard = false
    let mayLook = true
    for (let left = ms; left > 0; left = this.takePause()) {
      const lateMs = LATE * this.#appendMs
      const isLate = mayLook && this.#rivals.size > 0 && left > lateMs
      heard = await this.#hear(isLate ? lateMs : left)
      if (heard) continue
      if (!isLate) {
        for (const rival of this.#before()) this.#rivals.delete(rival)
        return 'over'
      }
      mayLook = false
      heard = await this.#looked(look)
    }
    return heard ? 'heard' : 'over'
  }

  /** Whether a look has shown a batch. */
  async #looked(look: () => Promise<unknown>): Promise<boolean> {
    let shown = false
    this.#wake = () => {
      shown = true
    }
    await look()
    return shown
  }

  /** Whether a batch was heard of within so many ms. */
  #hear(ms: number): Promise<boolean> {
    return new Promise((resolve) => {
      const cancel = this.#clock.after(ms, () => resolve(false))
      this.#wake = () => {
        cancel()
        resolve(true)
      }
    })
  }

  /**
   * How long to wait before the next batch, in ms. A pause that is taken ends a streak, and so does
   * a time without anything to write: `isIdle` says that nothing is on its way.
   */
  takePause({ isIdle } = { isIdle: true }): number {
    if (!this.#isShared) return 0
    const now = this.#clock.now()
    return (this.isContended() ? this.#untilTurn() : 0) || this.#afterStreak(now, isIdle)
  }

  /** Those that take turns pause as often together as one that is alone. */
  #afterStreak(now: number, isIdle: boolean): number {
    const rivals = this.#rivals.size
    const pauseMs = PAUSE * this.#appendMs
    // Who was idle has let others go first already: those that are known, each in its turn. One that
    // is not waits for up to a pause, by chance: the time of an append, again and again, will do.
    const idleMs = rivals === 0 ? this.#appendMs : pauseMs + rivals * TURN * this.#appendMs
    if (isIdle && now - this.#endedAt >= idleMs) this.#busySince = now
    // The clock was set back: the streak would be as much longer.
    if (this.#busySince > now + pauseMs) this.#busySince = now
    if (now - this.#busySince < LONGEST_STREAK * (rivals + 1) * this.#appendMs) return 0
    this.#busySince = now + pauseMs
    return pauseMs
  }

  /** How long those that come before may still take, in ms. */
  #untilTurn(): number {
    const chance = this.#clock.random()
    // Who it was does not show: chance alone must part us.
    if (this.#rivals.size === 0) return PAUSE * chance * this.#appendMs
    const before = this.#before().length
    if (before === 0) return 0
    const dueAt = this.#lastAt + (before * TURN + chance * JITTER) * this.#appendMs
    return Math.max(0, dueAt - this.#clock.now())
  }

  /** The rivals whose turn comes before the next one of ours. */
  #before(): readonly string[] {
    const ring = [this.#own, ...this.#rivals.keys()].sort()
    const own = ring.indexOf(this.#own)
    const others = [...ring.slice(own + 1), ...ring.slice(0, own)]
    return others.slice(others.indexOf(this.#last) + 1)
  }

  /** The log's clock may be another one: whatever is about as late counts. */
  #isLate(at: number): boolean {
    return Math.abs(this.#clock.now() - at) < CONTENDED_MS
  }
}
