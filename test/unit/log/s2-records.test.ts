import type { ReadRecord } from '@s2-dev/streamstore'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { meteredBytes, type AppendRecord } from '../../../src/log/log.ts'
import { fromS2Record, toAppendInput } from '../../../src/log/s2-records.ts'

const encode = (text: string): Uint8Array => new TextEncoder().encode(text)

const stored = (
  headers: readonly (readonly [Uint8Array, Uint8Array])[],
  body: Uint8Array,
): ReadRecord<'bytes'> => ({ seqNum: 5, timestamp: new Date(1234), headers, body })

const name = fc.string({ minLength: 1, unit: 'grapheme' })
const anyRecord: fc.Arbitrary<AppendRecord> = fc.oneof(
  fc.record({
    kind: fc.constant('data' as const),
    headers: fc.array(fc.tuple(name, fc.string({ unit: 'grapheme' })), { maxLength: 4 }),
    body: fc.uint8Array({ maxLength: 50 }),
  }),
  fc.record({ kind: fc.constant('fence' as const), token: fc.string({ maxLength: 36 }) }),
  fc.record({ kind: fc.constant('trim' as const), before: fc.maxSafeNat() }),
)

test('a record comes back as it went, and S2 meters it as we do', () => {
  fc.assert(
    fc.property(fc.array(anyRecord, { minLength: 1, maxLength: 10 }), (records) => {
      const input = toAppendInput({ records, matchSeqNum: 3, fencingToken: '' })
      expect(input).toMatchObject({ matchSeqNum: 3, fencingToken: '' })
      expect(input.meteredBytes).toBe(
        records.reduce((sum, record) => sum + meteredBytes(record), 0),
      )
      input.records.forEach((record, index) => {
        if (typeof record.body === 'string') throw new Error('a text record')
        const back = fromS2Record(stored((record.headers ?? []) as [], record.body))
        expect(back).toEqual({ ...records[index], seqNum: 5, timestamp: 1234 })
      })
    }),
  )
})

test('a trim carries its seq num as 8 bytes, the highest first', () => {
  const { records } = toAppendInput({
    records: [{ kind: 'trim', before: 0x1_0000_0002 }],
    matchSeqNum: 0,
    fencingToken: '',
  })
  expect(records[0]?.body).toEqual(Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 2))
})

test("S2's own end of a stream is a trim of everything", () => {
  const record = stored([[encode(''), encode('trim')]], new Uint8Array(8).fill(255))
  expect(fromS2Record(record)).toMatchObject({ kind: 'trim', before: Number.MAX_SAFE_INTEGER })
})

test('a body that is a view into a larger buffer is read as the view', () => {
  const page = Uint8Array.of(9, 9, 0, 0, 0, 0, 0, 0, 0, 7, 9)
  const record = stored([[encode(''), encode('trim')]], page.subarray(2, 10))
  expect(fromS2Record(record)).toMatchObject({ kind: 'trim', before: 7 })
})

test('a foreign record with no header, or with two, is data', () => {
  expect(fromS2Record(stored([], encode('x')))).toMatchObject({ kind: 'data', headers: [] })
  expect(
    fromS2Record(
      stored(
        [
          [encode('a'), encode('1')],
          [encode('a'), encode('')],
        ],
        encode('x'),
      ),
    ),
  ).toMatchObject({
    kind: 'data',
    headers: [
      ['a', '1'],
      ['a', ''],
    ],
  })
})
