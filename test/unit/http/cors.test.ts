import { describe, expect, test } from 'vitest'
import {
  ALLOWED_HEADERS,
  Cors,
  EXPOSED_HEADERS,
  joinVary,
  withCommon,
} from '../../../src/http/cors.ts'
import { loadConfig } from '../../../src/config.ts'
import * as headerNames from '../../../src/protocol/headers.ts'

/** Every header that the code knows by name, be it PROTOCOL's or our own. */
const NAMES = Object.values(headerNames).filter((value) => typeof value === 'string')

/** PROTOCOL §13.2, without the one of webhooks, which no page sends or gets. */
const REGISTERED = [
  'Stream-TTL',
  'Stream-Expires-At',
  'Stream-Seq',
  'Stream-Cursor',
  'Stream-Next-Offset',
  'Stream-Up-To-Date',
  'Stream-Closed',
  'Stream-Forked-From',
  'Stream-Fork-Offset',
  'Stream-Fork-Sub-Offset',
]
/** PROTOCOL §5.2.1 and §5.8. */
const OTHERS = [
  'Producer-Id',
  'Producer-Epoch',
  'Producer-Seq',
  'Producer-Expected-Seq',
  'Producer-Received-Seq',
  'Stream-SSE-Data-Encoding',
]
const OWN = ['Stream-Public', 'Stream-Reader-Key', 'Stream-Earliest-Offset', 'Stream-Traceparent']

describe('pages', () => {
  test.each([...NAMES, ...REGISTERED, ...OTHERS, ...OWN])('may send and read %s', (name) => {
    expect(ALLOWED_HEADERS).toContain(name)
    expect(EXPOSED_HEADERS).toContain(name)
  })

  test.each([
    'Authorization',
    'Cache-Control',
    'Content-Type',
    'If-None-Match',
    'Last-Event-ID',
    'Traceparent',
    'Tracestate',
    'Baggage',
  ])('may send %s', (name) => {
    expect(ALLOWED_HEADERS).toContain(name)
  })

  test.each([
    'ETag',
    'Location',
    'RateLimit',
    'RateLimit-Policy',
    'Retry-After',
    'WWW-Authenticate',
    'Allow',
  ])('may read %s', (name) => {
    expect(EXPOSED_HEADERS).toContain(name)
  })

  test('are told each name once', () => {
    expect(new Set(ALLOWED_HEADERS).size).toBe(ALLOWED_HEADERS.length)
    expect(new Set(EXPOSED_HEADERS).size).toBe(EXPOSED_HEADERS.length)
  })
})

const cors = (env: Record<string, string> = {}) => new Cors(loadConfig(env).cors)
const A = 'https://a.example'
const B = 'https://b.example'
const ORIGIN = 'access-control-allow-origin'

