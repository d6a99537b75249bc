import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { formatOffset, parseOffset } from '../../../src/protocol/offset.ts'

const number = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })
const position = fc.record({ depth: number, seqNum: number })

describe('formatOffset (PROTOCOL §8)', () => {
  test('writes depth and seq num in 16 digits each', () => {
    expect(formatOffset({ depth: 2, seqNum: 345 })).toBe('0000000000000002_0000000000000345')
  })

  test('sorts as text the way positions sort', () => {
    fc.assert(
      fc.property(position, position, (a, b) => {
        const order = Math.sign(a.depth - b.depth) || Math.sign(a.seqNum - b.seqNum)
        const [textA, textB] = [formatOffset(a), formatOffset(b)]
        expect(textA < textB ? -1 : textA > textB ? 1 : 0).toBe(order)
      }),
    )
  })
})

describe('parseOffset (PROTOCOL §8)', () => {
  test.each([
    ['-1', { kind: 'beginning' }],
    ['now', { kind: 'now' }],
    ['0000000000000001_0000000000000002', { kind: 'position', position: { depth: 1, seqNum: 2 } }],
  ])('reads %j', (text, request) => {
    expect(parseOffset(text)).toEqual(request)
  })

  test('reads what formatOffset writes', () => {
    fc.assert(
      fc.property(position, (given) => {
        expect(parseOffset(formatOffset(given))).toEqual({ kind: 'position', position: given })
      }),
    )
  })

  test.each([
    '',
    '0',
    '-2',
    'NOW',
    'a,b',
    '0_0',
    '0000000000000000_000000000000000',
    '0000000000000000_00000000000000000',
    '0000000000000000_000000000000000x',
    '0000000000000000-0000000000000000',
    ' 0000000000000000_0000000000000000',
    '0000000000000000_0000000000000000\n',
    '9999999999999999_0000000000000000',
    '0000000000000000_9007199254740992',
    '０000000000000000_0000000000000000',
  ])('refuses %j', (text) => {
    expect(() => parseOffset(text)).toThrow(expect.objectContaining({ code: 'invalid_offset' }))
  })
})
