/** What each check makes of what was seen. */
import { describe, expect, test } from 'vitest'
import type { Verdict } from '../../../src/doctor/check.ts'
import { judgeLargeAppend } from '../../../src/doctor/checks/bodies.ts'
import { judgeClock, skewOf } from '../../../src/doctor/checks/clock.ts'
import { judgeCollapsing } from '../../../src/doctor/checks/collapsing.ts'
import type { CollapsingSeen, PollEnd } from '../../../src/doctor/checks/collapsing.ts'
import { judgeKeepAlive, judgeVersion } from '../../../src/doctor/checks/connection.ts'
import { judgeCors } from '../../../src/doctor/checks/cors.ts'
import { judgeCompression, judgeDelivery } from '../../../src/doctor/checks/delivery.ts'
import { judgeUrls } from '../../../src/doctor/checks/passing.ts'
import { judgePrivacy } from '../../../src/doctor/checks/privacy.ts'
import {
  burstFor,
  isTooMany,
  judgeRefusals,
  judgeWaits,
} from '../../../src/doctor/checks/refusals.ts'
import { judgePollSilence, judgeSseSilence } from '../../../src/doctor/checks/silence.ts'
import { judgeExistence, judgeTail } from '../../../src/doctor/checks/tail.ts'
import type { Headers } from '../../../src/doctor/wire.ts'

const brief = ({ status, remedy }: Verdict) => (remedy === undefined ? [status] : [status, remedy])

describe('events', () => {
  const GOOD = {
    contentType: 'text/event-stream',
    firstMs: 10,
    otherFirstMs: 10,
    deliveryMs: 5,
    endMs: 5,
    waitedMs: 1000,
  }
  test.each([
    ['prompt', {}, ['ok']],
    ['no first one', { firstMs: undefined }, ['fail', 'buffering']],
    ['of another type', { contentType: 'text/plain' }, ['fail', 'responseHeaders']],
    ['none for another reader', { otherFirstMs: undefined }, ['fail', 'sseCollapsed']],
    ['no appended one', { deliveryMs: undefined }, ['fail', 'buffering']],
    ['a late one', { deliveryMs: 1500 }, ['warn', 'buffering']],
    ['a late first one', { firstMs: 1500 }, ['warn', 'buffering']],
    ['without an end', { endMs: undefined }, ['warn', 'buffering']],
  ])('%s', (_what, changes, expected) => {
    expect(brief(judgeDelivery({ ...GOOD, ...changes }))).toEqual(expected)
  })

  test.each([
    [undefined, true, true, ['ok']],
    ['identity', true, true, ['ok']],
    ['gzip', true, true, ['fail', 'compression']],
    [undefined, false, true, ['fail', 'compression']],
    [undefined, false, false, ['skip']],
  ])('compressed with %s, answered %s, plain %s', (coding, answered, plain, expected) => {
    expect(brief(judgeCompression(coding, { answered, plain }))).toEqual(expected)
  })
})

describe('silence', () => {
  type Ends = readonly (readonly [number, 'told' | 'silent' | 'cut' | 'none'])[]
  const cases: readonly (readonly [string, Ends, number, readonly string[]])[] = [
    ['survived', [[20_000, 'none']], 1, ['ok']],
    ['survived over connections', [[9_000, 'told'], [9_000, 'none']], 2, ['ok']], // prettier-ignore
    ['without heartbeats', [[20_000, 'none']], 0, ['warn', 'noHeartbeat']],
    ['cut off', [[5_000, 'cut']], 0, ['fail', 'idleTimeout']],
    ['ended by somebody else', [[5_000, 'silent']], 0, ['fail', 'idleTimeout']],
    ['too short', [[500, 'told'], [9_000, 'none']], 1, ['fail', 'idleTimeout']], // prettier-ignore
  ]
  test.each(cases)('%s', (_what, ends, heartbeats, expected) => {
    const connections = ends.map(([livedMs, end]) => ({ livedMs, end }))
    const seen = { idleMs: 20_000, longestGapMs: 1, connections, heartbeats }
    expect(brief(judgeSseSilence(seen))).toEqual(expected)
  })

  test.each([
    [{ waitedMs: 20_000, status: 204 }, ['ok']],
    [{ waitedMs: 25_000, status: undefined }, ['ok']],
    [{ waitedMs: 10_000, status: 504 }, ['fail', 'pollTimeout']],
    [{ waitedMs: 10_000, status: undefined, problem: 'reset' }, ['fail', 'pollTimeout']],
  ])('a long-poll: %o', (seen, expected) => {
    expect(brief(judgePollSilence(seen))).toEqual(expected)
  })
})

