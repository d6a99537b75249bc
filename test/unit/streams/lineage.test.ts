import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseOffset } from '../../../src/protocol/offset.ts'
import {
  NO_LINEAGE,
  beginningOf,
  forkAt,
  inheritedAt,
  locate,
  offsetOf,
  oversize,
  without,
} from '../../../src/streams/lineage.ts'
import type { Lineage, OwnPart, StreamPosition } from '../../../src/streams/lineage.ts'

const wire = (own: OwnPart, position: StreamPosition) => {
  const parsed = parseOffset(offsetOf(own, position))
  if (parsed.kind !== 'position') throw new Error('an offset that was given out')
  return parsed.position
}
const located = (own: OwnPart, position: StreamPosition) => locate(own, wire(own, position))

const source: OwnPart = { lineage: NO_LINEAGE, base: 3, start: 5 }
const forkOf = (own: OwnPart, position: StreamPosition, start = 2): OwnPart => ({
  lineage: forkAt({ ...own, name: 's', incarnation: 'i', aborted: [] }, position),
  base: start - 1,
  start,
})
/** Three records of the source, from 5 up to 8. */
const fork = forkOf(source, 8)

/** Forks of forks, each left somewhere from its beginning up to 5 records into its own part. */
const chains = fc
  .array(fc.record({ at: fc.nat(1000), start: fc.integer({ min: 1, max: 9 }) }), { maxLength: 5 })
  .map((steps) => steps.reduce((own, { at, start }) => forkOf(own, pick(own, at), start), source))

/** One of the positions of a stream with 5 records of its own. */
function pick(own: OwnPart, choice: number): StreamPosition {
  const all = positionsOf(own)
  return all[choice % all.length]!
}

function positionsOf(own: OwnPart): StreamPosition[] {
  const positions: StreamPosition[] = []
  for (let position = beginningOf(own); position < 0; position += 1) positions.push(position)
  return [...positions, ...Array.from({ length: 6 }, (_, n) => own.start + n)]
}

describe('a fork', () => {
  test('begins with what it inherits, at the offsets of its source', () => {
    expect(beginningOf(fork)).toBe(-3)
    expect(wire(fork, -3)).toEqual({ depth: 0, seqNum: 5 })
    expect(wire(fork, -1)).toEqual({ depth: 0, seqNum: 7 })
    expect(wire(fork, 2)).toEqual({ depth: 1, seqNum: 2 })
  })

  test('knows the end of what it inherits by both its offsets', () => {
    expect(locate(fork, { depth: 0, seqNum: 8 })).toBe(2)
    expect(locate(fork, { depth: 1, seqNum: 2 })).toBe(2)
    // Before its creation record, or at it.
    expect(locate(fork, { depth: 1, seqNum: 1 })).toBe(2)
  })

  test.each<[string, number, number, unknown]>([
    ['of an earlier life of the source', 0, 2, 'gone'],
    ['before the first record of the source', 0, 3, -3],
    ['of what the source got later', 0, 9, 'foreign'],
    ['of an earlier life of its own', 1, 0, 'gone'],
    ['of a deeper fork', 2, 5, 'foreign'],
  ])('judges an offset %s', (_name, depth, seqNum, expected) => {
    expect(locate(fork, { depth, seqNum })).toBe(expected)
  })

  test('of nothing has no inherited part', () => {
    const empty = forkOf(source, 5)
    expect(beginningOf(empty)).toBe(2)
    expect(locate(empty, { depth: 0, seqNum: 5 })).toBe(2)
    expect(Object.is(locate(empty, { depth: 0, seqNum: 5 }), -0)).toBe(false)
    expect(inheritedAt(empty, 2)).toBeUndefined()
  })

  test('of a fork inside what that inherits has nothing of that fork itself', () => {
    const second = forkOf(fork, -1)
    expect(beginningOf(second)).toBe(-2)
    expect(second.lineage).toMatchObject({ depth: 2, segments: [{ depth: 0, start: 5, end: 7 }] })
  })
})

