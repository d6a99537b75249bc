/**
 * Batches as bytes on the wire, encoded once per batch and representation: all subscribers share
 * them. Only a reader with a cursor of its own gets its own control event.
 */
import type { SeqNum } from '../log/log.ts'
import { isJson, sseEncoding } from '../protocol/content-type.ts'
import { nextCursor } from '../protocol/cursor.ts'
import { joinMessages } from '../protocol/json.ts'
import { encodeControl, encodeData } from '../protocol/sse.ts'
import type { Representation } from '../protocol/sse.ts'
import type { DataRecord } from '../streams/codec.ts'
import { offsetOf } from '../streams/lineage.ts'
import type { OwnPart } from '../streams/lineage.ts'
import type { Batch } from './ring.ts'

/** Where an SSE reader stands after an event. */
export type Progress = {
  readonly end: SeqNum
  readonly upToDate: boolean
  readonly closed: boolean
}

/** Bytes to send, and the cursor that they told the reader. */
export type Frame = { readonly bytes: Buffer; readonly cursor: number }

type Encoded = { data?: Buffer; body?: Buffer; readonly events: Map<string, Buffer> }

export class Frames {
  readonly #stream: OwnPart
  readonly #contentType: string
  readonly #representation: Representation
  readonly #encoded = new WeakMap<readonly DataRecord[], Encoded>()

  constructor(stream: OwnPart & { readonly contentType: string }) {
    const { contentType } = stream
    this.#stream = stream
    this.#contentType = contentType
    this.#representation = isJson(contentType) ? 'json' : sseEncoding(contentType)
  }

  /** A data event with its control event (PROTOCOL §5.8). */
  event(batch: Batch, progress: Progress, clientCursor: number | undefined): Frame {
    const position = { seqNum: progress.end, idleMs: 0 }
    const cursor = nextCursor({ ...position, clientCursor })
    if (cursor !== nextCursor(position)) {
      return { bytes: Buffer.concat([this.#data(batch), this.#control(progress, cursor)]), cursor }
    }
    const { events } = this.#entry(batch.records)
    const key = `${progress.upToDate}${progress.closed}`
    let bytes = events.get(key)
    if (bytes === undefined) {
      bytes = Buffer.concat([this.#data(batch), this.#control(progress, cursor)])
      events.set(key, bytes)
    }
    return { bytes, cursor }
  }

  /** A control event alone: where a reader without new data stands. */
  status(progress: Progress, idleMs: number, clientCursor: number | undefined): Frame {
    const cursor = nextCursor({ seqNum: progress.end, idleMs, clientCursor })
    return { bytes: this.#control(progress, cursor), cursor }
  }

  /** The body of a catch-up or long-poll response (PROTOCOL §5.6, §9.1). */
  body(records: readonly DataRecord[]): Buffer {
    const entry = this.#entry(records)
    entry.body ??= encodeBody(records, this.#contentType)
    return entry.body
  }

  #control({ end, upToDate, closed }: Progress, cursor: number): Buffer {
    return encodeControl({ nextOffset: offsetOf(this.#stream, end), cursor, upToDate, closed })
  }

  #data({ records, end }: Batch): Buffer {
    const entry = this.#entry(records)
    entry.data ??= encodeData(
      records.map(({ body }) => body),
      this.#representation,
      offsetOf(this.#stream, end),
    )
    return entry.data
  }

  #entry(records: readonly DataRecord[]): Encoded {
    let entry = this.#encoded.get(records)
    if (entry === undefined) {
      entry = { events: new Map() }
      this.#encoded.set(records, entry)
    }
    return entry
  }
}

/** Records as a response body: concatenated, or one JSON array. */
export function encodeBody(records: readonly DataRecord[], contentType: string): Buffer {
  const bodies = records.map(({ body }) => body)
  return isJson(contentType) ? joinMessages(bodies) : Buffer.concat(bodies)
}
