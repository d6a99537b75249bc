import { once } from 'node:events'
import net from 'node:net'
import type { Socket } from 'node:net'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { DurableLog } from '../../src/log/log.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGateway } from '../support/gateway.ts'
import { call } from '../support/http-calls.ts'
import { connect } from '../support/raw-http.ts'

const TEXT = { 'content-type': 'text/plain' }
/** Short, for what has nothing to wait for. */
const POLL_MS = 20

let log: DurableLog
let lane: TestGateway
/** Requests that Node's server has seen of the gateway with the lane. */
let seenByNode = 0
let tail = ''

/** `closed` is a project, too. */
const LISTED = {
  CORS_ORIGINS: 'https://a.example https://*.a.example',
  CORS_PROJECT_ORIGINS: 'closed=https://b.example',
}
/** Gateways that differ in nothing but the lane. */
type Pair = { readonly lane: TestGateway; readonly node: TestGateway }
const pairs = new Map<string, Pair>()
const PAIRS = ['all origins', 'listed origins']

beforeAll(async () => {
  log = await openEmbeddedLog({ location: { kind: 'memory' } })
  const start = (FAST_LANE: string, env: Record<string, string>) =>
    startGateway({ log, env: { LONG_POLL_TIMEOUT_MS: String(POLL_MS), FAST_LANE, ...env } })
  for (const [index, env] of [{}, LISTED].entries()) {
    pairs.set(PAIRS[index]!, { lane: await start('on', env), node: await start('off', env) })
  }
  lane = pairs.get('all origins')!.lane
  lane.app.server.on('request', () => (seenByNode += 1))
  for (const name of ['open', 'closed']) {
    await call(lane.stream(name), { method: 'PUT', headers: TEXT, body: 'one' })
    const { headers } = await call(lane.stream(name), {
      method: 'POST',
      headers: TEXT,
      body: 'two',
    })
    tail = String(headers['stream-next-offset'])
  }
  await call(lane.stream('closed'), { method: 'POST', headers: { 'stream-closed': 'true' } })
})
afterAll(async () => {
  for (const pair of pairs.values()) {
    await pair.lane.shutdown()
    await pair.node.shutdown()
  }
  await log.close()
})

type Answer = { readonly status: string; readonly headers: object; readonly body: string }

/** Reads one answer of whatever framing; `undefined` when the connection ends without one. */
async function readAnswer(socket: Socket, hasBody = true): Promise<Answer | undefined> {
  let text = ''
  const chunks = socket.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>
  for await (const chunk of chunks) {
    text += chunk.toString('latin1')
    const answer = parse(text, hasBody)
    if (answer !== undefined) return answer
  }
  // One without a length ends with its connection.
  return text === ''
    ? undefined
    : { status: '', headers: {}, body: text.replace(/^date: .*$/im, '') }
}

function parse(text: string, hasBody: boolean): Answer | undefined {
  const end = text.indexOf('\r\n\r\n')
  if (end === -1) return undefined
  const [status = '', ...lines] = text.slice(0, end).split('\r\n')
  const headers: Record<string, string> = {}
  for (const line of lines) {
    const colon = line.indexOf(':')
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim()
  }
  delete headers['date']
  // By chance.
  if ('retry-after' in headers) headers['retry-after'] = 'some'
  const rest = text.slice(end + 4)
  if (!hasBody) return { status, headers, body: rest }
  if (headers['transfer-encoding'] === 'chunked') {
    return rest.endsWith('0\r\n\r\n') ? { status, headers, body: unchunked(rest) } : undefined
  }
  const length = Number(headers['content-length'] ?? 0)
  return rest.length < length ? undefined : { status, headers, body: rest.slice(0, length) }
}

function unchunked(text: string): string {
  let body = ''
  for (let rest = text; rest !== '';) {
    const line = rest.indexOf('\r\n')
    const size = Number.parseInt(rest.slice(0, line), 16)
    body += rest.slice(line + 2, line + 2 + size)
    rest = rest.slice(line + 2 + size + 2)
  }
  return body
}

