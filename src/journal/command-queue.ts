/** The commands that wait for their log, each with a bound on how long it may wait. */
import type { Clock } from '../clock.ts'
import { AppendOutcomeUnknownError, LogUnavailableError } from '../errors.ts'
import type { Span } from '../tracing/tracing.ts'
import type { Command, Decision } from './command.ts'

/** A command and the promise of its answer, which is kept exactly once. */
export interface QueuedCommand<Life> {
  readonly command: Command<Life, unknown>
  /** What has to be gone through to judge it. */
  readonly bytes: number
  /** `writing` while a batch with its records may be on its way to the log. */
  readonly phase: 'waiting' | 'writing' | 'answered'
  /** What it is a part of, if anybody wants to know. */
  readonly scope: Span | undefined
  settle(decision: Decision<unknown>): void
  fail(error: unknown): void
}

type Item<Life> = QueuedCommand<Life> & {
  phase: QueuedCommand<Life>['phase']
  deadline: number
}

export class CommandQueue<Life> {
  readonly #clock: Clock
  readonly #timeoutMs: number
  /** In the order in which they came, and so in that of their deadlines. */
  readonly #unanswered = new Set<Item<Life>>()
  #waiting = new Set<Item<Life>>()
  #cancelTimer: (() => void) | undefined

  constructor(clock: Clock, timeoutMs: number) {
    this.#clock = clock
    this.#timeoutMs = timeoutMs
  }

  /** Whether no command waits to be judged. */
  get isEmpty(): boolean {
    return this.#waiting.size === 0
  }

  /**
   * The first that wait, in the order in which they came: at most `limit`, and no more than have
   * `maxBytes` together, but for the first one.
   */
  first(limit: number, maxBytes = Infinity): readonly QueuedCommand<Life>[] {
    const items: QueuedCommand<Life>[] = []
    let bytes = 0
    for (const item of this.#waiting) {
      bytes += item.bytes
      const isOver = items.length > 0 && bytes > maxBytes
      if (items.length === limit || isOver) break
      items.push(item)
    }
    return items
  }

  /** The first that wait, as many, are on their way to the log from now on. */
  send(count: number): readonly QueuedCommand<Life>[] {
    const items: QueuedCommand<Life>[] = []
    for (const item of this.#waiting) {
      if (items.length === count) break
      this.#waiting.delete(item)
      item.phase = 'writing'
      items.push(item)
    }
    return items
  }

  /** Those were on their way and are surely not in the log: they wait again, before all others. */
  takeBack(sent: readonly QueuedCommand<Life>[]): void {
    const [waiting, back] = [this.#waiting, new Set(sent)]
    this.#waiting = new Set()
    for (const item of this.#unanswered) {
      const isBack = item.phase === 'writing' && back.has(item)
      if (isBack) item.phase = 'waiting'
      if (isBack || waiting.has(item)) this.#waiting.add(item)
    }
  }

  push<Answer>(command: Command<Life, Answer>, bytes = 0, scope?: Span): Promise<Answer> {
    return new Promise<Answer>((resolve, reject) => {
      const fail = (error: unknown): void => {
        this.#remove(item)
        reject(error instanceof Error ? error : new Error(String(error)))
      }
      const item: Item<Life> = {
        command,
        bytes,
        phase: 'waiting',
        scope,
        deadline: this.#clock.now() + this.#timeoutMs,
        settle: (decision) => {
          if (decision.kind === 'refuse') return fail(decision.error)
          this.#remove(item)
          // The queue holds commands of all kinds; each gets what its own decision held.
          resolve(decision.answer as Answer)
        },
        fail,
      }
      this.#unanswered.add(item)
      this.#waiting.add(item)
      this.#cancelTimer ??= this.#clock.after(this.#timeoutMs, () => this.#expire())
    })
  }

  #remove(item: Item<Life>): void {
    item.phase = 'answered'
    this.#waiting.delete(item)
    this.#unanswered.delete(item)
    if (this.#unanswered.size > 0) return
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
  }

  /** One timer for all: it is for the oldest. */
  #expire(): void {
    this.#cancelTimer = undefined
    const now = this.#clock.now()
    for (const item of this.#unanswered) {
      // Nobody waits for longer because the clock was set back.
      item.deadline = Math.min(item.deadline, now + this.#timeoutMs)
      const left = item.deadline - now
      if (left > 0) {
        this.#cancelTimer = this.#clock.after(left, () => this.#expire())
        return
      }
      item.fail(timeout(item))
    }
  }
}

function timeout({ phase }: QueuedCommand<never>): Error {
  const cause = new Error('timed out')
  return phase === 'writing' ? new AppendOutcomeUnknownError(cause) : new LogUnavailableError(cause)
}
