/** Webhooks sent to real servers on this machine: what counts as delivered, and what is never reached. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer as createTcpServer } from 'node:net'
import type { AddressInfo, Server, Socket } from 'node:net'
import tls from 'node:tls'
import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from 'vitest'
import { HostSlots } from '../../src/subscriptions/host-slots.ts'
import type { Lookup } from '../../src/subscriptions/webhook-address.ts'
import { judgeWebhookTarget } from '../../src/subscriptions/webhook-url.ts'
import { WebhookSender } from '../../src/subscriptions/webhook-sender.ts'
import type { WebhookSenderOptions } from '../../src/subscriptions/webhook-sender.ts'
import { CleanUps } from '../support/clean-ups.ts'

const MAX_BYTES = 1000
const HEADERS = { 'content-type': 'application/json', 'webhook-signature': 't=1,kid=k,ed25519=s' }
const BODY = '{"wake_id":"w_1"}'
const DONE = '{"done":true}'

type Answer = (request: IncomingMessage, response: ServerResponse, body: string) => void
type Target = { readonly port: number; readonly connections: number; readonly requests: Received[] }
type Received = { method: string; url: string; headers: IncomingMessage['headers']; body: string }

let cleanUps: CleanUps
beforeEach(() => {
  cleanUps = new CleanUps()
})
afterEach(() => cleanUps.run())

function sender(options: Partial<WebhookSenderOptions> = {}): WebhookSender {
  const made = new WebhookSender({
    allowLocalhost: true,
    timeoutMs: 5_000,
    maxResponseBytes: MAX_BYTES,
    maxConcurrentPerHost: 4,
    ...options,
  })
  cleanUps.add(() => made.close())
  return made
}

async function listen(server: Server, host: string): Promise<number> {
  server.listen(0, host)
  await once(server, 'listening')
  return (server.address() as AddressInfo).port
}

async function target(answer: Answer, host = '127.0.0.1'): Promise<Target> {
  const requests: Received[] = []
  let connections = 0
  const server = createServer((request, response) => {
    void (async () => {
      const chunks: Buffer[] = []
      for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
      const body = Buffer.concat(chunks).toString()
      const { method = '', url = '', headers } = request
      requests.push({ method, url, headers, body })
      answer(request, response, body)
    })()
  })
  server.on('connection', () => (connections += 1))
  const port = await listen(server, host)
  cleanUps.add(async () => {
    server.closeAllConnections()
    await new Promise((resolve) => server.close(resolve))
  })
  return {
    port,
    requests,
    get connections() {
      return connections
    },
  }
}

const says =
  (status: number, body = '', headers: Record<string, string> = {}): Answer =>
  (_request, response) =>
    response.writeHead(status, headers).end(body)

const at = ({ port }: { port: number }, host = '127.0.0.1') => `http://${host}:${port}/hooks?a=b`

const post = (to: WebhookSender, url: string, timeoutMs = 5_000) =>
  to.send(url, HEADERS, BODY, timeoutMs)

const failed = (reason: string, detail: unknown = expect.any(String)) => ({
  kind: 'failed',
  reason,
  detail,
})

/** A resolver that answers with each list in turn, the last one again and again. */
function answers(...lists: string[][]) {
  const asked: string[] = []
  const lookup: Lookup = (hostname) => {
    asked.push(hostname)
    return Promise.resolve(lists[Math.min(asked.length, lists.length) - 1]!)
  }
  return { lookup, asked }
}

