import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Ring } from '../../../src/hub/ring.ts'
import type { Batch } from '../../../src/hub/ring.ts'
import type { DataRecord } from '../../../src/streams/codec.ts'
import { dataRecord } from './fakes.ts'

const batch = (...seqNums: number[]): Batch => ({
  records: seqNums.map((seqNum) => dataRecord(seqNum)),
  end: seqNums.at(-1)! + 1,
})

const WIDE = { maxRecords: 1000, maxBytes: 1_000_000 }

describe('Ring', () => {
  test('has nothing at first, from its start on', () => {
    const ring = new Ring(7, WIDE)
    expect([ring.start, ring.end, ring.bytes, ring.next(7), ring.next(9)]).toEqual([
      7,
      7,
      0,
      undefined,
      undefined,
    ])
  })

  test('gives all who stand between two batches the very same batch', () => {
    const ring = new Ring(0, WIDE)
    const [first, second] = [batch(0, 1), batch(2, 3)]
    ring.push(first)
    ring.push(second)
    expect(ring.next(0)).toBe(first)
    expect(ring.next(2)).toBe(second)
    expect(ring.next(2)).toBe(second)
  })

  test('gives the rest of a batch to those inside it, and the same one to all at one place', () => {
    const ring = new Ring(0, WIDE)
    ring.push(batch(0, 1, 2))
    expect(ring.next(1)).toEqual(batch(1, 2))
    expect(ring.next(1)).toBe(ring.next(1))
    expect(ring.next(2)).toEqual(batch(2))
  })

  test('keeps less where more is kept that was encoded of it, but always the latest', () => {
    const ring = new Ring(0, { maxRecords: 100, maxBytes: 20 })
    const batches = [batch(0, 1), batch(2, 3), batch(4, 5)]
    for (const each of batches) ring.push(each)
    expect([ring.start, ring.bytes]).toEqual([0, 12])
    expect(ring.weigh(batches[1]!.records, 8)).toBe(true)
    expect([ring.start, ring.bytes]).toEqual([0, 20])
    expect(ring.weigh(ring.next(5)!.records, 1)).toBe(true)
    expect([ring.start, ring.bytes]).toEqual([2, 17])
    expect(ring.weigh(batches[2]!.records, 100)).toBe(true)
    expect([ring.start, ring.bytes]).toEqual([4, 105])
    ring.push(batch(6))
    expect([ring.start, ring.bytes]).toEqual([6, 2])
    // What it does not have, or no longer.
    expect(ring.weigh(batches[2]!.records, 100)).toBe(false)
    expect(ring.weigh(batch(6).records, 100)).toBe(false)
    expect(ring.weigh([], 100)).toBe(false)
  })

  test('passes over positions of records that are no data', () => {
    const ring = new Ring(0, WIDE)
    const later = batch(5, 6)
    ring.push(batch(0))
    ring.push(later)
    expect(ring.next(3)).toBe(later)
  })

  test('collects all there is for a poll, the same object for all at one position', () => {
    const ring = new Ring(0, WIDE)
    ring.push(batch(0, 1))
    ring.push(batch(3))
    ring.push(batch(4, 5))
    expect(ring.collect(1, WIDE)).toEqual(batch(1, 3, 4, 5))
    expect(ring.collect(1, WIDE)).toBe(ring.collect(1, WIDE))
    ring.push(batch(6))
    expect(ring.collect(1, WIDE)).toEqual(batch(1, 3, 4, 5, 6))
    expect(ring.collect(7, WIDE)).toBeUndefined()
  })

  test.each([
    ['records', { maxRecords: 3, maxBytes: 1_000_000 }],
    ['bytes', { maxRecords: 1000, maxBytes: 6 }],
  ])('collects whole batches up to its bound in %s, and one at least', (_name, bound) => {
    const ring = new Ring(0, WIDE)
    ring.push(batch(0, 1))
    ring.push(batch(2))
    ring.push(batch(3, 4, 5, 6))
    expect(ring.collect(0, bound)).toEqual(batch(0, 1, 2))
    expect(ring.collect(3, bound)).toEqual(batch(3, 4, 5, 6))
  })

  test('keeps the latest batch however large it is', () => {
    const ring = new Ring(0, { maxRecords: 1, maxBytes: 1 })
    ring.push(batch(0))
    const large = batch(1, 2, 3)
    ring.push(large)
    expect([ring.start, ring.end, ring.next(1)]).toEqual([1, 4, large])
  })

  test('refuses batches out of order, and positions that it has dropped', () => {
    const ring = new Ring(5, { maxRecords: 1, maxBytes: 100 })
    expect(() => ring.push(batch(4))).toThrow('order')
    expect(() => ring.push({ records: [], end: 9 })).toThrow('order')
    ring.push(batch(5))
    ring.push(batch(6))
    expect(() => ring.next(5)).toThrow('position')
  })
})

/** Batches with gaps between their records, as control records leave them. */
const pushes = fc.array(
  fc.array(fc.record({ gap: fc.nat({ max: 2 }), size: fc.nat({ max: 9 }) }), {
    minLength: 1,
    maxLength: 4,
  }),
  { maxLength: 200 },
)
const limits = fc.record({
  maxRecords: fc.integer({ min: 1, max: 20 }),
  maxBytes: fc.integer({ min: 1, max: 60 }),
})

describe('a ring, compared with a list of all records', () => {
  test('is a contiguous, bounded end of it, and next() gives exactly what follows', () => {
    fc.assert(
      fc.property(pushes, limits, (shapes, bounds) => {
        const ring = new Ring(3, bounds)
        const all: DataRecord[] = []
        let seqNum = 3
        let latest: readonly DataRecord[] = []
        for (const shape of shapes) {
          latest = shape.map(({ gap, size }) => {
            seqNum += gap
            return dataRecord(seqNum++, 'x'.repeat(size))
          })
          all.push(...latest)
          ring.push({ records: latest, end: seqNum })
          const held = all.filter((record) => record.seqNum >= ring.start)
          const bytes = held.reduce((sum, { body }) => sum + body.length, 0)
          expect(ring.bytes).toBe(bytes)
          const bounded = held.length <= bounds.maxRecords && bytes <= bounds.maxBytes
          expect(bounded || held.length === latest.length).toBe(true)
        }
        expect(ring.end).toBe(seqNum)
        for (let from = ring.start; from <= seqNum; from += 1) {
          const found: DataRecord[] = []
          let position = from
          for (let next = ring.next(from); next !== undefined; next = ring.next(position)) {
            found.push(...next.records)
            expect(next.end).toBe(next.records.at(-1)!.seqNum + 1)
            position = next.end
          }
          expect(found).toEqual(all.filter((record) => record.seqNum >= from))
        }
      }),
      { numRuns: 50 },
    )
  })
})
