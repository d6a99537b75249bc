/** The proxies of `recipes/`: everything gets through, and a stream's requests to one gateway. */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CleanUps } from '../support/clean-ups.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import { JSON_TYPE, appendJson, call, createJsonStream, readJson } from '../support/http-calls.ts'
import { RecordingRelay } from '../support/recording-relay.ts'
import { isMissing } from '../support/programs.ts'
import { SseClient } from '../support/sse-client.ts'
import { temporaryDirectory } from '../support/temporary.ts'
import { PROXIES } from './proxies.ts'

const BYTES = { 'content-type': 'application/octet-stream' }
const LARGEST = 16 * 1024 * 1024

describe.each(PROXIES.map((proxy) => ({ proxy, name: proxy.package })))('$name', ({ proxy }) => {
  describe.skipIf(isMissing(proxy))('', () => {
    const cleanUps = new CleanUps()
    const last = new CleanUps()
    let gateway: string
    /** Three ways to one gateway, each as if it were one of its own. */
    let relays: readonly RecordingRelay[]
    let site: string

    beforeAll(async () => {
      const env = { DATA_DIR: await temporaryDirectory(cleanUps), AUTH: 'none' }
      gateway = (await startGatewayProcess(env, { cleanUps })).url
      const [one, two] = [await relay(cleanUps), await relay(cleanUps)]
      const three = await relay(last)
      relays = [one, two, three]
      site = await proxy.start([one.url, two.url, three.url], cleanUps)
    })
    afterAll(async () => {
      await last.run()
      await cleanUps.run()
    })

    const relay = (of: CleanUps): Promise<RecordingRelay> => RecordingRelay.start(gateway, of)
    const stream = (name: string = randomUUID()): string => `${site}/v1/stream/proxies/${name}`

    /** Which of the ways the requests of a stream took. */
    function waysOf(url: string): readonly number[] {
      const { pathname } = new URL(url)
      return relays.flatMap(({ requests }, index) =>
        requests.some((line) => line.split(' ')[1]?.split('?')[0] === pathname) ? [index] : [],
      )
    }

    test('sends all requests of a stream to one gateway, and streams to all of them', async () => {
      const streams = Array.from({ length: 60 }, () => stream())
      for (const url of streams) {
        await createJsonStream(url)
        await appendJson(url, { n: 1 })
        const { headers } = await call(`${url}?offset=-1`)
        await call(`${url}?offset=${String(headers['stream-next-offset'])}`)
        await call(url, { method: 'HEAD' })
        const reader = await SseClient.open(`${url}?offset=-1&live=sse`)
        reader.leave()
      }
      const ways = streams.map(waysOf)
      expect(ways.filter(({ length }) => length !== 1)).toEqual([])
      const shares = relays.map((_, way) => ways.filter(([first]) => first === way).length)
      // Of 60 streams, 20 each if chance were fair.
      expect(Math.min(...shares)).toBeGreaterThan(4)
    })

    test('passes events on as they come', async () => {
      const url = stream()
      await createJsonStream(url)
      const reader = await SseClient.open(`${url}?offset=-1&live=sse`, {
        'accept-encoding': 'gzip, br',
      })
      expect(reader.status).toBe(200)
      expect(reader.headers['content-encoding']).toBeUndefined()
      await reader.until(() => reader.controls.length === 1)
      for (const n of [1, 2, 3]) {
        await appendJson(url, { n })
        await reader.until(() => reader.controls.length === n + 1)
      }
      expect(reader.complete).toBeUndefined()
      reader.leave()
    })

    test('answers a long-poll when there is data', async () => {
      const url = stream()
      await createJsonStream(url)
      const poll = `${url}?offset=-1&live=long-poll`
      const polling = call(poll)
      await Promise.any(relays.map((way) => way.until(poll, 1)))
      await appendJson(url, { n: 1 })
      expect(await polling).toMatchObject({ status: 200, body: '[{"n":1}]' })
    })

    test('takes the largest append there is', async () => {
      const url = stream()
      expect((await call(url, { method: 'PUT', headers: BYTES })).status).toBe(201)
      const body = 'x'.repeat(LARGEST)
      expect(await call(url, { method: 'POST', headers: BYTES, body })).toMatchObject({
        status: 204,
      })
    })

    test.each(['caf%C3%A9', 'a%20b', 'a%2Fb', 'a+b', 'per%25cent', 'q%3Fq', 'a;b=c', 'semi:colon'])(
      'leaves the name %j as it is',
      async (name) => {
        const path = `/v1/stream/proxies/${randomUUID()}/${name}`
        const created = await call(`${site}${path}`, { method: 'PUT', headers: JSON_TYPE })
        expect(created).toMatchObject({ status: 201, headers: { location: `${site}${path}` } })
        await appendJson(`${site}${path}`, { name })
        expect(await readJson(`${gateway}${path}`)).toEqual([{ name }])
      },
    )

    test('passes on what clients and caches need', async () => {
      const url = stream()
      await createJsonStream(url)
      await appendJson(url, { n: 1 })
      const read = await call(`${url}?offset=-1`, { headers: { origin: 'https://a.example' } })
      expect(read.headers).toMatchObject({
        'access-control-allow-origin': '*',
        'access-control-expose-headers': expect.stringContaining('Stream-Next-Offset') as string,
        'cache-control': expect.any(String) as string,
        etag: expect.any(String) as string,
        'stream-up-to-date': 'true',
      })
      const etag = String(read.headers.etag)
      const again = await call(`${url}?offset=-1`, { headers: { 'if-none-match': etag } })
      expect(again.status).toBe(304)
      expect((await call(`${url}-none`)).headers['content-type']).toMatch(/problem\+json/)
    })

    test('passes refusals on, however many there were', async () => {
      const origins = [await refusing(), await refusing(), await refusing()] as const
      const busy = await proxy.start(origins, cleanUps)
      for (let n = 0; n < 8; n += 1) {
        const { status, headers } = await call(`${busy}/v1/stream/busy-${n}`)
        expect([status, headers['retry-after']]).toEqual([503, '2'])
      }
    })

    /** Starts a gateway that is alive, and too busy for anything. Returns its URL. */
    async function refusing(): Promise<string> {
      const server = http.createServer(({ url }, response) => {
        const status = /^\/(healthz|readyz)$/.test(url ?? '') ? 200 : 503
        response.writeHead(status, { 'retry-after': '2' }).end()
      })
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      cleanUps.add(async () => {
        const closed = once(server, 'close')
        server.close()
        server.closeAllConnections()
        await closed
      })
      return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    }

    test('goes to another gateway when one is gone', async () => {
      const names = Array.from({ length: 40 }, () => stream())
      for (const url of names) await createJsonStream(url)
      await last.run()
      const lost = names.filter((url) => waysOf(url)[0] === 2)
      expect(lost.length).toBeGreaterThan(0)
      for (const url of names) {
        const append = {
          headers: { 'producer-id': 'p', 'producer-epoch': '0', 'producer-seq': '0' },
        }
        expect(await appendJson(url, { n: 1 }, append), url).toMatchObject({ status: 200 })
        expect(await readJson(url)).toEqual([{ n: 1 }])
      }
      // Those of the others stay where they are.
      const kept = names.filter((url) => !lost.includes(url))
      expect(kept.filter((url) => waysOf(url).length !== 1)).toEqual([])
    })
  })
})
