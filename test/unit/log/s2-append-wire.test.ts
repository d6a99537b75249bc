import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
// The schema as the SDK has generated it: not exported, and so by its path.
import {
  AppendAck,
  AppendInput,
} from '../../../node_modules/@s2-dev/streamstore/dist/esm/generated/proto/s2.js'
import type { AppendRecord } from '../../../src/log/log.ts'
import { decodeAck, encodeAppend } from '../../../src/log/s2-append-wire.ts'

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
const hex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'hex'))

const anyText = (maxLength: number) => fc.string({ unit: 'grapheme', maxLength })
const anyRecord: fc.Arbitrary<AppendRecord> = fc.oneof(
  fc.record({
    kind: fc.constant('data' as const),
    headers: fc.array(fc.tuple(anyText(200), anyText(200)), { maxLength: 4 }),
    body: fc.uint8Array({ maxLength: 300 }),
  }),
  fc.record({ kind: fc.constant('fence' as const), token: anyText(36) }),
  fc.record({ kind: fc.constant('trim' as const), before: fc.maxSafeNat() }),
)

/** What S2 documents for a record; a command is one whose only header has no name. */
function contentOf(record: AppendRecord) {
  switch (record.kind) {
    case 'data':
      return { headers: record.headers.map(([n, v]) => [utf8(n), utf8(v)]), body: record.body }
    case 'fence':
      return { headers: [[utf8(''), utf8('fence')]], body: utf8(record.token) }
    case 'trim': {
      const body = new Uint8Array(8)
      new DataView(body.buffer).setBigUint64(0, BigInt(record.before))
      return { headers: [[utf8(''), utf8('trim')]], body }
    }
  }
}

describe('encodeAppend', () => {
  test('writes what the schema reads, whatever the batch', () => {
    const batches = fc.record({
      records: fc.array(anyRecord, { maxLength: 10 }),
      matchSeqNum: fc.maxSafeNat(),
      fencingToken: anyText(36),
    })
    fc.assert(
      fc.property(batches, (batch) => {
        const read = AppendInput.fromBinary(Uint8Array.from(encodeAppend(batch)))
        expect(read.matchSeqNum).toBe(BigInt(batch.matchSeqNum))
        expect(read.fencingToken).toBe(new TextDecoder().decode(utf8(batch.fencingToken)))
        const records = read.records.map(({ headers, body, timestamp }) => {
          expect(timestamp).toBeUndefined()
          return { headers: headers.map(({ name, value }) => [name, value]), body }
        })
        expect(records).toEqual(batch.records.map(contentOf))
      }),
    )
  })

  test('leaves no condition out because it is zero or empty', () => {
    const bytes = encodeAppend({ records: [], matchSeqNum: 0, fencingToken: '' })
    expect(AppendInput.fromBinary(bytes)).toMatchObject({ matchSeqNum: 0n, fencingToken: '' })
  })

  test.each([0, 127, 128, 16_383, 16_384, 1_000_000])('measures a body of %d bytes', (length) => {
    const body = new Uint8Array(length).fill(7)
    const records = [{ kind: 'data', headers: [], body }] as const
    const read = AppendInput.fromBinary(
      encodeAppend({ records, matchSeqNum: 1, fencingToken: 't' }),
    )
    expect(read.records[0]?.body.length).toBe(length)
  })
})

describe('decodeAck', () => {
  test('reads what the schema writes', () => {
    const positions = fc.record({ seqNum: fc.maxSafeNat(), timestamp: fc.maxSafeNat() })
    fc.assert(
      fc.property(positions, positions, positions, (start, end, tail) => {
        const toWire = ({ seqNum, timestamp }: typeof start) => ({
          seqNum: BigInt(seqNum),
          timestamp: BigInt(timestamp),
        })
        const bytes = AppendAck.toBinary({
          start: toWire(start),
          end: toWire(end),
          tail: toWire(tail),
        })
        expect(decodeAck(bytes)).toEqual({
          start: start.seqNum,
          end: end.seqNum,
          timestamp: end.timestamp,
        })
      }),
    )
  })

  test('passes over fields of a later version, of any type', () => {
    const ack = '0a0408051007' + '12040806' + '1008'
    const added = [
      '8001' + '05',
      '8a01' + '02ffff',
      '8501' + '00000000',
      '8101' + '0000000000000000',
    ]
    for (const field of added) {
      expect(decodeAck(hex(field + ack + field))).toEqual({ start: 5, end: 6, timestamp: 8 })
    }
  })

  test.each([
    ['nothing', ''],
    ['no end', '0a0408051007'],
    ['a message that is cut off', '0a0408051007120408'],
    ['a number that is cut off', '0a02ffff12040806'],
    ['a number that JavaScript can not hold', '0a0408051007' + '120a08ffffffffffffffff7f'],
    ['a group, which is no longer a part of protobuf', '0b'],
  ])('refuses %s', (_what, bytes) => {
    expect(() => decodeAck(hex(bytes))).toThrow()
  })
})
