import { describe, expect, test } from 'vitest'
import { Frames } from '../../../src/hub/frames.ts'
import { STREAM, dataRecord } from './fakes.ts'

const records = [dataRecord(4, '"a"'), dataRecord(5, '"b"')]
const batch = { records, end: 6 }
const progress = { end: 6, upToDate: true, closed: false }
const OFFSET = '0000000000000000_0000000000000006'
/** BASE + seq num · 1024, as the cursor's own page has it (field.md §1.4). */
const CURSOR = 2 ** 40 + 6 * 1024

/** Records that count how often their bytes are looked at: encoding looks once. */
function counted() {
  let looks = 0
  const body = Buffer.from('"a"')
  const record = {
    seqNum: 5,
    timestamp: 0,
    get body() {
      looks += 1
      return body
    },
  }
  return { batch: { records: [record], end: 6 }, looks: () => looks }
}

const TRACEPARENT = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

describe('data of a trace', () => {
  const [first, last] = records
  const traced = { records: [{ ...first!, traceparent: TRACEPARENT }, last!], end: 6 }
  const frames = new Frames({ ...STREAM, contentType: 'application/json' })

  test('is followed by what says so, and is the same for all readers', () => {
    const { chunk } = frames.event(traced, progress)
    expect(chunk.plain.toString()).toBe(
      `id: ${OFFSET}\nevent: data\ndata:["a","b"]\n\n` +
        `id: ${OFFSET}\nevent: control\ndata:{"streamNextOffset":"${OFFSET}",` +
        `"streamCursor":"${CURSOR}","upToDate":true,"streamTraceparent":"${TRACEPARENT}"}\n\n`,
    )
    expect(frames.event(traced, progress).chunk).toBe(chunk)
  })

  test('says so to a reader with a cursor of its own, too', () => {
    const own = frames.event(traced, progress, CURSOR + 100).chunk.plain.toString()
    expect(own).toContain(`"streamTraceparent":"${TRACEPARENT}"`)
  })

  test('is as it always was in the body of an answer', () => {
    expect(frames.body(traced.records).toString()).toBe('["a","b"]')
    expect(frames.traceparent(traced.records)).toBe(TRACEPARENT)
    expect(frames.traceparent(records)).toBeUndefined()
  })

  test('is not what a control event alone is about', () => {
    expect(frames.status(progress, 0, undefined).chunk.plain.toString()).not.toContain('Trace')
  })
})

describe('event (PROTOCOL §5.8)', () => {
  test.each([
    ['application/json', `data:["a","b"]`],
    ['text/plain', `data:"a""b"`],
    ['application/octet-stream', 'data:ImEiImIi'],
  ])('%s: the data, then where it ends', (contentType, line) => {
    const {
      chunk: { plain: bytes },
      cursor,
    } = new Frames({ ...STREAM, contentType }).event(batch, progress, undefined)
    expect(bytes.toString()).toBe(
      `id: ${OFFSET}\nevent: data\n${line}\n\n` +
        `id: ${OFFSET}\nevent: control\n` +
        `data:{"streamNextOffset":"${OFFSET}","streamCursor":"${CURSOR}","upToDate":true}\n\n`,
    )
    expect(cursor).toBe(CURSOR)
  })

  test('is encoded once, and all readers share the same bytes', () => {
    const frames = new Frames({ ...STREAM, contentType: 'text/plain' })
    const { batch, looks } = counted()
    const first = frames.event(batch, progress, undefined)
    for (let reader = 0; reader < 100; reader += 1) {
      // Whatever cursors they come with: they meet again here.
      expect(frames.event(batch, progress, 2 ** 40 + reader).chunk.plain).toBe(first.chunk.plain)
    }
    expect(looks()).toBe(1)
  })

  test('encodes its data once for readers with other flags or a cursor of their own', () => {
    const frames = new Frames({ ...STREAM, contentType: 'text/plain' })
    const { batch, looks } = counted()
    const shared = frames.event(batch, progress, undefined)
    const partial = frames.event(batch, { ...progress, upToDate: false }, undefined)
    const ahead = frames.event(batch, progress, CURSOR + 10)
    expect(partial.chunk.plain.toString()).not.toContain('upToDate')
    expect(ahead.cursor).toBe(CURSOR + 11)
    expect(ahead.chunk.plain.toString()).toBe(
      shared.chunk.plain.toString().replace(String(CURSOR), String(CURSOR + 11)),
    )
    expect(looks()).toBe(1)
  })

  test('leaves the cursor out at the end of a closed stream', () => {
    const end = { ...progress, closed: true }
    const {
      chunk: { plain: bytes },
    } = new Frames({ ...STREAM, contentType: 'text/plain' }).event(batch, end, undefined)
    expect(bytes.toString()).toContain(
      `data:{"streamNextOffset":"${OFFSET}","upToDate":true,"streamClosed":true}\n\n`,
    )
  })
})

test('says how many bytes are kept of each batch', () => {
  const kept: [unknown, number][] = []
  const frames = new Frames({ ...STREAM, contentType: 'text/plain' }, (of, bytes) =>
    kept.push([of, bytes]),
  )
  const { length } = frames.event(batch, progress, undefined).chunk.framed
  frames.event(batch, progress, undefined)
  expect(kept).toEqual([[records, length]])
  const partial = frames.event(batch, { ...progress, upToDate: false }, undefined).chunk.framed
  // Nothing is kept of what one reader gets alone.
  frames.event(batch, progress, CURSOR + 10)
  frames.status(progress, 0, undefined)
  expect(kept.slice(1)).toEqual([[records, partial.length]])
  const body = frames.body(records)
  frames.body(records)
  expect(kept.slice(2)).toEqual([[records, body.length]])
})

describe('status', () => {
  test('is a control event whose cursor moves while the stream is idle', () => {
    const frames = new Frames({ ...STREAM, contentType: 'text/plain' })
    expect(frames.status(progress, 0, undefined).chunk.plain.toString()).toBe(
      `id: ${OFFSET}\nevent: control\n` +
        `data:{"streamNextOffset":"${OFFSET}","streamCursor":"${CURSOR}","upToDate":true}\n\n`,
    )
    expect(frames.status(progress, 60_000, undefined).cursor).toBe(CURSOR + 3)
    expect(frames.status(progress, 0, CURSOR).cursor).toBe(CURSOR + 1)
  })
})

describe('body', () => {
  test.each([
    ['application/json', '["a","b"]'],
    ['text/plain', '"a""b"'],
  ])('%s: %s', (contentType, body) => {
    expect(new Frames({ ...STREAM, contentType }).body(records).toString()).toBe(body)
  })

  test('is the same bytes for all who wait at one position', () => {
    const frames = new Frames({ ...STREAM, contentType: 'application/json' })
    expect(frames.body(records)).toBe(frames.body(records))
  })
})
