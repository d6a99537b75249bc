/** Clients that take their time, at whatever part of a request: each is told 408, and is gone. */
import type { Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { DurableLog } from '../../src/log/log.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGateway } from '../support/gateway.ts'
import { call } from '../support/http-calls.ts'
import { connect, readAnswers } from '../support/raw-http.ts'

const LANES = ['on', 'off'] as const
const POLL_MS = 50
/** A byte this often: no line is ever quiet for as long as a request may take. */
const DRIP_MS = 20

let log: DurableLog
const gateways = new Map<string, TestGateway>()

beforeAll(async () => {
  log = await openEmbeddedLog({ location: { kind: 'memory' } })
  for (const FAST_LANE of LANES) {
    const env = { FAST_LANE, REQUEST_TIMEOUT_MS: '300', LONG_POLL_TIMEOUT_MS: String(POLL_MS) }
    gateways.set(FAST_LANE, await startGateway({ log, env }))
  }
  const put = { method: 'PUT', headers: { 'content-type': 'text/plain' } }
  await call(gateways.get('on')!.stream('s'), put)
})
afterAll(async () => {
  for (const gateway of gateways.values()) await gateway.shutdown()
  await log.close()
})

const POLL = 'GET /v1/stream/s?offset=now&live=long-poll HTTP/1.1\r\nHost: h\r\n\r\n'
const CHUNKED =
  'POST /v1/stream/s HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n'
const LONG = 'x'.repeat(5000)

function drip(socket: Socket, bytes: string): () => void {
  let sent = 0
  const timer = setInterval(() => {
    if (socket.writable) socket.write(bytes.charAt(sent++))
  }, DRIP_MS)
  return () => clearInterval(timer)
}

describe.each(LANES)('with the lane %s', (lane) => {
  test.each<[string, string, string, number[]]>([
    ['a first head', '', `GET /v1/stream/s HTTP/1.1\r\nX: ${LONG}`, [408]],
    ['a second head', POLL, `GET /v1/stream/s HTTP/1.1\r\nX: ${LONG}`, [204, 408]],
    [
      'a second head after an answer of Node’s',
      'GET /nothing HTTP/1.1\r\nHost: h\r\n\r\n',
      `GET /v1/stream/s HTTP/1.1\r\nX: ${LONG}`,
      [404, 408],
    ],
    ['a body in small chunks', CHUNKED, '1\r\nx\r\n'.repeat(1000), [408]],
    ['a chunk extension', CHUNKED, `1;${LONG}`, [408]],
    ['trailers', `${CHUNKED}1\r\nx\r\n0\r\n`, `X: ${LONG}`, [408]],
  ])('%s', async (_name, first, slow, statuses) => {
    const socket = await connect(gateways.get(lane)!.url)
    socket.on('error', () => undefined)
    socket.write(first)
    const stop = drip(socket, slow)
    // One more than comes: until the connection is closed.
    const answers = await readAnswers(socket, statuses.length + 1)
    stop()
    socket.destroy()
    expect(answers.map(({ status }) => status)).toEqual(statuses)
  })
})
