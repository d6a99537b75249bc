/**
 * The state of one log as this gateway knows it, and the ways to bring it up to the tail.
 *
 * A cache of the log: it may be behind at any time, and is never ahead of what is durable.
 */
import { LOG_LIMITS, LogStreamMissingError } from '../log/log.ts'
import type { AppendBatch, AppendConflict, LogRecord } from '../log/log.ts'
import { StateLostError, advance, fold, openState } from './load.ts'
import type { Source } from './load.ts'
import { SharedLook } from './shared-look.ts'
import { EMPTY_STATE } from './state.ts'
import type { LogState } from './state.ts'

/** Further behind than this, a state is opened anew rather than folded on: two pages. */
const FAR = 2 * LOG_LIMITS.maxBatchRecords

export class KnownState<Life> {
  readonly #source: Source<Life>
  readonly #looks = new SharedLook(() => this.#look())
  #state: LogState<Life> | undefined

  constructor(source: Source<Life>) {
    this.#source = source
  }

  /** The state as far as it is known here, if it is. */
  peek(): LogState<Life> | undefined {
    return this.#state
  }

  /** The state as far as it is known here, opened when it is not: may be behind the tail. */
  async known(): Promise<LogState<Life>> {
    return this.#state ?? (await this.refresh())
  }

  /**
   * The state at the tail: sees every append acknowledged, by any gateway, before the call.
   *
   * Calls share a look at the log, but only one that starts after they were made.
   */
  refresh(): Promise<LogState<Life>> {
    return this.#looks.take()
  }

  /** As {@link refresh}, where the next look will do as well if this one fails. */
  async tryRefresh(): Promise<void> {
    await this.refresh().catch(() => undefined)
  }

  async #look(): Promise<LogState<Life>> {
    const { log, name } = this.#source
    const before = this.#state
    if (before === undefined) return this.#keep(await this.#open())
    try {
      const tail = await log.checkTail(name)
      // A tail that went back means that S2 has reclaimed the stream and it began anew.
      if (tail < before.nextSeq) return this.#replace(await this.#open())
      const state = this.#state ?? before
      // Opening takes three reads at most, however far others have got.
      if (tail - state.nextSeq > FAR) return this.#keep(await this.#open())
      return this.#keep(await advance(this.#source, state, tail))
    } catch (error) {
      if (error instanceof LogStreamMissingError) return this.#replace(EMPTY_STATE)
      if (error instanceof StateLostError) return this.#replace(await this.#open())
      throw error
    }
  }

  #open(): Promise<LogState<Life>> {
    return openState(this.#source)
  }

  /** Takes over a state unless a later one was folded meanwhile. */
  #keep(state: LogState<Life>): LogState<Life> {
    if (this.#state === undefined || state.nextSeq > this.#state.nextSeq) this.#state = state
    return this.#state
  }

  #replace(state: LogState<Life>): LogState<Life> {
    this.#state = state
    return state
  }

  /** Folds records that are in the log: those that continue the state, no others. */
  absorb(records: readonly LogRecord[]): void {
    if (this.#state === undefined) return
    let state = this.#state
    for (const record of records) {
      if (record.seqNum === state.nextSeq) state = fold(this.#source, state, record)
    }
    this.#state = state
  }

  /** What was folded is not to be relied on: the state is to be opened anew. */
  forget(): void {
    this.#state = undefined
  }

  /** The log has said that it has no such stream. */
  reset(): void {
    this.#state = EMPTY_STATE
  }

  /** The refusal says how long the log is at least: there is no need to ask again. */
  async #follow(conflict: AppendConflict): Promise<LogState<Life>> {
    const state = this.#state
    if (state === undefined || conflict.kind !== 'seq_num') return this.refresh()
    const behind = conflict.nextSeqNum - state.nextSeq
    if (behind <= 0 || behind > FAR) return this.refresh()
    try {
      return this.#keep(await advance(this.#source, state, conflict.nextSeqNum))
    } catch (error) {
      if (error instanceof StateLostError) return this.refresh()
      throw error
    }
  }

  /** Learns what made the log refuse a batch that was judged by the state. */
  async learn(batch: AppendBatch, conflict: AppendConflict): Promise<void> {
    const isNews = ({ nextSeq, fencingToken }: LogState<Life>): boolean =>
      nextSeq !== batch.matchSeqNum || fencingToken !== batch.fencingToken
    // It may have come by itself meanwhile.
    if (this.#state !== undefined && isNews(this.#state)) return
    if (isNews(await this.#follow(conflict))) return
    // Nothing new explains it: S2 may have reclaimed the stream, and it grew to the same length.
    const opened = this.#replace(await this.#open())
    if (isNews(opened) || conflict.kind === 'seq_num') return
    // Nor does all that is left: retention or a trim took the record that set the token.
    this.#replace({ ...opened, fencingToken: conflict.token })
  }
}
