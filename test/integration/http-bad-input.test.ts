/** What no client should send: the right 4xx with a stable code, and nothing is written. */
import { once } from 'node:events'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { DurableLog } from '../../src/log/log.ts'
import { call } from '../support/http-calls.ts'
import { connect, exchange, readAnswers } from '../support/raw-http.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGateway } from '../support/gateway.ts'

const LIMIT = 1000
const TEXT = { 'content-type': 'text/plain' }

let log: DurableLog
let gateway: TestGateway
let offset: string

beforeAll(async () => {
  log = await openEmbeddedLog({ location: { kind: 'memory' } })
  gateway = await startGateway({ log, env: { MAX_APPEND_BYTES: String(LIMIT) } })
  const { headers } = await call(gateway.stream('s'), { method: 'PUT', headers: TEXT, body: 'x' })
  offset = String(headers['stream-next-offset'])
})
afterAll(async () => {
  await gateway.shutdown()
  await log.close()
})

/** What every failure looks like on the wire, whichever layer found it. */
const problem = (status: number, code: string) => ({
  status,
  headers: {
    'content-type': 'application/problem+json',
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    'cross-origin-resource-policy': 'cross-origin',
    'access-control-allow-origin': '*',
    'access-control-expose-headers': expect.stringContaining('Stream-Next-Offset') as string,
  },
  problem: {
    title: expect.any(String) as string,
    detail: expect.any(String) as string,
    status,
    code,
  },
})

async function send(bytes: string) {
  const [answer] = await exchange(gateway.url, bytes)
  const { status, headers, body } = answer!
  return { status, headers, problem: JSON.parse(body) as unknown }
}

const head = (line: string, ...headers: string[]) =>
  [`${line} HTTP/1.1`, 'Host: h', ...headers, '', ''].join('\r\n')
const post = (body: string, ...headers: string[]) =>
  head('POST /v1/stream/s', `Content-Length: ${body.length}`, ...headers) + body
const BIG = 'x'.repeat(LIMIT + 1)

