/** The commands that wait for their log, each with a bound on how long it may wait. */
import type { Clock } from '../clock.ts'
import { AppendOutcomeUnknownError, LogUnavailableError } from '../errors.ts'
import type { Command, Decision } from './command.ts'

/** A command and the promise of its answer, which is kept exactly once. */
export interface QueuedCommand<Life> {
  readonly command: Command<Life, unknown>
  /** `writing` while a batch with its records may be on its way to the log. */
  phase: 'waiting' | 'writing' | 'answered'
  settle(decision: Decision<unknown>): void
  fail(error: unknown): void
}

export class CommandQueue<Life> {
  readonly #clock: Clock
  readonly #timeoutMs: number
  readonly #items = new Set<QueuedCommand<Life>>()

  constructor(clock: Clock, timeoutMs: number) {
    this.#clock = clock
    this.#timeoutMs = timeoutMs
  }

  get isEmpty(): boolean {
    return this.#items.size === 0
  }

  /** The first that are not answered yet, at most `limit`, in the order in which they came. */
  first(limit: number): readonly QueuedCommand<Life>[] {
    const items: QueuedCommand<Life>[] = []
    for (const item of this.#items) {
      if (items.length === limit) break
      items.push(item)
    }
    return items
  }

  push<Answer>(command: Command<Life, Answer>): Promise<Answer> {
    return new Promise<Answer>((resolve, reject) => {
      const done = (): void => {
        item.phase = 'answered'
        cancelTimer()
        this.#items.delete(item)
      }
      const fail = (error: unknown): void => {
        done()
        reject(error instanceof Error ? error : new Error(String(error)))
      }
      const item: QueuedCommand<Life> = {
        command,
        phase: 'waiting',
        settle: (decision) => {
          if (decision.kind === 'refuse') return fail(decision.error)
          done()
          // The queue holds commands of all kinds; each gets what its own decision held.
          resolve(decision.answer as Answer)
        },
        fail,
      }
      const cancelTimer = this.#clock.after(this.#timeoutMs, () => fail(timeout(item)))
      this.#items.add(item)
    })
  }
}

function timeout({ phase }: QueuedCommand<never>): Error {
  const cause = new Error('timed out')
  return phase === 'writing' ? new AppendOutcomeUnknownError(cause) : new LogUnavailableError(cause)
}
