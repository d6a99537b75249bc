/**
 * A stream's state as a fold over its log. PURE: no clock, only record timestamps, so every
 * gateway that has read the same prefix has the same state. States are immutable values: the
 * appender may keep several, judge against a future one, and drop it when the future differs.
 */
import { Map } from 'immutable'
import { invariant } from '../errors.ts'
import { meteredBytes } from '../log/log.ts'
import type { LogRecord, SeqNum } from '../log/log.ts'
import type { ProducerClaim, ProducerState } from '../protocol/producer.ts'
import type { Creation, ForkOrigin, Reference, Snapshot, StreamConfig } from './bodies.ts'
import { decodeRecord } from './codec.ts'
import type { Entry } from './codec.ts'
import { NO_LINEAGE } from './lineage.ts'
import type { Lineage } from './lineage.ts'

/** A producer's place, and when its last append was stored (ms, the log's clock). */
export type KnownProducer = ProducerState & { readonly activeAt: number }

/** One life of a stream, from its creation to its deletion. */
export type Incarnation = {
  readonly id: string
  /** Offsets before this seq num belong to an earlier incarnation. */
  readonly base: SeqNum
  /** The position before the first data record. */
  readonly start: SeqNum
  /** The position after the last data record; control records never move it. */
  readonly dataTail: SeqNum
  readonly config: StreamConfig
  /** Timestamp of the last record that renews a sliding TTL, in ms. */
  readonly lastActivity: number
  /** Timestamp of the last data record, or of the creation, in ms. */
  readonly lastDataAt: number
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

export type StreamState = {
  /** The state covers every record before this seq num. */
  readonly nextSeq: SeqNum
  /**
   * Timestamp of the last of them, in ms; undefined when it was not read. A log that S2 has
   * reclaimed and begun anew shows by another record in that place.
   */
  readonly timestamp: number | undefined
  readonly fencingToken: string
  /** The latest record that carries the whole state. */
  readonly checkpoint: SeqNum | undefined
  /** The log from that record on: when there is enough, a writer adds a checkpoint. */
  readonly sinceCheckpoint: { readonly records: number; readonly bytes: number }
  /** Undefined when no stream exists at this name: never created, or deleted. */
  readonly incarnation: Incarnation | undefined
}

/** The state of a log without records. */
export const EMPTY_STATE: StreamState = {
  nextSeq: 0,
  timestamp: undefined,
  fencingToken: '',
  checkpoint: undefined,
  sinceCheckpoint: { records: 0, bytes: 0 },
  incarnation: undefined,
}

/** The fencing token that a tombstone leaves; derived from the tail, so that it outlives a trim. */
export function deletedToken(tail: SeqNum): string {
  return `d:${tail}`
}

/** The fencing token of an open or closed incarnation. */
export function incarnationToken(id: string): string {
  return `o:${id}`
}

/** The state of a log whose records are all trimmed away: what a deletion leaves in the end. */
export function huskState(tail: SeqNum): StreamState {
  return { ...EMPTY_STATE, nextSeq: tail, fencingToken: tail === 0 ? '' : deletedToken(tail) }
}

/** Folds one record, the next one, into the state. */
export function apply(state: StreamState, record: LogRecord): StreamState {
  invariant(record.seqNum === state.nextSeq, 'records are folded in order, each once')
  const { records, bytes } = state.sinceCheckpoint
  const next: StreamState = {
    ...state,
    nextSeq: record.seqNum + 1,
    timestamp: record.timestamp,
    sinceCheckpoint: { records: records + 1, bytes: bytes + meteredBytes(record) },
  }
  return applyEntry(next, decodeRecord(record), record)
}

function applyEntry(state: StreamState, entry: Entry, record: LogRecord): StreamState {
  switch (entry.kind) {
    case 'fence':
      return { ...state, fencingToken: entry.token }
    case 'created':
      return wholeState(state, record, entry.creation.fencingToken, born(entry.creation, record))
    case 'deleted':
      return wholeState(state, record, entry.fencingToken, undefined)
    case 'checkpoint':
      return wholeState(state, record, entry.snapshot.fencingToken, restore(entry.snapshot))
    case 'data':
    case 'closed':
    case 'touch':
      return mapIncarnation(state, (incarnation) => evolve(incarnation, entry, record))
    case 'retired':
    case 'fork-added':
    case 'fork-removed':
      return mapIncarnation(state, (incarnation) => refer(incarnation, entry, record))
    case 'trim':
    case 'unknown':
      return state
  }
}

function wholeState(
  state: StreamState,
  record: LogRecord,
  fencingToken: string,
  incarnation: Incarnation | undefined,
): StreamState {
  return {
    ...state,
    fencingToken,
    checkpoint: record.seqNum,
    sinceCheckpoint: { records: 1, bytes: meteredBytes(record) },
    incarnation,
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

function mapIncarnation(
  state: StreamState,
  change: (incarnation: Incarnation) => Incarnation,
): StreamState {
  const { incarnation } = state
  return incarnation === undefined ? state : { ...state, incarnation: change(incarnation) }
}

function evolve(
  incarnation: Incarnation,
  entry: Entry & { kind: 'data' | 'closed' | 'touch' },
  { seqNum, timestamp }: LogRecord,
): Incarnation {
  if (entry.kind === 'touch') return { ...incarnation, lastActivity: timestamp }
  // Only an S2 client that ignores the fencing token can write here after closure.
  if (incarnation.closed) return incarnation
  const closes = entry.kind === 'closed' || entry.closes
  const { producer, streamSeq } = entry.mark
  return {
    ...incarnation,
    dataTail: entry.kind === 'data' ? seqNum + 1 : incarnation.dataTail,
    lastActivity: timestamp,
    lastDataAt: entry.kind === 'data' ? timestamp : incarnation.lastDataAt,
    closed: closes,
    closedBy: closes ? producer : undefined,
    streamSeq: streamSeq ?? incarnation.streamSeq,
    producers:
      producer === undefined ? incarnation.producers : remember(incarnation, producer, timestamp),
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
export function snapshot({ fencingToken, incarnation }: StreamState): Snapshot {
  if (incarnation === undefined) return { fencingToken }
  const { producers, references, lineage: _lineage, ...rest } = incarnation
  return {
    fencingToken,
    stream: {
      ...rest,
      references: references.toObject(),
      producers: [...producers].map(([id, p]) => [id, p.epoch, p.lastSeq, p.activeAt]),
    },
  }
}

function restore({ stream }: Snapshot): Incarnation | undefined {
  if (stream === undefined) return undefined
  const { closedBy, streamSeq, producers, references, fork, ...rest } = stream
  return {
    ...rest,
    fork,
    lineage: fork?.lineage ?? NO_LINEAGE,
    references: Map(Object.entries(references)),
    closedBy,
    streamSeq,
    producers: Map(
      producers.map(([producer, epoch, lastSeq, activeAt]) => [
        producer,
        { epoch, lastSeq, activeAt },
      ]),
    ),
  }
}