async function ask(gateway: TestGateway, bytes: string): Promise<Answer | undefined> {
  const socket = await connect(gateway.url)
  socket.on('error', () => undefined)
  socket.write(Buffer.from(bytes, 'latin1'))
  const answer = await readAnswer(socket, !bytes.startsWith('HEAD'))
  socket.destroy()
  return answer
}

const head = (line: string, ...fields: string[]) => [line, ...fields, '', ''].join('\r\n')
const poll = (offset: string, ...fields: string[]) =>
  head(`GET /v1/stream/open?offset=${offset}&live=long-poll HTTP/1.1`, 'Host: h', ...fields)

/** Parameters by whose right something is read, more or less. */
const RIGHTS = [
  'rk=rk_a-B',
  'rk=',
  'rk=%61',
  'rk=a&rk=b',
  'ticket=a.b_c-d',
  'ticket=',
  'ticket=a%2eb',
  'ticket=a=b',
  'ticket=a&ticket=b',
  'ticket=a&rk=b',
]

/** Of pages that may read, that may not, and of who is no page. */
const origins = fc.constantFrom(
  '',
  'Origin: https://a.example',
  'origin: https://x.a.example',
  'Origin: HTTPS://A.Example:443',
  'Origin: https://b.example',
  'Origin: https://a.example.evil.example',
  'Origin: http://a.example',
  'Origin: null',
  'Origin:',
  'Origin: https://a.example, https://b.example',
)

/** Live reads that the lane answers itself. */
const plainReads = fc
  .record({
    origin: origins,
    name: fc.constantFrom('open', 'closed', 'cl%6fsed'),
    live: fc.constantFrom('long-poll', 'sse'),
    offset: fc.constantFrom('-1', 'now', '$'),
    cursor: fc.constantFrom('', '&cursor=5'),
    tag: fc.constantFrom('', 'If-None-Match: *'),
  })
  .map(({ origin, name, live, offset, cursor, tag }) => {
    const target = live === 'sse' && name === 'open' ? 'closed' : name
    const fields = ['Host: h', origin, tag].filter((field) => field !== '')
    const query = `offset=${offset}&live=${live}${cursor}`
    return head(`GET /v1/stream/${target}?${query} HTTP/1.1`, ...fields)
  })

/** Requests that are live reads, more or less. All of them have an end. */
const requests = fc
  .record({
    method: fc.constantFrom('GET', 'GET', 'GET', 'GET', 'HEAD', 'get'),
    name: fc.constantFrom(
      'open',
      'closed',
      'closed',
      'cl%6fsed',
      'missing',
      '',
      'a//b',
      '__ds/x',
      '%zz',
      'ö',
    ),
    live: fc.constantFrom(
      'live=long-poll',
      'live=long-poll',
      'live=sse',
      'live=%73se',
      'live=x',
      'live',
    ),
    offset: fc.constantFrom(
      'offset=-1',
      'offset=now',
      'offset=$',
      'offset=0_0',
      'offset=x',
      'offset=',
      '',
    ),
    more: fc.constantFrom('', '', 'cursor=5', 'cursor=x', 'x=1', 'live=sse', 'offset=-1', '#f'),
    right: fc.constantFrom('', '', '', ...RIGHTS),
    version: fc.constantFrom('HTTP/1.1', 'HTTP/1.1', 'HTTP/1.1', 'HTTP/1.0'),
    origin: origins,
    fields: fc.subarray([
      'Host: h',
      'host: h',
      'Accept: */*',
      'Accept:*/*',
      'Accept:  */*',
      'X-Empty:',
      'X-Latin: \u00e9',
      'X-Tab:\ta',
      'Cookie: a=b',
      'Cookie: c=d',
      'Authorization: Bearer a.b',
      'authorization: Bearer c',
      'Connection: keep-alive',
      'Connection: Keep-Alive',
      'Connection: close',
      'Content-Length: 0',
      'If-None-Match: *',
      'If-None-Match: "x"',
      'Last-Event-ID: $',
      'Last-Event-ID: x',
      'Range: bytes=0-1',
      'Expect: 100-continue',
      'bad header',
    ]),
  })
  .map(({ method, name, live, offset, more, right, version, origin, fields }) => {
    // An open stream has no end of events.
    const target = name === 'open' && live.includes('se') ? 'closed' : name
    const query = [right, offset, live, more].filter((part) => part !== '').join('&')
    const hosted = fields.some((field) => /^host/i.test(field)) ? fields : ['Host: h', ...fields]
    const all = origin === '' ? hosted : [...hosted, origin]
    return head(`${method} /v1/stream/${target}?${query} ${version}`, ...all)
  })