describe('connections', () => {
  const NOTHING = { altSvc: undefined, maxConcurrent: undefined }
  test.each([
    ['no TLS', { ...NOTHING, isTls: false, protocol: undefined }, ['warn', 'http2']],
    ['TLS alone', { ...NOTHING, isTls: true, protocol: 'http/1.1' }, ['warn', 'http2']],
    ['HTTP/2', { ...NOTHING, isTls: true, protocol: 'h2' }, ['ok']],
    [
      'HTTP/3 alone',
      { ...NOTHING, isTls: true, protocol: 'http/1.1', altSvc: 'h3=":443"; ma=86400' },
      ['ok'],
    ],
    [
      'HTTP/2 with little room',
      { ...NOTHING, isTls: true, protocol: 'h2', maxConcurrent: 10 },
      ['warn', 'concurrentStreams'],
    ],
  ])('%s', (_what, seen, expected) => {
    expect(brief(judgeVersion(seen))).toEqual(expected)
  })

  test.each([
    [1, ['ok']],
    [2, ['warn', 'keepAlive']],
    [5, ['warn', 'keepAlive']],
  ])('%i for five requests', (connections, expected) => {
    expect(brief(judgeKeepAlive(5, connections))).toEqual(expected)
  })
})

describe('pages of other origins', () => {
  const ORIGIN = 'https://app.example'
  const FREE: Headers = {
    'access-control-allow-origin': '*',
    'access-control-expose-headers':
      'ETag, Retry-After, Stream-Next-Offset, Stream-Up-To-Date, Stream-Cursor, Stream-Closed',
  }
  const PREFLIGHT = {
    ...FREE,
    status: '204',
    'access-control-allow-methods': 'GET, HEAD, PUT, POST, DELETE',
    'access-control-allow-headers':
      'Authorization, Content-Type, If-None-Match, Last-Event-ID, Producer-Id, Producer-Epoch, Producer-Seq, Stream-Closed',
  }
  const without = (name: string): Headers =>
    Object.fromEntries(Object.entries(FREE).filter(([other]) => other !== name))
  const judge = (answer: Headers, preflight: Headers & { status: string } = PREFLIGHT) =>
    brief(judgeCors({ origin: ORIGIN, isDemanded: true, preflight, answers: { 'a read': answer } }))
  const named = { ...FREE, 'access-control-allow-origin': ORIGIN }

  test.each([
    ['all may read', FREE, ['ok']],
    ['named ones may', { ...named, vary: 'Accept, Origin' }, ['ok']],
    ['named ones may, but it does not say so', named, ['warn', 'corsStripped']],
    ['named twice', { ...FREE, 'access-control-allow-origin': '*, *' }, ['fail', 'corsStripped']],
    ['not exposed', without('access-control-expose-headers'), ['fail', 'corsStripped']],
    ['all exposed', { ...FREE, 'access-control-expose-headers': '*' }, ['ok']],
    ['no word', {}, ['fail', 'corsStripped']],
  ])('%s', (_what, answer, expected) => {
    expect(judge(answer)).toEqual(expected)
  })

  test.each([
    ['refused', { ...PREFLIGHT, status: '403' }],
    ['without methods', { ...PREFLIGHT, 'access-control-allow-methods': 'GET' }],
    ['without headers', { ...PREFLIGHT, 'access-control-allow-headers': 'Content-Type' }],
  ])('a preflight %s', (_what, preflight) => {
    expect(judge(FREE, preflight)).toEqual(['fail', 'corsStripped'])
  })

  test.each([
    [true, ['fail', 'corsOrigin']],
    [false, ['skip']],
  ])('that may not read, named %s', (isDemanded, expected) => {
    const preflight = { status: '204', vary: 'Origin' }
    const answers = { 'a read': { vary: 'Origin' } }
    expect(brief(judgeCors({ origin: ORIGIN, isDemanded, preflight, answers }))).toEqual(expected)
  })
})

