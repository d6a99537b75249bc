/**
 * Keeps a journal's state up with its log by one read session, so that news arrive by themselves.
 *
 * A convenience only: nothing may rely on news having arrived. Whoever must know takes a look.
 */
import { backoffMs } from '../clock.ts'
import type { Clock } from '../clock.ts'
import type { DurableLog, LogRecord, ReadSession } from '../log/log.ts'
import type { Journal } from './journal.ts'

export type FollowOptions = {
  readonly log: DurableLog
  readonly clock: Clock
  /** Called after the state has changed, and after each time it was brought up anew. */
  readonly onChange: () => void
}

/** The wait before a lost session is opened again. */
const RETRY = { firstMs: 100, longestMs: 5000 }

/** Follows until the returned function is called. */
export function followJournal<Life>(journal: Journal<Life>, options: FollowOptions): () => void {
  const following = new Following(journal, options)
  following.begin()
  return () => following.end()
}

class Following<Life> {
  readonly #journal: Journal<Life>
  readonly #options: FollowOptions
  #session: ReadSession | undefined
  #cancelRetry = (): void => undefined
  #attempt = 0
  /** Counts sessions: what an earlier one still says is late. */
  #generation = 0

  constructor(journal: Journal<Life>, options: FollowOptions) {
    this.#journal = journal
    this.#options = options
  }

  begin(): void {
    const generation = this.#generation
    this.#open(generation).catch(() => this.#again(generation))
  }

  end(): void {
    this.#generation += 1
    this.#cancelRetry()
    this.#session?.cancel()
  }

  async #open(generation: number): Promise<void> {
    const { nextSeq } = await this.#journal.refresh()
    if (generation !== this.#generation) return
    this.#options.onChange()
    const session = this.#options.log.openReadSession(this.#journal.name, nextSeq, {
      onRecords: (records) => {
        if (generation === this.#generation) this.#take(records)
      },
      onCaughtUp: () => {
        if (generation === this.#generation) this.#attempt = 0
      },
      onEnd: () => this.#again(generation),
    })
    if (generation === this.#generation) this.#session = session
    else session.cancel()
  }

  #take(records: readonly LogRecord[]): void {
    this.#journal.absorb(records)
    const last = records.at(-1)
    const known = this.#journal.peek()?.nextSeq ?? 0
    // Trimmed records leave a gap, which only a look at the log can close.
    if (last !== undefined && known <= last.seqNum) return this.#again(this.#generation)
    this.#options.onChange()
  }

  #again(generation: number): void {
    if (generation !== this.#generation) return
    this.end()
    const { clock } = this.#options
    const wait = backoffMs(clock, this.#attempt, RETRY)
    this.#attempt += 1
    this.#cancelRetry = clock.after(wait, () => this.begin())
  }
}