const VALID = [
  poll('-1'),
  poll('now'),
  poll('$', 'Cookie: a=b'),
  poll('$&rk=a&ticket=b.c', 'Authorization: Bearer d'),
  poll('-1', 'Origin: https://a.example'),
  poll('-1', 'Origin: https://b.example'),
  head('GET /v1/stream/closed?offset=-1&live=sse HTTP/1.1', 'Host: h', 'Origin: https://b.example'),
  head('GET /v1/stream/closed?offset=-1&live=sse HTTP/1.1', 'Host: h', 'Origin: https://a.example'),
  head('GET /v1/stream/closed?offset=-1&live=sse HTTP/1.1', 'Host: h'),
  head('GET /v1/stream/missing?offset=-1&live=long-poll HTTP/1.1', 'Host: h'),
  head('GET /v1/stream/open?offset=-1 HTTP/1.1', 'Host: h'),
  head('HEAD /v1/stream/open HTTP/1.1', 'Host: h'),
  head('GET /healthz HTTP/1.1', 'Host: h'),
  `${head('POST /v1/stream/closed HTTP/1.1', 'Host: h', 'Content-Type: text/plain', 'Content-Length: 3')}GET`,
  `${head('GET /v1/stream/open?offset=-1&live=long-poll HTTP/1.1', 'Host: h', 'Content-Length: 3')}GET`,
]

/** Some requests on one connection, in segments that begin and end wherever they like. */
const conversations = fc
  .record({
    said: fc.array(fc.constantFrom(...VALID), { minLength: 1, maxLength: 4 }),
    cuts: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 4 }),
  })
  .map(({ said, cuts }) => {
    const bytes = [...said, poll('-1', 'Connection: close')].join('').replaceAll('$', tail)
    const at = [0, ...cuts.map((cut) => Math.floor(cut * bytes.length)), bytes.length]
    const ordered = at.toSorted((one, other) => one - other)
    return ordered.slice(1).map((end, index) => bytes.slice(ordered[index], end))
  })