describe('an answer', () => {
  test.each<[string, Answer, boolean]>([
    ['done', says(200, DONE), true],
    ['done, among others', says(202, ' {"a":[1],"done":true}\n'), true],
    ['done: false', says(200, '{"done":false}'), false],
    ['done: "true"', says(200, '{"done":"true"}'), false],
    ['done: 1', says(200, '{"done":1}'), false],
    ['a list', says(200, '[{"done":true}]'), false],
    ['null', says(200, 'null'), false],
    ['invalid JSON', says(200, '{"done":true'), false],
    ['bytes that are no text', says(200, '\u{fffd}\0'), false],
    ['nothing', says(200), false],
    ['204', says(204), false],
    ['the longest body that counts', says(200, DONE.padEnd(MAX_BYTES)), true],
    ['one byte more', says(200, DONE.padEnd(MAX_BYTES + 1)), false],
    ['a compressed body', says(200, DONE, { 'content-encoding': 'gzip' }), true],
  ])('is accepted: %s', async (_name, answer, done) => {
    const server = await target(answer)
    expect(await post(sender(), at(server))).toEqual({ kind: 'accepted', done })
  })

  test.each([400, 404, 410, 429, 500, 503])('is a failure: %i', async (status) => {
    const server = await target(says(status, 'a secret of the host'))
    expect(await post(sender(), at(server))).toEqual(failed('status', `HTTP ${status}`))
    expect(server.requests).toHaveLength(1)
  })

  test.each([300, 301, 302, 303, 304, 307, 308])('is not followed: %i', async (status) => {
    const inner = await target(says(200, DONE), '127.0.0.2')
    const outer = await target(says(status, '', { location: at(inner, '127.0.0.2') }))
    expect(await post(sender(), at(outer))).toEqual(failed('redirect', `HTTP ${status}`))
    expect(inner.connections).toBe(0)
  })
})

