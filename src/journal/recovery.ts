/**
 * What a gateway does about a batch that is not in the log: it learns why, and lets others go first,
 * before the commands of the batch are judged anew.
 */
import type { Clock } from '../clock.ts'
import { AppendOutcomeUnknownError, LogUnavailableError } from '../errors.ts'
import type { AppendBatch, DurableLog } from '../log/log.ts'
import type { Loss } from './flight.ts'
import type { KnownState } from './known-state.ts'
import type { News } from './news.ts'
import { waitBeforeRetry } from './retry.ts'
import type { Turns } from './turns.ts'

export type RecoveryOptions<Life> = {
  readonly log: DurableLog
  readonly name: string
  readonly clock: Clock
  readonly state: KnownState<Life>
  readonly turns: Turns
  readonly news: News<Life>
}

export class Recovery<Life> {
  readonly #options: RecoveryOptions<Life>
  /** How often in a row the log had no such stream. */
  #missing = 0
  #isRested = false

  constructor(options: RecoveryOptions<Life>) {
    this.#options = options
  }

  /** A batch is in the log. */
  succeeded(): void {
    this.#missing = 0
  }

  /** Whether the turn that comes next was waited for already. Says so once. */
  takeRest(): boolean {
    const isRested = this.#isRested
    this.#isRested = false
    return isRested
  }

  /** Learns why a batch is not in the log. Throws when nobody can say whether it is. */
  async learn(batch: AppendBatch | undefined, loss: Loss): Promise<void> {
    const { log, name, clock, state, turns, news } = this.#options
    switch (loss.kind) {
      case 'failed':
        throw loss.error
      case 'missing':
        state.reset()
        this.#missing += 1
        if (this.#missing > 1) await waitBeforeRetry(clock, this.#missing)
        return batch?.matchSeqNum === 0 ? log.createStream(name) : undefined
      case 'conflict':
        this.#missing = 0
        turns.lost()
        news.begin()
        // Before the look, so that it shows what has come meanwhile too.
        await turns.rest(turns.takePause(), () => state.tryRefresh())
        this.#isRested = true
        return batch && state.learn(batch, loss.conflict)
    }
  }
}

/** What an error of a batch means to a command that was not in it. */
export function certain(error: unknown): unknown {
  return error instanceof AppendOutcomeUnknownError ? new LogUnavailableError(error) : error
}
