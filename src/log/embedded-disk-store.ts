/**
 * Streams in a LevelDB directory: every record under its own key, and one entry for each stream.
 *
 * Nothing is kept in memory beside LevelDB's own bounded caches.
 */
import { ClassicLevel } from 'classic-level'
import {
  decodeRecord,
  decodeStream,
  encodeRecord,
  encodeStream,
  FORMAT_KEY,
  FORMAT_VERSION,
  nameOfStreamKey,
  NEXT_STREAM_ID_KEY,
  recordKey,
  seqNumOfKey,
  streamKey,
  streamKeyRange,
  type KeyRange,
  type StoredStream,
} from './embedded-format.ts'
import { Page, type EmbeddedStore, type SeqNumRange, type StreamWrite } from './embedded-store.ts'
import type { LogRecord, ReadLimits } from './log.ts'

type Level = ClassicLevel<Buffer, Buffer>

/** How much one trip to LevelDB brings back: a quarter of the largest page. */
const READ_AHEAD_BYTES = 256 * 1024

/** The data directory can't be used, with a message for the person who started the gateway. */
export class DataDirectoryError extends Error {}

/** Another process has the data directory open: nothing is wrong with it. */
export class DataDirectoryInUseError extends DataDirectoryError {}

/**
 * Opens the data directory, or makes it.
 *
 * @throws DataDirectoryError another process has it open, or its contents are not ours to read
 */
export async function openDiskStore(path: string): Promise<EmbeddedStore> {
  const level: Level = new ClassicLevel(path, { keyEncoding: 'buffer', valueEncoding: 'buffer' })
  try {
    await level.open()
  } catch (error) {
    throw openFailure(path, error)
  }
  try {
    await checkFormat(level, path)
    const nextStreamId = Number((await level.get(NEXT_STREAM_ID_KEY)) ?? 0)
    return new DiskStore(level, nextStreamId)
  } catch (error) {
    await level.close()
    throw error
  }
}

function openFailure(path: string, error: unknown): DataDirectoryError {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
  if (cause instanceof Error && 'code' in cause && cause.code === 'LEVEL_LOCKED') {
    const message = `the data directory ${path} is in use by another process`
    return new DataDirectoryInUseError(message, { cause })
  }
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new DataDirectoryError(`can't open the data directory ${path}: ${reason}`, { cause })
}

async function checkFormat(level: Level, path: string): Promise<void> {
  const version = await level.get(FORMAT_KEY)
  if (version === undefined) {
    const [anyKey] = await level.keys({ limit: 1 }).all()
    if (anyKey !== undefined) {
      throw new DataDirectoryError(`the data directory ${path} holds something else`)
    }
    await level.put(FORMAT_KEY, Buffer.from(String(FORMAT_VERSION)), { sync: true })
  } else if (version.toString() !== String(FORMAT_VERSION)) {
    throw new DataDirectoryError(
      `the data directory ${path} has format version ${version.toString()}, ` +
        `and this gateway reads only version ${FORMAT_VERSION}`,
    )
  }
}

class DiskStore implements EmbeddedStore {
  readonly #level: Level
  #nextStreamId: number
  #storedNextStreamId: number

  constructor(level: Level, nextStreamId: number) {
    this.#level = level
    this.#nextStreamId = nextStreamId
    this.#storedNextStreamId = nextStreamId
  }

  async loadStream(name: string): Promise<StoredStream | undefined> {
    const value = await this.#level.get(streamKey(name))
    return value === undefined ? undefined : decodeStream(value)
  }

  async listStreams(prefix: string, startAfter: string, limit: number): Promise<readonly string[]> {
    const keys = await this.#level.keys({ ...streamKeyRange(prefix, startAfter), limit }).all()
    return keys.map(nameOfStreamKey)
  }

  newStreamId(): number {
    return this.#nextStreamId++
  }

  async write(writes: readonly StreamWrite[]): Promise<void> {
    // Put by put: an array of them is copied one by one, which takes three times as long.
    const batch = this.#level.batch()
    const streams = new Map<string, StoredStream>()
    for (const { name, id, state, records } of writes) {
      streams.set(name, { id, state })
      for (const record of records) batch.put(recordKey(id, record.seqNum), encodeRecord(record))
    }
    for (const [name, stream] of streams) batch.put(streamKey(name), encodeStream(stream))
    const nextStreamId = this.#nextStreamId
    if (nextStreamId !== this.#storedNextStreamId) {
      batch.put(NEXT_STREAM_ID_KEY, Buffer.from(String(nextStreamId)))
    }
    await batch.write({ sync: true })
    this.#storedNextStreamId = nextStreamId
  }

  async readRecords(
    streamId: number,
    range: SeqNumRange,
    limits: ReadLimits,
  ): Promise<readonly LogRecord[]> {
    const page = new Page(limits)
    const iterator = this.#level.iterator({
      ...keyRange(streamId, range),
      limit: limits.maxRecords,
      highWaterMarkBytes: READ_AHEAD_BYTES,
    })
    try {
      let entries: [Buffer, Buffer][]
      do {
        entries = await iterator.nextv(limits.maxRecords)
      } while (
        entries.length > 0 &&
        entries.every(([key, value]) => page.add(decodeRecord(seqNumOfKey(key), value)))
      )
      return page.records
    } finally {
      await iterator.close()
    }
  }

  async removeRecords(streamId: number, range: SeqNumRange): Promise<void> {
    await this.#level.clear(keyRange(streamId, range))
  }

  async close(): Promise<void> {
    await this.#level.close()
  }
}

function keyRange(streamId: number, { from, before }: SeqNumRange): KeyRange {
  return { gte: recordKey(streamId, from), lt: recordKey(streamId, before) }
}
