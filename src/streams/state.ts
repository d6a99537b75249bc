/** A stream's state as a fold over its log: what each record does to it. PURE. */
import { Map } from 'immutable'
import { commits, isPart } from '../journal/lock.ts'
import type { Lock } from '../journal/lock.ts'
import { mapIncarnation, step, stepLocked, wholeState } from '../journal/state.ts'
import type { LogState, Rules } from '../journal/state.ts'
import type { LogRecord, SeqNum } from '../log/log.ts'
import type { ProducerClaim, ProducerState } from '../protocol/producer.ts'
import type { Creation, ForkOrigin, Reference, Snapshot, StreamConfig } from './bodies.ts'
import { decodeRecord, encodeCheckpoint } from './codec.ts'
import type { Entry } from './codec.ts'
import { NO_LINEAGE } from './lineage.ts'
import type { Lineage } from './lineage.ts'
import { see } from './visible.ts'
import type { Visible } from './visible.ts'

/** A producer's place, and when its last append was stored (ms, the log's clock). */
export type KnownProducer = ProducerState & { readonly activeAt: number }

/** One life of a stream, from its creation to its deletion. */
export type Incarnation = Visible & {
  readonly id: string
  /** Offsets before this seq num belong to an earlier incarnation. */
  readonly base: SeqNum
  /** The position before the first data record. */
  readonly start: SeqNum
  readonly config: StreamConfig
  /** Timestamp of the last record that renews a sliding TTL, in ms. */
  readonly lastActivity: number
  readonly closed: boolean
  /** The claim of the producer whose append closed the stream. */
  readonly closedBy: ProducerClaim | undefined
  readonly streamSeq: string | undefined
  readonly producers: Map<string, KnownProducer>
  readonly fork: ForkOrigin | undefined
  readonly lineage: Lineage
  /** Deleted, and kept for its forks. */
  readonly retired: boolean
  /** The forks that read its data, by their incarnation. */
  readonly references: Map<string, Reference>
}

export type StreamState = LogState<Incarnation>

/** How a stream's records are folded. */
export const STREAM_RULES: Rules<Incarnation> = {
  apply: (before, record) => {
    // There may be a hundred thousand of these in one append.
    if (before.lock !== undefined && isPart(record)) return step(before, record)
    const entry = decodeRecord(record)
    const state = stepLocked(before, record)
    const seen = mapIncarnation(state, (life) => evolve(life, { lock: before.lock, entry, record }))
    return applyControl(seen, entry, record)
  },
  checkpoint: (state) => encodeCheckpoint(snapshot(state)),
  // What is before a checkpoint is the data.
  trims: false,
}

function applyControl(state: StreamState, entry: Entry, record: LogRecord): StreamState {
  switch (entry.kind) {
    case 'fence':
      return { ...state, fencingToken: entry.token }
    case 'created':
      return wholeState(state, record, entry.creation.fencingToken, born(entry.creation, record))
    case 'deleted':
      return wholeState(state, record, entry.fencingToken, undefined)
    case 'checkpoint': {
      const { snapshot } = entry
      const whole = wholeState(state, record, snapshot.fencingToken, restore(snapshot))
      return { ...whole, lock: snapshot.lock }
    }
    case 'retired':
    case 'fork-added':
    case 'fork-removed':
      return mapIncarnation(state, (incarnation) => refer(incarnation, entry, record))
    default:
      return state
  }
}

function born({ id, base, config, fork }: Creation, { seqNum, timestamp }: LogRecord): Incarnation {
  return {
    id,
    base,
    start: seqNum + 1,
    dataTail: seqNum + 1,
    config,
    lastActivity: timestamp,
    lastDataAt: timestamp,
    aborted: [],
    voids: [],
    held: undefined,
    closed: false,
    closedBy: undefined,
    streamSeq: undefined,
    producers: Map(),
    fork,
    lineage: fork?.lineage ?? NO_LINEAGE,
    retired: false,
    references: Map(),
  }
}

/** A record, and the group that is open before it. */
type Arrival = {
  readonly lock: Lock | undefined
  readonly entry: Entry
  readonly record: LogRecord
}

function evolve(incarnation: Incarnation, { lock, entry, record }: Arrival): Incarnation {
  if (entry.kind === 'touch') return { ...incarnation, lastActivity: record.timestamp }
  // Only an S2 client that ignores the fencing token can write here after closure.
  if (incarnation.closed) return incarnation
  const isWhole = entry.kind === 'data' || entry.kind === 'closed'
  if (lock === undefined && isWhole) return mark(incarnation, entry, record)
  const seen = see(incarnation, lock, entry, record)
  // So it is with what others write into an open group: it is data at most.
  const counts = lock === undefined || commits(lock, record)
  if (counts && isWhole) return mark(seen, entry, record)
  return seen.dataTail === incarnation.dataTail ? seen : { ...seen, lastActivity: seen.lastDataAt }
}