/** All that a gateway says until it closes the connection. */
async function converse(gateway: TestGateway, segments: readonly string[]): Promise<string> {
  const socket = await connect(gateway.url)
  let text = ''
  socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
  const closed = once(socket, 'close')
  socket.setNoDelay(true)
  for (const segment of segments) {
    socket.write(segment)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  await closed
  return text.replaceAll(/^(date|retry-after): .*$/gim, '$1')
}

/** Both ways: what holds for one must hold for the other. */
describe.each(['on', 'off'])('a live connection with FAST_LANE=%s', (FAST_LANE) => {
  const start = (env: Record<string, string> = {}) =>
    startGateway({ log, env: { FAST_LANE, ...env } })
  const asking = async (gateway: TestGateway, live: string) => {
    const socket = await connect(gateway.url)
    socket.on('error', () => undefined)
    socket.write(head(`GET /v1/stream/open?offset=now&live=${live} HTTP/1.1`, 'Host: h'))
    await expect.poll(() => gateway.hubs.subscribers).toBe(1)
    return socket
  }

  test.each(['sse', 'long-poll'])('is over when the client of %s ends its side', async (live) => {
    const gateway = await start()
    const socket = await asking(gateway, live)
    socket.resume().end()
    await once(socket, 'close')
    await expect.poll(() => gateway.hubs.subscribers).toBe(0)
    await gateway.shutdown()
  })

  test.each(['sse', 'long-poll'])('is over when the client of %s resets it', async (live) => {
    const gateway = await start()
    const socket = await asking(gateway, live)
    socket.resetAndDestroy()
    await expect.poll(() => gateway.hubs.subscribers).toBe(0)
    await gateway.shutdown()
  })

  test('without a request in time is answered 408', async () => {
    const gateway = await start({ REQUEST_TIMEOUT_MS: '100' })
    const socket = await connect(gateway.url)
    const answer = await readAnswer(socket)
    expect(answer).toMatchObject({
      status: 'HTTP/1.1 408 Request Timeout',
      headers: { connection: 'close' },
      body: expect.stringContaining('request_timeout') as string,
    })
    await gateway.shutdown()
  })

  test('that was answered 408 harms nobody, whatever its client does then', async () => {
    const gateway = await start({ REQUEST_TIMEOUT_MS: '100', SHUTDOWN_GRACE_MS: '500' })
    const closings = [
      // With the answer unread the kernel sends a reset.
      async (socket: Socket) => {
        await once(socket, 'readable')
        socket.destroy()
      },
      // It heeds no end, and stays.
      async (socket: Socket) => {
        await readAnswer(socket)
      },
    ]
    const errors: unknown[] = []
    const note = (error: unknown): void => void errors.push(error)
    process.on('uncaughtExceptionMonitor', note)
    for (const close of closings) {
      const { port } = new URL(gateway.url)
      const socket = net.connect({ port: Number(port), host: '127.0.0.1', allowHalfOpen: true })
      socket.on('error', () => undefined)
      await close(socket)
    }
    await gateway.shutdown()
    process.off('uncaughtExceptionMonitor', note)
    expect(errors).toEqual([])
  })

  test('that asks for a proxy harms nobody, whatever its client does then', async () => {
    const gateway = await start({ SHUTDOWN_GRACE_MS: '500' })
    for (const isReset of [true, false]) {
      const { port } = new URL(gateway.url)
      const socket = net.connect({ port: Number(port), host: '127.0.0.1', allowHalfOpen: true })
      socket.on('error', () => undefined)
      socket.write(head('CONNECT h:80 HTTP/1.1', 'Host: h'))
      expect((await readAnswer(socket))?.status).toBe('HTTP/1.1 405 Method Not Allowed')
      if (isReset) socket.resetAndDestroy()
    }
    await gateway.shutdown()
  })

  test('that sends far ahead of a refusal gets all its answers', async () => {
    const gateway = await start()
    const socket = await connect(gateway.url)
    const count = 400
    const missing = head('GET /v1/stream/none?offset=-1&live=long-poll HTTP/1.1', 'Host: h')
    socket.write(missing)
    socket.write(missing.repeat(count - 1))
    let text = ''
    socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
    await expect.poll(() => text.split('HTTP/1.1 404').length - 1, { timeout: 10_000 }).toBe(count)
    socket.destroy()
    await gateway.shutdown()
  })

  test('that waits for nothing does not delay leaving, and one that polls gets its answer', async () => {
    const gateway = await start({ SHUTDOWN_GRACE_MS: '60000' })
    const idle = await connect(gateway.url)
    idle.write(poll('-1'))
    expect((await readAnswer(idle))?.status).toBe('HTTP/1.1 200 OK')
    const parked = await asking(gateway, 'long-poll')
    const [answer] = await Promise.all([readAnswer(parked), gateway.shutdown()])
    expect(answer).toMatchObject({
      status: 'HTTP/1.1 204 No Content',
      headers: { connection: 'close' },
    })
    idle.destroy()
    parked.destroy()
  })
})

describe('the fast lane', () => {
  test.each(PAIRS)(
    'holds a conversation as Node does with %s, however it is cut',
    async (pair) => {
      const { lane, node } = pairs.get(pair)!
      await fc.assert(
        fc.asyncProperty(conversations, async (segments) => {
          const [fast, slow] = await Promise.all([
            converse(lane, segments),
            converse(node, segments),
          ])
          expect(fast).toBe(slow)
        }),
        { numRuns: 100 },
      )
    },
    60_000,
  )

  test.each(PAIRS)(
    'answers as Node does with %s, to the byte',
    async (pair) => {
      const { lane, node } = pairs.get(pair)!
      await fc.assert(
        fc.asyncProperty(fc.oneof(requests, requests, plainReads), async (request) => {
          const bytes = request.replaceAll('$', tail)
          const [fast, slow] = [await ask(lane, bytes), await ask(node, bytes)]
          expect(fast).toEqual(slow)
        }),
        { numRuns: 400 },
      )
    },
    60_000,
  )

  test('answers each page as it may read, and Node sees none', async () => {
    const { lane } = pairs.get('listed origins')!
    let seen = 0
    lane.app.server.on('request', () => (seen += 1))
    const sse = 'GET /v1/stream/closed?offset=-1&live=sse HTTP/1.1'
    const socket = await connect(lane.url)
    const answered: unknown[] = []
    for (const request of [
      poll('-1', 'Origin: https://x.a.example'),
      poll('-1', 'Origin: https://b.example'),
      poll('-1'),
      head(sse, 'Host: h', 'Origin: https://b.example'),
      head(sse, 'Host: h', 'Origin: https://a.example'),
    ]) {
      socket.write(request)
      const { headers } = (await readAnswer(socket)) as { headers: Record<string, string> }
      answered.push([headers['access-control-allow-origin'], headers['vary']])
    }
    socket.destroy()
    expect(answered).toEqual([
      ['https://x.a.example', 'Origin'],
      [undefined, 'Origin'],
      [undefined, 'Origin'],
      ['https://b.example', 'Origin'],
      [undefined, 'Origin'],
    ])
    expect(seen).toBe(0)
  })

  test('answers one live read after the other on a connection, and Node sees none', async () => {
    const before = seenByNode
    const socket = await connect(lane.url)
    const sse = head('GET /v1/stream/closed?offset=-1&live=sse HTTP/1.1', 'Host: h')
    const entitled = poll('-1&rk=rk_a&ticket=b.c_d', 'Authorization: Bearer e', 'Cookie: f=g')
    for (const request of [poll('-1'), poll('now'), entitled, sse, poll(tail), poll('-1')]) {
      socket.write(request)
      const answer = await readAnswer(socket)
      expect(answer?.status).toMatch(/^HTTP\/1.1 20[04] /)
    }
    socket.destroy()
    expect(seenByNode).toBe(before)
  })

  test('gives a connection to Node with what came of a request, and of the next', async () => {
    const before = seenByNode
    const socket = await connect(lane.url)
    const request = poll('-1')
    socket.write(request.slice(0, 30))
    // Until the first part is surely there.
    await call(`${lane.url}/healthz`)
    socket.write(request.slice(30))
    const first = await readAnswer(socket)
    expect(first?.body).toBe('onetwo')
    socket.write(poll('-1'))
    expect(await readAnswer(socket)).toEqual(first)
    socket.destroy()
    expect(seenByNode).toBe(before + 3)
  })

  test('answers a request that came ahead once its turn has come', async () => {
    const patient = await startGateway({ log })
    const socket = await connect(patient.url)
    let text = ''
    socket.on('data', (chunk: Buffer) => (text += chunk.toString('latin1')))
    socket.write(poll('now'))
    await expect.poll(() => patient.hubs.subscribers).toBe(1)
    socket.write(poll('-1', 'Connection: close'))
    await call(patient.stream('open'), { method: 'POST', headers: TEXT, body: 'three' })
    await once(socket, 'close')
    const answers = text.split(/(?=HTTP\/1.1 )/)
    expect(answers.map((answer) => answer.slice(answer.indexOf('\r\n\r\n') + 4))).toEqual([
      'three',
      expect.stringMatching(/^onetwo/),
    ])
    await patient.shutdown()
  })
})
