/** Three gateways are replaced one after the other while readers read: nobody misses anything. */
import { expect, onTestFinished, test } from 'vitest'
import { startBalancer } from '../support/balancer.ts'
import { freePort, startGatewayProcess } from '../support/gateway-process.ts'
import { CountingPublisher } from '../support/counting-publisher.ts'
import { JSON_TYPE, call } from '../support/http-calls.ts'
import { ReconnectingReader } from '../support/reconnecting-reader.ts'
import { startS2Lite } from '../support/s2-lite.ts'

const READERS = 300
const EVERY_MS = 50
const LONGEST_GAP_MS = 3000

test(
  'a rolling restart costs no reader a message, nor much time',
  { timeout: 120_000 },
  async () => {
    const s2 = await startS2Lite()
    const balancer = await startBalancer()
    onTestFinished(async () => {
      await balancer.stop()
      await s2.stop()
    })
    const start = (port: number) => {
      const env = {
        PORT: String(port),
        S2_ENDPOINT: s2.url,
        AUTH: 'none',
        SHUTDOWN_GRACE_MS: '8000',
      }
      return startGatewayProcess(env)
    }
    const ports = [await freePort(), await freePort(), await freePort()]
    const gateways = await Promise.all(ports.map(start))
    balancer.route(ports)
    const stream = `${balancer.url}/v1/stream/s`
    await call(stream, { method: 'PUT', headers: JSON_TYPE })

    const readers = Array.from({ length: READERS }, () => new ReconnectingReader(stream))
    onTestFinished(() => {
      for (const reader of readers) reader.stop()
    })
    const all = (message: number) => readers.every(({ next }) => next > message)
    const publisher = new CountingPublisher(stream, EVERY_MS)
    await expect.poll(() => all(0), { timeout: 20_000 }).toBe(true)

    for (const [index, port] of ports.entries()) {
      // As a platform does: what is about to leave gets no new connections.
      balancer.route(ports.filter((other) => other !== port))
      expect(await gateways[index]!.stop()).toMatchObject({ code: 0 })
      await start(port)
      balancer.route(ports)
    }

    const count = await publisher.stop()
    expect(count).toBeGreaterThan(20)
    await expect.poll(() => all(count - 1), { timeout: 20_000 }).toBe(true)
    expect(readers.flatMap(({ problems }) => problems)).toEqual([])
    expect(readers.map(({ next }) => next)).toEqual(readers.map(() => count))
    // Each had to move at least once, and nobody was sent away when it came.
    expect(Math.min(...readers.map(({ connects }) => connects))).toBeGreaterThan(1)
    expect(Math.max(...readers.map(({ refusals }) => refusals))).toBe(0)
    expect(Math.max(...readers.map(({ longestGapMs }) => longestGapMs))).toBeLessThan(
      LONGEST_GAP_MS,
    )
  },
)
