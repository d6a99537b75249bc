/**
 * Group commit: writes that arrive while one is on its way to disk all go with the next.
 *
 * One write at a time, over all streams, so that a single sync serves everyone who waited.
 */
import { AppendOutcomeUnknownError, LogUnavailableError } from '../errors.ts'
import type { EmbeddedStore, StreamWrite } from './embedded-store.ts'

type Waiting = {
  readonly write: StreamWrite
  readonly onDurable: () => void
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

type Phase = { readonly kind: 'open' } | { readonly kind: 'refusing'; readonly cause: unknown }

export class GroupCommit {
  readonly #store: EmbeddedStore
  #phase: Phase = { kind: 'open' }
  #waiting: Waiting[] = []
  #running: Promise<void> | undefined

  constructor(store: EmbeddedStore) {
    this.#store = store
  }

  /** @throws LogUnavailableError nothing is written any more */
  assertOpen(): void {
    if (this.#phase.kind === 'refusing') throw new LogUnavailableError(this.#phase.cause)
  }

  /**
   * Queues a write and resolves once it is durable; `onDurable` runs just before, in queue order.
   *
   * @throws AppendOutcomeUnknownError the disk failed while it was being written
   * @throws LogUnavailableError it was never handed to the disk
   */
  commit(write: StreamWrite, onDurable: () => void): Promise<void> {
    this.assertOpen()
    const settled = new Promise<void>((resolve, reject) => {
      this.#waiting.push({ write, onDurable, resolve, reject })
    })
    this.#running ??= this.#run()
    return settled
  }

  /**
   * Refuses everything from now on, for good.
   *
   * After a failed write the end of LevelDB's own log is in an unknown state, and what is written
   * behind it may be lost on recovery. Only opening the directory again mends that.
   */
  fail(cause: unknown): void {
    if (this.#phase.kind === 'open') this.#phase = { kind: 'refusing', cause }
    for (const { reject } of this.#waiting) reject(new LogUnavailableError(cause))
    this.#waiting = []
  }

  /** Refuses what comes from now on and resolves once everything queued before is settled. */
  async close(): Promise<void> {
    if (this.#phase.kind === 'open') {
      this.#phase = { kind: 'refusing', cause: new Error('the log is closed') }
    }
    await this.#running
  }

  async #run(): Promise<void> {
    // Appends of the same moment share the first write too.
    await Promise.resolve()
    while (this.#waiting.length > 0) {
      const group = this.#waiting
      this.#waiting = []
      await this.#write(group)
    }
    this.#running = undefined
  }

  async #write(group: readonly Waiting[]): Promise<void> {
    try {
      await this.#store.write(group.map(({ write }) => write))
    } catch (cause) {
      this.fail(cause)
      for (const { reject } of group) reject(new AppendOutcomeUnknownError(cause))
      return
    }
    for (const { onDurable, resolve } of group) {
      onDurable()
      resolve()
    }
  }
}
