/**
 * How a log stands to its basin, and when that is created: at once, or with the first stream.
 *
 * S2 may be down when we start, so nothing here is final: a failed check is made again by the
 * next call.
 */
import { orAborted, type BoundedCalls } from './s2-calls.ts'
import {
  isAlreadyThere,
  isBasinMissing,
  isStreamMissing,
  readFailure,
  streamMissing,
} from './s2-errors.ts'

/** A name of ours that is never created: asking for its tail touches nothing. */
export const PROBE_STREAM = '__ds/ping'

/** What is asked of S2. */
export type BasinCalls = {
  /** Asks for the tail of {@link PROBE_STREAM}. */
  readonly probe: (signal: AbortSignal) => Promise<unknown>
  /** Creates the basin. Never `ensure`: that would reset one that somebody has configured. */
  readonly create: (signal: AbortSignal) => Promise<unknown>
}

export interface BasinAccess {
  /**
   * Resolves when calls on the basin may be made.
   *
   * @throws LogUnavailableError also when `signal` is aborted: nothing was sent on its behalf
   */
  ready(signal: AbortSignal): Promise<void>

  /** Resolves when S2 answers and the basin can be used, at this moment. */
  ping(signal: AbortSignal): Promise<void>

  /** Makes the call that creates a stream. */
  creating(createStream: () => Promise<unknown>, signal: AbortSignal): Promise<void>

  /** What a failed call means to who asked for a stream. */
  explain(error: unknown): unknown
}

/** Guards every call on a basin, at the cost of a request before the first. */
export class BasinGuard implements BasinAccess {
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
   */
  async ready(signal: AbortSignal): Promise<void> {
    try {
      await orAborted(this.#check ?? this.#startCheck(), signal)
    } catch (error) {
      throw readFailure(error, PROBE_STREAM)
    }
  }

  async ping(signal: AbortSignal): Promise<void> {
    if (this.#check === undefined) await this.ready(signal)
    else await this.#ensure(signal)
  }

  async creating(createStream: () => Promise<unknown>): Promise<void> {
    await createStream()
  }

  explain(error: unknown): unknown {
    return error
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
      await createOnce(this.#basin, signal)
    }
  }
}

/**
 * A basin that comes with its first stream. Until then it is one without streams: who only asks
 * leaves nothing behind.
 */
export class LateBasin implements BasinAccess {
  readonly #basin: BasinCalls

  constructor(basin: BasinCalls) {
    this.#basin = basin
  }

  async ready(): Promise<void> {
    // Whether it is there shows with the call itself.
  }

  async ping(signal: AbortSignal): Promise<void> {
    try {
      await this.#basin.probe(signal)
    } catch (error) {
      if (!isStreamMissing(this.explain(error))) throw error
    }
  }

  async creating(createStream: () => Promise<unknown>, signal: AbortSignal): Promise<void> {
    try {
      await createStream()
    } catch (error) {
      if (!isBasinMissing(error)) throw error
      await createOnce(this.#basin, signal)
      await createStream()
    }
  }

  explain(error: unknown): unknown {
    return isBasinMissing(error) ? streamMissing(error) : error
  }
}

async function createOnce(basin: BasinCalls, signal: AbortSignal): Promise<void> {
  try {
    await basin.create(signal)
  } catch (error) {
    if (!isAlreadyThere(error)) throw error
  }
}
