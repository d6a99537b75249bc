/** Three gateways are replaced one after the other while readers read: nobody misses anything. */
import { expect, onTestFinished, test } from 'vitest'
import { CountingPublisher } from '../support/counting-publisher.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import { JSON_TYPE, call } from '../support/http-calls.ts'
import { ReconnectingReader } from '../support/reconnecting-reader.ts'
import { Rotation } from '../support/rotation.ts'
import { startS2Lite } from '../support/s2-lite.ts'

const READERS = 300
const EVERY_MS = 50
const LONGEST_GAP_MS = 3000
const TIMEOUT_MS = 120_000

test('a rolling restart costs no reader a message', { timeout: TIMEOUT_MS }, async () => {
  const s2 = await startS2Lite()
  onTestFinished(() => s2.stop())
  const env = { S2_ENDPOINT: s2.url, AUTH: 'none', SHUTDOWN_GRACE_MS: '8000' }
  const start = () => startGatewayProcess(env)
  const gateways = await Promise.all([start(), start(), start()])
  const rotation = new Rotation()
  const route = () => rotation.route(gateways.map(({ url }) => url))
  route()
  const stream = () => rotation.stream('s')
  await call(stream(), { method: 'PUT', headers: JSON_TYPE })

  const readers = Array.from({ length: READERS }, () => new ReconnectingReader(stream))
  onTestFinished(() => {
    for (const reader of readers) reader.stop()
  })
  const all = (message: number) => readers.every(({ next }) => next > message)
  const publisher = new CountingPublisher(stream, EVERY_MS)
  await expect.poll(() => all(0), { timeout: 20_000 }).toBe(true)

  for (const leaving of [...gateways]) {
    // As a platform does: what is about to leave gets no new connections.
    gateways.splice(gateways.indexOf(leaving), 1)
    route()
    expect(await leaving.stop()).toMatchObject({ code: 0 })
    gateways.push(await start())
    route()
  }

  const count = await publisher.stop()
  expect(count).toBeGreaterThan(20)
  await expect.poll(() => all(count - 1), { timeout: 20_000 }).toBe(true)
  expect(readers.flatMap(({ problems }) => problems)).toEqual([])
  expect(readers.map(({ next }) => next)).toEqual(readers.map(() => count))
  // Each had to move at least once, and nobody was sent away when it came.
  expect(Math.min(...readers.map(({ connects }) => connects))).toBeGreaterThan(1)
  expect(Math.max(...readers.map(({ refusals }) => refusals))).toBe(0)
  expect(Math.max(...readers.map(({ longestGapMs }) => longestGapMs))).toBeLessThan(LONGEST_GAP_MS)
})
