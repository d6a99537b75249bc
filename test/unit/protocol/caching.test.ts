import { describe, expect, test } from 'vitest'
import { cacheControl, etag, matchesETag } from '../../../src/protocol/caching.ts'
import type { CacheKind } from '../../../src/protocol/caching.ts'
import { formatOffset } from '../../../src/protocol/offset.ts'

const start = formatOffset({ depth: 0, seqNum: 1 })
const end = formatOffset({ depth: 0, seqNum: 9 })
const range = { incarnation: 'k3x', start, end, closed: false }

describe('etag (PROTOCOL §10.1)', () => {
  test('names the incarnation and the range', () => {
    expect(etag(range)).toBe(
      '"k3x:0000000000000000_0000000000000001:0000000000000000_0000000000000009"',
    )
  })

  test('changes with whatever changes the response', () => {
    const all = [
      etag(range),
      etag({ ...range, closed: true }),
      etag({ ...range, incarnation: 'k3y' }),
      etag({ ...range, start: end }),
      etag({ ...range, end: start }),
    ]
    expect(new Set(all).size).toBe(all.length)
  })
})

describe('matchesETag (RFC 9110 §13.1.2)', () => {
  test.each([
    [undefined, false],
    ['', false],
    ['"a:1:2"', true],
    ['W/"a:1:2"', true],
    ['*', true],
    [' * ', true],
    ['"x", "a:1:2"', true],
    ['"x,y",W/"a:1:2" , "z"', true],
    ['"a:1:2:c"', false],
    ['"A:1:2"', false],
    ['a:1:2', false],
    ['"*"', false],
    ['"a:1:2', false],
    ['"x" "y', false],
  ])('%j: %j', (ifNoneMatch, expected) => {
    expect(matchesETag(ifNoneMatch, '"a:1:2"')).toBe(expected)
  })
})

describe('cacheControl (PROTOCOL §10)', () => {
  test.each<[CacheKind, string]>([
    ['chunk', 'public, max-age=60, stale-while-revalidate=300'],
    ['tail', 'no-cache'],
    ['now', 'no-store'],
    ['long_poll', 'public, max-age=20'],
    ['long_poll_unkeyed', 'no-store'],
    ['long_poll_empty', 'no-store'],
    ['sse', 'no-cache, no-store, no-transform'],
    ['uncached', 'no-store'],
  ])('%s: %s', (kind, value) => {
    expect(cacheControl(kind)).toBe(value)
  })

  test.each<[CacheKind, number, string]>([
    ['chunk', 3_600_000, 'public, max-age=60'],
    ['chunk', 59_999, 'public, max-age=59'],
    ['chunk', 999, 'no-store'],
    ['chunk', 0, 'no-store'],
    ['chunk', -1, 'no-store'],
    ['long_poll', 3_600_000, 'public, max-age=20'],
    ['long_poll', 5_000, 'public, max-age=5'],
    ['long_poll', 0, 'no-store'],
    ['tail', 0, 'no-cache'],
  ])('%s of a stream with %d ms left: %s', (kind, remainingMs, value) => {
    expect(cacheControl(kind, remainingMs)).toBe(value)
  })
})