describe('a delivery', () => {
  test('is one POST with the body and headers it was given', async () => {
    const server = await target(says(204))
    await post(sender(), at(server))
    expect(server.requests).toEqual([
      {
        method: 'POST',
        url: '/hooks?a=b',
        headers: {
          ...HEADERS,
          host: `127.0.0.1:${server.port}`,
          connection: 'keep-alive',
          'content-length': String(BODY.length),
          'user-agent': 'durable-streams-gateway',
        },
        body: BODY,
      },
    ])
  })

  test('uses a connection again, though not after a body that was cut off', async () => {
    const server = await target(says(200, DONE))
    const deliver = sender({ maxConcurrentPerHost: 1 })
    for (let i = 0; i < 3; i += 1) await post(deliver, at(server))
    expect(server.connections).toBe(1)

    const huge = await target((_request, response) => {
      response.writeHead(200)
      const pour = (): void => {
        while (!response.destroyed && response.write('x'.repeat(65_536)));
      }
      response.on('drain', pour)
      pour()
    })
    expect(await post(deliver, at(huge))).toEqual({ kind: 'accepted', done: false })
    expect(await post(deliver, at(huge))).toEqual({ kind: 'accepted', done: false })
    expect(huge.connections).toBe(2)
  })

  test('takes no proxy from the environment', async () => {
    const [server, proxy] = [await target(says(204)), await target(says(200, DONE))]
    for (const name of ['HTTP_PROXY', 'http_proxy', 'ALL_PROXY']) vi.stubEnv(name, at(proxy))
    vi.stubEnv('NO_PROXY', '')
    onTestFinished(() => void vi.unstubAllEnvs())
    expect(await post(sender(), at(server))).toEqual({ kind: 'accepted', done: false })
    expect(proxy.connections).toBe(0)
  })

  test.each<[string, Answer]>([
    ['without headers', () => undefined],
    ['with half a body', (_request, response) => response.writeHead(200).write('{"done":')],
    [
      'with a body that drips',
      (_request, response) => {
        response.writeHead(200)
        const drip = setInterval(() => response.write(' '), 20)
        response.on('close', () => clearInterval(drip))
      },
    ],
  ])('is given up in time: %s', async (_name, answer) => {
    const server = await target(answer)
    const start = performance.now()
    expect(await post(sender(), at(server), 200)).toEqual(
      failed('timeout', 'no answer within 200 ms'),
    )
    expect(await post(sender({ timeoutMs: 200 }), at(server), 60_000)).toEqual(failed('timeout'))
    expect(performance.now() - start).toBeLessThan(2_000)
  })

  test('is given up in time while the name is looked up', async () => {
    const lookup: Lookup = () => new Promise(() => undefined)
    const start = performance.now()
    const outcome = await post(sender({ lookup }), 'https://worker.example/', 100)
    expect(outcome).toEqual(failed('timeout'))
    expect(performance.now() - start).toBeLessThan(2_000)
  })

  test('leaves nothing of a connection that took too long', async () => {
    const server = await target(says(204))
    const lookup: Lookup = () => delay(200, ['127.0.0.1'])
    const deliver = sender({ lookup })
    const url = at(server, 'localhost')
    expect(await post(deliver, url, 50)).toEqual(failed('timeout'))
    expect(await post(deliver, url)).toEqual({ kind: 'accepted', done: false })
    expect(server.requests).toHaveLength(1)
  })

  test.each<[string, (socket: Socket) => void]>([
    ['at once', (socket) => socket.resetAndDestroy()],
    ['after the request', (socket) => socket.once('data', () => socket.resetAndDestroy())],
    [
      'in the body',
      (socket) =>
        socket.once('data', () => {
          socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n${DONE}`, () =>
            setTimeout(() => socket.resetAndDestroy(), 20),
          )
        }),
    ],
    [
      'with what is not HTTP',
      (socket) => socket.once('data', () => socket.end('SSH-2.0-secret\r\n')),
    ],
  ])('fails when the host breaks it off: %s', async (_name, answer) => {
    const server = createTcpServer((socket) => answer(socket.on('error', () => undefined)))
    const port = await listen(server, '127.0.0.1')
    cleanUps.add(() => new Promise((resolve) => server.close(resolve)))
    const outcome = await post(sender(), at({ port }))
    expect(outcome).toEqual(failed('network', expect.stringMatching(/^[A-Z_]+$|^HTTPParserError$/)))
  })

  test('fails when nobody listens, or the name is unknown', async () => {
    const server = createTcpServer()
    const port = await listen(server, '127.0.0.1')
    await new Promise((resolve) => server.close(resolve))
    expect(await post(sender(), at({ port }))).toEqual(failed('network', 'ECONNREFUSED'))

    const error = Object.assign(new Error('x'), { code: 'ENOTFOUND' })
    const unknown = sender({ lookup: () => Promise.reject(error) })
    const url = 'https://worker.example/'
    expect(await post(unknown, url)).toEqual(failed('network', 'ENOTFOUND'))
    expect(await post(sender({ lookup: answers([]).lookup }), url)).toEqual(failed('network'))
  })

  test('never throws, whatever it is given', async () => {
    const url = at(await target(says(204)))
    expect(await sender().send('x', {}, '', 1_000)).toEqual(failed('refused_address'))
    expect(await sender().send(url, { 'x-a': 'b\r\nx: y' }, '', 1_000)).toEqual(failed('network'))
    expect(await sender().send(url, {}, '', -1)).toEqual(failed('timeout'))
  })

  test('is broken off when the sender closes, and none is sent then', async () => {
    const server = await target(() => undefined)
    const deliver = sender()
    const underWay = post(deliver, at(server))
    await vi.waitFor(() => expect(server.requests).toHaveLength(1))
    await Promise.all([deliver.close(), deliver.close()])
    expect(await underWay).toEqual(failed('closed'))
    expect(await post(deliver, at(server))).toEqual(failed('closed'))
    expect(server.requests).toHaveLength(1)
  })
})

describe('a forbidden target', () => {
  test.each([
    ['http://127.0.0.1', false],
    ['https://127.0.0.1', false],
    ['https://2130706433', false],
    ['https://[::ffff:127.0.0.1]', true],
    ['https://[::1]', true],
    ['https://0.0.0.0', true],
    ['https://a.localhost', true],
  ])('%s is not connected to (development: %s)', async (origin, allowLocalhost) => {
    const server = await target(says(204))
    const outcome = await post(sender({ allowLocalhost }), `${origin}:${server.port}/`)
    expect(outcome).toEqual(failed('refused_address'))
    expect(server.connections).toBe(0)
  })

  test.each([
    ['127.0.0.1'],
    ['::1'],
    ['10.0.0.1'],
    ['169.254.169.254'],
    ['::ffff:7f00:1'],
    ['8.8.8.8', '127.0.0.1'],
  ])('a made-up name is refused at registration and delivery: %s', async (...addresses) => {
    const server = await target(says(204))
    const { lookup } = answers(addresses)
    const url = `https://worker.example:${server.port}/`
    const options = { allowLocalhost: true, lookup }
    expect(await judgeWebhookTarget(url, options)).toMatchObject({ kind: 'refused' })
    expect(await post(sender(options), url)).toEqual(
      failed('refused_address', 'the host has an address that is not public'),
    )
    expect(server.connections).toBe(0)
  })

  test('a name that moves between registration and delivery is refused', async () => {
    const server = await target(says(204))
    const { lookup, asked } = answers(['8.8.8.8'], ['127.0.0.1'])
    const url = `https://rebind.example:${server.port}/`
    const options = { allowLocalhost: true, lookup }
    expect(await judgeWebhookTarget(url, options)).toMatchObject({ kind: 'allowed' })
    expect(await post(sender(options), url)).toEqual(failed('refused_address'))
    expect(asked).toEqual(['rebind.example', 'rebind.example'])
    expect(server.connections).toBe(0)
  })
})

describe('a connection', () => {
  /** Records where sockets are about to connect to, and ends them before they do. */
  function stopTls(): { addresses: string[]; names: unknown[] } {
    const seen = { addresses: [] as string[], names: [] as unknown[] }
    const connect = tls.connect as (options: tls.ConnectionOptions) => tls.TLSSocket
    const spy = vi.spyOn(tls, 'connect').mockImplementation(((options: tls.ConnectionOptions) => {
      seen.names.push(options.servername)
      const socket = connect(options)
      socket.on('lookup', (_error: unknown, address: string) => {
        seen.addresses.push(address)
        socket.destroy(new Error('stopped by the test'))
      })
      return socket
    }) as typeof tls.connect)
    onTestFinished(() => spy.mockRestore())
    return seen
  }

  test('goes to the addresses that were checked, and asks the resolver once', async () => {
    const seen = stopTls()
    const { lookup, asked } = answers(['8.8.8.8'], ['127.0.0.1'])
    const url = 'https://rebind.example/'
    expect(await post(sender({ lookup }), url)).toEqual(failed('network'))
    expect(seen).toEqual({ addresses: ['8.8.8.8'], names: ['rebind.example'] })
    expect(asked).toEqual(['rebind.example'])
  })

  test('reaches the address that the lookup found, by the name of the host', async () => {
    const [first, second] = [await target(says(204)), await target(says(200, DONE), '127.0.0.2')]
    const { lookup } = answers(['127.0.0.2'])
    const outcome = await post(sender({ lookup }), at(second, 'localhost'))
    expect(outcome).toEqual({ kind: 'accepted', done: true })
    expect(second.requests[0]!.headers.host).toBe(`localhost:${second.port}`)
    expect(first.connections).toBe(0)
  })

  test('is TLS by the name of the host', async () => {
    const names: string[] = []
    const server = tls.createServer({
      SNICallback: (name, callback) => {
        names.push(name)
        callback(new Error('no certificate'))
      },
    })
    server.on('tlsClientError', () => undefined)
    const port = await listen(server, '127.0.0.2')
    cleanUps.add(() => new Promise((resolve) => server.close(resolve)))
    const { lookup } = answers(['127.0.0.2'])
    expect(await post(sender({ lookup }), `https://localhost.:${port}/`)).toEqual(failed('network'))
    expect(names).toEqual(['localhost'])
  })

  test('of localhost is not made to elsewhere', async () => {
    const { lookup } = answers(['127.0.0.1', '8.8.8.8'])
    expect(await post(sender({ lookup }), 'http://localhost/')).toEqual(failed('refused_address'))
  })
})

test('deliveries with slots reach a host in order, and no more than it has slots', async () => {
  let underWay = 0
  let most = 0
  const server = await target((_request, response) => {
    most = Math.max(most, (underWay += 1))
    void delay(20).then(() => {
      underWay -= 1
      response.end(DONE)
    })
  })
  const [deliver, slots] = [sender({ maxConcurrentPerHost: 2 }), new HostSlots(2)]
  const started: number[] = []
  const outcomes = [0, 1, 2, 3, 4, 5, 6].map(async (i) => {
    const release = await slots.acquire(`127.0.0.1:${server.port}`)
    started.push(i)
    return post(deliver, at(server)).finally(release)
  })
  for (const outcome of await Promise.all(outcomes)) {
    expect(outcome).toEqual({ kind: 'accepted', done: true })
  }
  expect(most).toBe(2)
  expect(started).toEqual([0, 1, 2, 3, 4, 5, 6])
  expect(server.connections).toBe(2)
  expect(slots.size).toBe(0)
})
