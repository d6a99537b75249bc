/**
 * One conditional append, settled: it returns only what is certain.
 *
 * A lost connection or a time-out says nothing about the append. The same batch is then tried
 * again under the same conditions: at most one copy can take its seq num, and on a refusal the
 * record at that position tells whose it is. All that is appended is settled here.
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

/**
 * Further attempts while the log can't be reached: some seconds, as S2 needs to start again or to
 * let go of a rate limit. In a longer outage clients must not wait for nothing.
 */
const MAX_UNREACHED = 6

export type Settled =
  /** `timestamp` is undefined when only the log can tell. */
  | { readonly kind: 'applied'; readonly timestamp: number | undefined }
  /** Another writer was first, or the token has changed: nothing of the batch was written. */
  | { readonly kind: 'conflict'; readonly conflict: AppendConflict }
  /** The log has no such stream. */
  | { readonly kind: 'missing' }

export type SettleOptions = {
  readonly operation: string
  /** The first attempt, if it was made already. */
  readonly attempt?: Promise<AppendAck> | undefined
  /** Waits before each further attempt. */
  readonly backoff: (attempt: number) => Promise<void>
  /** Whether anybody still waits for the outcome. */
  readonly isWanted: () => boolean
}

/**
 * Appends the batch and finds out what became of it.
 *
 * @throws LogUnavailableError the log was not reached for some seconds, or until nobody waited any
 *   more; nothing was written
 * @throws AppendOutcomeUnknownError the record that would tell is gone, or nobody waits any more:
 *   an append that its client has given up must not be written an hour later
 */
export async function appendSettled(
  log: DurableLog,
  stream: string,
  batch: AppendBatch,
  options: SettleOptions,
): Promise<Settled> {
  const place: Place = { log, stream, batch, operation: options.operation }
  /** Whether a copy of it may be anywhere. */
  let isAbroad = false
  for (let attempt = 0; ; attempt += 1) {
    try {
      const made = attempt === 0 ? options.attempt : undefined
      return applied(await (made ?? log.append(stream, batch)))
    } catch (error) {
      // A refusal after another attempt may be that attempt's doing, whatever was said of it.
      const settled =
        attempt > 0 ? await settleRefusal(error, place, isAbroad) : withoutEffect(error)
      if (settled !== undefined) return settled
      isAbroad ||= error instanceof AppendOutcomeUnknownError
      if (!isAbroad && attempt === MAX_UNREACHED) throw error
    }
    await options.backoff(attempt)
    if (!options.isWanted()) throw givenUp(isAbroad)
  }
}

function givenUp(isAbroad: boolean): Error {
  const cause = new Error('given up')
  return isAbroad ? new AppendOutcomeUnknownError(cause) : new LogUnavailableError(cause)
}

type Place = {
  readonly log: DurableLog
  readonly stream: string
  readonly batch: AppendBatch
  readonly operation: string
}

/**
 * What an answer means after other attempts, of which a copy may be anywhere when `isAbroad`.
 * Undefined: still not clear.
 */
async function settleRefusal(
  error: unknown,
  place: Place,
  isAbroad: boolean,
): Promise<Settled | undefined> {
  if (error instanceof AppendConflictError) return whose(place, error.conflict)
  if (isTransient(error)) return undefined
  if (!isAbroad) return withoutEffect(error)
  if (error instanceof LogStreamMissingError && place.batch.matchSeqNum === 0) {
    // A copy may come when somebody has created it. Only who takes the first place can tell.
    await place.log.createStream(place.stream).catch(() => undefined)
    return undefined
  }
  // Any other stream was there when the first copy left: what became of that is lost with it.
  throw new AppendOutcomeUnknownError(error)
}

function applied({ timestamp }: AppendAck): Settled {
  return { kind: 'applied', timestamp }
}

/** What the only copy says that was sent. Undefined: it is not clear, or did not get there. */
function withoutEffect(error: unknown): Settled | undefined {
  if (error instanceof AppendConflictError) return { kind: 'conflict', conflict: error.conflict }
  if (error instanceof LogStreamMissingError) return { kind: 'missing' }
  if (isTransient(error)) return undefined
  throw error
}

function isTransient(error: unknown): boolean {
  return error instanceof AppendOutcomeUnknownError || error instanceof LogUnavailableError
}

/** Whose batch took the place of ours? Undefined when that can't be read now. */
async function whose(
  { log, stream, batch, operation }: Place,
  conflict: AppendConflict,
): Promise<Settled | undefined> {
  const found = await readPlace(log, stream, batch.matchSeqNum)
  if (found === 'unreadable') return undefined
  if (found === 'empty') {
    // The token was another one before any copy could land, and so it is for all of them. Of the
    // place that is no proof: the log may have begun anew, and have grown up to it just now.
    return conflict.kind === 'fencing_token' ? { kind: 'conflict', conflict } : undefined
  }
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
    throw new AppendOutcomeUnknownError(error)
  }
}
