/** The journal of one stream, with what its readers have found to be gone from the log. */
import { Journal } from '../journal/journal.ts'
import type { JournalOptions } from '../journal/journal.ts'
import { without } from './lineage.ts'
import type { StreamPosition } from './lineage.ts'
import { STREAM_RULES } from './state.ts'
import type { Incarnation, StreamState } from './state.ts'
import { viewOf } from './view.ts'
import type { StreamView } from './view.ts'

export class StreamLog extends Journal<Incarnation> {
  #earliest: { readonly incarnation: string; readonly position: StreamPosition } | undefined

  constructor(name: string, options: JournalOptions) {
    super(name, STREAM_RULES, options)
  }

  /** What readers need to know, without what retention has been seen to take. */
  view(state: StreamState, incarnation: Incarnation): StreamView {
    const view = viewOf(this.name, state, incarnation)
    if (this.#earliest?.incarnation !== incarnation.id) return view
    return without(view, Math.min(this.#earliest.position, view.dataTail))
  }

  /** Remembers that the incarnation's data before a position is gone. */
  noteEarliest(incarnation: string, position: StreamPosition): void {
    const known = this.#earliest?.incarnation === incarnation ? this.#earliest.position : position
    this.#earliest = { incarnation, position: Math.max(known, position) }
  }
}