describe('the tail', () => {
  const read = (got: string, headers: Headers = {}) => ({
    what: 'a read',
    expected: '"a"',
    got,
    headers,
  })
  test.each([
    ['fresh', [read('"a"', { 'cache-control': 'no-cache' })], ['ok']],
    ['stale', [read('"a"'), read('""', { age: '3' })], ['fail', 'staleTail']],
    ['rewritten', [read('"a"', { 'cache-control': 'max-age=14400' })], ['fail', 'staleTail']],
    ['to be asked for', [read('"a"', { 'cache-control': 'no-cache, max-age=60' })], ['ok']],
    ['kept for no time', [read('"a"', { 'cache-control': 'public, max-age=0' })], ['ok']],
  ])('%s', (_what, reads, expected) => {
    expect(brief(judgeTail(reads))).toEqual(expected)
  })

  test('says which cache gave what is stale', () => {
    expect(judgeTail([read('""', { age: '3', 'x-cache': 'HIT' })]).seen).toContain(
      'age: 3, x-cache: HIT',
    )
  })

  test.each([
    ['a read', 404, 404, ['ok']],
    ['a read', 200, 404, ['fail', 'staleTail']],
    ['DELETE', 204, 405, ['fail', 'methods']],
  ])('%s that should be %i and is %i', (what, wanted, status, expected) => {
    expect(brief(judgeExistence([{ what, wanted, status }]))).toEqual(expected)
  })
})

describe('fifty polls', () => {
  const answer = (body: string, headers: Headers = {}): PollEnd => ({
    status: 200,
    headers: { 'stream-next-offset': '1', 'stream-cursor': '1', ...headers },
    body,
    headAt: 10,
  })
  const GOOD: CollapsingSeen = {
    expected: 'second',
    polls: [answer('second'), answer('second')],
    append: { status: 204, headAt: 5 },
    late: answer('secondthird'),
    next: answer('third'),
    nextExpected: 'third',
    afterDelete: 404,
    keepsHistory: false,
  }
  const HIT = { 'x-cache': 'HIT' }
  test.each<[string, Partial<CollapsingSeen>, readonly string[], RegExp]>([
    ['without a cache', {}, ['ok'], /no shared cache seen/],
    ['one is lost', { polls: [answer('second'), 'reset'] }, ['fail', 'collapsing'], /reset/],
    ['one has less', { polls: [answer('second'), answer('')] }, ['fail', 'collapsing'], /1 of 2/],
    [
      'one has another cursor',
      { polls: [answer('second'), answer('second', { 'stream-cursor': '2' })] },
      ['fail', 'collapsing'],
      /2 different answers/,
    ],
    ['the late one is not served', { late: 'no answer in time' }, ['fail', 'collapsing'], /later/],
    ['they go in a circle', { next: answer('second') }, ['fail', 'cacheKey'], /polled on/],
    ['kept by a cache', { afterDelete: 200 }, ['ok'], /a shared cache keeps it/],
    ['a cache says so', { polls: [answer('second', HIT)] }, ['ok'], /1 of them/],
    ['history alone is kept', { keepsHistory: true }, ['warn', 'collapsing'], /each is a request/],
    [
      'late',
      { polls: [{ ...(answer('second') as Exclude<PollEnd, string>), headAt: 5000 }] },
      ['warn', 'collapsing'],
      /^late/,
    ],
  ])('%s', (_what, changes, expected, seen) => {
    const verdict = judgeCollapsing({ ...GOOD, ...changes })
    expect(brief(verdict)).toEqual(expected)
    expect(verdict.seen).toMatch(seen)
  })
})

describe('private streams', () => {
  const stranger = (status: number) => ({ what: 'history', isStranger: true, status })
  const owner = (status: number) => ({ what: 'history', isStranger: false, status })
  test.each([
    ['kept apart', 401, [stranger(401), owner(200), stranger(401)], ['ok']],
    ['not private', 200, [], ['warn', 'openStreams']],
    ['given away', 401, [owner(200), stranger(200)], ['fail', 'leak']],
    ['told to be unchanged', 401, [owner(200), stranger(304)], ['fail', 'leak']],
    ['refused to all', 401, [stranger(401), owner(401)], ['fail', 'staleTail']],
    ['out of order', 401, [stranger(502)], ['fail', 'errorPages']],
  ])('%s', (_what, before, reads, expected) => {
    expect(brief(judgePrivacy({ before, reads }))).toEqual(expected)
  })
})

