/** The stream as it was when its hub began. */
import type { SeqNum } from '../log/log.ts'
import type { Lineage } from '../streams/lineage.ts'
import type { Sight } from '../streams/visible.ts'

export type HubStream = Sight & {
  readonly name: string
  /** Names this life of the stream. */
  readonly incarnation: string
  readonly contentType: string
  /** Offsets before this seq num belong to an earlier incarnation. */
  readonly base: SeqNum
  readonly start: SeqNum
  /** Following begins here. */
  readonly nextSeq: SeqNum
  readonly closed: boolean
  /** Anybody may read it. */
  readonly isPublic: boolean
  /** What it inherits; positions are relative to it. */
  readonly lineage: Lineage
  /** The window of its sliding TTL, in ms; undefined when there is none. */
  readonly ttlMs: number | undefined
  /** The instant at which it ends whatever happens, in ms since 1970. */
  readonly endsAt: number | undefined
}
