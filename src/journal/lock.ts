/**
 * The lock that makes several batches one: while it is open, its fencing token lets nobody but its
 * owner write, and what is written counts only when the record comes that commits it. PURE.
 *
 * `begin` opens it; a record with a `commit` header, or `abort`, ends it.
 */
import { InvariantError } from '../errors.ts'
import type { AppendRecord, LogRecord, SeqNum } from '../log/log.ts'
import { encodeRecord, headerValue, kindOf, readCommit } from './envelope.ts'
import type { RecordContext } from './envelope.ts'

/** A group that has begun and not ended. */
export type Lock = {
  /** Names the group, and the fencing token while it is open. */
  readonly id: string
  /** The gateway that writes it. */
  readonly owner: string
  /** Seq num of the record that opened it. */
  readonly begin: SeqNum
  /** The fencing token from before, which its end sets again. */
  readonly openToken: string
}

const LOCK_HEADER = 'lock'
const OWNER_HEADER = 'owner'
const TOKEN_HEADER = 'token'
const NO_BODY = new Uint8Array(0)

/** The fencing token while a group is open. */
export function lockToken(id: string): string {
  return `l:${id}`
}

/** Writes the record that opens a lock. The fence with its token stands before it. */
export function encodeBegin(
  { id, owner, openToken }: Omit<Lock, 'begin'>,
  context: RecordContext,
): AppendRecord {
  return encodeRecord('begin', NO_BODY, context, [
    [LOCK_HEADER, id],
    [OWNER_HEADER, owner],
    [TOKEN_HEADER, openToken],
  ])
}

/** Writes the record that ends a group of which nothing counts. */
export function encodeAbort(id: string, context: RecordContext): AppendRecord {
  return encodeRecord('abort', NO_BODY, context, [[LOCK_HEADER, id]])
}

/**
 * The lock after a record. Whatever does not fit to the lock that is open leaves it: an S2 client
 * may write what it likes.
 *
 * @throws InvariantError a `begin` that can't be read
 */
export function foldLock(lock: Lock | undefined, record: LogRecord): Lock | undefined {
  if (lock === undefined) return kindOf(record) === 'begin' ? decodeBegin(record) : undefined
  return commits(lock, record) || aborts(lock, record) ? undefined : lock
}

/** Whether a record is one of those that count for nothing before their group is committed. */
export function isPart(record: LogRecord): boolean {
  return kindOf(record) === 'part'
}

/** Whether a record makes all of the open group count. */
export function commits({ id }: Lock, record: LogRecord): boolean {
  const kind = kindOf(record)
  return kind !== undefined && kind !== 'part' && readCommit(record) === id
}

/** Whether a record ends the open group so that nothing of it ever counts. */
export function aborts({ id }: Lock, record: LogRecord): boolean {
  if (record.kind !== 'data' || kindOf(record) !== 'abort') return false
  return headerValue(record.headers, LOCK_HEADER) === id
}

function decodeBegin(record: LogRecord): Lock {
  const headers = record.kind === 'data' ? record.headers : []
  const id = headerValue(headers, LOCK_HEADER)
  const owner = headerValue(headers, OWNER_HEADER)
  const openToken = headerValue(headers, TOKEN_HEADER)
  if (id === undefined || owner === undefined || openToken === undefined) {
    throw new InvariantError("a begin record in the log can't be read")
  }
  return { id, owner, begin: record.seqNum, openToken }
}
