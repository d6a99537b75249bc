/** What strangers may try against those who have a token. */
import { once } from 'node:events'
import http from 'node:http'
import { connect as connectTo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { DurableLog } from '../../src/log/log.ts'
import { bearer, JWT_ENV } from '../support/access-tokens.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGateway } from '../support/gateway.ts'
import { call } from '../support/http-calls.ts'

const TEXT = { 'content-type': 'text/plain' }
const ADMIN = bearer({ sub: '*', scope: 'manage' })
const MIB = 1024 * 1024

let log: DurableLog
let gateway: TestGateway

beforeAll(async () => {
  log = await openEmbeddedLog({ location: { kind: 'memory' } })
  const env = {
    ...JWT_ENV,
    GATEWAY_SECRETS: 's'.repeat(32),
    MAX_APPEND_BYTES: String(MIB),
    MAX_BUFFERED_APPEND_BYTES: String(MIB),
    LIMITS_SUBJECT: 'connections=3',
    LIMITS_ADDRESS: 'requests=1000',
    CORS_ORIGINS: 'https://main.example',
    CORS_PROJECT_ORIGINS: 'acme=https://a.example',
  }
  gateway = await startGateway({ log, env })
  const put = { method: 'PUT', headers: { ...TEXT, ...ADMIN }, body: 'data' }
  expect((await call(gateway.stream('acme/s'), put)).status).toBe(201)
})
afterAll(async () => {
  await gateway.shutdown()
  await log.close()
})

/** Announces a body and sends all of it but its end. */
async function holdBack(method: string, path: string) {
  const request = http.request(`${gateway.url}${path}`, {
    method,
    headers: { 'content-length': String(MIB) },
  })
  request.on('error', () => undefined)
  request.write(Buffer.alloc(MIB - 1))
  await once(request, 'socket')
  return request
}

describe('bodies that never come to their end', () => {
  test.each([
    ['POST', '/nothing'],
    ['POST', '/healthz'],
    ['PATCH', '/v1/stream/acme/s'],
    ['DELETE', '/nothing'],
    ['POST', '/v1/stream/__ds/subscriptions/x/callback'],
    ['POST', '/v1/stream/__ds/subscriptions/x/ack'],
    ['POST', '/v1/stream/acme/s'],
  ])('of strangers, to %s %s, take no room from appends', async (method, path) => {
    const held = await Promise.all([holdBack(method, path), holdBack(method, path)])
    const append = { method: 'POST', headers: { ...TEXT, ...ADMIN }, body: 'x'.repeat(MIB / 2) }
    expect((await call(gateway.stream('acme/s'), append)).status).toBe(204)
    for (const request of held) request.destroy()
  })
})

describe('live reads that were asked for one behind the other', () => {
  test.each(['long-poll', 'sse'])(
    'are counted down when their connection goes: %s',
    async (live) => {
      const { authorization } = bearer({ sub: 'acme', scope: 'read' })
      const target = `/v1/stream/acme/s?offset=now&live=${live}&past=the-lane`
      const head = `GET ${target} HTTP/1.1\r\nHost: h\r\nAuthorization: ${authorization}\r\n\r\n`
      const socket = connectTo(Number(new URL(gateway.url).port), '127.0.0.1')
      socket.on('error', () => undefined)
      socket.write(head.repeat(6))
      await expect.poll(() => gateway.hubs.subscribers).toBe(3)
      const probe = async () => {
        const request = http.get(`${gateway.url}${target}`, { headers: { authorization } })
        request.on('error', () => undefined)
        const status = await Promise.race([
          once(request, 'response').then(
            ([response]) => (response as http.IncomingMessage).statusCode,
          ),
          expect
            .poll(() => gateway.hubs.subscribers)
            .toBe(1)
            .then(() => 200),
        ])
        request.destroy()
        return status
      }
      expect(await probe()).toBe(429)
      socket.destroy()
      await expect.poll(() => gateway.hubs.subscribers).toBe(0)
      expect(await probe()).toBe(200)
      await expect.poll(() => gateway.hubs.subscribers).toBe(0)
    },
  )
})

test('Who has no token learns nothing of subscriptions', async () => {
  const wakes = { method: 'PUT', headers: { 'content-type': 'application/json', ...ADMIN } }
  await call(gateway.stream('acme/wakes'), wakes)
  const url = (id: string) => gateway.stream(`__ds/subscriptions/${id}`)
  const body = JSON.stringify({ type: 'pull-wake', pattern: 'acme/*', wake_stream: 'acme/wakes' })
  expect((await call(url('there'), { method: 'PUT', headers: ADMIN, body })).status).toBe(201)
  const guess = (id: string, what: string) =>
    call(`${url(id)}/${what}`, {
      method: 'POST',
      headers: { authorization: 'Bearer abc' },
      body: JSON.stringify({ wake_id: 'w', generation: 1, acks: [] }),
    })
  for (const what of ['callback', 'ack', 'release']) {
    const [there, nowhere] = await Promise.all([guess('there', what), guess('nowhere', what)])
    expect([there.status, there.body]).toEqual([401, nowhere.body])
  }
})

test('A ticket asks for nothing but its stream', async () => {
  const { body } = await call(gateway.stream('__ds/tickets'), {
    method: 'POST',
    headers: bearer({ sub: 'acme', scope: 'manage' }),
    body: JSON.stringify({ stream: 'acme/s', scope: 'manage' }),
  })
  const { ticket } = JSON.parse(body) as { ticket: string }
  for (const path of ['__ds/tickets', '__ds/subscriptions/mine']) {
    const answer = await call(`${gateway.stream(path)}?ticket=${ticket}`, {
      method: path.endsWith('tickets') ? 'POST' : 'PUT',
      body: JSON.stringify({ stream: 'acme/s' }),
    })
    expect(answer.status).toBe(401)
  }
})

test.each([
  ['https://a.example', 'https://a.example'],
  ['https://main.example', 'https://main.example'],
  ['https://b.example', undefined],
])('Pages of %s may ask for tickets, if those of any project may', async (origin, allowed) => {
  const headers = { origin, 'access-control-request-method': 'POST' }
  const preflight = await call(gateway.stream('__ds/tickets'), { method: 'OPTIONS', headers })
  expect(preflight.headers['access-control-allow-origin']).toBe(allowed)
  const asked = await call(gateway.stream('__ds/tickets'), { method: 'POST', headers: { origin } })
  expect([asked.status, asked.headers['access-control-allow-origin']]).toEqual([401, allowed])
})

test.each(['/v1/stream/a//b', '/v1/%73tream/b', '/v1/stream/acme/s'])(
  'Refusals of %s count for the address',
  async (path) => {
    const limited = await startGateway({
      log,
      env: { ...JWT_ENV, LIMITS_ADDRESS: 'requests=5', SUBSCRIPTIONS: 'off' },
    })
    const statuses: number[] = []
    for (let time = 0; time < 10; time += 1) {
      statuses.push((await call(`${limited.url}${path}`)).status)
    }
    await limited.shutdown()
    expect(statuses).toContain(429)
  },
)
