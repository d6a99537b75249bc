/** Streams kept in this process only: for tests, demos, and data that nobody misses. */
import type { StoredStream } from './embedded-format.ts'
import { Page, type EmbeddedStore, type SeqNumRange, type StreamWrite } from './embedded-store.ts'
import type { LogRecord, ReadLimits } from './log.ts'

export class MemoryStore implements EmbeddedStore {
  readonly #streams = new Map<string, StoredStream>()
  /** By stream id. Contiguous: removal takes records from the front only. */
  readonly #records = new Map<number, LogRecord[]>()
  #nextStreamId = 0

  loadStream(name: string): Promise<StoredStream | undefined> {
    return Promise.resolve(this.#streams.get(name))
  }

  newStreamId(): number {
    return this.#nextStreamId++
  }

  write(writes: readonly StreamWrite[]): Promise<void> {
    for (const { name, id, state, records } of writes) {
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
    this.#records.clear()
    return Promise.resolve()
  }
}

function slice(records: readonly LogRecord[], start: number, length: number): LogRecord[] {
  return records.slice(start, start + length)
}
