/** Reads a chunk from the log: data is told from the rest, and messages are put together. */
import { BeyondTailError, LOG_LIMITS, LogStreamMissingError } from '../log/log.ts'
import type { DurableLog, LogRecord, ReadLimits, SeqNum } from '../log/log.ts'
import { decodeRecord, toDataRecord } from './codec.ts'
import type { DataRecord } from './codec.ts'
import { PieceJoiner } from './pieces.ts'
import type { Found } from './shared-chunk.ts'
import type { StreamView } from './view.ts'
import { isAborted } from './visible.ts'

/** What a chunk read needs to know of the stream. */
export type ChunkSource = Pick<
  StreamView,
  'name' | 'incarnation' | 'contentType' | 'start' | 'dataTail' | 'aborted'
> & {
  /** See `visible.ts`: what is not known to hold nothing is read. */
  readonly voids?: StreamView['voids'] | undefined
  /** Many will read up to the data tail given here, and not past it. */
  readonly isFinal?: boolean
}

/** The records at a position are gone: trimmed by a deletion or by retention. */
export class TrimmedError extends Error {
  /** The first seq num from which nothing is missing. */
  readonly earliest: SeqNum
  constructor(earliest: SeqNum) {
    super(`records before seq num ${earliest} were trimmed`)
    this.earliest = earliest
  }
}

/**
 * What one page of the log has from a position up to a limit, which is not past the data tail;
 * but if a single message is larger, that message.
 *
 * @throws TrimmedError
 * @throws LogUnavailableError
 */
export async function readChunk(
  log: DurableLog,
  view: ChunkSource,
  from: SeqNum,
  limit: SeqNum,
): Promise<Found> {
  const reading = new Reading(view, from)
  let next = from
  let until = limit
  for (;;) {
    const limits = { maxRecords: until - next, maxBytes: LOG_LIMITS.maxBatchBytes }
    const page = await readPage(log, view, next, limits)
    const last = page.at(-1)
    if (last === undefined) throw new TrimmedError(view.dataTail)
    if (page[0]?.seqNum !== next) throw new TrimmedError(page[0]?.seqNum ?? view.dataTail)
    const chunk = reading.take(page)
    if (chunk !== undefined) return chunk
    // Nothing yet but the beginning of a large message.
    next = last.seqNum + 1
    until = Math.min(next + LOG_LIMITS.maxBatchRecords, view.dataTail)
    // A fork may have left its source inside of it, at an offset that nobody was given.
    if (next >= view.dataTail) return { records: [], end: view.dataTail, isCut: true }
  }
}

async function readPage(
  log: DurableLog,
  view: ChunkSource,
  from: SeqNum,
  limits: ReadLimits,
): Promise<readonly LogRecord[]> {
  try {
    return await log.read(view.name, { seqNum: from }, limits)
  } catch (error) {
    // The log has less than the view says: S2 has reclaimed a deleted stream.
    if (error instanceof BeyondTailError || error instanceof LogStreamMissingError) return []
    throw error
  }
}

/** The chunk in the making: what is seen of the pages so far. */
class Reading {
  readonly #view: ChunkSource
  readonly #from: SeqNum
  readonly #joiner = new PieceJoiner()
  readonly #records: DataRecord[] = []

  constructor(view: ChunkSource, from: SeqNum) {
    this.#view = view
    this.#from = from
  }

  /** Takes the next page. The chunk, unless all it has is a message that goes on. */
  take(page: readonly LogRecord[]): Found | undefined {
    const isFirst = page[0]?.seqNum === this.#from
    for (const record of page) {
      this.#see(record)
      // What was read for one message ends with it.
      if (!isFirst && this.#joiner.start === undefined) return this.#upTo(record.seqNum + 1)
    }
    const { start } = this.#joiner
    if (start === undefined) return this.#upTo((page.at(-1)?.seqNum ?? this.#from) + 1)
    return start > this.#from ? this.#upTo(start) : undefined
  }

  #see(record: LogRecord): void {
    const entry = decodeRecord(record)
    if (entry.kind !== 'data' && entry.kind !== 'part') return
    const { aborted, contentType } = this.#view
    if (entry.kind === 'part' && isAborted(aborted, record.seqNum)) return
    const shown = toDataRecord(record, entry, contentType)
    if (entry.piece !== undefined) {
      const begin = this.#joiner.start ?? record.seqNum
      const body = this.#joiner.take(record.seqNum, entry.body, entry.piece)
      if (body !== undefined) this.#records.push({ ...shown, body, begin })
      return
    }
    // Nobody else gets into a message: what others wrote before its end would have broken it off.
    this.#joiner.drop()
    this.#records.push(shown)
  }

  #upTo(end: SeqNum): Found {
    const all = this.#records
    return { records: all.filter(({ seqNum }) => seqNum < end), end }
  }
}
