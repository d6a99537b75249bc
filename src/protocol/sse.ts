/**
 * Server-Sent Events as bytes (PROTOCOL §5.8).
 *
 * Encoded once per batch and shared by all subscribers. Every event carries its offset as `id:`,
 * so that a native `EventSource` resumes by `Last-Event-ID`.
 */
import { toChunk } from './chunk.ts'
import type { Chunk } from './chunk.ts'
import { joinMessages } from './json.ts'
import type { Offset } from './offset.ts'

/** How a data event carries its records: as text, as a JSON array of messages, or in base64. */
export type Representation = 'text' | 'json' | 'base64'

/** What a control event tells. The cursor of a closed stream is left out: nobody reconnects. */
export type Control = {
  readonly nextOffset: Offset
  readonly cursor?: number | undefined
  readonly upToDate: boolean
  readonly closed: boolean
  /** Not in PROTOCOL: that of the latest append whose data was in the event before. */
  readonly traceparent?: string | undefined
}

const CR = 0x0d
const LF = 0x0a
const SPACE = 0x20
const LINE_START = [...Buffer.from('\ndata:')]

/** A comment: keeps proxies from closing a quiet connection, and parsers ignore it. */
export const HEARTBEAT: Chunk = toChunk(Buffer.from(':\n\n'))

/**
 * Writes the data event of one batch; `id` is the offset after it.
 *
 * Text is carried as its bytes, one `data:` line per line of text. CR, LF and CRLF all end a line
 * in SSE, so no payload can forge a field or an event; a parser gives each of them back as LF. A
 * character cut in two by the end of a batch is sent as it is.
 */
export function encodeData(
  records: readonly Uint8Array[],
  representation: Representation,
  id: Offset,
): Buffer {
  const head = `id: ${id}\nevent: data`
  switch (representation) {
    case 'text':
      return encodeLines(head, concat(records))
    case 'json':
      return encodeLines(head, joinMessages(records))
    case 'base64':
      return Buffer.from(`${head}\ndata:${concat(records).toString('base64')}\n\n`, 'latin1')
  }
}

/** Writes a control event. A closed stream at its end is up to date by definition. */
export function encodeControl(progress: Control): Buffer {
  const { nextOffset, cursor, upToDate, closed, traceparent } = progress
  const control = {
    streamNextOffset: nextOffset,
    streamCursor: closed || cursor === undefined ? undefined : String(cursor),
    upToDate: upToDate || closed ? true : undefined,
    streamClosed: closed ? true : undefined,
    streamTraceparent: traceparent,
  }
  return Buffer.from(`id: ${nextOffset}\nevent: control\ndata:${JSON.stringify(control)}\n\n`)
}

function concat(records: readonly Uint8Array[]): Buffer {
  const [first] = records
  if (first === undefined || records.length > 1) return Buffer.concat(records)
  return Buffer.from(first.buffer, first.byteOffset, first.length)
}

function encodeLines(head: string, payload: Buffer): Buffer {
  // Most payloads are one line: found by a native search and copied by a native copy.
  const firstBreak = Math.min(indexOf(payload, LF), indexOf(payload, CR))
  let lines = 1
  for (let i = firstBreak; i < payload.length; i++) if (isBreak(payload[i])) lines++

  const event = Buffer.allocUnsafe(
    head.length + lines * (LINE_START.length + 1) + payload.length + 2,
  )
  let at = startLine(event, event.write(head, 'latin1'), payload[0])
  at += payload.copy(event, at, 0, firstBreak)
  for (let i = firstBreak; i < payload.length; i++) {
    const byte = payload[i] ?? LF
    if (isBreak(byte)) {
      if (byte === CR && payload[i + 1] === LF) i++
      at = startLine(event, at, payload[i + 1])
    } else {
      event[at++] = byte
    }
  }
  event[at++] = LF
  event[at++] = LF
  return event.subarray(0, at)
}

/**
 * Ends the line before and begins a `data:` line whose first byte is `first`.
 *
 * Parsers drop one space after `data:`. A line that begins with a space gets one more to lose;
 * any other gets none, which is the form the conformance suite looks for.
 */
function startLine(event: Buffer, at: number, first: number | undefined): number {
  for (const byte of LINE_START) event[at++] = byte
  if (first === SPACE) event[at++] = SPACE
  return at
}

function isBreak(byte: number | undefined): boolean {
  return byte === LF || byte === CR
}

function indexOf(payload: Buffer, byte: number): number {
  const index = payload.indexOf(byte)
  return index === -1 ? payload.length : index
}
