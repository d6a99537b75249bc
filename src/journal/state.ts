/**
 * A state as a fold over its log, whatever the records mean. PURE: no clock, only record
 * timestamps, so every gateway that has read the same prefix has the same state. States are
 * immutable values: the journal may keep several, judge against a future one, and drop it when
 * the future differs.
 */
import { invariant } from '../errors.ts'
import { meteredBytes } from '../log/log.ts'
import type { AppendRecord, LogRecord, SeqNum } from '../log/log.ts'
import { foldLock } from './lock.ts'
import type { Lock } from './lock.ts'

/** What is known of a log, with one `Life` at a time of what its records tell of. */
export type LogState<Life> = {
  /** The state covers every record before this seq num. */
  readonly nextSeq: SeqNum
  /**
   * Timestamp of the last of them, in ms; undefined when it was not read. A log that S2 has
   * reclaimed and begun anew shows by another record in that place.
   */
  readonly timestamp: number | undefined
  readonly fencingToken: string
  /** The group that is being written: until it ends nobody else may write. */
  readonly lock: Lock | undefined
  /** The latest record that carries the whole state. */
  readonly checkpoint: SeqNum | undefined
  /** The log from that record on: when there is enough, a writer adds a checkpoint. */
  readonly sinceCheckpoint: { readonly records: number; readonly bytes: number }
  /** Undefined when nothing exists at this name: never created, or deleted. */
  readonly incarnation: Life | undefined
}

/** How the records of one kind of log are folded. */
export type Rules<Life> = {
  /**
   * Folds one record, the next one, into the state. PURE: no clock, only record timestamps. It
   * begins with {@link step} or {@link stepLocked}, takes the token of a `fence`, and passes over
   * what it does not know.
   */
  readonly apply: (state: LogState<Life>, record: LogRecord) => LogState<Life>
  /** The record that carries the whole state, but for its place: of the kind `checkpoint`. */
  readonly checkpoint: (state: LogState<Life>) => AppendRecord
  /** Whether what lies before a checkpoint is trimmed with it: nobody reads its history. */
  readonly trims: boolean
}

/** The state of a log without records. */
export const EMPTY_STATE: LogState<never> = {
  nextSeq: 0,
  timestamp: undefined,
  fencingToken: '',
  lock: undefined,
  checkpoint: undefined,
  sinceCheckpoint: { records: 0, bytes: 0 },
  incarnation: undefined,
}

/** The state of a log whose records are all trimmed away: what a deletion leaves in the end. */
export function huskState(tail: SeqNum): LogState<never> {
  return { ...EMPTY_STATE, nextSeq: tail, fencingToken: tail === 0 ? '' : deletedToken(tail) }
}

/** The fencing token that a tombstone leaves; derived from the tail, so that it outlives a trim. */
export function deletedToken(tail: SeqNum): string {
  return `d:${tail}`
}

/** The fencing token of an incarnation, from its creation to its deletion. */
export function incarnationToken(id: string): string {
  return `o:${id}`
}

/**
 * The part of a fold that is the same for every record: its place, and what has come since the
 * checkpoint.
 *
 * @throws InvariantError the record is not the next one
 */
export function step<Life>(state: LogState<Life>, record: LogRecord): LogState<Life> {
  invariant(record.seqNum === state.nextSeq, 'records are folded in order, each once')
  const { records, bytes } = state.sinceCheckpoint
  // Field by field, here and below: this runs twice for each append, and with a spread it takes ten
  // times as long.
  return {
    nextSeq: record.seqNum + 1,
    timestamp: record.timestamp,
    fencingToken: state.fencingToken,
    lock: state.lock,
    checkpoint: state.checkpoint,
    sinceCheckpoint: { records: records + 1, bytes: bytes + meteredBytes(record) },
    incarnation: state.incarnation,
  }
}

/** {@link step} for a kind of log that has groups: they open and end its lock. */
export function stepLocked<Life>(before: LogState<Life>, record: LogRecord): LogState<Life> {
  const state = step(before, record)
  const lock = foldLock(state.lock, record)
  return lock === state.lock ? state : { ...state, lock }
}

/**
 * Replaces everything by what a record says that carries the whole state, of which an open group
 * is part only in a checkpoint; `state` is after its {@link step}. Only for the kinds that
 * `readCheckpointPointer` takes for such.
 */
export function wholeState<Life>(
  state: LogState<Life>,
  record: LogRecord,
  fencingToken: string,
  incarnation: Life | undefined,
): LogState<Life> {
  return {
    ...state,
    fencingToken,
    lock: undefined,
    checkpoint: record.seqNum,
    sinceCheckpoint: { records: 1, bytes: meteredBytes(record) },
    incarnation,
  }
}

/** Changes the incarnation, if there is one: outside of it a record counts for nothing. */
export function mapIncarnation<Life>(
  state: LogState<Life>,
  change: (incarnation: Life) => Life,
): LogState<Life> {
  if (state.incarnation === undefined) return state
  return {
    nextSeq: state.nextSeq,
    timestamp: state.timestamp,
    fencingToken: state.fencingToken,
    lock: state.lock,
    checkpoint: state.checkpoint,
    sinceCheckpoint: state.sinceCheckpoint,
    incarnation: change(state.incarnation),
  }
}