describe('a request that can’t be served', () => {
  test.each<[string, string, number, string]>([
    ['a malformed escape', head('GET /v1/stream/%zz'), 400, 'invalid_path'],
    ['a cut escape', head('GET /v1/stream/a%4'), 400, 'invalid_path'],
    ['an escape that is not UTF-8', head('GET /v1/stream/%ff'), 400, 'invalid_path'],
    ['an overlong slash', head('GET /v1/stream/a%c0%afb'), 400, 'invalid_path'],
    ['a NUL', head('GET /v1/stream/a%00'), 400, 'invalid_path'],
    ['a dot segment', head('GET /v1/stream/a/../s'), 400, 'invalid_path'],
    ['an escaped dot segment', head('GET /v1/stream/%2e%2e/s'), 400, 'invalid_path'],
    ['an empty segment', head('GET /v1/stream/a//b'), 400, 'invalid_path'],
    ['a trailing slash', head('PUT /v1/stream/a/', 'Content-Length: 0'), 400, 'invalid_path'],
    ['an empty name', head('PUT /v1/stream/', 'Content-Length: 0'), 400, 'invalid_path'],
    ['513 bytes of name', head(`GET /v1/stream/${'a'.repeat(513)}`), 400, 'invalid_path'],
    ['a name of 8000 bytes', head(`GET /v1/stream/${'a'.repeat(8000)}`), 400, 'invalid_path'],
    ['a name of 9000 bytes', head(`GET /v1/stream/${'a'.repeat(9000)}`), 414, 'uri_too_long'],
    ['a long URL elsewhere', head(`GET /${'a'.repeat(8192)}`), 414, 'uri_too_long'],
    ['a long query', head(`GET /v1/stream/s?x=${'a'.repeat(8192)}`), 414, 'uri_too_long'],
    ['a long URL that is none', head(`GET /v1/stream/%zz${'a'.repeat(8192)}`), 414, 'uri_too_long'],
    [
      'a long URL with its origin',
      head(`GET http://h/v1/stream/s?x=${'a'.repeat(8192)}`),
      414,
      'uri_too_long',
    ],
    ['a long URL for DELETE', head(`DELETE /v1/stream/${'a'.repeat(8192)}`), 414, 'uri_too_long'],
    ['a fragment', head('PUT /v1/stream/a#b', 'Content-Length: 0'), 400, 'invalid_path'],
    ['a control character of two bytes', head('GET /v1/stream/a%c2%80'), 400, 'invalid_path'],
    ['a dot that is overlong', head('GET /v1/stream/%c0%ae%c0%ae/s'), 400, 'invalid_path'],
    ['half a surrogate pair', head('GET /v1/stream/%ed%a0%80'), 400, 'invalid_path'],
    ['a character beyond Unicode', head('GET /v1/stream/%f4%90%80%80'), 400, 'invalid_path'],
    ['an escaped backslash', head('GET /v1/stream/a%5c..%5cs'), 400, 'invalid_path'],
    ['dots between escaped slashes', head('GET /v1/stream/a%2f..%2fs'), 400, 'invalid_path'],
    ['the stream prefix escaped', head('GET /v1/%73tream/s'), 404, 'not_found'],
    ['the stream prefix in capitals', head('GET /V1/stream/s'), 404, 'not_found'],
    ['the stream prefix with a detour', head('GET /v1/x/../stream/s'), 404, 'not_found'],
    ['the control prefix escaped', head('GET /v1/stream/%5f_ds/jwks.json'), 404, 'not_found'],
    ['a probe escaped', head('GET /%68ealthz'), 404, 'not_found'],
    ['a reserved name escaped', head('PUT /v1/stream/%5f%5fds'), 400, 'reserved_path'],
    ['a slash after it escaped', head('PUT /v1/stream/__ds%2fx'), 400, 'reserved_path'],
    ['no host', 'GET /v1/stream/s HTTP/1.1\r\n\r\n', 400, 'bad_request'],
    ['two hosts', head('GET /v1/stream/s', 'hOsT: other'), 400, 'bad_request'],
    [
      'a huge chunk extension',
      head('POST /v1/stream/s', 'Content-Type: text/plain', 'Transfer-Encoding: chunked') +
        `1;${'x'.repeat(20_000)}\r\nx\r\n0\r\n\r\n`,
      400,
      'bad_request',
    ],
    [
      'huge trailers',
      head('POST /v1/stream/s', 'Content-Type: text/plain', 'Transfer-Encoding: chunked') +
        `1\r\nx\r\n0\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`,
      431,
      'headers_too_large',
    ],
    ['a reserved name', head('PUT /v1/stream/__ds/x', 'Content-Length: 0'), 400, 'reserved_path'],
    ['an unknown path', head('GET /v2'), 404, 'not_found'],
    ['the prefix alone', head('GET /v1/stream'), 404, 'not_found'],
    ['an unknown stream', head('GET /v1/stream/none'), 404, 'stream_not_found'],
    ['PATCH', head('PATCH /v1/stream/s'), 405, 'method_not_allowed'],
    ['PROPFIND', head('PROPFIND /v1/stream/s'), 405, 'method_not_allowed'],
    ['TRACE', head('TRACE /v1/stream/s'), 405, 'method_not_allowed'],
    ['CONNECT', head('CONNECT h:80'), 405, 'method_not_allowed'],
    ['an unknown method', head('FOO /v1/stream/s'), 405, 'method_not_allowed'],
    ['no HTTP', '\x16\x03\x01\x02\x00\r\n\r\n', 400, 'bad_request'],
    ['a name in raw bytes', head('GET /v1/stream/\xe9'), 400, 'bad_request'],
    ['a length that is none', head('POST /v1/stream/s', 'Content-Length: x'), 400, 'bad_request'],
    [
      'two lengths at once',
      head('POST /v1/stream/s', 'Content-Length: 3', 'Transfer-Encoding: chunked') + '0\r\n\r\n',
      400,
      'bad_request',
    ],
    [
      'huge headers',
      head('GET /v1/stream/s', `X: ${'a'.repeat(20_000)}`),
      431,
      'headers_too_large',
    ],
    ['an empty offset', head('GET /v1/stream/s?offset='), 400, 'invalid_offset'],
    ['an offset of ours with a hole', head('GET /v1/stream/s?offset=0_1'), 400, 'invalid_offset'],
    ['an offset of another kind', head('GET /v1/stream/s?offset=a,b'), 400, 'invalid_offset'],
    ['an offset twice', head('GET /v1/stream/s?offset=-1&offset=-1'), 400, 'invalid_offset'],
    [
      'an offset beyond the tail',
      head(`GET /v1/stream/s?offset=${'0'.repeat(16)}_${'9'.repeat(4).padStart(16, '0')}`),
      400,
      'offset_beyond_tail',
    ],
    [
      'an offset of a fork',
      head(`GET /v1/stream/s?offset=${'0'.repeat(15)}1_${'0'.repeat(16)}`),
      400,
      'invalid_offset',
    ],
    ['another live mode', head('GET /v1/stream/s?offset=-1&live=ws'), 400, 'invalid_live_mode'],
    ['a live mode twice', head('GET /v1/stream/s?live=sse&live=sse'), 400, 'invalid_live_mode'],
    ['a live read of nowhere', head('GET /v1/stream/s?live=sse'), 400, 'offset_required'],
    [
      'an event id of another server',
      head('GET /v1/stream/s?offset=-1&live=sse', 'Last-Event-ID: 17'),
      400,
      'invalid_offset',
    ],
    ['an append without a type', post('abc'), 400, 'missing_content_type'],
    ['an append with a broken type', post('abc', 'Content-Type: x'), 400, 'invalid_content_type'],
    ['another type', post('{}', 'Content-Type: application/json'), 409, 'content_type_mismatch'],
    ['an append of nothing', post('', 'Content-Type: text/plain'), 400, 'empty_body'],
    [
      'a gzipped body',
      post('abc', 'Content-Type: text/plain', 'Content-Encoding: gzip'),
      400,
      'invalid_header',
    ],
    [
      'a gzipped transfer',
      head('POST /v1/stream/s', 'Content-Type: text/plain', 'Transfer-Encoding: gzip, chunked') +
        '3\r\nabc\r\n0\r\n\r\n',
      501,
      'not_supported',
    ],
    [
      'chunks that are none',
      head('POST /v1/stream/s', 'Content-Type: text/plain', 'Transfer-Encoding: chunked') +
        'zz\r\n',
      400,
      'bad_request',
    ],
    ['a body over the limit', post(BIG, 'Content-Type: text/plain'), 413, 'payload_too_large'],
    [
      'a body in chunks over the limit',
      head('POST /v1/stream/s', 'Content-Type: text/plain', 'Transfer-Encoding: chunked') +
        `${BIG.length.toString(16)}\r\n${BIG}\r\n0\r\n\r\n`,
      413,
      'payload_too_large',
    ],
  ])('%s', async (_name, bytes, status, code) => {
    const answer = await send(bytes)
    expect(answer).toMatchObject(problem(status, code))
    const { headers } = await call(gateway.stream('s'), { method: 'HEAD' })
    expect(headers['stream-next-offset']).toBe(offset)
  })

  test('is answered to HEAD without a body', async () => {
    expect(await call(`${gateway.url}/nowhere`, { method: 'HEAD' })).toMatchObject({
      status: 404,
      headers: { 'content-type': 'application/problem+json', 'cache-control': 'no-store' },
      body: '',
    })
  })

  test('names the methods a stream has', async () => {
    const [answer] = await exchange(gateway.url, head('PATCH /v1/stream/s'))
    expect(answer!.headers['allow']).toBe('GET, HEAD, PUT, POST, DELETE, OPTIONS')
  })
})

