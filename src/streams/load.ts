/**
 * Reading a stream's state from the log: opening it in a bounded number of reads whatever its
 * length, and advancing it to a tail. Keeps nothing.
 */
import { BeyondTailError, LOG_LIMITS, LogStreamMissingError } from '../log/log.ts'
import type { DurableLog, LogRecord, SeqNum } from '../log/log.ts'
import { readCheckpointPointer } from './codec.ts'
import { EMPTY_STATE, apply, huskState } from './state.ts'
import type { StreamState } from './state.ts'

const PAGE = { maxRecords: LOG_LIMITS.maxBatchRecords, maxBytes: LOG_LIMITS.maxBatchBytes }

/**
 * The state at the tail, or later: sees every append acknowledged before the call.
 *
 * Normally three reads at most: the last record names a checkpoint, and between a checkpoint and
 * the tail lie at most two pages. Only records that S2 clients wrote directly can make it more.
 */
export async function openState(log: DurableLog, stream: string): Promise<StreamState> {
  const last = await readLast(log, stream)
  if (last === undefined) return huskState(await tailOf(log, stream))
  const from = await findCheckpoint(log, stream, last)
  // Nothing here was written by a gateway; the real token shows when an append is refused.
  const unknown = { ...huskState(last.seqNum + 1), fencingToken: '' }
  if (from === undefined) return unknown
  const start = { ...EMPTY_STATE, nextSeq: from }
  // Right after its creation, say, the last record is all there is to fold.
  if (from === last.seqNum) return apply(start, last)
  try {
    return await advance(log, stream, start, last.seqNum + 1)
  } catch (error) {
    // Retention or a trim took the checkpoint: nothing is left to say what the stream was.
    if (error instanceof StateLostError) return unknown
    throw error
  }
}

/**
 * Folds the records up to `tail`, or further when the log has more by now.
 *
 * @throws StateLostError records are missing between the state and what the log still holds
 */
export async function advance(
  log: DurableLog,
  stream: string,
  from: StreamState,
  tail: SeqNum,
): Promise<StreamState> {
  let state = from
  while (state.nextSeq < tail) {
    const records = await log.read(stream, { seqNum: state.nextSeq }, PAGE)
    if (records.length === 0) throw new StateLostError()
    for (const record of records) {
      if (record.seqNum !== state.nextSeq) throw new StateLostError()
      state = apply(state, record)
    }
  }
  return state
}

/** The records needed to go on folding are gone: the state must be opened anew. */
export class StateLostError extends Error {}

async function readLast(log: DurableLog, stream: string): Promise<LogRecord | undefined> {
  try {
    const records = await log.read(stream, { tailOffset: 1 }, PAGE)
    return records.at(-1)
  } catch (error) {
    if (error instanceof BeyondTailError || error instanceof LogStreamMissingError) return undefined
    throw error
  }
}

async function tailOf(log: DurableLog, stream: string): Promise<SeqNum> {
  try {
    return await log.checkTail(stream)
  } catch (error) {
    if (error instanceof LogStreamMissingError) return 0
    throw error
  }
}

/** Goes back from `last`, page by page, to the latest record that names a checkpoint. */
async function findCheckpoint(
  log: DurableLog,
  stream: string,
  last: LogRecord,
): Promise<SeqNum | undefined> {
  const pointer = readCheckpointPointer(last)
  if (pointer !== undefined) return pointer
  let end = last.seqNum
  while (end > 0) {
    const begin = Math.max(0, end - PAGE.maxRecords)
    const found = await lastPointer(log, stream, begin, end)
    if (found !== undefined) return found
    end = begin
  }
  return undefined
}

async function lastPointer(
  log: DurableLog,
  stream: string,
  begin: SeqNum,
  end: SeqNum,
): Promise<SeqNum | undefined> {
  let pointer: SeqNum | undefined
  let next = begin
  while (next < end) {
    const limits = { maxRecords: end - next, maxBytes: PAGE.maxBytes }
    const records = await log.read(stream, { seqNum: next }, limits)
    const final = records.at(-1)
    if (final === undefined) return pointer
    for (const record of records) pointer = readCheckpointPointer(record) ?? pointer
    next = final.seqNum + 1
  }
  return pointer
}
