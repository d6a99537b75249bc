/**
 * Reading a log's state: opening it in a bounded number of reads whatever its
 * length, and advancing it to a tail. Keeps nothing.
 */
import { BeyondTailError, LOG_LIMITS, LogStreamMissingError } from '../log/log.ts'
import type { DurableLog, LogRecord, SeqNum } from '../log/log.ts'
import { readCheckpointPointer, readOperationId } from './envelope.ts'
import { EMPTY_STATE, huskState } from './state.ts'
import type { LogState, Rules } from './state.ts'

/** One log, and how its records are folded. */
export type Source<Life> = {
  readonly log: DurableLog
  /** The log's name of the stream that holds the records. */
  readonly name: string
  readonly rules: Rules<Life>
  /** Told of each batch that is folded. */
  readonly onBatch?: (operation: string, timestamp: number) => void
}

/** A source whose records are only read. */
type Place = Pick<Source<never>, 'log' | 'name'>

const PAGE = { maxRecords: LOG_LIMITS.maxBatchRecords, maxBytes: LOG_LIMITS.maxBatchBytes }

/**
 * The state at the tail, or later: sees every append acknowledged before the call.
 *
 * Three reads at most: the last record names a checkpoint, and between a checkpoint and the tail
 * lie at most two pages. Only records that S2 clients wrote directly, and logs that change in the
 * same moment, can make it more.
 */
export async function openState<Life>(source: Source<Life>): Promise<LogState<Life>> {
  let lost: SeqNum | undefined
  for (;;) {
    const last = await readLast(source)
    if (!('seqNum' in last)) return last
    const from = await findCheckpoint(source, last)
    // Nothing that is left says what there was: no gateway wrote it, or retention or a trim
    // took the checkpoint. The real token shows when an append is refused.
    if (from === undefined || from === lost) {
      return { ...huskState(last.seqNum + 1), fencingToken: '' }
    }
    const start = { ...EMPTY_STATE, nextSeq: from }
    // Right after its creation, say, the last record is all there is to fold.
    if (from === last.seqNum) return source.rules.apply(start, last)
    try {
      return await advance(source, start, last.seqNum + 1)
    } catch (error) {
      if (!(error instanceof StateLostError)) throw error
      // It was trimmed under our hands: if there is another one by now, begin again.
      lost = from
    }
  }
}

/**
 * Folds the records up to `tail`, or further when the log has more by now.
 *
 * Reads the last record of the state again, where it is known: only where that is still the same
 * do the records after it continue the state.
 *
 * @throws StateLostError they do not, or some of them are missing
 */
export async function advance<Life>(
  source: Source<Life>,
  from: LogState<Life>,
  tail: SeqNum,
): Promise<LogState<Life>> {
  let state = from
  let next = from.timestamp === undefined ? from.nextSeq : from.nextSeq - 1
  while (state.nextSeq < tail) {
    const records = await readPage(source, next)
    if (records.length === 0) throw new StateLostError()
    for (const record of records) {
      if (record.seqNum !== next) throw new StateLostError()
      if (next === state.nextSeq) state = fold(source, state, record)
      else if (record.timestamp !== state.timestamp) throw new StateLostError()
      next += 1
    }
  }
  return state
}

/** Folds the record that follows a state. */
export function fold<Life>(
  { rules, onBatch }: Source<Life>,
  state: LogState<Life>,
  record: LogRecord,
): LogState<Life> {
  const operation = readOperationId(record)
  if (operation !== undefined) onBatch?.(operation, record.timestamp)
  return rules.apply(state, record)
}

/** The records needed to go on folding are gone: the state must be opened anew. */
export class StateLostError extends Error {}

async function readPage({ log, name }: Place, seqNum: SeqNum): Promise<readonly LogRecord[]> {
  try {
    return await log.read(name, { seqNum }, PAGE)
  } catch (error) {
    // The log has less than it once had: S2 has reclaimed the stream.
    if (error instanceof BeyondTailError || error instanceof LogStreamMissingError) return []
    throw error
  }
}

/** The last record, or the state of a log that has none. */
async function readLast({ log, name }: Place): Promise<LogRecord | LogState<never>> {
  for (;;) {
    try {
      const last = (await log.read(name, { tailOffset: 1 }, PAGE)).at(-1)
      if (last !== undefined) return last
      const tail = await log.checkTail(name)
      // Only records that are gone after the tail was looked up are surely all there were.
      const left = (await log.read(name, { seqNum: tail - 1 }, PAGE)).at(-1)
      return left ?? huskState(tail)
    } catch (error) {
      if (error instanceof LogStreamMissingError) return EMPTY_STATE
      if (!(error instanceof BeyondTailError)) throw error
      if (error.tail === 0) return EMPTY_STATE
    }
  }
}

/** Goes back from `last`, page by page, to the latest record that names a checkpoint. */
async function findCheckpoint(place: Place, last: LogRecord): Promise<SeqNum | undefined> {
  let pointer = readCheckpointPointer(last)
  let end = last.seqNum
  while (pointer === undefined && end > 0) {
    const begin = Math.max(0, end - PAGE.maxRecords)
    const records = await readRange(place, begin, end)
    for (const record of records) pointer = readCheckpointPointer(record) ?? pointer
    // What was there before is trimmed.
    if (records[0]?.seqNum !== begin) break
    end = begin
  }
  return pointer
}

async function readRange(place: Place, begin: SeqNum, end: SeqNum): Promise<readonly LogRecord[]> {
  const found: LogRecord[] = []
  let next = begin
  while (next < end) {
    const records = await readPage(place, next)
    found.push(...records.filter(({ seqNum }) => seqNum < end))
    const final = records.at(-1)
    if (final === undefined) break
    next = final.seqNum + 1
  }
  return found
}
