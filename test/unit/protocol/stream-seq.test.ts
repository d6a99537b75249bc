import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compareStreamSeq, parseStreamSeq } from '../../../src/protocol/stream-seq.ts'

/** The text a client sends in UTF-8, as Node hands it over. */
const asHeader = (text: string) => Buffer.from(text).toString('latin1')

describe('parseStreamSeq (PROTOCOL §5.2)', () => {
  test.each([undefined, '0', 'seq with spaces', asHeader('é漢'), 'x'.repeat(256)])(
    'reads %j as it is',
    (value) => {
      expect(parseStreamSeq({ 'stream-seq': value })).toBe(value)
    },
  )

  test.each(['', 'x'.repeat(257), asHeader('漢'.repeat(86)), '漢'])('refuses %j', (value) => {
    expect(() => parseStreamSeq({ 'stream-seq': value })).toThrow(
      expect.objectContaining({ code: 'invalid_stream_seq' }),
    )
  })
})

describe('compareStreamSeq (PROTOCOL §5.2)', () => {
  test.each([
    ['2', '10', 1],
    ['09', '10', -1],
    ['a', 'B', 1],
    ['1', '1', 0],
    ['1', '10', -1],
    [asHeader('\u{1f600}'), asHeader('\uffff'), 1],
  ])('orders %j and %j byte by byte', (a, b, order) => {
    expect([compareStreamSeq(a, b), compareStreamSeq(b, a)]).toEqual([order, 0 - order])
  })

  test('orders any text by its UTF-8 bytes', () => {
    const text = fc.string({ unit: 'binary' })
    fc.assert(
      fc.property(text, text, (a, b) => {
        const order = Buffer.compare(Buffer.from(a), Buffer.from(b))
        expect(compareStreamSeq(asHeader(a), asHeader(b))).toBe(order)
      }),
    )
  })
})