describe('what is no request, behind requests that are not answered yet', () => {
  const read = head('GET /v1/stream/s')

  test.each<[string, string, number]>([
    ['is no HTTP', 'no HTTP\r\n\r\n', 400],
    ['has a line that is no header', head('GET /v1/stream/s', 'no colon'), 400],
    ['has a method nobody knows', head('FOO /v1/stream/s'), 405],
    ['is for a proxy', head('CONNECT h:80'), 405],
    ['is too large', head('GET /v1/stream/s', `X: ${'a'.repeat(20_000)}`), 431],
  ])('%s: is answered in its turn', async (_name, bytes, status) => {
    const answers = await exchange(gateway.url, read + read + bytes, 4)
    expect(answers.map((answer) => [answer.status, answer.headers['connection']])).toEqual([
      [200, 'keep-alive'],
      [200, 'keep-alive'],
      [status, 'close'],
    ])
  })

  test('is ignored when the client said that no more would come', async () => {
    const bytes = head('GET /v1/stream/s', 'Connection: close') + 'no HTTP\r\n\r\n'
    const answers = await exchange(gateway.url, bytes, 2)
    expect(answers.map(({ status }) => status)).toEqual([200])
    const options = head('OPTIONS /v1/stream/s', 'Connection: close') + 'no HTTP\r\n\r\n'
    expect((await exchange(gateway.url, options, 2)).map(({ status }) => status)).toEqual([204])
  })

  test('a body that breaks off behind them is the end of its own request', async () => {
    const chunked = ['Content-Type: text/plain', 'Transfer-Encoding: chunked']
    const bytes = read + head('POST /v1/stream/s', ...chunked) + 'zz\r\n'
    const answers = await exchange(gateway.url, bytes, 3)
    expect(answers.map(({ status }) => status)).toEqual([200, 400])
  })
})

