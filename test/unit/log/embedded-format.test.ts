import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  decodeRecord,
  decodeStream,
  encodeRecord,
  encodeStream,
  FORMAT_KEY,
  nameOfStreamKey,
  NEXT_STREAM_ID_KEY,
  recordKey,
  seqNumOfKey,
  streamKey,
  streamKeyRange,
} from '../../../src/log/embedded-format.ts'
import type { LogRecord } from '../../../src/log/log.ts'

const uint48 = fc.integer({ min: 0, max: 2 ** 48 - 1 })
const text = fc.string({ unit: 'binary', maxLength: 300 })
const token = fc.string({ unit: 'binary', maxLength: 12 })

const place = { seqNum: uint48, timestamp: uint48 }
const record: fc.Arbitrary<LogRecord> = fc.oneof(
  fc.record({ kind: fc.constant('fence' as const), token, ...place }),
  fc.record({ kind: fc.constant('trim' as const), before: fc.maxSafeNat(), ...place }),
  fc.record({
    kind: fc.constant('data' as const),
    headers: fc.array(fc.tuple(text, text), { maxLength: 200 }),
    body: fc.uint8Array(),
    ...place,
  }),
)

describe('records', () => {
  it('come back as they were', () => {
    fc.assert(
      fc.property(record, (written) => {
        expect(decodeRecord(written.seqNum, encodeRecord(written))).toEqual(written)
      }),
    )
  })

  it('come back with headers of every length that changes the number of length bytes', () => {
    for (const length of [0, 127, 128, 16_383, 16_384, 100_000]) {
      const written: LogRecord = {
        kind: 'data',
        headers: [['n', 'v'.repeat(length)]],
        body: Uint8Array.of(1, 2, 3),
        seqNum: 1,
        timestamp: 2,
      }
      expect(decodeRecord(1, encodeRecord(written))).toEqual(written)
    }
  })

  it('take 9 bytes more than a body without headers', () => {
    const body = new Uint8Array(100)
    const written: LogRecord = { kind: 'data', headers: [], body, seqNum: 0, timestamp: 0 }
    expect(encodeRecord(written).length).toBeLessThanOrEqual(109)
  })

  it('of an unknown kind are refused', () => {
    expect(() => decodeRecord(5, Buffer.alloc(20, 77))).toThrow('record 5 has the unknown kind 77')
  })
})

describe('streams', () => {
  it('come back as they were', () => {
    const state = fc.record({ tail: uint48, trimPoint: uint48, token, timestamp: uint48 })
    fc.assert(
      fc.property(fc.record({ id: uint48, state }), (stream) => {
        expect(decodeStream(encodeStream(stream))).toEqual(stream)
      }),
    )
  })
})

describe('keys', () => {
  it('of records are in the order of stream, then seq num', () => {
    fc.assert(
      fc.property(uint48, uint48, uint48, uint48, (id, seqNum, otherId, otherSeqNum) => {
        const order = Buffer.compare(recordKey(id, seqNum), recordKey(otherId, otherSeqNum))
        expect(order).toBe(Math.sign(id - otherId) || Math.sign(seqNum - otherSeqNum))
      }),
    )
  })

  it('of records carry the seq num', () => {
    fc.assert(
      fc.property(uint48, uint48, (id, seqNum) => {
        expect(seqNumOfKey(recordKey(id, seqNum))).toBe(seqNum)
      }),
    )
  })

  it('of streams carry the name', () => {
    fc.assert(
      fc.property(text, (name) => {
        expect(nameOfStreamKey(streamKey(name))).toBe(name)
      }),
    )
  })

  it('of streams are in the range of a prefix and a start exactly when their names are', () => {
    // Few and alike, so that they often begin with each other.
    const unit = fc.constantFrom('a', 'b', '\u0001', '\u007f', 'é', '\uffee', '🦊', '\u{10ffff}')
    const name = fc.string({ unit, maxLength: 3 })
    const bytes = (of: string) => Buffer.from(of)
    fc.assert(
      fc.property(name, name, name, (stream, prefix, startAfter) => {
        fc.pre(stream !== '')
        const { gte, lt } = streamKeyRange(prefix, startAfter)
        const key = streamKey(stream)
        const isInside = Buffer.compare(gte, key) <= 0 && Buffer.compare(key, lt) < 0
        const isAfter = Buffer.compare(bytes(stream), bytes(startAfter)) > 0
        expect(isInside).toBe(stream.startsWith(prefix) && isAfter)
      }),
      { numRuns: 2000 },
    )
  })

  it('of everything else are in no range of streams', () => {
    fc.assert(
      fc.property(text, text, uint48, uint48, (prefix, startAfter, id, seqNum) => {
        const { gte, lt } = streamKeyRange(prefix, startAfter)
        for (const key of [FORMAT_KEY, NEXT_STREAM_ID_KEY, recordKey(id, seqNum)]) {
          expect(Buffer.compare(gte, key) <= 0 && Buffer.compare(key, lt) < 0).toBe(false)
        }
      }),
    )
  })

  it('never meet, whatever a stream is called', () => {
    fc.assert(
      fc.property(text, text, uint48, uint48, (name, other, id, seqNum) => {
        const keys = [FORMAT_KEY, NEXT_STREAM_ID_KEY, recordKey(id, seqNum), streamKey(name)]
        if (other !== name) keys.push(streamKey(other))
        expect(new Set(keys.map((key) => key.toString('hex'))).size).toBe(keys.length)
      }),
    )
  })
})
