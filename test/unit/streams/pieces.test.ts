import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { PieceJoiner, cutBytes, cutMessage } from '../../../src/streams/pieces.ts'

const PIECE = 127 * 1024

describe('cutBytes', () => {
  test('loses nothing, and makes no piece larger than may be', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 1, maxLength: 50 }),
        fc.nat(5 * PIECE),
        (pattern, size) => {
          const body = Buffer.alloc(size + 1, pattern)
          const pieces = cutBytes(body)
          expect(Buffer.concat(pieces).equals(body)).toBe(true)
          for (const piece of pieces) {
            expect(piece.length).toBeGreaterThan(0)
            expect(piece.length).toBeLessThanOrEqual(PIECE)
          }
        },
      ),
      { numRuns: 50 },
    )
  })

  test.each(['é', '€', '\u{1F600}', 'a\r\n', '\r\n', '\u{1F600}\r\né'])(
    'never cuts %j in two',
    (unit) => {
      for (let shift = 0; shift < 8; shift += 1) {
        const text = 'x'.repeat(shift) + unit.repeat(PIECE)
        const pieces = cutBytes(Buffer.from(text)).map((piece) => Buffer.from(piece).toString())
        expect(pieces.join('')).toBe(text)
        for (const piece of pieces.slice(1)) expect(piece.startsWith('\n')).toBe(false)
      }
    },
  )

  test('cuts what is no text anywhere', () => {
    const pieces = cutBytes(Buffer.alloc(3 * PIECE, 0x80))
    expect(pieces.map(({ length }) => length)).toEqual([PIECE, PIECE, PIECE])
  })
})

describe('PieceJoiner', () => {
  test('gives back each message when it is whole', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(4 * PIECE), { minLength: 1, maxLength: 4 }), (sizes) => {
        const joiner = new PieceJoiner()
        let seqNum = 0
        for (const size of sizes) {
          const message = Buffer.alloc(size + PIECE + 1, `${size},`)
          const pieces = cutMessage(message)
          const joined = pieces.map(({ body, piece }) => joiner.take(seqNum++, body, piece!))
          expect(joined.slice(0, -1).every((body) => body === undefined)).toBe(true)
          expect(Buffer.from(joined.at(-1)!).equals(message)).toBe(true)
          expect(joiner.start).toBeUndefined()
        }
      }),
      { numRuns: 30 },
    )
  })

  test('gives nothing of a message whose beginning it has not seen, or whose middle is missing', () => {
    const joiner = new PieceJoiner()
    const body = Buffer.from('x')
    expect(joiner.take(1, body, { index: 2, count: 2 })).toBeUndefined()
    joiner.take(2, body, { index: 1, count: 3 })
    expect(joiner.start).toBe(2)
    expect(joiner.take(3, body, { index: 3, count: 3 })).toBeUndefined()
    expect(joiner.start).toBeUndefined()
  })

  test('leaves a message that fits in a record as it is', () => {
    expect(cutMessage(Buffer.alloc(PIECE))).toEqual([{ body: Buffer.alloc(PIECE) }])
    expect(cutMessage(Buffer.alloc(0))).toEqual([{ body: Buffer.alloc(0) }])
  })
})