describe('a body over the limit', () => {
  test('leaves the connection to the next request', async () => {
    const answers = await exchange(
      gateway.url,
      post(BIG, 'Content-Type: text/plain') + head('GET /healthz'),
      2,
    )
    expect(answers.map(({ status }) => status)).toEqual([413, 200])
  })

  test('does not cut off a client that sends all of it before it reads', async () => {
    const socket = await connect(gateway.url)
    socket.pause()
    const size = 20 * 1024 * 1024
    socket.write(head('POST /v1/stream/s', 'Content-Type: text/plain', `Content-Length: ${size}`))
    const block = Buffer.alloc(256 * 1024, 'x')
    for (let sent = 0; sent < size; sent += block.length) {
      if (!socket.write(block)) await once(socket, 'drain')
    }
    const [answer] = await readAnswers(socket, 1)
    socket.destroy()
    expect(answer!.status).toBe(413)
  })
})

describe('unusual, but right', () => {
  test('an escaped slash names the same stream as a plain one', async () => {
    await call(gateway.stream('a%2Fb'), { method: 'PUT', headers: TEXT, body: 'same' })
    expect((await call(gateway.stream('a/b'))).body).toBe('same')
  })

  test('512 bytes, each of them escaped, are a name', async () => {
    const { status } = await call(gateway.stream('%61'.repeat(512)), { method: 'PUT' })
    expect(status).toBe(201)
  })

  test.each([
    '__DS',
    '__Ds/x',
    'a/__ds/x',
    '__ds;x/y',
    '...',
    'a%2e',
    '%252e%252e',
    '%20',
    'a%3fb',
  ])('%j is a name like others', async (name) => {
    const url = gateway.stream(name)
    expect((await call(url, { method: 'PUT', headers: TEXT, body: name })).status).toBe(201)
    expect((await call(url)).body).toBe(name)
  })

  test('names that only look alike are different streams', async () => {
    const names = ['caf%C3%A9', 'cafe%CC%81', 'Caf%C3%A9', 'caf%C3%A9%E2%80%8B']
    for (const name of names) {
      const put = { method: 'PUT', headers: TEXT, body: name }
      expect((await call(gateway.stream(name), put)).status).toBe(201)
    }
    for (const name of names) expect((await call(gateway.stream(name))).body).toBe(name)
  })

  test('trailers say nothing', async () => {
    await call(gateway.stream('trailers'), { method: 'PUT', headers: TEXT })
    const type = 'Content-Type: text/plain'
    const request = head('POST /v1/stream/trailers', type, 'Transfer-Encoding: chunked')
    await exchange(gateway.url, `${request}2;x=y\r\nab\r\n0\r\nStream-Closed: true\r\n\r\n`)
    const { headers, body } = await call(gateway.stream('trailers'))
    expect([body, headers['stream-closed']]).toEqual(['ab', undefined])
  })

  test('an absolute request target names the same stream, and Location too', async () => {
    const put = head(`PUT http://example.com/v1/stream/abs`, 'Content-Length: 0')
    const [created] = await exchange(gateway.url, put)
    expect(created).toMatchObject({ status: 201, headers: { location: 'http://h/v1/stream/abs' } })
    expect((await call(gateway.stream('abs'), { method: 'HEAD' })).status).toBe(200)
  })

  test('HTTP/1.0 without a host is served; its Location is a path', async () => {
    const put = 'PUT /v1/stream/old HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc'
    const [created] = await exchange(gateway.url, put)
    expect(created).toMatchObject({ status: 201, headers: { location: '/v1/stream/old' } })
  })

  test('a body in chunks is one append', async () => {
    await call(gateway.stream('chunked'), { method: 'PUT', headers: TEXT })
    const type = 'Content-Type: text/plain'
    const request = head('POST /v1/stream/chunked', type, 'Transfer-Encoding: chunked')
    await exchange(gateway.url, `${request}2\r\nab\r\n1\r\nc\r\n0\r\n\r\n`)
    expect((await call(gateway.stream('chunked'))).body).toBe('abc')
  })

  test('a client that waits for 100 Continue gets it, and its append', async () => {
    await call(gateway.stream('patient'), { method: 'PUT', headers: TEXT })
    const socket = await connect(gateway.url)
    const headers = ['Content-Type: text/plain', 'Expect: 100-continue', 'Content-Length: 3']
    socket.write(head('POST /v1/stream/patient', ...headers))
    const statuses: number[] = []
    socket.once('data', () => socket.write('abc'))
    for (const { status } of await readAnswers(socket, 2)) statuses.push(status)
    socket.destroy()
    expect(statuses).toEqual([100, 204])
  })

  test('a client that waits for 100 Continue behind other requests gets it in its turn', async () => {
    const socket = await connect(gateway.url)
    const expecting = ['Expect: 100-continue', 'Content-Length: 3']
    socket.write(head('GET /v1/stream/s').repeat(2) + head('POST /v1/stream/none', ...expecting))
    socket.on('data', (bytes: Buffer) => {
      if (bytes.includes(' 100 ')) socket.write(`abc${head('GET /v1/stream/s')}`)
    })
    const answers = await readAnswers(socket, 5)
    socket.destroy()
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 100, 400, 200])
  })

  test('who is answered before it has sent a body is not asked for it any more', async () => {
    const expecting = head('GET /v1/stream/none', 'Expect: 100-continue')
    const answers = await exchange(gateway.url, head('GET /v1/stream/s') + expecting, 3)
    expect(answers.map(({ status, body }) => [status, body.slice(0, 1)])).toEqual([
      [200, 'x'],
      [404, '{'],
    ])
  })

  // Node's parser stops behind such a request, and drops what came with it.
  test('another protocol is not spoken: the request is served, and is the last one', async () => {
    const upgrade = head('GET /v1/stream/s', 'Connection: upgrade', 'Upgrade: h2c')
    const answers = await exchange(gateway.url, upgrade + head('GET /v1/stream/s'), 2)
    expect(answers).toMatchObject([{ status: 200, headers: { connection: 'close' }, body: 'x' }])
  })

  test('no header is overlooked, however many there are', async () => {
    const many = Array.from({ length: 2000 }, () => 'A: b')
    const gzipped = [...many, 'Content-Type: text/plain', 'Content-Encoding: gzip']
    const [answer] = await exchange(gateway.url, post('abc', ...gzipped))
    expect(answer!.body).toContain('invalid_header')
    const upgrade = head('GET /v1/stream/s', ...many, 'Connection: upgrade', 'Upgrade: h2c')
    const answers = await exchange(gateway.url, upgrade + head('GET /v1/stream/s'), 2)
    expect(answers).toMatchObject([{ status: 200, headers: { connection: 'close' }, body: 'x' }])
  })

  test('what comes behind a request for another protocol is never served', async () => {
    const socket = await connect(gateway.url)
    const slow = head('GET /v1/stream/s?offset=now&live=long-poll')
    const upgrade = head('GET /v1/stream/s', 'Connection: upgrade', 'Upgrade: h2c')
    socket.write(slow + upgrade)
    await call(gateway.stream('s'), { method: 'HEAD' })
    const headers = ['Content-Type: text/plain', 'Content-Length: 1']
    socket.write(`${head('PUT /v1/stream/smuggled', ...headers)}y`)
    await call(gateway.stream('s'), { method: 'HEAD' })
    expect((await call(gateway.stream('smuggled'), { method: 'HEAD' })).status).toBe(404)
    socket.destroy()
  })

  test('an expectation we do not know is ignored', async () => {
    const [answer] = await exchange(gateway.url, head('GET /v1/stream/s', 'Expect: more'))
    expect(answer).toMatchObject({ status: 200, body: 'x' })
  })

  test('a body on a GET is ignored, and the next request on the connection is served', async () => {
    const answers = await exchange(
      gateway.url,
      head('GET /v1/stream/s', 'Content-Length: 3') + 'abc' + head('GET /v1/stream/s'),
      2,
    )
    expect(answers.map(({ body }) => body)).toEqual(['x', 'x'])
  })

  test('Content-Encoding: identity is none', async () => {
    const headers = { ...TEXT, 'content-encoding': 'Identity' }
    const url = gateway.stream('identity')
    expect((await call(url, { method: 'PUT', headers, body: 'a' })).status).toBe(201)
  })

  test('an OPTIONS that is no preflight is answered', async () => {
    const { status, headers } = await call(gateway.stream('s'), { method: 'OPTIONS' })
    expect([status, headers.allow]).toEqual([204, 'GET, HEAD, PUT, POST, DELETE, OPTIONS'])
  })

  test('a preflight allows what clients send', async () => {
    const { status, headers } = await call(gateway.stream('s'), {
      method: 'OPTIONS',
      headers: { origin: 'http://a.example', 'access-control-request-method': 'POST' },
    })
    expect({ status, ...headers }).toMatchObject({
      status: 204,
      'access-control-allow-origin': '*',
      'access-control-allow-methods': 'GET, HEAD, PUT, POST, DELETE',
      'access-control-allow-headers': expect.stringMatching(
        /Content-Type.*If-None-Match.*Last-Event-ID.*Stream-Closed.*Producer-Id/,
      ) as string,
    })
  })
})
