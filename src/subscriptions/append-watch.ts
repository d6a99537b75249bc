/**
 * Sees to it that no append goes unnoticed by subscriptions, whatever dies: a stream that belongs
 * to one is marked before it is appended to, and the mark goes only when the subscriptions know.
 */
import type { Clock } from '../clock.ts'
import { AppendOutcomeUnknownError, GatewayError } from '../errors.ts'
import type { Growth, StreamWatch } from '../streams/watch.ts'
import type { Mark } from './directory-state.ts'
import type { Matcher } from './matcher.ts'
import type { Membership } from './membership.ts'
import { forEachParallel } from './parallel.ts'
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
type Active = {
  /** Appends that are not over. */
  underWay: number
  /** From when on, in ms, it is settled if nothing happens. */
  quietAt: number
  /** Raised by whatever happens: what was looked at before counts for nothing then. */
  turn: number
  /** Something may have come of it that a subscription does not know. */
  isTouched: boolean
}

/** Streams that are settled at once. */
const PARALLEL = 8

export class AppendWatch implements StreamWatch {
  readonly #options: AppendWatchOptions
  readonly #active = new Map<string, Active>()
  #cancelSweep: (() => void) | undefined
  #phase: 'waiting' | 'sweeping' | 'sweeping, and again' | 'stopped' = 'waiting'

  constructor(options: AppendWatchOptions) {
    this.#options = options
  }

  /** As {@link StreamWatch.around}. */
  around<Answer>(
    stream: string,
    run: () => Promise<Answer>,
    growthOf: (answer: Answer) => Growth,
  ): Promise<Answer> {
    return this.#isFree(stream) ? this.#unmarked(stream, run) : this.#watched(stream, run, growthOf)
  }

