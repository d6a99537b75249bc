/**
 * Batches as bytes on the wire, encoded once per batch and representation: all subscribers share
 * them. Only a reader with a cursor of its own gets its own control event.
 */
import type { SeqNum } from '../log/log.ts'
import { toChunk } from '../protocol/chunk.ts'
import type { Chunk } from '../protocol/chunk.ts'
import { isJson, sseEncoding } from '../protocol/content-type.ts'
import { nextCursor } from '../protocol/cursor.ts'
import { joinMessages } from '../protocol/json.ts'
import { encodeControl, encodeData } from '../protocol/sse.ts'
import type { Representation } from '../protocol/sse.ts'
import { latestTraceparent } from '../streams/codec.ts'
import type { DataRecord } from '../streams/codec.ts'
import { offsetOf } from '../streams/lineage.ts'
import type { OwnPart } from '../streams/lineage.ts'
import type { BatchDelivery } from './hub-observer.ts'
import type { Batch } from './ring.ts'

/** Where an SSE reader stands after an event. */
export type Progress = {
  readonly end: SeqNum
  readonly upToDate: boolean
  readonly closed: boolean
}

/** What to send, and the cursor that it told the reader. */
export type Frame = { readonly chunk: Chunk; readonly cursor: number }

/** `data` is a part of an event once there is one. */
type Encoded = {
  data?: Buffer
  body?: Buffer
  readonly events: Map<string, Frame>
  readonly traceparent: string | undefined
}

/** The frame that was asked for last, with what it was asked by: most readers ask for the same. */
type Latest = { readonly records: readonly DataRecord[]; readonly progress: Progress; frame: Frame }

/** As many bytes more are kept as long as the records are. */
export type OnEncoded = (records: readonly DataRecord[], bytes: number) => void

export class Frames {
  readonly #stream: OwnPart
  readonly #contentType: string
  readonly #representation: Representation
  readonly #encoded = new WeakMap<readonly DataRecord[], Encoded>()
  readonly #onEncoded: OnEncoded
  #latest: Latest | undefined
  #latestStatus: Omit<Latest, 'records'> | undefined

  constructor(
    stream: OwnPart & { readonly contentType: string },
    onEncoded: OnEncoded = () => undefined,
  ) {
    const { contentType } = stream
    this.#stream = stream
    this.#onEncoded = onEncoded
    this.#contentType = contentType
    this.#representation = isJson(contentType) ? 'json' : sseEncoding(contentType)
  }

  /** A data event with its control event (PROTOCOL §5.8). */
  event(batch: Batch, progress: Progress, clientCursor = -1): Frame {
    const { records, frame } = this.#latest ?? {}
    const isLatest = records === batch.records && sameProgress(this.#latest?.progress, progress)
    if (isLatest && frame !== undefined && clientCursor < frame.cursor) return frame
    return this.#event(batch, progress, clientCursor)
  }

  #event(batch: Batch, progress: Progress, clientCursor: number): Frame {
    const position = { seqNum: progress.end, idleMs: 0 }
    const cursor = nextCursor({ ...position, clientCursor })
    if (cursor !== nextCursor(position)) {
      return { chunk: toChunk(this.#data(batch), this.#control(progress, cursor, batch)), cursor }
    }
    const frame = this.#shared(batch, progress, cursor)
    this.#latest = { records: batch.records, progress, frame }
    return frame
  }

  /** The event with the cursor that all readers get who have none ahead of it. */
  #shared(batch: Batch, progress: Progress, cursor: number): Frame {
    const entry = this.#entry(batch.records)
    const key = `${progress.upToDate}${progress.closed}`
    const known = entry.events.get(key)
    if (known !== undefined) return known
    const data = entry.data ?? this.#encode(batch)
    const chunk = toChunk(data, this.#control(progress, cursor, batch))
    const frame = { chunk, cursor }
    entry.events.set(key, frame)
    entry.data = chunk.plain.subarray(0, data.length)
    this.#onEncoded(batch.records, chunk.framed.length)
    return frame
  }

  /** A control event alone: where a reader without new data stands. */
  status(progress: Progress, idleMs: number, clientCursor: number | undefined): Frame {
    const cursor = nextCursor({ seqNum: progress.end, idleMs, clientCursor })
    const latest = this.#latestStatus
    if (latest?.frame.cursor === cursor && sameProgress(latest.progress, progress)) {
      return latest.frame
    }
    const frame = { chunk: toChunk(this.#control(progress, cursor)), cursor }
    this.#latestStatus = { progress, frame }
    return frame
  }

  /** The body of a catch-up or long-poll response (PROTOCOL §5.6, §9.1). */
  body(records: readonly DataRecord[]): Buffer {
    const entry = this.#entry(records)
    if (entry.body !== undefined) return entry.body
    const body = (entry.body = encodeBody(records, this.#contentType))
    this.#onEncoded(records, body.length)
    return body
  }

  /** What became of a batch once its readers, of whom so many wait for one answer, were told. */
  delivered(
    { records }: Batch,
    { readers, longPolls }: { readonly readers: number; readonly longPolls: number },
    now: number,
  ): BatchDelivery {
    const entry = this.#encoded.get(records)
    let event = 0
    for (const { chunk } of entry?.events.values() ?? []) event = chunk.plain.length
    const body = entry?.body?.length ?? 0
    return {
      readers,
      bytes: records.reduce((sum, record) => sum + record.body.length, 0),
      sentBytes: event * (readers - longPolls) + body * longPolls,
      latencyMs: Math.max(0, now - (records[0]?.timestamp ?? now)),
    }
  }

  /** What the latest of these records was appended in, as `streams/codec.ts` has it. */
  traceparent(records: readonly DataRecord[]): string | undefined {
    return this.#entry(records).traceparent
  }

  #control({ end, upToDate, closed }: Progress, cursor: number, batch?: Batch): Buffer {
    const traceparent = batch && this.traceparent(batch.records)
    const nextOffset = offsetOf(this.#stream, end)
    return encodeControl({ nextOffset, cursor, upToDate, closed, traceparent })
  }

  #data(batch: Batch): Buffer {
    const entry = this.#entry(batch.records)
    if (entry.data !== undefined) return entry.data
    const data = (entry.data = this.#encode(batch))
    this.#onEncoded(batch.records, data.length)
    return data
  }

  #encode({ records, end }: Batch): Buffer {
    const bodies = records.map(({ body }) => body)
    return encodeData(bodies, this.#representation, offsetOf(this.#stream, end))
  }

  #entry(records: readonly DataRecord[]): Encoded {
    let entry = this.#encoded.get(records)
    if (entry === undefined) {
      entry = { events: new Map(), traceparent: latestTraceparent(records) }
      this.#encoded.set(records, entry)
    }
    return entry
  }
}

function sameProgress(one: Progress | undefined, other: Progress): boolean {
  return one?.end === other.end && one.upToDate === other.upToDate && one.closed === other.closed
}

/** Records as a response body: concatenated, or one JSON array. */
export function encodeBody(records: readonly DataRecord[], contentType: string): Buffer {
  const bodies = records.map(({ body }) => body)
  return isJson(contentType) ? joinMessages(bodies) : Buffer.concat(bodies)
}