function mark(
  incarnation: Incarnation,
  entry: Entry & { kind: 'data' | 'closed' },
  { seqNum, timestamp }: LogRecord,
): Incarnation {
  const closes = entry.kind === 'closed' || entry.closes
  const { producer, streamSeq } = entry.mark
  // Field by field: this runs twice for each append, and with a spread it takes ten times as long.
  return {
    id: incarnation.id,
    base: incarnation.base,
    start: incarnation.start,
    dataTail: entry.kind === 'data' ? seqNum + 1 : incarnation.dataTail,
    config: incarnation.config,
    lastActivity: timestamp,
    lastDataAt: entry.kind === 'data' ? timestamp : incarnation.lastDataAt,
    aborted: incarnation.aborted,
    voids: incarnation.voids,
    held: incarnation.held,
    closed: closes,
    closedBy: closes ? producer : undefined,
    streamSeq: streamSeq ?? incarnation.streamSeq,
    producers:
      producer === undefined ? incarnation.producers : remember(incarnation, producer, timestamp),
    fork: incarnation.fork,
    lineage: incarnation.lineage,
    retired: incarnation.retired,
    references: incarnation.references,
  }
}

function refer(
  incarnation: Incarnation,
  entry: Entry & { kind: 'retired' | 'fork-added' | 'fork-removed' },
  { timestamp }: LogRecord,
): Incarnation {
  const { references } = incarnation
  switch (entry.kind) {
    case 'retired':
      return { ...incarnation, retired: true }
    case 'fork-added': {
      const reference = { name: entry.name, since: timestamp }
      return { ...incarnation, references: references.set(entry.id, reference) }
    }
    case 'fork-removed':
      return { ...incarnation, references: references.delete(entry.id) }
  }
}

function remember(
  { producers, config }: Incarnation,
  { id, epoch, seq }: ProducerClaim,
  activeAt: number,
): Map<string, KnownProducer> {
  const room =
    producers.has(id) || producers.size < config.maxProducers
      ? producers
      : producers.delete(oldestProducer(producers)?.id ?? '')
  return room.set(id, { epoch, lastSeq: seq, activeAt })
}

/** The producer that has been silent longest; among equals the first id, so that all agree. */
export function oldestProducer(
  producers: Map<string, KnownProducer>,
): { readonly id: string; readonly activeAt: number } | undefined {
  let oldest: { id: string; activeAt: number } | undefined
  for (const [id, { activeAt }] of producers) {
    const older =
      oldest === undefined ||
      activeAt < oldest.activeAt ||
      (activeAt === oldest.activeAt && id < oldest.id)
    if (older) oldest = { id, activeAt }
  }
  return oldest
}

/** What a checkpoint stores: everything but the position, which is the checkpoint's own. */
export function snapshot({ fencingToken, lock, incarnation }: StreamState): Snapshot {
  if (incarnation === undefined) return { fencingToken, lock }
  const { producers, references, lineage: _lineage, ...rest } = incarnation
  return {
    fencingToken,
    lock,
    stream: {
      ...rest,
      references: references.toObject(),
      producers: [...producers].map(([id, p]) => [id, p.epoch, p.lastSeq, p.activeAt]),
    },
  }
}

/** Field by field and in their order in {@link born}: all incarnations then have one shape. */
function restore({ stream }: Snapshot): Incarnation | undefined {
  if (stream === undefined) return undefined
  const { fork } = stream
  return {
    id: stream.id,
    base: stream.base,
    start: stream.start,
    dataTail: stream.dataTail,
    config: stream.config,
    lastActivity: stream.lastActivity,
    lastDataAt: stream.lastDataAt,
    aborted: stream.aborted,
    voids: stream.voids,
    held: stream.held,
    closed: stream.closed,
    closedBy: stream.closedBy,
    streamSeq: stream.streamSeq,
    producers: Map(
      stream.producers.map(([producer, epoch, lastSeq, activeAt]) => [
        producer,
        { epoch, lastSeq, activeAt },
      ]),
    ),
    fork,
    lineage: fork?.lineage ?? NO_LINEAGE,
    retired: stream.retired,
    references: Map(Object.entries(stream.references)),
  }
}
