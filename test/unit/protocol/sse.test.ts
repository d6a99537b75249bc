import { stream } from '@durable-streams/client'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatOffset } from '../../../src/protocol/offset.ts'
import { HEARTBEAT, encodeControl, encodeData } from '../../../src/protocol/sse.ts'

type Event = { type: string; data: string; id: string }

const id = formatOffset({ depth: 0, seqNum: 7 })
const records = (...texts: string[]) => texts.map((text) => Buffer.from(text))

/** The event stream parser of the HTML standard (§9.2.6), step by step. */
function parseEventStream(bytes: Buffer): Event[] {
  const events: Event[] = []
  let [type, data, lastId] = ['', '', '']
  for (const line of bytes
    .toString()
    .split(/\r\n|\r|\n/)
    .slice(0, -1)) {
    if (line === '') {
      if (data !== '') events.push({ type, data: data.slice(0, -1), id: lastId })
      ;[type, data] = ['', '']
      continue
    }
    const colon = line.indexOf(':')
    if (colon === 0) continue
    const field = colon === -1 ? line : line.slice(0, colon)
    const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '')
    if (field === 'event') type = value
    else if (field === 'data') data += `${value}\n`
    else if (field === 'id') lastId = value
  }
  return events
}

/** What the official client makes of the events, given in chunks of `chunkSize` bytes. */
async function readWithClient(events: Buffer, chunkSize: number, encoding?: string) {
  const chunks = new ReadableStream<Uint8Array>({
    start(controller) {
      for (let at = 0; at < events.length; at += chunkSize) {
        controller.enqueue(Uint8Array.from(events.subarray(at, at + chunkSize)))
      }
      controller.close()
    },
  })
  const headers = new Headers({ 'content-type': 'text/event-stream' })
  if (encoding !== undefined) headers.set('stream-sse-data-encoding', encoding)
  const response = await stream({
    url: 'https://gateway.test/v1/stream/s',
    live: 'sse',
    fetch: () => Promise.resolve(new Response(chunks, { headers })),
  })
  const parts: Uint8Array[] = []
  for await (const part of response.bodyStream()) parts.push(part)
  return Buffer.concat(parts)
}

const closing = encodeControl({ nextOffset: id, upToDate: true, closed: true })

/** Text full of what SSE gives a meaning to. */
const trickyText = fc
  .array(
    fc.oneof(
      fc.constantFrom(
        '\n',
        '\r',
        '\r\n',
        ' ',
        '  ',
        ':',
        'data:',
        'data: x',
        'event: control',
        'id: 1',
      ),
      fc.constantFrom('\u2028', '\u2029', '\u0085', '\v', '\f', '\0', '漢', '\u{1f600}'),
      fc.string(),
    ),
  )
  .map((parts) => parts.join(''))

/** SSE knows three line endings and a parser gives each back as LF. */
const asRead = (text: string) => text.replace(/\r\n|\r/g, '\n')