  async #watched<Answer>(
    stream: string,
    run: () => Promise<Answer>,
    growthOf: (answer: Answer) => Growth,
  ): Promise<Answer> {
    const { membership } = this.#options
    if (!membership.isCurrent) await membership.current()
    if (this.#matches(stream).length === 0) return this.#unmarked(stream, run)
    const active = this.#take(stream)
    let growth: Growth = { kind: 'none' }
    try {
      await this.#hold(stream)
      growth = { kind: 'unclear' }
      const answer = await run()
      growth = growthOf(answer)
      // From here on, too, nobody must think that this gateway is gone.
      await this.#hold(stream).catch((error: unknown) => this.#failed(error))
      if (growth.kind === 'removed') await this.#settleNow(stream, active)
      return answer
    } catch (error) {
      if (isCertain(error)) growth = { kind: 'none' }
      throw error
    } finally {
      this.#release(stream, active, growth)
    }
  }

  /** Streams that others had in hand, and that have to be looked at. */
  inherit(streams: readonly string[]): void {
    for (const stream of streams) this.#touch(this.#activate(stream))
    this.#sweepIn(0)
  }

  /** Leaves the marks as they are. */
  stop(): void {
    this.#phase = 'stopped'
    this.#cancelSweep?.()
  }

  #matches(stream: string): ReturnType<Matcher['matching']> {
    const { matcher, membership } = this.#options
    return matcher.matching(membership.directory, stream)
  }

  /** Whether it is known that the stream belongs to no subscription: on the way of every append. */
  #isFree(stream: string): boolean {
    return this.#options.membership.isCurrent && this.#matches(stream).length === 0
  }

  /** Nobody cares, unless a subscription has come into force meanwhile. */
  async #unmarked<Answer>(stream: string, run: () => Promise<Answer>): Promise<Answer> {
    try {
      return await run()
    } finally {
      await this.#lookAgain(stream)
    }
  }

  async #lookAgain(stream: string): Promise<void> {
    const { membership } = this.#options
    try {
      if (!membership.isCurrent) await membership.current()
      if (this.#matches(stream).length === 0) return
      await this.#hold(stream)
    } catch (error) {
      this.#failed(error)
    }
    this.inherit([stream])
  }

  async #hold(stream: string): Promise<void> {
    const { membership } = this.#options
    const marks = [markOf(stream)]
    if (!membership.holds(marks)) await membership.hold(marks)
  }

  #activate(stream: string): Active {
    const active = this.#active.get(stream) ?? {
      underWay: 0,
      quietAt: -Infinity,
      turn: 0,
      isTouched: false,
    }
    this.#active.set(stream, active)
    return active
  }

  #take(stream: string): Active {
    const active = this.#activate(stream)
    active.underWay += 1
    return active
  }

  /** Somebody has to look, as soon as may be. */
  #touch(active: Active): void {
    active.turn += 1
    active.isTouched = true
    active.quietAt = -Infinity
  }

  #release(stream: string, active: Active, growth: Growth): void {
    const { clock, quietMs, waker } = this.#options
    active.underWay -= 1
    switch (growth.kind) {
      case 'grown': {
        this.#touch(active)
        active.quietAt = clock.now() + quietMs
        const tails = new Map([[stream, growth.tail]])
        for (const match of this.#matches(stream)) waker.report(match, tails)
        return this.#sweepIn(quietMs)
      }
      case 'unclear':
        this.#touch(active)
        return this.#sweepIn(0)
      case 'removed':
      case 'none':
        // Nothing has come of all that was begun: there is nothing to tell.
        if (!active.isTouched && active.underWay === 0) this.#giveUp(stream, active)
    }
  }

  #sweepIn(ms: number): void {
    if (this.#phase === 'sweeping' && ms === 0) this.#phase = 'sweeping, and again'
    if (this.#phase !== 'waiting') return
    if (ms > 0 && this.#cancelSweep !== undefined) return
    this.#cancelSweep?.()
    this.#cancelSweep = this.#options.clock.after(ms, () => {
      this.#cancelSweep = undefined
      void this.#sweep()
    })
  }

  /** Settles the streams that have become quiet; one sweep at a time. */
  async #sweep(): Promise<void> {
    const { clock, quietMs } = this.#options
    this.#phase = 'sweeping'
    const now = clock.now()
    const quiet = [...this.#active].filter(
      ([, { underWay, quietAt }]) => underWay === 0 && quietAt <= now,
    )
    await forEachParallel(quiet, PARALLEL, ([stream, active]) => this.#settleNow(stream, active))
    if (this.#isStopped) return
    const isAgain = this.#isAgain
    this.#phase = 'waiting'
    if (this.#active.size > 0) this.#sweepIn(isAgain ? 0 : quietMs / 2)
  }

  // As others change it while a sweep waits.
  get #isStopped(): boolean {
    return this.#phase === 'stopped'
  }

  get #isAgain(): boolean {
    return this.#phase === 'sweeping, and again'
  }

  /** Has the subscriptions know what there is to know, and then gives up the mark. */
  async #settleNow(stream: string, active: Active): Promise<void> {
    const { waker, membership, clock, quietMs } = this.#options
    const { turn } = active
    let isSettled = false
    try {
      // By an old directory it might belong to nobody.
      if (!membership.isCurrent) await membership.current()
      isSettled = await waker.settle(stream)
    } catch (error) {
      this.#failed(error)
    }
    if (active.turn !== turn) return
    if (!isSettled) {
      this.#touch(active)
      active.quietAt = clock.now() + quietMs
      this.#sweepIn(quietMs)
    } else {
      active.isTouched = false
      if (active.underWay === 0) this.#giveUp(stream, active)
    }
  }

  #giveUp(stream: string, active: Active): void {
    if (this.#active.get(stream) !== active) return
    this.#active.delete(stream)
    this.#options.membership.drop([markOf(stream)])
  }

  #failed(error: unknown): void {
    this.#options.onBackgroundError('watch', error)
  }
}

/** Whether a failure says that nothing has changed. */
function isCertain(error: unknown): boolean {
  return error instanceof GatewayError && !(error instanceof AppendOutcomeUnknownError)
}

function markOf(stream: string): Mark {
  return `stream:${stream}`
}
