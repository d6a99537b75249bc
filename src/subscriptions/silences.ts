/** Since when other gateways have not been seen to write. */
import type { SeqNum } from '../log/log.ts'
import type { Member } from './directory-state.ts'

/** A gateway and the last record of it that was seen. */
export type Silent = { readonly id: string; readonly seen: SeqNum }

export type SilencesOptions = {
  /** One with something in hand is gone after this long, in ms. */
  readonly takeoverMs: number
  /** One with nothing in hand is gone after this long, in ms. */
  readonly idleMs: number
}

/** Counts each from when its last record was first seen here: clocks need not agree. */
export class Silences {
  readonly #options: SilencesOptions
  readonly #since = new Map<string, { readonly seen: SeqNum; readonly at: number }>()

  constructor(options: SilencesOptions) {
    this.#options = options
  }

  /** Those of the gateways that have been silent for too long at `now`, in ms. */
  over(gateways: ReadonlyMap<string, Member>, now: number): readonly Silent[] {
    for (const id of this.#since.keys()) if (!gateways.has(id)) this.#since.delete(id)
    const silent: Silent[] = []
    for (const [id, { seen, marks }] of gateways) {
      const last = this.#since.get(id)
      if (last?.seen !== seen) {
        this.#since.set(id, { seen, at: now })
        continue
      }
      const { takeoverMs, idleMs } = this.#options
      if (now - last.at >= (marks.size > 0 ? takeoverMs : idleMs)) silent.push({ id, seen })
    }
    return silent
  }
}
