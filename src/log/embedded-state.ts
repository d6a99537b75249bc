/**
 * What an append does to a stream of the embedded log: S2's rules as pure functions.
 */
import type { AppendBatch, AppendConflict, AppendRecord, LogRecord, SeqNum } from './log.ts'

/** All that has to be remembered of a stream beside its records. Survives a full trim. */
export type StreamState = {
  /** The seq num the next record takes. */
  readonly tail: SeqNum
  /** Records before it are gone for readers. Never moves back. */
  readonly trimPoint: SeqNum
  readonly token: string
  /** The last record's, in milliseconds; 0 for a stream that never had one. */
  readonly timestamp: number
}

export const EMPTY_STREAM: StreamState = { tail: 0, trimPoint: 0, token: '', timestamp: 0 }

/** Says which condition of the batch does not hold, if any. The token is judged first, as S2 does. */
export function judgeAppend(state: StreamState, batch: AppendBatch): AppendConflict | undefined {
  if (batch.fencingToken !== state.token) return { kind: 'fencing_token', token: state.token }
  if (batch.matchSeqNum !== state.tail) return { kind: 'seq_num', nextSeqNum: state.tail }
  return undefined
}

/** Gives the records of an accepted batch their places and runs its commands in order. */
export function applyAppend(
  state: StreamState,
  records: readonly AppendRecord[],
  now: number,
): { readonly state: StreamState; readonly records: readonly LogRecord[] } {
  // A clock that was set back must not make a stream's timestamps run backwards.
  const timestamp = Math.max(state.timestamp, now)
  let { trimPoint, token } = state
  const placed = records.map((record, index): LogRecord => {
    const seqNum = state.tail + index
    if (record.kind === 'fence') token = record.token
    if (record.kind === 'trim') trimPoint = Math.max(trimPoint, Math.min(record.before, seqNum + 1))
    if (record.kind !== 'data') return { ...record, seqNum, timestamp }
    // The caller may reuse its buffer after the append; readers hold on to this one for longer.
    const body = new Uint8Array(record.body)
    // Field by field: with a spread it takes twenty times as long.
    return { kind: 'data', headers: record.headers, body, seqNum, timestamp }
  })
  return {
    state: { tail: state.tail + records.length, trimPoint, token, timestamp },
    records: placed,
  }
}
