import { describe, expect, test } from 'vitest'
import { cacheControl, cacheHeaders, etag, matchesETag } from '../../../src/protocol/caching.ts'
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
  test.each<[CacheKind, string, string]>([
    ['chunk', 'public, max-age=60, stale-while-revalidate=300', 'private, max-age=60'],
    ['tail', 'no-cache', 'private, no-cache'],
    ['now', 'no-store', 'no-store'],
    ['long_poll', 'public, max-age=20', 'private, max-age=20'],
    ['long_poll_unkeyed', 'no-store', 'no-store'],
    ['long_poll_empty', 'no-store', 'no-store'],
    ['sse', 'no-cache, no-store, no-transform', 'no-cache, no-store, no-transform'],
    ['uncached', 'no-store', 'no-store'],
  ])('%s: %s for all, %s for one', (kind, shared, own) => {
    expect(cacheControl(kind, undefined, 'shared')).toBe(shared)
    expect(cacheControl(kind, undefined, 'private')).toBe(own)
    // Whoever says nothing gives nothing away.
    expect(cacheControl(kind)).toBe(own)
  })

  test.each<[CacheKind, number, string, string]>([
    ['chunk', 3_600_000, 'public, max-age=60', 'private, max-age=60'],
    ['chunk', 59_999, 'public, max-age=59', 'private, max-age=59'],
    ['chunk', 999, 'no-store', 'no-store'],
    ['chunk', 0, 'no-store', 'no-store'],
    ['chunk', -1, 'no-store', 'no-store'],
    ['long_poll', 3_600_000, 'public, max-age=20', 'private, max-age=20'],
    ['long_poll', 5_000, 'public, max-age=5', 'private, max-age=5'],
    ['long_poll', 0, 'no-store', 'no-store'],
    ['tail', 0, 'no-cache', 'private, no-cache'],
  ])('%s of a stream with %d ms left: %s for all, %s for one', (kind, left, shared, own) => {
    expect(cacheControl(kind, left, 'shared')).toBe(shared)
    expect(cacheControl(kind, left, 'private')).toBe(own)
  })
})

describe('cacheHeaders', () => {
  const KINDS: readonly CacheKind[] = [
    ...(['chunk', 'tail', 'now', 'long_poll', 'long_poll_unkeyed', 'long_poll_empty'] as const),
    ...(['sse', 'uncached'] as const),
  ]
  const all = KINDS.flatMap((kind) => [undefined, 0, 5000].map((left) => [kind, left] as const))

  test.each(all)(
    '%s with %s ms left: one who may store it asks as the same client',
    (kind, left) => {
      for (const audience of ['shared', 'private'] as const) {
        const control = cacheControl(kind, left, audience)
        const isOwn = audience === 'private' && !control.includes('no-store')
        expect(cacheHeaders(kind, left, audience)).toEqual({
          'cache-control': control,
          ...(isOwn && { vary: 'Authorization, Cookie' }),
        })
      }
    },
  )
})