describe('refusals', () => {
  const wanted = { status: 404, code: 'stream_not_found', headers: ['allow'] }
  const got = {
    status: 404,
    headers: { 'content-type': 'application/problem+json', allow: 'GET' } as Headers,
    body: '{"code":"stream_not_found"}',
  }
  test.each([
    ['as they are', got, ['ok']],
    ['of another status', { ...got, status: 200 }, ['fail', 'errorPages']],
    ['as a page', { ...got, headers: { 'content-type': 'text/html' } }, ['fail', 'errorPages']],
    ['with another body', { ...got, body: '{}' }, ['fail', 'errorPages']],
    [
      'without a header',
      { ...got, headers: { 'content-type': 'application/problem+json' } },
      ['fail', 'errorPages'],
    ],
  ])('%s', (_what, answer, expected) => {
    expect(brief(judgeRefusals([{ what: 'a read', wanted, got: answer }]))).toEqual(expected)
  })

  test.each([
    [{ refused: 3, withoutWait: 0, provoked: 0 }, ['ok']],
    [{ refused: 3, withoutWait: 1, provoked: 0 }, ['fail', 'retryAfter']],
    [{ refused: 0, withoutWait: 0, provoked: 50 }, ['warn', 'retryAfter']],
    [{ refused: 0, withoutWait: 0, provoked: 0 }, ['skip']],
  ])('for now: %o', (seen, expected) => {
    expect(brief(judgeWaits(seen))).toEqual(expected)
  })

  test.each([
    ['"subject-requests";q=2500;w=1, "subject-creates";q=100;w=1', { quota: 100, size: 301 }],
    ['"subject-creates";q=100;w=1, "project-creates";q=30;w=1', { quota: 30, size: 91 }],
    ['"subject-creates";q=100000;w=1', undefined],
    ['"subject-requests";q=10;w=1', undefined],
    [undefined, undefined],
  ])('are provoked by %s: %o', (policy, burst) => {
    expect(burstFor(policy)).toEqual(burst)
  })

  test('have to come only if the requests did in time', () => {
    const burst = { quota: 100, size: 301 }
    expect([isTooMany(burst, 1900), isTooMany(burst, 2100)]).toEqual([true, false])
  })
})

describe('large appends', () => {
  const answer = (status: number, type = 'text/html') => ({
    status,
    headers: { 'content-type': type },
    body: '',
  })
  test.each([
    ['taken', answer(204), ['ok']],
    ['refused on the way', answer(413), ['fail', 'bodySize']],
    ['refused by the gateway', answer(413, 'application/problem+json'), ['warn', 'bodySize']],
    ['cut off', 'the connection was reset', ['fail', 'bodySize']],
    ['failing otherwise', answer(502), ['fail', 'bodySize']],
  ])('%s', (_what, seen, expected) => {
    expect(brief(judgeLargeAppend(seen, 10))).toEqual(expected)
  })
})

describe('the clock', () => {
  const NOW = Date.parse('2026-01-01T00:01:00.400Z')
  const seen = (date: string | undefined) => ({ date, sentAt: NOW, answeredAt: NOW + 100 })
  test.each([
    ['Thu, 01 Jan 2026 00:01:00 GMT', 0, ['ok']],
    ['Thu, 01 Jan 2026 00:00:58 GMT', -1400, ['ok']],
    ['Thu, 01 Jan 2026 00:01:10 GMT', 9500, ['warn', 'clock']],
    ['Thu, 01 Jan 2026 00:00:00 GMT', -59_400, ['fail', 'clock']],
    ['yesterday', undefined, ['skip']],
    [undefined, undefined, ['skip']],
  ])('that says %s', (date, skew, expected) => {
    expect(skewOf(seen(date))).toBe(skew)
    expect(brief(judgeClock(seen(date)))).toEqual(expected)
  })
})

describe('paths', () => {
  const sent = '/base/v1/stream/a%20b'
  const origin = 'https://a.example'
  test.each([
    [`${origin}${sent}`, ['ok']],
    [sent, ['ok']],
    [undefined, ['warn', 'responseHeaders']],
    [`${origin}/base/v1/stream/a b`, ['fail', 'urls']],
    [`${origin}/base/v1/stream/a%2520b`, ['fail', 'urls']],
    [`http://a.example${sent}`, ['warn', 'location']],
    [`http://internal:4437${sent}`, ['warn', 'location']],
    [`${origin}/v1/stream/a%20b`, ['warn', 'location']],
  ])('with the Location %s', (location, expected) => {
    expect(brief(judgeUrls({ sent, location, origin }))).toEqual(expected)
  })
})
