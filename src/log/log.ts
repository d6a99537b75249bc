/**
 * The durable log as the rest of the gateway sees it: a port with S2's semantics.
 *
 * Owns the types and the failures every adapter shares. Knows nothing of Durable Streams:
 * it moves records, conditions and positions, and says honestly what it does not know.
 */

/** S2's number for a record: the first record of a stream is 0, each next one is 1 higher. */
export type SeqNum = number

export type RecordHeader = readonly [name: string, value: string]

/**
 * What an append carries. `fence` sets the stream's fencing token and `trim` drops every record
 * before a seq num; both are records themselves and take a seq num.
 */
export type AppendRecord =
  | {
      readonly kind: 'data'
      readonly headers: readonly RecordHeader[]
      readonly body: Uint8Array
    }
  | { readonly kind: 'fence'; readonly token: string }
  | { readonly kind: 'trim'; readonly before: SeqNum }

/** A stored record. `timestamp` is the log's arrival time, in milliseconds since 1970. */
export type LogRecord = AppendRecord & { readonly seqNum: SeqNum; readonly timestamp: number }

/**
 * Records that become durable together or not at all. Both conditions are mandatory: fencing is
 * cooperative, so a single append without them would void every rule built on top.
 */
export type AppendBatch = {
  readonly records: readonly AppendRecord[]
  /** The batch is applied only if its first record would take exactly this seq num. */
  readonly matchSeqNum: SeqNum
  /** The batch is applied only if this is the stream's current token; `''` before the first fence. */
  readonly fencingToken: string
}

/** The durable batch took the seq nums from `start` up to, not including, `end`. */
export type AppendAck = {
  readonly start: SeqNum
  readonly end: SeqNum
  /** The log's timestamp of the last record, in milliseconds. */
  readonly timestamp: number
}

/** Where a read begins: at a seq num, or a number of records before the tail. */
export type ReadStart = { readonly seqNum: SeqNum } | { readonly tailOffset: number }

export type ReadLimits = { readonly maxRecords: number; readonly maxBytes: number }

export type ReadSessionHandlers = {
  /**
   * Records in order and without a gap inside one call; the first call begins at `from` or later.
   *
   * `upToTail`: they end where a batch of the log ends, and it had no more when they were read.
   * Otherwise they may end in the middle of a batch; the rest follows, or `onCaughtUp`.
   */
  readonly onRecords: (records: readonly LogRecord[], upToTail: boolean) => void
  /** Everything before `tail` has been handed over: after opening, after a live batch, or idle. */
  readonly onCaughtUp: (tail: SeqNum) => void
  /** The session is over and nothing more will be called. Never called after `cancel`. */
  readonly onEnd: (cause: unknown) => void
}

/** One attempt at following a stream. It never reconnects by itself. */
export type ReadSession = { cancel(): void }

/**
 * Appends to one stream, one behind the other, without waiting for the ones before.
 *
 * It never reconnects by itself. Once an append has failed, or the session was closed, it is over:
 * all appends behind and every one to come fail with {@link AppendOutcomeUnknownError}, also those
 * that have no effect. Whether one of them was applied can only be known from the log.
 */
export type AppendSession = {
  /**
   * As {@link DurableLog.append}, applied after all appends of this session before it, and only if
   * all of them were. Its conditions may count on them: seq nums can be predicted.
   *
   * Acknowledgements come in the order of the calls. What was sent is never taken back: an append
   * may be applied after the session is over, under the same rule.
   *
   * @throws InvalidAppendError the batch breaks a limit; the session goes on
   */
  append(batch: AppendBatch): Promise<AppendAck>

  /** Whether it still takes appends. A connection that was lost shows only at the next append. */
  readonly isOpen: boolean

  /**
   * Lets go of it at once. Appends under way fail with {@link AppendOutcomeUnknownError}.
   *
   * Never throws, and does nothing when the session is over.
   */
  close(): void
}

export type LogLimits = {
  /** Most records in one batch and in one page. */
  readonly maxBatchRecords: number
  /** Most metered bytes in one batch and in one page, see {@link meteredBytes}. */
  readonly maxBatchBytes: number
  /** Longest fencing token, in UTF-8 bytes. */
  readonly maxTokenBytes: number
  /** Most names in one page of streams. */
  readonly maxPageNames: number
}

/** S2's limits; every adapter enforces the same. */
export const LOG_LIMITS: LogLimits = {
  maxBatchRecords: 1000,
  maxBatchBytes: 1024 * 1024,
  maxTokenBytes: 36,
  maxPageNames: 1000,
}

/**
 * A set of named, durable, append-only streams.
 *
 * Every call may also throw {@link LogUnavailableError}; a call whose `signal` is aborted fails
 * the same way, except an append, whose outcome is then unknown.
 */
export interface DurableLog {
  /** For people: which log this is and where it keeps its data. Never holds a secret. */
  readonly description: string

  /** Whether anybody but one gateway may write to it: another process, or one beside it in this. */
  readonly isShared: boolean

  /** Creates an empty stream, or does nothing when it exists. */
  createStream(stream: string, signal?: AbortSignal): Promise<void>

  /**
   * One page of the names of streams that begin with `prefix` and come after `startAfter`.
   *
   * Names are in ascending order of their UTF-8 bytes, as in S2 (seen on s2-lite 0.42.7), which
   * is not the order of JavaScript's strings. At most {@link LogLimits.maxPageNames} names; only
   * an empty page says that there are no more. Streams under deletion are left out. Both
   * arguments may be empty and need not be names of streams, but are no longer than one.
   */
  listStreams(prefix: string, startAfter: string, signal?: AbortSignal): Promise<readonly string[]>

