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
import { readOperationId } from './codec.ts'

/** The operation id stands on a batch's first record that is no command: among its first three. */
const PLACE_LIMITS = { maxRecords: 3, maxBytes: LOG_LIMITS.maxBatchBytes }

export type Settled =
  | { readonly kind: 'applied'; readonly start: number; readonly timestamp: number }
  /** Another writer was first, or the token has changed: nothing of the batch was written. */
  | { readonly kind: 'conflict'; readonly conflict: AppendConflict }
  /** The log has no such stream. */
  | { readonly kind: 'missing' }

export type SettleOptions = {
  readonly operation: string
  /** Called after each attempt that leaves the outcome open: waits before the next one. */
  readonly onAmbiguous: (attempt: number) => Promise<void>
}

/**
 * Appends the batch and finds out what became of it.
 *
 * @throws LogUnavailableError the log was not reached; nothing was written
 * @throws AppendOutcomeUnknownError the stream itself is gone, and the answer with it
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
    await options.onAmbiguous(attempt)
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
    // The stream was there when the first copy left: what became of that copy is lost with it.
    if (error instanceof LogStreamMissingError) throw new AppendOutcomeUnknownError(error)
    if (isTransient(error)) return undefined
    throw error
  }
}

function applied({ start, timestamp }: AppendAck): Settled {
  return { kind: 'applied', start, timestamp }
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
  { records, matchSeqNum }: AppendBatch,
  { operation, conflict }: { readonly operation: string; readonly conflict: AppendConflict },
): Promise<Settled | undefined> {
  const found = await readPlace(log, stream, matchSeqNum)
  if (found === undefined) return undefined
  const own = found.find((record) => readOperationId(record) === operation)
  if (own !== undefined) {
    return { kind: 'applied', start: matchSeqNum, timestamp: own.timestamp }
  }
  // A tombstone trims itself away; what stays of it is its token.
  const ownToken =
    conflict.kind === 'fencing_token' &&
    records.some((record) => record.kind === 'fence' && record.token === conflict.token)
  return ownToken
    ? { kind: 'applied', start: matchSeqNum, timestamp: 0 }
    : { kind: 'conflict', conflict }
}

async function readPlace(
  log: DurableLog,
  stream: string,
  seqNum: SeqNum,
): Promise<readonly LogRecord[] | undefined> {
  try {
    return await log.read(stream, { seqNum }, PLACE_LIMITS)
  } catch (error) {
    // Nothing is there: the token changed, so that no copy of the batch can land any more.
    if (error instanceof BeyondTailError) return []
    if (isTransient(error)) return undefined
    throw error
  }
}
