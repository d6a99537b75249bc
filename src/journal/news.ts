/**
 * Hears of what rivals write as soon as it is durable, for as long as there are any: whoever waits
 * for his turn learns that it has come, and has nothing to read before he takes it.
 */
import type { Clock } from '../clock.ts'
import type { DurableLog } from '../log/log.ts'
import { followJournal } from './follow.ts'
import type { Journal } from './journal.ts'

export type NewsOptions = {
  readonly log: DurableLog
  readonly clock: Clock
  /** Asked now and then: once nobody wants to hear, the log is followed no longer. */
  readonly isWanted: () => boolean
}

/** How often to ask, in ms. A read session costs a part of a connection, and its minutes on the bill. */
const ASK_EVERY_MS = 1000

export class News<Life> {
  readonly #journal: Journal<Life>
  readonly #options: NewsOptions
  #end: (() => void) | undefined

  constructor(journal: Journal<Life>, options: NewsOptions) {
    this.#journal = journal
    this.#options = options
  }

  /** Follows the log from now on. */
  begin(): void {
    if (this.#end !== undefined) return
    const { log, clock } = this.#options
    this.#end = followJournal(this.#journal, { log, clock, onChange: () => undefined })
    this.#askLater()
  }

  #askLater(): void {
    const { clock, isWanted } = this.#options
    clock.after(ASK_EVERY_MS, () => {
      if (isWanted()) return this.#askLater()
      this.#end?.()
      this.#end = undefined
    })
  }
}