  /**
   * Appends a batch when both its conditions hold; the fencing token is judged first.
   *
   * Returns only once the batch is durable.
   *
   * @throws AppendConflictError a condition did not hold; nothing was written, and the state that
   *   refused it is already durable and readable
   * @throws AppendOutcomeUnknownError the batch may or may not become durable, now or later
   * @throws LogStreamMissingError there is no such stream
   * @throws InvalidAppendError the batch breaks a limit
   */
  append(stream: string, batch: AppendBatch, signal?: AbortSignal): Promise<AppendAck>

  /**
   * The seq num the next record will take: sees every append acknowledged before the call.
   *
   * @throws LogStreamMissingError
   */
  checkTail(stream: string, signal?: AbortSignal): Promise<SeqNum>

  /**
   * One page of durable records, cut by either limit but never empty because of one.
   *
   * A start that was trimmed jumps silently to the first record left; with none left the page is
   * empty. A page may end in the middle of a batch.
   *
   * @throws BeyondTailError the start is at or past the tail
   * @throws LogStreamMissingError
   */
  read(
    stream: string,
    start: ReadStart,
    limits: ReadLimits,
    signal?: AbortSignal,
  ): Promise<readonly LogRecord[]>

  /**
   * Follows a stream from a seq num that is not past its tail.
   *
   * Returns at once; a failure to open arrives at `onEnd`, with the errors {@link read} throws.
   */
  openReadSession(stream: string, from: SeqNum, handlers: ReadSessionHandlers): ReadSession

  /**
   * Opens a session for appends to a stream.
   *
   * Returns at once; a failure to open is the first append's, with the errors {@link append}
   * throws.
   */
  openAppendSession(stream: string): AppendSession

  /** Resolves when the log answers. For readiness checks. */
  ping(signal?: AbortSignal): Promise<void>

  /** Ends all sessions of both kinds and lets go of files and connections. */
  close(): Promise<void>
}

/** The log has no stream of this name. */
export class LogStreamMissingError extends Error {
  constructor(stream: string) {
    super(`the log has no stream ${JSON.stringify(stream)}`)
  }
}

/** Why an append was refused, with the value that was found instead. */
export type AppendConflict =
  | { readonly kind: 'fencing_token'; readonly token: string }
  | { readonly kind: 'seq_num'; readonly nextSeqNum: SeqNum }

/** An append condition did not hold. Nothing was written. */
export class AppendConflictError extends Error {
  readonly conflict: AppendConflict
  constructor(conflict: AppendConflict) {
    super(`append condition failed: ${conflict.kind}`)
    this.conflict = conflict
  }
}

/** A read started at or past the tail. */
export class BeyondTailError extends Error {
  readonly tail: SeqNum
  constructor(tail: SeqNum) {
    super(`the read starts at or past the tail ${tail}`)
    this.tail = tail
  }
}

/** A batch that no log would take: too many records, too many bytes, a token too long. */
export class InvalidAppendError extends Error {}

/** The record as it is stored. Field by field for data: a spread takes twenty times as long. */
export function placed(record: AppendRecord, seqNum: SeqNum, timestamp: number): LogRecord {
  if (record.kind !== 'data') return { ...record, seqNum, timestamp }
  return { kind: 'data', headers: record.headers, body: record.body, seqNum, timestamp }
}

/** As `Buffer.byteLength`, which costs more than to look through a short text of ASCII. */
export function utf8Length(text: string): number {
  for (let at = 0; at < text.length; at += 1) {
    if (text.charCodeAt(at) >= 0x80) return Buffer.byteLength(text)
  }
  return text.length
}

/**
 * The size of a record as S2 meters it: 8 bytes, 2 for each header, the headers' names and
 * values, and the body. A command is one header with an empty name.
 */
export function meteredBytes(record: AppendRecord): number {
  switch (record.kind) {
    case 'fence':
      return 8 + 2 + 'fence'.length + utf8Length(record.token)
    case 'trim':
      return 8 + 2 + 'trim'.length + 8
    case 'data': {
      let bytes = 8 + record.body.length
      for (const [name, value] of record.headers) bytes += 2 + utf8Length(name) + utf8Length(value)
      return bytes
    }
  }
}

/**
 * Refuses a batch that breaks the limits every log shares.
 *
 * @throws InvalidAppendError
 */
export function checkBatch(batch: AppendBatch): void {
  const { records, fencingToken } = batch
  if (records.length === 0 || records.length > LOG_LIMITS.maxBatchRecords) {
    throw new InvalidAppendError(
      `a batch holds 1 to ${LOG_LIMITS.maxBatchRecords} records, not ${records.length}`,
    )
  }
  let bytes = 0
  for (const record of records) {
    bytes += meteredBytes(record)
    if (record.kind === 'fence') checkToken(record.token)
    if (record.kind === 'data' && record.headers.some(([name]) => name === '')) {
      throw new InvalidAppendError('a header name is never empty: that form is for commands')
    }
  }
  checkToken(fencingToken)
  if (bytes > LOG_LIMITS.maxBatchBytes) {
    throw new InvalidAppendError(
      `a batch holds at most ${LOG_LIMITS.maxBatchBytes} metered bytes, not ${bytes}`,
    )
  }
}

function checkToken(token: string): void {
  if (utf8Length(token) > LOG_LIMITS.maxTokenBytes) {
    throw new InvalidAppendError(
      `a fencing token holds at most ${LOG_LIMITS.maxTokenBytes} bytes of UTF-8`,
    )
  }
}
