import type { ReadRecord } from '@s2-dev/streamstore'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
// The schema as the SDK has generated it: not exported, and so by its path.
import { ReadBatch } from '../../../node_modules/@s2-dev/streamstore/dist/esm/generated/proto/s2.js'
import type { LogRecord } from '../../../src/log/log.ts'
import { decodeReadBatch } from '../../../src/log/s2-read-wire.ts'
import { fromS2Record } from '../../../src/log/s2-records.ts'

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
const hex = (text: string): Buffer => Buffer.from(text, 'hex')

type Header = readonly [Uint8Array, Uint8Array]
type Stored = Pick<ReadRecord<'bytes'>, 'seqNum' | 'body'> & {
  readonly timestamp: number
  readonly headers: readonly Header[]
}

function encode(records: readonly Stored[], tail?: number): Buffer {
  const bytes = ReadBatch.toBinary({
    records: records.map(({ seqNum, timestamp, headers, body }) => ({
      seqNum: BigInt(seqNum),
      timestamp: BigInt(timestamp),
      headers: headers.map(([name, value]) => ({ name, value })),
      body,
    })),
    ...(tail === undefined ? {} : { tail: { seqNum: BigInt(tail), timestamp: 9n } }),
  })
  return Buffer.from(bytes)
}

/** With bodies of one kind: ours are views. */
const plain = (records: readonly LogRecord[]) =>
  records.map((record) =>
    record.kind === 'data' ? { ...record, body: new Uint8Array(record.body) } : record,
  )

const anyBytes = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc.string({ unit: 'grapheme', maxLength: 40 }).map(utf8),
  fc.constant(utf8('\ufeffwith a mark')),
)
const anyCommand = fc.oneof(
  anyBytes.map((body) => ({ headers: [[utf8(''), utf8('fence')] as const], body })),
  fc
    .uint8Array({ minLength: 8, maxLength: 8 })
    .map((body) => ({ headers: [[utf8(''), utf8('trim')] as const], body })),
)
const anyContent = fc.oneof(
  anyCommand,
  fc
    .record({
      headers: fc.array(fc.tuple(anyBytes, anyBytes), { maxLength: 4 }),
      body: fc.uint8Array({ maxLength: 300 }),
    })
    .filter(({ headers }) => headers.length !== 1 || headers[0]![0].length > 0),
)
const anyRecord: fc.Arbitrary<Stored> = fc
  .tuple(anyContent, fc.maxSafeNat(), fc.integer({ min: 0, max: 8e15 }))
  .map(([content, seqNum, timestamp]) => ({ ...content, seqNum, timestamp }))

describe('decodeReadBatch', () => {
  test('reads what the schema writes, as a page of the same records is read', () => {
    const batches = fc.array(anyRecord, { maxLength: 10 })
    const tails = fc.option(fc.maxSafeNat(), { nil: undefined })
    fc.assert(
      fc.property(batches, tails, (stored, tail) => {
        const batch = decodeReadBatch(encode(stored, tail))
        expect(batch.tail).toBe(tail)
        const page = stored.map((record) =>
          fromS2Record({ ...record, timestamp: new Date(record.timestamp) }),
        )
        expect(plain(batch.records)).toEqual(plain(page))
      }),
    )
  })

  test.each([0, 127, 128, 16_383, 16_384, 1_000_000])('measures a body of %d bytes', (length) => {
    const body = new Uint8Array(length).fill(7)
    const { records } = decodeReadBatch(encode([{ seqNum: 1, timestamp: 2, headers: [], body }]))
    expect(plain(records)).toEqual([{ kind: 'data', headers: [], body, seqNum: 1, timestamp: 2 }])
  })

  test('copies no body', () => {
    const bytes = encode([{ seqNum: 1, timestamp: 2, headers: [], body: utf8('here') }])
    const [record] = decodeReadBatch(bytes).records
    expect(record?.kind === 'data' && record.body.buffer).toBe(bytes.buffer)
  })

  test.each([
    ['a heartbeat', '1205080710e807', { records: [], tail: 7 }],
    ['a heartbeat of an empty stream', '1200', { records: [], tail: 0 }],
    ['nothing', '', { records: [], tail: undefined }],
    [
      'a record, then the tail',
      '0a110805' + '10e807' + '1a060a016b120176' + '22026869' + '1205080610e807',
      {
        records: [
          { kind: 'data', headers: [['k', 'v']], body: utf8('hi'), seqNum: 5, timestamp: 1000 },
        ],
        tail: 6,
      },
    ],
  ])('reads %s', (_what, text, { records, tail }) => {
    const batch = decodeReadBatch(hex(text))
    expect({ records: plain(batch.records), tail: batch.tail }).toEqual({ records, tail })
  })

  test('passes over fields of a later version, of any type and in every message', () => {
    const added = ['8001' + '05', '8a01' + '02ffff', '8501' + '00000000', '8101' + '00'.repeat(8)]
    for (const field of added) {
      const nested = (tag: string, text: string) =>
        tag + (text.length / 2).toString(16).padStart(2, '0') + text
      const header = nested('1a', field + '0a016b' + field + '120176')
      const record = nested('0a', field + '0805' + header + field + '22026869' + field)
      const tail = nested('12', field + '0806')
      const batch = decodeReadBatch(hex(field + record + field + tail))
      expect(batch.tail).toBe(6)
      expect(plain(batch.records)).toEqual([
        { kind: 'data', headers: [['k', 'v']], body: utf8('hi'), seqNum: 5, timestamp: 0 },
      ])
    }
  })

  test('refuses what is cut off, or reads a shorter batch', () => {
    const bytes = encode(
      [
        { seqNum: 300, timestamp: 5, headers: [[utf8('k'), utf8('v')]], body: utf8('body') },
        { seqNum: 301, timestamp: 5, headers: [], body: utf8('body') },
      ],
      302,
    )
    const ends = Array.from({ length: bytes.length }, (_, end) => {
      try {
        return decodeReadBatch(Buffer.from(bytes.subarray(0, end))).records.length
      } catch {
        return 'refused'
      }
    })
    expect(ends.filter((end) => end !== 'refused')).toEqual([0, 1, 2])
  })

  test.each([
    ['a record that goes over its end', '0a03' + '2205' + 'aabbccddee'],
    ['a number that goes over the end of its record', '0a02' + '08ff' + '01'],
    ['a header that goes over its end', '0a05' + '1a03' + '0a0561' + '61616161'],
    ['a number without an end', '0a0c08' + 'ff'.repeat(11)],
    ['a seq num that JavaScript can not hold', '0a0b08ffffffffffffffff7f' + '1000'],
    ['a tail that JavaScript can not hold', '120a08ffffffffffffffff7f'],
    ['a trim of no seq num', '0a0e' + '1a080a001204' + '7472696d' + '220100'],
    ['a group, which is no longer a part of protobuf', '0b'],
  ])('refuses %s', (_what, text) => {
    expect(() => decodeReadBatch(hex(text))).toThrow()
  })
})
