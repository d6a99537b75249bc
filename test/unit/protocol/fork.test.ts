import { describe, expect, test } from 'vitest'
import type { RequestError } from '../../../src/errors.ts'
import { parseFork } from '../../../src/protocol/fork.ts'

const from = { 'stream-forked-from': '/v1/stream/s' }
const OFFSET = '0000000000000001_0000000000000007'

describe('parseFork (PROTOCOL §4.2)', () => {
  test('finds no fork in a request without its headers', () => {
    expect(parseFork({ 'content-type': 'text/plain' })).toBeUndefined()
  })

  test.each([
    ['the tail', from, { offset: undefined, subOffset: 0 }],
    [
      'an offset',
      { ...from, 'stream-fork-offset': OFFSET },
      { offset: { kind: 'position', position: { depth: 1, seqNum: 7 } }, subOffset: 0 },
    ],
    [
      'a sub-offset',
      { ...from, 'stream-fork-offset': '-1', 'stream-fork-sub-offset': '12' },
      { offset: { kind: 'beginning' }, subOffset: 12 },
    ],
  ])('reads %s', (_name, headers, point) => {
    expect(parseFork(headers)).toEqual({ sourcePath: '/v1/stream/s', ...point })
  })

  test.each([
    ['an offset without a source', { 'stream-fork-offset': '-1' }, 'invalid_fork'],
    ['a sub-offset without a source', { 'stream-fork-sub-offset': '0' }, 'invalid_fork'],
    ['a malformed offset', { ...from, 'stream-fork-offset': '7' }, 'invalid_offset'],
    ...['-1', '01', '1.5', '+1', '', 'x', '9999999999999999'].map((text) => [
      `the sub-offset "${text}"`,
      { ...from, 'stream-fork-sub-offset': text },
      'invalid_fork',
    ]),
  ] as [string, Record<string, string>, string][])('refuses %s', (_name, headers, code) => {
    expect(() => parseFork(headers)).toThrow(expect.objectContaining({ code }) as RequestError)
  })
})