describe('encodeData (PROTOCOL §5.8)', () => {
  test.each([
    ['one line', ['hello'], 'data:hello\n'],
    ['records as one text', ['a', 'b\nc'], 'data:ab\ndata:c\n'],
    ['each kind of line ending', ['a\nb\rc\r\nd'], 'data:a\ndata:b\ndata:c\ndata:d\n'],
    ['a line ending cut by records', ['a\r', '\nb'], 'data:a\ndata:b\n'],
    ['empty lines', ['\n\na\n'], 'data:\ndata:\ndata:a\ndata:\n'],
    [
      'spaces that a parser would drop',
      [' a\n  b\n \nc '],
      'data:  a\ndata:   b\ndata:  \ndata:c \n',
    ],
    ['no records', [], 'data:\n'],
    ['an empty record', [''], 'data:\n'],
    ['a separator that ends no line', ['a\u2028b\u0085c'], 'data:a\u2028b\u0085c\n'],
    [
      'a forged event',
      ['x\n\nevent: control\ndata:{}'],
      'data:x\ndata:\ndata:event: control\ndata:data:{}\n',
    ],
  ])('writes %s', (_name, texts, lines) => {
    const event = encodeData(records(...texts), 'text', id)
    expect(event.toString()).toBe(`id: ${id}\nevent: data\n${lines}\n`)
  })

  test.each([
    ['messages', ['{"a":1}', '2'], 'data:[{"a":1},2]\n'],
    ['no messages', [], 'data:[]\n'],
    ['messages of several lines', ['{\r\n  "a": 1\n}'], 'data:[{\ndata:   "a": 1\ndata:}]\n'],
  ])('writes %s as one JSON array', (_name, texts, lines) => {
    const event = encodeData(records(...texts), 'json', id)
    expect(event.toString()).toBe(`id: ${id}\nevent: data\n${lines}\n`)
  })

  test.each([
    ['Hello', ['Hel', 'lo'], 'SGVsbG8='],
    ['nothing', [], ''],
    ['line endings', ['\r\n\n'], 'DQoK'],
  ])('writes %s in base64, as one text', (_name, texts, base64) => {
    const event = encodeData(records(...texts), 'base64', id)
    expect(event.toString()).toBe(`id: ${id}\nevent: data\ndata:${base64}\n\n`)
  })

  test('sends the bytes of a character cut by the end of a batch as they are', () => {
    const [head, tail] = [Buffer.from([0xe6, 0xbc]), Buffer.from([0xa2])]
    const joined = encodeData([head, tail], 'text', id)
    expect(joined.toString()).toContain('data:漢\n')
    expect(encodeData([head], 'text', id).includes(Buffer.from([0xe6, 0xbc, 0x0a]))).toBe(true)
  })

  test('leaves the records alone', () => {
    const record = Buffer.from(' a\nb')
    encodeData([record], 'text', id)
    expect(record.toString()).toBe(' a\nb')
  })

  test('gives a standard parser one event with the text, whatever is in it', () => {
    fc.assert(
      fc.property(fc.array(trickyText), (texts) => {
        const events = parseEventStream(encodeData(records(...texts), 'text', id))
        expect(events).toEqual([{ type: 'data', data: asRead(texts.join('')), id }])
      }),
    )
  })

  test('gives a standard parser the messages, whatever is in them', () => {
    fc.assert(
      fc.property(fc.array(fc.json()), fc.constantFrom('', ' ', '\n', '\r\n '), (texts, space) => {
        const messages = texts.map((text) => Buffer.from(`${space}${text}${space}`))
        const [event, ...others] = parseEventStream(encodeData(messages, 'json', id))
        expect(others).toEqual([])
        expect(JSON.parse(event!.data)).toEqual(texts.map((text) => JSON.parse(text) as unknown))
      }),
    )
  })

  test('gives the official client the text, however it is cut into chunks', async () => {
    await fc.assert(
      fc.asyncProperty(
        trickyText,
        trickyText,
        fc.integer({ min: 1, max: 64 }),
        async (a, b, size) => {
          const control = encodeControl({
            nextOffset: id,
            cursor: 1,
            upToDate: false,
            closed: false,
          })
          const batches = [a, b].map((text) => encodeData(records(text), 'text', id))
          const events = Buffer.concat([
            batches[0]!,
            control,
            HEARTBEAT.plain,
            batches[1]!,
            closing,
          ])
          const text = await readWithClient(events, size)
          expect(text.toString()).toBe(asRead(a) + asRead(b))
        },
      ),
    )
  })

  test('gives the official client the bytes, however they are cut into chunks', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array(), fc.integer({ min: 1, max: 64 }), async (bytes, size) => {
        const events = Buffer.concat([encodeData([bytes], 'base64', id), closing])
        expect(await readWithClient(events, size, 'base64')).toEqual(Buffer.from(bytes))
      }),
    )
  })

  test('takes time in proportion to the lines', () => {
    const started = performance.now()
    const event = encodeData([Buffer.alloc(1 << 20, '\n')], 'text', id)
    expect(event.length).toBeGreaterThan(6 << 20)
    expect(performance.now() - started).toBeLessThan(2_000)
  })
})

describe('encodeControl (PROTOCOL §5.8)', () => {
  test.each([
    [
      'a batch before the tail',
      { nextOffset: id, cursor: 12, upToDate: false, closed: false },
      { streamNextOffset: id, streamCursor: '12' },
    ],
    [
      'the tail',
      { nextOffset: id, cursor: 12, upToDate: true, closed: false },
      { streamNextOffset: id, streamCursor: '12', upToDate: true },
    ],
    [
      'the end of a closed stream, without a cursor',
      { nextOffset: id, cursor: 12, upToDate: false, closed: true },
      { streamNextOffset: id, upToDate: true, streamClosed: true },
    ],
  ])('tells of %s', (_name, control, expected) => {
    const [event, ...others] = parseEventStream(encodeControl(control))
    expect(others).toEqual([])
    expect({ ...event, data: JSON.parse(event!.data) as unknown }).toEqual({
      type: 'control',
      id,
      data: expected,
    })
  })

  test('has the form the conformance suite looks for', () => {
    expect(closing.toString()).toMatch(/event: control\s*\n\s*data:({[^}]+})/)
  })
})

test('HEARTBEAT is no event', () => {
  const events = Buffer.concat([HEARTBEAT.plain, closing, HEARTBEAT.plain])
  expect(parseEventStream(events)).toEqual(parseEventStream(closing))
})
