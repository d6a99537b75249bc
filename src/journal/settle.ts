/**
 * One conditional append, settled: it returns only what is certain.
 *
 * A lost connection or a time-out says nothing about the append. The same batch is then tried
 * again under the same conditions: at most one copy can take its seq num, and on a refusal the
 * record at that position tells whose it is. This is the only place that appends to the log.
 */
import { AppendOutcomeUnknownError, LogUnavailableError } from '../errors.ts'
import {
  AppendConflictError,
  BeyondTailError,
  LOG_LIMITS,
  LogStreamMissingError,
} from '../log/log.ts'
import type {
  AppendAck,
  AppendBatch,
  AppendConflict,
  DurableLog,
  LogRecord,
  SeqNum,
} from '../log/log.ts'
import { readOperationId } from './envelope.ts'

/** The operation id stands on a batch's first record that is no command: among its first three. */
const PLACE_LIMITS = { maxRecords: 3, maxBytes: LOG_LIMITS.maxBatchBytes }

export type Settled =
  /** `timestamp` is undefined when only the log can tell. */
  | { readonly kind: 'applied'; readonly timestamp: number | undefined }
  /** Another writer was first, or the token has changed: nothing of the batch was written. */
  | { readonly kind: 'conflict'; readonly conflict: AppendConflict }
  /** The log has no such stream. */
  | { readonly kind: 'missing' }

export type SettleOptions = {
  readonly operation: string
  /** Waits before each further attempt. */
  readonly backoff: (attempt: number) => Promise<void>
  /** Whether anybody still waits for the outcome. */
  readonly isWanted: () => boolean
}

/**
 * Appends the batch and finds out what became of it.
 *
 * @throws LogUnavailableError the log was not reached; nothing was written
 * @throws AppendOutcomeUnknownError the record that would tell is gone, or nobody waits any more:
 *   an append that its client has given up must not be written an hour later
 */
export async function appendSettled(
  log: DurableLog,
  stream: string,
  batch: AppendBatch,
  options: SettleOptions,
): Promise<Settled> {
  try {
    return applied(await log.append(stream, batch))
  } catch (error) {
    const certain = withoutEffect(error)
    if (certain !== undefined) return certain
    if (!(error instanceof AppendOutcomeUnknownError)) throw error
  }
  for (let attempt = 0; ; attempt += 1) {
    await options.backoff(attempt)
    if (!options.isWanted()) throw new AppendOutcomeUnknownError(new Error('given up'))
    const settled = await tryAgain(log, stream, batch, options)
    if (settled !== undefined) return settled
  }
}

/** The same batch once more, now that a copy of it may be anywhere. Undefined: still not clear. */
async function tryAgain(
  log: DurableLog,
  stream: string,
  batch: AppendBatch,
  { operation }: SettleOptions,
): Promise<Settled | undefined> {
  try {
    return applied(await log.append(stream, batch))
  } catch (error) {
    if (error instanceof AppendConflictError) {
      return whose(log, stream, batch, { operation, conflict: error.conflict })
    }
    if (error instanceof LogStreamMissingError) {
      // Nobody has created it, most likely. Any other stream was there when the first copy left,
      // and what became of that copy is lost with it.
      if (batch.matchSeqNum === 0) return { kind: 'missing' }
      throw new AppendOutcomeUnknownError(error)
    }
    if (isTransient(error)) return undefined
    throw error
  }
}

function applied({ timestamp }: AppendAck): Settled {
  return { kind: 'applied', timestamp }
}

function withoutEffect(error: unknown): Settled | undefined {
  if (error instanceof AppendConflictError) return { kind: 'conflict', conflict: error.conflict }
  return error instanceof LogStreamMissingError ? { kind: 'missing' } : undefined
}

function isTransient(error: unknown): boolean {
  return error instanceof AppendOutcomeUnknownError || error instanceof LogUnavailableError
}

/** Whose batch took the place of ours? Undefined when that can't be read now. */
async function whose(
  log: DurableLog,
  stream: string,
  batch: AppendBatch,
  { operation, conflict }: { readonly operation: string; readonly conflict: AppendConflict },
): Promise<Settled | undefined> {
  const found = await readPlace(log, stream, batch.matchSeqNum)
  if (found === 'unreadable') return undefined
  // The token was another one before any copy could land, and so it is for all of them.
  if (found === 'empty') return { kind: 'conflict', conflict }
  const own = found.find((record) => readOperationId(record) === operation)
  if (own !== undefined) return { kind: 'applied', timestamp: own.timestamp }
  if (found[0]?.seqNum === batch.matchSeqNum) return { kind: 'conflict', conflict }
  // A tombstone trims itself away; what stays of it is its token.
  if (setsToken(batch, conflict)) return { kind: 'applied', timestamp: undefined }
  throw new AppendOutcomeUnknownError(new Error('the record that would tell was trimmed'))
}

function setsToken({ records }: AppendBatch, conflict: AppendConflict): boolean {
  if (conflict.kind !== 'fencing_token') return false
  return records.some((record) => record.kind === 'fence' && record.token === conflict.token)
}

async function readPlace(
  log: DurableLog,
  stream: string,
  seqNum: SeqNum,
): Promise<readonly LogRecord[] | 'empty' | 'unreadable'> {
  try {
    return await log.read(stream, { seqNum }, PLACE_LIMITS)
  } catch (error) {
    if (error instanceof BeyondTailError && error.tail === seqNum) return 'empty'
    if (isTransient(error)) return 'unreadable'
    // The log has begun anew since: what it held is gone with it.
    if (error instanceof BeyondTailError || error instanceof LogStreamMissingError) return []
    throw error
  }
}
