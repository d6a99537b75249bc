/**
 * Sees to it that no append goes unnoticed by subscriptions, whatever dies: a stream that belongs
 * to one is marked before it is appended to, and the mark goes only when the subscriptions know.
 */
import type { Clock } from '../clock.ts'
import type { Growth, StreamWatch } from '../streams/watch.ts'
import type { Mark } from './directory-state.ts'
import type { Matcher } from './matcher.ts'
import type { Membership } from './membership.ts'
import { forEachParallel } from './waker.ts'
import type { Waker } from './waker.ts'

export type AppendWatchOptions = {
  readonly clock: Clock
  readonly membership: Membership
  readonly matcher: Matcher
  readonly waker: Waker
  /** After this long without an append, a stream's mark is given up. In ms. */
  readonly quietMs: number
  readonly onBackgroundError: (task: string, error: unknown) => void
}

/** A stream in hand. */
type Active = { underWay: number; quietAt: number }

/** Streams that are settled at once. */
const PARALLEL = 8

export class AppendWatch implements StreamWatch {
  readonly #options: AppendWatchOptions
  readonly #active = new Map<string, Active>()
  #cancelSweep: (() => void) | undefined
  #isStopped = false

  constructor(options: AppendWatchOptions) {
    this.#options = options
  }

  /** As {@link StreamWatch.around}. */
  async around<Answer>(
    stream: string,
    run: () => Promise<Answer>,
    growthOf: (answer: Answer) => Growth,
  ): Promise<Answer> {
    const { membership } = this.#options
    if (!membership.isCurrent) await membership.current()
    if (this.#matches(stream).length === 0) return this.#unmarked(stream, run)
    const active = this.#take(stream)
    let growth: Growth = { kind: 'unclear' }
    try {
      await this.#hold(stream)
      const answer = await run()
      growth = growthOf(answer)
      // From here on, too, nobody must think that this gateway is gone.
      await this.#hold(stream).catch((error: unknown) => this.#failed(error))
      return answer
    } finally {
      this.#release(stream, active, growth)
    }
  }

  /** Streams of gateways that are gone. */
  inherit(streams: readonly string[]): void {
    for (const stream of streams) {
      if (!this.#active.has(stream)) this.#active.set(stream, { underWay: 0, quietAt: -Infinity })
    }
    this.#sweepIn(0)
  }

  /** Leaves the marks as they are. */
  stop(): void {
    this.#isStopped = true
    this.#cancelSweep?.()
  }

  #matches(stream: string): ReturnType<Matcher['matching']> {
    const { matcher, membership } = this.#options
    return matcher.matching(membership.directory, stream)
  }

  /** Nobody cares, unless a subscription has come into force meanwhile. */
  async #unmarked<Answer>(stream: string, run: () => Promise<Answer>): Promise<Answer> {
    const answer = await run()
    const { membership } = this.#options
    try {
      if (!membership.isCurrent) await membership.current()
      if (this.#matches(stream).length === 0) return answer
      await this.#hold(stream)
    } catch (error) {
      this.#failed(error)
    }
    this.inherit([stream])
    return answer
  }

  async #hold(stream: string): Promise<void> {
    const { membership } = this.#options
    const marks = [markOf(stream)]
    if (!membership.holds(marks)) await membership.hold(marks)
  }

  #take(stream: string): Active {
    const active = this.#active.get(stream) ?? { underWay: 0, quietAt: 0 }
    active.underWay += 1
    this.#active.set(stream, active)
    return active
  }

  #release(stream: string, active: Active, growth: Growth): void {
    const { clock, quietMs, waker } = this.#options
    active.underWay -= 1
    active.quietAt = clock.now() + quietMs
    if (growth.kind === 'grown') {
      const tails = { [stream]: growth.tail }
      for (const match of this.#matches(stream)) waker.report(match, tails)
    }
    if (growth.kind === 'unclear') active.quietAt = -Infinity
    this.#sweepIn(growth.kind === 'unclear' ? 0 : quietMs)
  }

  #sweepIn(ms: number): void {
    if (this.#isStopped || (ms > 0 && this.#cancelSweep !== undefined)) return
    this.#cancelSweep?.()
    this.#cancelSweep = this.#options.clock.after(ms, () => {
      this.#cancelSweep = undefined
      void this.#sweep()
    })
  }

  /** Settles the streams that have become quiet, and gives up their marks. */
  async #sweep(): Promise<void> {
    const { clock, quietMs } = this.#options
    const now = clock.now()
    const quiet = [...this.#active].filter(
      ([, { underWay, quietAt }]) => underWay === 0 && quietAt <= now,
    )
    await forEachParallel(quiet, PARALLEL, ([stream, active]) => this.#settle(stream, active))
    if (this.#active.size > 0) this.#sweepIn(quietMs / 2)
  }

  async #settle(stream: string, active: Active): Promise<void> {
    const { waker, membership, clock, quietMs } = this.#options
    const { quietAt } = active
    const isSettled = await waker.settle(stream).catch((error: unknown) => {
      this.#failed(error)
      return false
    })
    if (!isSettled) active.quietAt = clock.now() + quietMs
    if (!isSettled || active.underWay > 0 || active.quietAt !== quietAt) return
    this.#active.delete(stream)
    membership.drop([markOf(stream)])
  }

  #failed(error: unknown): void {
    this.#options.onBackgroundError('watch', error)
  }
}

function markOf(stream: string): Mark {
  return `stream:${stream}`
}
