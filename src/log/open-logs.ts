/**
 * The logs of projects that are open: made when they are needed, closed when they were not for a
 * while, and never more than so many. One with a call or a session under way stays open.
 */
import type { Clock } from '../clock.ts'
import { LogUnavailableError } from '../errors.ts'
import type { DurableLog } from './log.ts'

export type OpenLogsOptions = {
  /** Returns at once; whatever is wrong shows with the calls. */
  readonly open: (project: string) => DurableLog
  readonly clock: Clock
  readonly maxOpen: number
  readonly idleMs: number
}

/** A log that stays open until it is released. */
export type LogUse = {
  readonly log: DurableLog
  /** Does nothing the second time. */
  release(): void
}

type Open = { readonly project: string; readonly log: DurableLog; uses: number; idleSince: number }

export class OpenLogs {
  readonly #options: OpenLogsOptions
  readonly #open = new Map<string, Open>()
  /** Those that nobody uses, the longest unused first. */
  readonly #idle = new Set<Open>()
  readonly #closing = new Set<Promise<void>>()
  #phase: 'open' | 'closed' = 'open'
  #cancelSweep: (() => void) | undefined

  constructor(options: OpenLogsOptions) {
    this.#options = options
  }

  /**
   * The log of a project, to be released.
   *
   * @throws LogUnavailableError as many are in use as may be, or all are closed
   */
  use(project: string): LogUse {
    const open = this.#open.get(project) ?? this.#add(project)
    this.#idle.delete(open)
    open.uses += 1
    let isUsed = true
    return {
      log: open.log,
      release: () => {
        if (!isUsed) return
        isUsed = false
        this.#release(open)
      },
    }
  }

  /** Closes all logs, with what is under way on them. */
  async close(): Promise<void> {
    this.#phase = 'closed'
    this.#cancelSweep?.()
    for (const open of [...this.#open.values()]) this.#close(open)
    await Promise.all(this.#closing)
  }

  #add(project: string): Open {
    if (this.#phase === 'closed') throw new LogUnavailableError(new Error('the log is closed'))
    const { open, maxOpen } = this.#options
    if (this.#open.size >= maxOpen) {
      const [longestIdle] = this.#idle
      if (longestIdle === undefined) {
        throw new LogUnavailableError(
          new Error(`${maxOpen} projects are in use, as many as may be`),
        )
      }
      this.#close(longestIdle)
    }
    const added = { project, log: open(project), uses: 0, idleSince: 0 }
    this.#open.set(project, added)
    return added
  }

  #release(open: Open): void {
    open.uses -= 1
    if (open.uses > 0 || this.#open.get(open.project) !== open) return
    open.idleSince = this.#options.clock.elapsed()
    this.#idle.add(open)
    this.#sweepLater(this.#options.idleMs)
  }

  #sweepLater(ms: number): void {
    this.#cancelSweep ??= this.#options.clock.after(ms, () => {
      this.#cancelSweep = undefined
      this.#sweep()
    })
  }

  #sweep(): void {
    const { clock, idleMs } = this.#options
    for (const open of this.#idle) {
      const leftMs = open.idleSince + idleMs - clock.elapsed()
      // A timer may be early by the fraction of a millisecond.
      if (leftMs > 1) return this.#sweepLater(leftMs)
      this.#close(open)
    }
  }

  #close(open: Open): void {
    this.#open.delete(open.project)
    this.#idle.delete(open)
    const closing = open.log.close().catch(() => {
      // What is left of its connections is the operating system's to time out.
    })
    this.#closing.add(closing)
    void closing.then(() => this.#closing.delete(closing))
  }
}
