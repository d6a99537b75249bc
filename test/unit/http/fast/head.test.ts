import { describe, expect, test } from 'vitest'
import { MAX_HEAD_BYTES, readPlainGet } from '../../../../src/http/fast/head.ts'

const URL = '/v1/stream/a/b%20c?offset=-1&live=sse'
const head = (line: string, ...fields: string[]) =>
  Buffer.from([line, ...fields, '', ''].join('\r\n'))
const get = (...fields: string[]) => head(`GET ${URL} HTTP/1.1`, 'Host: h', ...fields)

describe('readPlainGet', () => {
  test('reads what a live client sends', () => {
    expect(
      readPlainGet(
        get('Accept: text/event-stream', 'Connection: keep-alive', 'Last-Event-ID: 0_5'),
      ),
    ).toEqual({
      url: URL,
      path: '/v1/stream/a/b%20c',
      query: { offset: '-1', live: 'sse' },
      headers: {
        host: 'h',
        accept: 'text/event-stream',
        connection: 'keep-alive',
        'last-event-id': '0_5',
      },
    })
  })

  test.each<[string, Record<string, string>]>([
    ['rk=rk_A-z_0', { rk: 'rk_A-z_0' }],
    ['ticket=eyJ.a-b_c.d', { ticket: 'eyJ.a-b_c.d' }],
    ['ticket=a&cursor=5&rk=b', { ticket: 'a', cursor: '5', rk: 'b' }],
  ])('reads %s', (parameters, query) => {
    const sent = head(`GET ${URL}&${parameters} HTTP/1.1`, 'Host: h')
    expect(readPlainGet(sent)?.query).toEqual({ offset: '-1', live: 'sse', ...query })
  })

  test('takes a ticket as long as a head may be, and no longer', () => {
    const rest = head(`GET ${URL}&ticket= HTTP/1.1`, 'Host: h').length
    const sent = (length: number) =>
      head(`GET ${URL}&ticket=${'x'.repeat(length)} HTTP/1.1`, 'Host: h')
    expect(readPlainGet(sent(MAX_HEAD_BYTES - rest))?.query['ticket']).toHaveLength(
      MAX_HEAD_BYTES - rest,
    )
    expect(readPlainGet(sent(MAX_HEAD_BYTES - rest + 1))).toBeUndefined()
  })

  test.each([
    ['one that goes on in the next segment', get().subarray(0, -1)],
    ['one with bytes behind it', Buffer.concat([get(), Buffer.from('x')])],
    ['two at once', Buffer.concat([get(), get()])],
    ['one that is larger', get(`X: ${'x'.repeat(MAX_HEAD_BYTES)}`)],
    ['another method', head(`HEAD ${URL} HTTP/1.1`, 'Host: h')],
    ['another version', head(`GET ${URL} HTTP/1.0`, 'Host: h')],
    ['another path', head('GET /healthz HTTP/1.1', 'Host: h')],
    ['a read that is not live', head('GET /v1/stream/a?offset=-1 HTTP/1.1', 'Host: h')],
    ['a read without a query', head('GET /v1/stream/a HTTP/1.1', 'Host: h')],
    ['an unknown parameter', head(`GET ${URL}&x=1 HTTP/1.1`, 'Host: h')],
    ['a parameter that is given twice', head(`GET ${URL}&live=sse HTTP/1.1`, 'Host: h')],
    ['a parameter that is escaped', head('GET /v1/stream/a?live=ss%65 HTTP/1.1', 'Host: h')],
    ['an empty parameter', head('GET /v1/stream/a?live=sse&offset= HTTP/1.1', 'Host: h')],
    ['an empty reader key', head(`GET ${URL}&rk= HTTP/1.1`, 'Host: h')],
    ['an empty ticket', head(`GET ${URL}&ticket= HTTP/1.1`, 'Host: h')],
    ['a reader key with a dot', head(`GET ${URL}&rk=a.b HTTP/1.1`, 'Host: h')],
    ['a reader key that is escaped', head(`GET ${URL}&rk=%61 HTTP/1.1`, 'Host: h')],
    ['a ticket that is escaped', head(`GET ${URL}&ticket=a%2eb HTTP/1.1`, 'Host: h')],
    ['a ticket with a sign of its own', head(`GET ${URL}&ticket=a=b HTTP/1.1`, 'Host: h')],
    ['a ticket with a plus', head(`GET ${URL}&ticket=a+b HTTP/1.1`, 'Host: h')],
    ['an offset with a dot', head('GET /v1/stream/a?live=sse&offset=1.5 HTTP/1.1', 'Host: h')],
    ['two reader keys', head(`GET ${URL}&rk=a&rk=a HTTP/1.1`, 'Host: h')],
    ['two tickets', head(`GET ${URL}&ticket=a&ticket=b HTTP/1.1`, 'Host: h')],
    ['a ticket by another name', head(`GET ${URL}&Ticket=a HTTP/1.1`, 'Host: h')],
    ['two tokens', get('Authorization: Bearer a', 'authorization: Bearer b')],
    ['two cookies', get('Cookie: a=b', 'Cookie: c=d')],
    ['a fragment in the path', head('GET /v1/stream/a#x?live=sse HTTP/1.1', 'Host: h')],
    ['a fragment', head(`GET ${URL}#x HTTP/1.1`, 'Host: h')],
    ['two spaces', head(`GET  ${URL} HTTP/1.1`, 'Host: h')],
    ['a line that ends without CR', Buffer.from(`GET ${URL} HTTP/1.1\nHost: h\r\n\r\n`)],
    ['no host', head(`GET ${URL} HTTP/1.1`)],
    ['a header that is given twice', get('host: h')],
    ['a header without a value', get('X:')],
    ['a header that goes on in the next line', get('X: a', ' b')],
    ['a space before the colon', get('X : a')],
    ['more than a space behind the colon', get('X:  a')],
    ['a space at the end', get('X: a ')],
    ['a control character', get('X: a\u0001b')],
    ['a byte that is not ASCII', get('X: a\u00e9')],
    ['a name that every object has', get('constructor: x')],
    ['a body', get('Content-Length: 0')],
    ['a body in chunks', get('Transfer-Encoding: chunked')],
    ['an expectation', get('Expect: 100-continue')],
    ['another protocol', get('Connection: Upgrade', 'Upgrade: h2c')],
    ['the end of the connection', get('Connection: close')],
    ['what is no header', get('X')],
    ['nothing', Buffer.alloc(0)],
  ])('leaves %s to Node', (_what, bytes) => {
    expect(readPlainGet(bytes)).toBeUndefined()
  })
})
