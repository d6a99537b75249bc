import { describe, expect, test } from 'vitest'
import { loadConfig } from '../../../../src/config.ts'
import { Cors } from '../../../../src/http/cors.ts'
import { LiveGets } from '../../../../src/http/fast/live-get.ts'
import { StreamNames } from '../../../../src/protocol/names.ts'

const MAX_URL_BYTES = 100
const rules = {
  names: new StreamNames(),
  cors: new Cors(loadConfig({}).cors),
  maxUrlBytes: MAX_URL_BYTES,
}

const get = (target: string, ...fields: string[]) =>
  Buffer.from([`GET ${target} HTTP/1.1`, 'Host: h', ...fields, '', ''].join('\r\n'))

describe('LiveGets', () => {
  test('says what a plain live read asks for', () => {
    const offset = '0000000000000000_0000000000000007'
    const sent = get(
      `/v1/stream/a/b%20c?offset=${offset}&live=long-poll&cursor=9`,
      'If-None-Match: "x"',
    )
    expect(new LiveGets(rules).read(sent)).toEqual({
      path: '/v1/stream/a/b%20c',
      name: 'a/b c',
      read: {
        mode: 'long-poll',
        offset: { kind: 'position', position: { depth: 0, seqNum: 7 } },
        cursor: 9,
      },
      ifNoneMatch: '"x"',
      common: rules.cors.forAll,
      readerKey: undefined,
      ticket: undefined,
      authorization: undefined,
      cookie: undefined,
      forwardedFor: undefined,
      headers: { host: 'h', 'if-none-match': '"x"' },
    })
  })

  test('says by what right, as it was sent', () => {
    const target = '/v1/stream/a?offset=now&live=sse&rk=rk_a-b&ticket=x.y_z'
    const sent = get(target, 'AUTHORIZATION: bearer  T.o-k=', 'cookie: __Host-t=v; b="c d"')
    expect(new LiveGets(rules).read(sent)).toMatchObject({
      readerKey: 'rk_a-b',
      ticket: 'x.y_z',
      authorization: 'bearer  T.o-k=',
      cookie: '__Host-t=v; b="c d"',
    })
  })

  test.each([
    ['a path that names no stream', '/v1/stream/a//b?offset=-1&live=sse'],
    ['a reserved path', '/v1/stream/__ds/x?offset=-1&live=sse'],
    ['an offset that was never given', '/v1/stream/a?offset=7&live=sse'],
    ['no offset', '/v1/stream/a?live=sse'],
    ['an unknown mode', '/v1/stream/a?offset=-1&live=poll'],
    ['a read that is not live', '/v1/stream/a?offset=-1'],
  ])('leaves the refusal of %s to the other way, each time', (_name, target) => {
    const gets = new LiveGets(rules)
    expect([gets.read(get(target)), gets.read(get(target))]).toEqual([undefined, undefined])
  })

  test('leaves longer URLs than may be to the other way', () => {
    const gets = new LiveGets(rules)
    const target = '/v1/stream/?offset=now&live=sse'
    const named = (bytes: number) => target.replace('?', `${'a'.repeat(bytes - target.length)}?`)
    expect(gets.read(get(named(MAX_URL_BYTES)))?.read.mode).toBe('sse')
    expect(gets.read(get(named(MAX_URL_BYTES + 1)))).toBeUndefined()
  })

  const target = '/v1/stream/a?offset=now&live=sse'

  test.each([
    ['a token', get(target, 'Authorization: Bearer x')],
    ['a token by another spelling', get(target, 'aUTHORIZATION:Bearer x')],
    ['a cookie', get(target, 'cookie: a=b')],
    ['a step of a trace', get(target, 'Traceparent: 00-1-1-01')],
    ['one as B3 has it', get(target, 'X-B3-TraceId: 1')],
    ['one as Jaeger has it', get(target, 'uber-trace-id: 1:1:0:1')],
    ['what goes with one', get(target, 'baggage: user=alice')],
    ['a ticket', get(`${target}&ticket=x.y`)],
    ['a ticket that comes first', get(`/v1/stream/a?ticket=x&${target.split('?')[1] ?? ''}`)],
    ['a ticket for another page', get(target, 'Referer: http://h/v1/stream/b?ticket=x')],
  ])('keeps nothing of %s', (_what, sent) => {
    const gets = new LiveGets(rules)
    const first = gets.read(sent)
    expect(first?.name).toBe('a')
    expect(gets.read(sent)).not.toBe(first)
  })

  test('keeps heads of different reader keys apart', () => {
    const gets = new LiveGets(rules)
    const keys = ['a', 'b', 'a'].map((key) => gets.read(get(`${target}&rk=${key}`))?.readerKey)
    expect(keys).toEqual(['a', 'b', 'a'])
  })

  test('works out the same bytes once, and other bytes anew, however many there are', () => {
    const gets = new LiveGets(rules)
    const target = (stream: number) => `/v1/stream/s${stream}?offset=now&live=sse`
    const first = gets.read(get(target(0)))
    expect(gets.read(get(target(0)))).toBe(first)
    for (let stream = 0; stream < 1000; stream += 1) {
      expect(gets.read(get(target(stream)))?.name).toBe(`s${stream}`)
    }
    const again = gets.read(get(target(0), 'Accept: */*'))
    expect({ ...again, headers: undefined }).toEqual({ ...first, headers: undefined })
  })

  test('says what each origin gets, though all else is the same', () => {
    const env = { CORS_ORIGINS: 'https://a.example', CORS_PROJECT_ORIGINS: 'p=https://b.example' }
    const gets = new LiveGets({ ...rules, cors: new Cors(loadConfig(env).cors) })
    const allowed = (stream: string, ...fields: string[]) =>
      gets.read(get(`/v1/stream/${stream}?offset=now&live=sse`, ...fields))?.common[
        'access-control-allow-origin'
      ]
    for (let time = 0; time < 2; time += 1) {
      expect(allowed('s', 'Origin: https://a.example')).toBe('https://a.example')
      expect(allowed('s', 'origin: https://b.example')).toBeUndefined()
      expect(allowed('s')).toBeUndefined()
      expect(allowed('p/s', 'Origin: https://a.example')).toBeUndefined()
      expect(allowed('%70/s', 'Origin: https://b.example')).toBe('https://b.example')
    }
  })
})
