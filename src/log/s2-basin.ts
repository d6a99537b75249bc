/**
 * Finds out whether the basin can be used, and creates it when it is missing.
 *
 * S2 may be down when we start, so nothing here is final: a failed check is made again by the
 * next call.
 */
import { orAborted, type BoundedCalls } from './s2-calls.ts'
import { isAlreadyThere, isBasinMissing, isStreamMissing, readFailure } from './s2-errors.ts'

/** A name of ours that is never created: asking for its tail touches nothing. */
export const PROBE_STREAM = '__ds/ping'

/** What the guard asks of S2. */
export type BasinCalls = {
  /** Asks for the tail of {@link PROBE_STREAM}. */
  readonly probe: (signal: AbortSignal) => Promise<unknown>
  /** Creates the basin. Never `ensure`: that would reset one that somebody has configured. */
  readonly create: (signal: AbortSignal) => Promise<unknown>
}

/** Guards every call on a basin, at the cost of a request before the first. */
export class BasinGuard {
  readonly #basin: BasinCalls
  readonly #calls: BoundedCalls
  #check: Promise<void> | undefined

  constructor(basin: BasinCalls, calls: BoundedCalls) {
    this.#basin = basin
    this.#calls = calls
  }

  /**
   * Resolves when the basin was there once.
   *
   * All who wait share one check, which goes on when one of them gives up.
   *
   * @throws LogUnavailableError also when `signal` is aborted: nothing was sent on its behalf
   */
  async ready(signal: AbortSignal): Promise<void> {
    try {
      await orAborted(this.#check ?? this.#startCheck(), signal)
    } catch (error) {
      throw readFailure(error, PROBE_STREAM)
    }
  }

  /** Resolves when S2 answers and has the basin, at this moment. */
  async ping(signal: AbortSignal): Promise<void> {
    if (this.#check === undefined) await this.ready(signal)
    else await this.#ensure(signal)
  }

  #startCheck(): Promise<void> {
    const check = this.#calls.run((own) => this.#ensure(own))
    this.#check = check
    check.catch(() => {
      this.#check = undefined
    })
    return check
  }

  // Asks before it creates: a token may be one that can use the basin but not create it.
  async #ensure(signal: AbortSignal): Promise<void> {
    try {
      await this.#basin.probe(signal)
    } catch (error) {
      if (isStreamMissing(error)) return
      if (!isBasinMissing(error)) throw error
      await this.#create(signal)
    }
  }

  async #create(signal: AbortSignal): Promise<void> {
    try {
      await this.#basin.create(signal)
    } catch (error) {
      if (!isAlreadyThere(error)) throw error
    }
  }
}
