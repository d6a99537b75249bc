import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { judgeProducer, parseProducerClaim } from '../../../src/protocol/producer.ts'
import type { ProducerState } from '../../../src/protocol/producer.ts'

const claim = (epoch: number, seq: number) => ({ id: 'p1', epoch, seq })

describe('judgeProducer (PROTOCOL §5.2.1)', () => {
  const state = { epoch: 2, lastSeq: 7 }

  test.each([
    ['accepts the next seq', claim(2, 8), { kind: 'accepted', next: { epoch: 2, lastSeq: 8 } }],
    ['calls the last seq a duplicate', claim(2, 7), { kind: 'duplicate', lastSeq: 7 }],
    ['calls any earlier seq a duplicate', claim(2, 0), { kind: 'duplicate', lastSeq: 7 }],
    ['names the seq it expected after a gap', claim(2, 9), { kind: 'gap', expectedSeq: 8 }],
    ['fences an older epoch', claim(1, 8), { kind: 'stale_epoch', currentEpoch: 2 }],
    ['fences an older epoch at seq 0', claim(1, 0), { kind: 'stale_epoch', currentEpoch: 2 }],
    ['starts a new epoch at 0', claim(3, 0), { kind: 'accepted', next: { epoch: 3, lastSeq: 0 } }],
    ['starts a new epoch nowhere else', claim(3, 1), { kind: 'bad_epoch_start' }],
    ['may skip epochs', claim(9, 0), { kind: 'accepted', next: { epoch: 9, lastSeq: 0 } }],
  ])('%s', (_name, given, verdict) => {
    expect(judgeProducer(given, state)).toEqual(verdict)
  })

  test.each([
    ['at 0', claim(0, 0), { kind: 'accepted', next: { epoch: 0, lastSeq: 0 } }],
    ['in any epoch', claim(5, 0), { kind: 'accepted', next: { epoch: 5, lastSeq: 0 } }],
    ['nowhere past 0', claim(0, 5), { kind: 'gap', expectedSeq: 0 }],
  ])('starts an unknown producer %s', (_name, given, verdict) => {
    expect(judgeProducer(given, undefined)).toEqual(verdict)
  })

  test('stores each batch once and in order, however often and late requests arrive', () => {
    const arrivals = fc.array(fc.record({ epoch: fc.nat(3), seq: fc.nat(6) }), { maxLength: 200 })
    fc.assert(
      fc.property(arrivals, (requests) => {
        const stored: string[] = []
        let state: ProducerState | undefined
        for (const { epoch, seq } of requests) {
          const verdict = judgeProducer(claim(epoch, seq), state)
          if (verdict.kind !== 'accepted') continue
          const inOrder =
            state === undefined || epoch > state.epoch ? seq === 0 : seq === state.lastSeq + 1
          expect(inOrder).toBe(true)
          state = verdict.next
          stored.push(`${epoch}:${seq}`)
        }
        expect(new Set(stored).size).toBe(stored.length)
      }),
    )
  })
})

describe('parseProducerClaim (PROTOCOL §5.2.1)', () => {
  const headers = (id?: string, epoch?: string, seq?: string) => ({
    'producer-id': id,
    'producer-epoch': epoch,
    'producer-seq': seq,
  })

  test.each([
    ['plain numbers', headers('p', '0', '17'), { id: 'p', epoch: 0, seq: 17 }],
    [
      'the greatest numbers',
      headers('p', '9007199254740991', '9007199254740991'),
      { id: 'p', epoch: Number.MAX_SAFE_INTEGER, seq: Number.MAX_SAFE_INTEGER },
    ],
    [
      'the longest id',
      headers('x'.repeat(256), '0', '0'),
      { id: 'x'.repeat(256), epoch: 0, seq: 0 },
    ],
    ['no claim', {}, undefined],
  ])('reads %s', (_name, given, expected) => {
    expect(parseProducerClaim(given)).toEqual(expected)
  })

  test.each([
    ['the id alone', headers('p')],
    ['the epoch alone', headers(undefined, '0')],
    ['no seq', headers('p', '0')],
    ['no id', headers(undefined, '0', '0')],
    ['an empty id', headers('', '0', '0')],
    ['an id too long', headers('x'.repeat(257), '0', '0')],
    ['an id too long in UTF-8', headers('é'.repeat(129), '0', '0')],
    ['an empty epoch', headers('p', '', '0')],
    ['trailing junk', headers('p', '0', '1abc')],
    ['hexadecimal', headers('p', '0xyz', '0')],
    ['scientific notation', headers('p', '1e3', '0')],
    ['a minus', headers('p', '-1', '0')],
    ['a plus', headers('p', '0', '+1')],
    ['a decimal point', headers('p', '0', '1.0')],
    ['a space', headers('p', '0', ' 1')],
    ['a leading zero', headers('p', '0', '01')],
    ['two values joined by Node', headers('p', '0', '1, 2')],
    ['2^53', headers('p', '0', '9007199254740992')],
    ['2^53 + 1', headers('p', '9007199254740993', '0')],
  ])('refuses %s', (_name, given) => {
    expect(() => parseProducerClaim(given)).toThrow(
      expect.objectContaining({ code: 'invalid_producer' }),
    )
  })
})
