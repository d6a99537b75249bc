/** Streams kept in this process only: for tests, demos, and data that nobody misses. */
import { nameOfStreamKey, streamKey, streamKeyRange, type StoredStream } from './embedded-format.ts'
import { Page, type EmbeddedStore, type SeqNumRange, type StreamWrite } from './embedded-store.ts'
import type { LogRecord, ReadLimits } from './log.ts'

export class MemoryStore implements EmbeddedStore {
  readonly #streams = new Map<string, StoredStream>()
  /** Of all streams, sorted: the keys they would have on disk. */
  readonly #keys: Buffer[] = []
  /** By stream id. Contiguous: removal takes records from the front only. */
  readonly #records = new Map<number, LogRecord[]>()
  #nextStreamId = 0

  loadStream(name: string): Promise<StoredStream | undefined> {
    return Promise.resolve(this.#streams.get(name))
  }

  listStreams(prefix: string, startAfter: string, limit: number): Promise<readonly string[]> {
    const { gte, lt } = streamKeyRange(prefix, startAfter)
    const start = placeOf(gte, this.#keys)
    const page = this.#keys.slice(start, start + limit)
    return Promise.resolve(page.slice(0, placeOf(lt, page)).map(nameOfStreamKey))
  }

  newStreamId(): number {
    return this.#nextStreamId++
  }

  write(writes: readonly StreamWrite[]): Promise<void> {
    for (const { name, id, state, records } of writes) {
      if (!this.#streams.has(name)) {
        const key = streamKey(name)
        this.#keys.splice(placeOf(key, this.#keys), 0, key)
      }
      this.#streams.set(name, { id, state })
      const stored = this.#records.get(id)
      if (stored === undefined) this.#records.set(id, [...records])
      else stored.push(...records)
    }
    return Promise.resolve()
  }

  readRecords(
    streamId: number,
    range: SeqNumRange,
    limits: ReadLimits,
  ): Promise<readonly LogRecord[]> {
    const records = this.#records.get(streamId) ?? []
    const first = records[0]?.seqNum ?? 0
    const page = new Page(limits)
    for (const record of slice(records, Math.max(0, range.from - first), limits.maxRecords)) {
      if (record.seqNum >= range.before || !page.add(record)) break
    }
    return Promise.resolve(page.records)
  }

  removeRecords(streamId: number, { before }: SeqNumRange): Promise<void> {
    const records = this.#records.get(streamId) ?? []
    const first = records[0]
    if (first !== undefined) records.splice(0, Math.max(0, before - first.seqNum))
    return Promise.resolve()
  }

  close(): Promise<void> {
    this.#streams.clear()
    this.#keys.length = 0
    this.#records.clear()
    return Promise.resolve()
  }
}

function slice(records: readonly LogRecord[], start: number, length: number): LogRecord[] {
  return records.slice(start, start + length)
}

/** How many of the sorted keys come before `key`. */
function placeOf(key: Buffer, keys: readonly Buffer[]): number {
  let low = 0
  let high = keys.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const other = keys[middle]
    if (other !== undefined && Buffer.compare(other, key) < 0) low = middle + 1
    else high = middle
  }
  return low
}
