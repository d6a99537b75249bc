/** Many gateways, many readers: how often each stream is followed, by the way of routing. */
import { randomUUID } from 'node:crypto'
import http from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CleanUps } from '../support/clean-ups.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import { SseReader, appendJson, createJsonStream } from '../support/http-calls.ts'
import { isMissing } from '../support/programs.ts'
import { findS2Lite, startS2Lite } from '../support/s2-lite.ts'
import { NGINX, NGINX_ROUND_ROBIN } from './proxies.ts'
import type { Proxy, Targets } from './proxies.ts'

const STREAMS = 100
const READERS_OF_EACH = 30
/** Connections that are opened at the same time. */
const AT_ONCE = 50

describe.skipIf(isMissing(NGINX) || findS2Lite() === undefined)(
  'three gateways over one S2, with 3,000 readers of 100 streams',
  () => {
    const cleanUps = new CleanUps()
    let gateways: Targets

    beforeAll(async () => {
      const s2 = await startS2Lite()
      cleanUps.add(() => s2.stop())
      const env = {
        AUTH: 'none',
        S2_ENDPOINT: s2.url,
        HUB_IDLE_MS: '1000',
        // Both tests see readers who stay.
        SSE_LIFETIME_MS: '600000',
      }
      const start = async (): Promise<string> => (await startGatewayProcess(env, { cleanUps })).url
      gateways = [await start(), await start(), await start()]
    })
    afterAll(() => cleanUps.run())

    test('follow each stream about once when nginx hashes the path', async () => {
      const sessions = await readSessions(NGINX)
      console.log(`read sessions, by the path: ${sessions}`)
      expect(sessions).toBeGreaterThanOrEqual(STREAMS)
      expect(sessions).toBeLessThanOrEqual(110)
    })

    test('follow each stream three times when nginx takes turns', async () => {
      const sessions = await readSessions(NGINX_ROUND_ROBIN)
      console.log(`read sessions, in turns: ${sessions}`)
      expect(sessions).toBeGreaterThan(280)
      expect(sessions).toBeLessThanOrEqual(3 * (STREAMS + 1))
    })

    /** Read sessions of all gateways while all readers are there, each of whom gets a message. */
    async function readSessions(proxy: Proxy): Promise<number> {
      await untilAlone()
      const site = await proxy.start(gateways, cleanUps)
      const urls = Array.from({ length: STREAMS }, () => `${site}/v1/stream/c/${randomUUID()}`)
      await inTurns(urls, (url) => createJsonStream(url))
      const agent = new http.Agent({ maxSockets: Infinity })
      const wanted = urls.flatMap((url) => Array.from({ length: READERS_OF_EACH }, () => url))
      const readers = await inTurns(wanted, (url) => SseReader.open(url, '-1', agent))
      const sessions = await sum()
      await inTurns(urls, (url) => appendJson(url, { n: 1 }))
      await expect
        .poll(() => readers.filter(({ messages }) => messages.length === 1).length, {
          timeout: 20_000,
        })
        .toBe(wanted.length)
      for (const reader of readers) reader.leave()
      return sessions
    }

    /** Of what gateways share about subscriptions, each has a session of its own. */
    const untilAlone = (): Promise<void> =>
      expect.poll(sum, { timeout: 20_000 }).toBe(gateways.length)

    async function sum(): Promise<number> {
      const counts = await Promise.all(gateways.map(readSessionsOf))
      return counts.reduce((total, count) => total + count, 0)
    }
  },
)

async function readSessionsOf(gateway: string): Promise<number> {
  const text = await (await fetch(`${gateway}/metrics`)).text()
  const value = /^durable_streams_log_read_sessions (\d+)$/m.exec(text)?.[1]
  if (value === undefined) throw new Error(`no such metric: ${text.slice(0, 500)}`)
  return Number(value)
}

/** Runs all of them, some at a time. */
async function inTurns<Item, Result>(
  items: readonly Item[],
  run: (item: Item) => Promise<Result>,
): Promise<readonly Result[]> {
  const results: Result[] = []
  for (let from = 0; from < items.length; from += AT_ONCE) {
    results.push(...(await Promise.all(items.slice(from, from + AT_ONCE).map(run))))
  }
  return results
}
