/**
 * Where the embedded log keeps its streams: the seam between its rules and its bytes.
 *
 * A store knows nothing of conditions, commands or sessions, and is never asked to write twice at
 * the same time.
 */
import type { StoredStream } from './embedded-format.ts'
import { LogUnavailableError } from '../errors.ts'
import type { StreamState } from './embedded-state.ts'
import { meteredBytes, type LogRecord, type ReadLimits, type SeqNum } from './log.ts'

/** One accepted batch, or the making of a stream when there are no records. */
export type StreamWrite = {
  readonly name: string
  readonly id: number
  /** The stream's state after the records. */
  readonly state: StreamState
  readonly records: readonly LogRecord[]
}

/** Seq nums from `from` up to, not including, `before`. */
export type SeqNumRange = { readonly from: SeqNum; readonly before: SeqNum }

export interface EmbeddedStore {
  loadStream(name: string): Promise<StoredStream | undefined>

  /**
   * The first names that begin with `prefix` and come after `startAfter`, in the order of their
   * UTF-8 bytes.
   */
  listStreams(prefix: string, startAfter: string, limit: number): Promise<readonly string[]>

  /** An id no stream has had. It lasts once a stream is written with it. */
  newStreamId(): number

  /**
   * Writes all or nothing, in order, and resolves once it is durable.
   *
   * After a failure nobody knows what is on disk: nothing may be written any more.
   */
  write(writes: readonly StreamWrite[]): Promise<void>

  /** The first page of the range, see {@link Page}. */
  readRecords(
    streamId: number,
    range: SeqNumRange,
    limits: ReadLimits,
  ): Promise<readonly LogRecord[]>

  /** Frees the space of records that nobody reads any more. Need not be durable. */
  removeRecords(streamId: number, range: SeqNumRange): Promise<void>

  close(): Promise<void>
}

/** Collects records up to both limits. Takes the first record whatever its size. */
export class Page {
  readonly records: LogRecord[] = []
  readonly #limits: ReadLimits
  #bytes = 0

  constructor(limits: ReadLimits) {
    this.#limits = limits
  }

  /** Adds the record, or returns false when the page is full without it. */
  add(record: LogRecord): boolean {
    this.#bytes += meteredBytes(record)
    const fits =
      this.records.length < this.#limits.maxRecords && this.#bytes <= this.#limits.maxBytes
    if (!fits && this.records.length > 0) return false
    this.records.push(record)
    return true
  }
}

/** Waits for something the store does that a caller can safely ask for again. */
export async function orUnavailable<T>(result: Promise<T>): Promise<T> {
  try {
    return await result
  } catch (error) {
    throw error instanceof LogUnavailableError ? error : new LogUnavailableError(error)
  }
}
