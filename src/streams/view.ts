/** What readers need to know of a stream: a part of its state, as of one moment. PURE. */
import type { SeqNum } from '../log/log.ts'
import { expiresAt } from '../protocol/expiry.ts'
import type { Expiry } from '../protocol/expiry.ts'
import type { Lineage } from './lineage.ts'
import type { Incarnation, StreamState } from './state.ts'
import type { Sight } from './visible.ts'

export type StreamView = Sight & {
  readonly name: string
  /** Names this life of the stream: in ETags, and to tell one from the next. */
  readonly incarnation: string
  readonly contentType: string
  readonly expiry: Expiry
  /** When the stream expires if nothing renews it, in ms; undefined when it never does. */
  readonly expiresAt: number | undefined
  /** Offsets before this seq num belong to an earlier incarnation. */
  readonly base: SeqNum
  readonly start: SeqNum
  /** The position after the last record of any kind: where following begins. */
  readonly nextSeq: SeqNum
  readonly closed: boolean
  /** Anybody may read it. */
  readonly isPublic: boolean
  /** Forks read its data, which then outlives it. */
  readonly hasForks: boolean
  /** What the stream inherits; its positions are relative to it. */
  readonly lineage: Lineage
}

/** The view of the stream that exists in a state. */
export function viewOf(
  name: string,
  { nextSeq, lock }: StreamState,
  incarnation: Incarnation,
): StreamView {
  const { id, config, lastActivity, base, start, dataTail, lastDataAt } = incarnation
  const { closed, references, lineage, aborted, voids, held } = incarnation
  const { contentType, expiry, isPublic } = config
  return {
    name,
    incarnation: id,
    contentType,
    expiry,
    expiresAt: expiresAt(expiry, lastActivity),
    base,
    start,
    dataTail,
    nextSeq,
    lastDataAt,
    aborted,
    voids,
    held,
    lock,
    closed,
    isPublic,
    hasForks: references.size > 0,
    lineage,
  }
}
