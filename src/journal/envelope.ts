/**
 * The headers that our records carry in every kind of log, and what they say to the engine. PURE.
 *
 * The first header `ds` names the kind, so that `s2 read` makes sense to a person. What the kinds
 * mean is for each log's own codec; only those that carry the whole state are known here.
 */
import type { AppendRecord, LogRecord, RecordHeader, SeqNum } from '../log/log.ts'

const KIND_HEADER = 'ds'
const CHECKPOINT_HEADER = 'cp'
const OPERATION_HEADER = 'op'
const COMMIT_HEADER = 'commit'

/** What every record of ours says about its place: see {@link readCheckpointPointer}. */
export type RecordContext = {
  /** Seq num of the latest record that carries the whole state, if there is one. */
  readonly checkpoint: SeqNum | undefined
}

/** The kind of a record of ours; undefined for commands and for what an S2 client wrote. */
export function kindOf(record: LogRecord): string | undefined {
  const first = record.kind === 'data' ? record.headers[0] : undefined
  return first !== undefined && first[0] === KIND_HEADER ? first[1] : undefined
}

/** The value of the first header of this name. */
export function headerValue(headers: readonly RecordHeader[], name: string): string | undefined {
  return headers.find((header) => header[0] === name)?.[1]
}

/**
 * The seq num from which to fold so as to know the state after `record`: the record itself when
 * it carries the whole state, else the checkpoint it names. Undefined when it names none.
 */
export function readCheckpointPointer(record: LogRecord): SeqNum | undefined {
  if (record.kind !== 'data') return undefined
  switch (kindOf(record)) {
    case undefined:
      return undefined
    case 'created':
    case 'deleted':
    case 'checkpoint':
      return record.seqNum
    default: {
      const text = headerValue(record.headers, CHECKPOINT_HEADER)
      const pointer = text !== undefined && /^\d+$/.test(text) ? Number(text) : Infinity
      // An S2 client may write whatever it likes: a pointer leads back or it is none.
      return pointer < record.seqNum ? pointer : undefined
    }
  }
}

/** The operation id of the batch that this record begins, if it begins one of ours. */
export function readOperationId(record: LogRecord): string | undefined {
  return record.kind === 'data' ? headerValue(record.headers, OPERATION_HEADER) : undefined
}

/** Adds the operation id by which an append of unknown outcome is recognised in the log. */
export function withOperationId(record: AppendRecord, operation: string): AppendRecord {
  if (record.kind !== 'data') return record
  return { ...record, headers: [...record.headers, [OPERATION_HEADER, operation]] }
}

/** Adds the id of the group that this record ends: with it all of the group counts. */
export function withCommit(record: AppendRecord, group: string): AppendRecord {
  if (record.kind !== 'data') return record
  return { ...record, headers: [...record.headers, [COMMIT_HEADER, group]] }
}

/** The id of the group that this record ends, if it ends one. */
export function readCommit(record: LogRecord): string | undefined {
  return record.kind === 'data' ? headerValue(record.headers, COMMIT_HEADER) : undefined
}

/** Names the checkpoint in a record of ours that was written without its context. */
export function withContext(record: AppendRecord, { checkpoint }: RecordContext): AppendRecord {
  if (record.kind !== 'data' || checkpoint === undefined) return record
  const [kind, ...others] = record.headers
  if (kind === undefined) return record
  return { ...record, headers: [kind, [CHECKPOINT_HEADER, String(checkpoint)], ...others] }
}

/** Writes a record of ours. One that carries the whole state has no context to name. */
export function encodeRecord(
  kind: string,
  body: Uint8Array,
  context?: RecordContext,
  headers: readonly RecordHeader[] = [],
): AppendRecord {
  const all: RecordHeader[] = [[KIND_HEADER, kind]]
  if (context?.checkpoint !== undefined) all.push([CHECKPOINT_HEADER, String(context.checkpoint)])
  all.push(...headers)
  return { kind: 'data', headers: all, body }
}
