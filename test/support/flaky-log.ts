/**
 * A log that fails as a network does: seeded, so that a run can be repeated.
 *
 * It never lies: what it answers is what the log inside has done. What it does not answer may have
 * been done, may be done later, or never.
 */
import type { Clock } from '../../src/clock.ts'
import { AppendOutcomeUnknownError, LogUnavailableError } from '../../src/errors.ts'
import type {
  AppendAck,
  AppendBatch,
  AppendSession,
  DurableLog,
  LogRecord,
  ReadLimits,
  ReadSession,
  ReadSessionHandlers,
  ReadStart,
  SeqNum,
} from '../../src/log/log.ts'
import { FlakyAppendSession, type AppendFault } from './flaky-append-session.ts'

/** Chances from 0 to 1. The rest of the appends go well. */
export type Faults = {
  /** A call fails and nothing was written. */
  readonly unavailable: number
  /** An append is stored, but the answer is lost. */
  readonly lostAnswer: number
  /** An append is lost, and so nobody can say so. */
  readonly lostRequest: number
  /** An append is given up for lost and stored later, if its conditions still hold by then. */
  readonly late: number
  /** Longest time each way, in ms. */
  readonly delayMs: number
}

export const NO_FAULTS: Faults = {
  unavailable: 0,
  lostAnswer: 0,
  lostRequest: 0,
  late: 0,
  delayMs: 0,
}

export type FlakyLogOptions = {
  readonly clock: Clock
  /** Uniform in [0, 1). */
  readonly random: () => number
}

export class FlakyLog implements DurableLog {
  readonly description = 'a flaky log'
  readonly isShared = true
  /** May be changed at any time. */
  faults: Faults
  readonly #log: DurableLog
  readonly #options: FlakyLogOptions

  constructor(log: DurableLog, faults: Faults, options: FlakyLogOptions) {
    this.#log = log
    this.faults = faults
    this.#options = options
  }

  createStream(stream: string): Promise<void> {
    return this.#call(() => this.#log.createStream(stream))
  }

  listStreams(prefix: string, startAfter: string): Promise<readonly string[]> {
    return this.#call(() => this.#log.listStreams(prefix, startAfter))
  }

  checkTail(stream: string): Promise<SeqNum> {
    return this.#call(() => this.#log.checkTail(stream))
  }

  read(stream: string, start: ReadStart, limits: ReadLimits): Promise<readonly LogRecord[]> {
    return this.#call(() => this.#log.read(stream, start, limits))
  }

  async append(stream: string, batch: AppendBatch): Promise<AppendAck> {
    await this.#delay()
    const fault = this.#appendFault()
    if (fault === 'unavailable') throw new LogUnavailableError(new Error('flaky'))
    if (fault === 'lostRequest') throw unknown('request lost')
    if (fault === 'late') {
      this.#later(() => {
        // Whether its conditions still hold is the log's to say, and nobody is there to hear it.
        this.#log.append(stream, batch).catch(() => undefined)
      })
      throw unknown('request late')
    }
    const ack = this.#log.append(stream, batch)
    if (fault === 'lostAnswer') {
      await ack.catch(() => undefined)
      throw unknown('answer lost')
    }
    await ack.catch(() => undefined)
    await this.#delay()
    return ack
  }

  openReadSession(stream: string, from: SeqNum, handlers: ReadSessionHandlers): ReadSession {
    return this.#log.openReadSession(stream, from, handlers)
  }

  openAppendSession(stream: string): AppendSession {
    return new FlakyAppendSession({
      open: () => this.#log.openAppendSession(stream),
      fault: () => this.#appendFault(),
      delay: () => this.#delay(),
      later: (run) => this.#later(run),
    })
  }

  ping(): Promise<void> {
    return this.#call(() => this.#log.ping())
  }

  close(): Promise<void> {
    return this.#log.close()
  }

  #appendFault(): AppendFault {
    const { unavailable, lostAnswer, lostRequest, late } = this.faults
    let dice = this.#options.random()
    const happens = (chance: number): boolean => (dice -= chance) < 0
    if (happens(unavailable)) return 'unavailable'
    if (happens(lostRequest)) return 'lostRequest'
    if (happens(late)) return 'late'
    return happens(lostAnswer) ? 'lostAnswer' : 'none'
  }

  #later(run: () => void): void {
    this.#options.clock.after(this.#ms(20 * this.faults.delayMs), run)
  }

  async #call<T>(call: () => Promise<T>): Promise<T> {
    await this.#delay()
    if (this.#options.random() < this.faults.unavailable) {
      throw new LogUnavailableError(new Error('flaky'))
    }
    const result = await call()
    await this.#delay()
    return result
  }

  async #delay(): Promise<void> {
    const ms = this.#ms(this.faults.delayMs)
    if (ms === 0) return
    await new Promise<void>((resolve) => {
      this.#options.clock.after(ms, resolve)
    })
  }

  #ms(longest: number): number {
    return Math.floor(this.#options.random() * (longest + 1))
  }
}

function unknown(reason: string): AppendOutcomeUnknownError {
  return new AppendOutcomeUnknownError(new Error(reason))
}

/** A small seeded generator (mulberry32), uniform in [0, 1). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