describe('Cors', () => {
  test('has one constant for all when all may read, without a look at the request', () => {
    const open = cors()
    expect(open.forAll).toMatchObject({ [ORIGIN]: '*' })
    expect(open.forAll).not.toHaveProperty('vary')
    expect(open.forUnknown).toBe(open.forAll)
    for (const origin of [undefined, A, 'null', 'x']) {
      expect(open.headersFor('/v1/stream/s', origin)).toBe(open.forAll)
    }
    expect(cors({ CORS_PROJECT_ORIGINS: 'acme=*' }).headersFor('/v1/stream/acme/s', A)).toBe(
      open.forAll,
    )
  })

  test('tells a listed origin that it may read, with one object each time', () => {
    const listed = cors({ CORS_ORIGINS: `${A} https://*.a.example` })
    const headers = listed.headersFor('/v1/stream/s', A)
    expect(headers).toEqual({
      'x-content-type-options': 'nosniff',
      'cross-origin-resource-policy': 'cross-origin',
      'cache-control': 'no-store',
      vary: 'Origin',
      [ORIGIN]: A,
      'access-control-expose-headers': EXPOSED_HEADERS.join(', '),
    })
    expect(listed.headersFor('/healthz', A)).toBe(headers)
    for (let index = 0; index < 1000; index += 1) {
      const origin = `https://x${index}.a.example`
      expect(listed.headersFor('/v1/stream/s', origin)[ORIGIN]).toBe(origin)
    }
    expect(listed.headersFor('/v1/stream/s', A)).toEqual(headers)
  })

  test('has no word for others but that it depends on the origin', () => {
    const listed = cors({ CORS_ORIGINS: A, CORS_CREDENTIALS: 'true' })
    const headers = {
      'x-content-type-options': 'nosniff',
      'cross-origin-resource-policy': 'cross-origin',
      'cache-control': 'no-store',
      vary: 'Origin',
    }
    for (const origin of [undefined, B, 'null', `${A}.evil.com`, '']) {
      expect(listed.headersFor('/v1/stream/s', origin)).toEqual(headers)
    }
    expect(listed.forUnknown).toEqual(headers)
  })

  test('lets pages read with cookies only when told', () => {
    const credentials = (env: Record<string, string>) =>
      cors({ CORS_ORIGINS: A, ...env }).headersFor('/v1/stream/s', A)[
        'access-control-allow-credentials'
      ]
    expect(credentials({})).toBeUndefined()
    expect(credentials({ CORS_CREDENTIALS: 'true' })).toBe('true')
  })

  test.each([
    ['/v1/stream/acme/s', B],
    ['/v1/stream/acme', B],
    ['/v1/stream/%61cme/s', B],
    ['/v1/stream/acme%2Fs', B],
    ['/v1/stream/acme%2fs', B],
    ['/v1/stream/acme/%zz', B],
    ['/v1/stream/acme//', B],
    ['/v1/stream/b%C3%BCro/s', B],
    ['/v1/stream/acme2/s', A],
    ['/v1/stream/ACME/s', A],
    ['/v1/stream/acme%252Fs', A],
    ['/v1/stream/other/acme', A],
    ['/v1/stream//acme', A],
    ['/v1/stream/%zz/acme', A],
    ['/v1/stream/', A],
    ['/v1/stream', A],
    ['/v1/stream/__ds/subscriptions/acme', A],
    ['/acme/s', A],
    ['/healthz', A],
    ['*', A],
  ])('takes %s for what %s may read', (path, origin) => {
    const listed = cors({ CORS_ORIGINS: A, CORS_PROJECT_ORIGINS: `acme=${B};b\u00fcro=${B}` })
    const readers = [A, B].filter((from) => ORIGIN in listed.headersFor(path, from))
    expect(readers).toEqual([origin])
  })

  test('has tickets asked for by pages that may read anything', () => {
    const listed = cors({ CORS_ORIGINS: A, CORS_PROJECT_ORIGINS: `acme=${B}` })
    const readers = [A, B, 'https://c.example', undefined].filter(
      (from) => ORIGIN in listed.headersFor('/v1/stream/__ds/tickets', from),
    )
    expect(readers).toEqual([A, B])
  })

  test('leaves all but a project to all, and says of that alone that it depends', () => {
    const mixed = cors({ CORS_PROJECT_ORIGINS: `acme=${A}` })
    expect(mixed.forAll).toBeUndefined()
    expect(mixed.headersFor('/v1/stream/s', B)).toBe(cors().forAll)
    expect(mixed.headersFor('/v1/stream/acme/s', B)).toEqual(mixed.forUnknown)
    expect(mixed.forUnknown).toMatchObject({ vary: 'Origin' })
    expect(mixed.forUnknown).not.toHaveProperty(ORIGIN)
  })
})

describe('withCommon', () => {
  test.each([
    [undefined, undefined, undefined],
    ['Origin', undefined, 'Origin'],
    [undefined, 'Authorization, Cookie', 'Authorization, Cookie'],
    ['Origin', 'Authorization, Cookie', 'Authorization, Cookie, Origin'],
    ['Origin', 'origin', 'origin'],
    ['Origin', 'Cookie,ORIGIN', 'Cookie,ORIGIN'],
    ['Origin', '*', '*'],
  ])('makes of Vary %s and %s %s', (common, own, vary) => {
    const of = (value: string | undefined) => (value === undefined ? {} : { vary: value })
    expect(withCommon({ 'cache-control': 'no-store', ...of(common) }, of(own))).toEqual({
      'cache-control': 'no-store',
      ...of(vary),
    })
  })

  test('has an answer’s own headers in place of the common ones', () => {
    expect(withCommon({ a: '1', b: '2' }, { b: '3', c: '4' })).toEqual({ a: '1', b: '3', c: '4' })
  })
})

test('joinVary names what is named already no second time', () => {
  expect(joinVary(joinVary('Cookie', 'Origin'), 'Origin')).toBe('Cookie, Origin')
})
