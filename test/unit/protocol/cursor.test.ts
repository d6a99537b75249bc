import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { nextCursor, parseCursor } from '../../../src/protocol/cursor.ts'

const BASE = 2 ** 40
const seqNum = fc.integer({ min: 0, max: 2 ** 42 })
const idleMs = fc.integer({ min: -60_000, max: 2 ** 36 })

describe('nextCursor (PROTOCOL §10.1)', () => {
  test.each([
    ['starts at the base', { seqNum: 0, idleMs: 0 }, BASE],
    ['follows the position', { seqNum: 5, idleMs: 0 }, BASE + 5 * 1024],
    ['stays within an idle interval', { seqNum: 5, idleMs: 19_999 }, BASE + 5 * 1024],
    ['moves on with each idle interval', { seqNum: 5, idleMs: 40_000 }, BASE + 5 * 1024 + 2],
    ['stops before the next position', { seqNum: 5, idleMs: 1e12 }, BASE + 5 * 1024 + 1023],
    ['takes a clock behind for no idle time', { seqNum: 5, idleMs: -1 }, BASE + 5 * 1024],
    ['ignores a lower cursor', { seqNum: 5, idleMs: 0, clientCursor: 7 }, BASE + 5 * 1024],
    ['surpasses an equal one', { seqNum: 0, idleMs: 0, clientCursor: BASE }, BASE + 1],
    ['surpasses a higher one', { seqNum: 0, idleMs: 0, clientCursor: BASE + 9 }, BASE + 10],
    [
      'surpasses the highest one it reads',
      { seqNum: 0, idleMs: 0, clientCursor: 2 ** 53 - 2 },
      2 ** 53 - 1,
    ],
    ['stays exact at any position', { seqNum: 2 ** 52, idleMs: 0 }, 2 ** 53 - 1],
  ])('%s', (_name, input, cursor) => {
    expect(nextCursor(input)).toBe(cursor)
  })

  test('is strictly greater than the client cursor, and an exact number', () => {
    const clientCursor = fc.option(fc.integer({ min: 0, max: 2 ** 53 - 2 }), { nil: undefined })
    fc.assert(
      fc.property(seqNum, idleMs, clientCursor, (position, idle, client) => {
        const cursor = nextCursor({ seqNum: position, idleMs: idle, clientCursor: client })
        expect(Number.isSafeInteger(cursor)).toBe(true)
        expect(cursor).toBeGreaterThan(client ?? -1)
      }),
    )
  })

  test('grows with the position, however long the earlier one was idle', () => {
    fc.assert(
      fc.property(seqNum, idleMs, idleMs, (position, before, after) => {
        const cursor = nextCursor({ seqNum: position, idleMs: before })
        expect(nextCursor({ seqNum: position + 1, idleMs: after })).toBeGreaterThan(cursor)
      }),
    )
  })

  test('brings readers that joined at different times to one cursor', () => {
    let early: number | undefined
    for (let position = 1; position <= 100; position++) {
      early = nextCursor({ seqNum: position, idleMs: 0, clientCursor: early })
    }
    expect(early).toBe(nextCursor({ seqNum: 100, idleMs: 0 }))
  })
})

describe('parseCursor', () => {
  test.each([
    ['0', 0],
    ['1000', 1000],
    ['9007199254740990', 2 ** 53 - 2],
    ['', undefined],
    ['abc', undefined],
    ['-1', undefined],
    ['1.5', undefined],
    ['1e3', undefined],
    [' 1', undefined],
    ['1\n', undefined],
    ['9007199254740991', undefined],
    ['9007199254740993', undefined],
    ['99999999999999999999', undefined],
  ])('reads %j as %j', (text, cursor) => {
    expect(parseCursor(text)).toBe(cursor)
  })

  test('reads what nextCursor gives', () => {
    fc.assert(
      fc.property(seqNum, idleMs, (position, idle) => {
        const cursor = nextCursor({ seqNum: position, idleMs: idle })
        expect(parseCursor(String(cursor))).toBe(cursor)
      }),
    )
  })
})