describe('offsetOf and locate', () => {
  test('lead back to every position, and offsets sort like positions', () => {
    fc.assert(
      fc.property(chains, (own) => {
        const positions = positionsOf(own)
        expect(positions.map((position) => located(own, position))).toEqual(positions)
        const offsets = positions.map((position) => offsetOf(own, position))
        expect(offsets).toEqual([...offsets].sort())
        expect(new Set(offsets).size).toBe(offsets.length)
      }),
    )
  })

  test('mean the same data to a fork as to its source', () => {
    fc.assert(
      fc.property(chains, fc.nat(1000), (own, choice) => {
        const point = pick(own, choice)
        const child = forkOf(own, point)
        const shared = positionsOf(own).filter((position) => position < point)
        const places = shared.map((position) => {
          const at = locate(child, wire(own, position))
          const part = inheritedAt(child, at as number)
          return [part?.segment.depth, part?.seqNum]
        })
        const wanted = shared.map((position) => {
          const { depth, seqNum } = wire(own, position)
          return [depth, seqNum]
        })
        expect(places).toEqual(wanted)
      }),
    )
  })

  test('walk from the beginning to the own part without a gap', () => {
    fc.assert(
      fc.property(chains, (own) => {
        let position = beginningOf(own)
        for (let step = 0; step < 100; step += 1) {
          const part = inheritedAt(own, position)
          if (part === undefined) break
          position = part.positionAt(part.segment.end)
        }
        expect(position).toBe(own.start)
      }),
    )
  })
})

describe('without', () => {
  test('makes the offsets of what is lost gone, and moves no other', () => {
    fc.assert(
      fc.property(chains, fc.nat(1000), (own, choice) => {
        const earliest = pick(own, choice)
        const left = without(own, earliest)
        expect(beginningOf(left)).toBe(earliest)
        for (const position of positionsOf(own)) {
          const expected = position < earliest ? 'gone' : position
          expect(locate(left, wire(own, position))).toBe(expected)
          if (position >= earliest) expect(offsetOf(left, position)).toBe(offsetOf(own, position))
        }
      }),
    )
  })
})

describe('forkAt', () => {
  const aborted: [number, number][] = [[6, 9], [12, 15], [20, 30]] // prettier-ignore
  const own = { ...source, name: 's', incarnation: 'i', aborted, voids: [6, 20] }

  test('knows of the aborted groups in what is inherited, and which hold nothing', () => {
    expect(forkAt(own, 25).segments).toMatchObject([{ aborted, voids: [6, 20] }])
    expect(forkAt(own, 13).segments).toMatchObject([{ aborted: aborted.slice(0, 2), voids: [6] }])
    expect(forkAt(own, 6).segments[0]).not.toHaveProperty('aborted')
  })
})

describe('oversize', () => {
  const segment = { stream: 's', incarnation: 'i', depth: 0, base: 0, start: 0, end: 9 }
  const ranges = (count: number) =>
    Array.from({ length: count }, (_, n): [number, number] => [10 ** 12 + n, 10 ** 12 + n + 1])
  const of = (segments: number, aborted = 0): Lineage => ({
    depth: segments,
    segments: Array.from({ length: segments }, () =>
      aborted === 0 ? segment : { ...segment, aborted: ranges(aborted) },
    ),
  })

  test.each<[string, Lineage, ReturnType<typeof oversize>]>([
    ['nothing', NO_LINEAGE, undefined],
    ['a few forks of forks', of(20), undefined],
    ['one source in which as many appends were broken off as may be', of(1, 200), undefined],
    ['too many forks of forks', of(300), 'forks'],
    ['a few of them, each with many broken-off appends', of(5, 200), 'aborted'],
  ])('says what is too much: %s', (_name, lineage, excess) => {
    expect(oversize(lineage)).toBe(excess)
  })
})
