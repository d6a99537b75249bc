/**
 * A thousand readers of each kind on ten streams of a real S2 cost ten read sessions, then none.
 * Beside them there is always one: it follows the directory of subscriptions.
 */
import http from 'node:http'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { openS2Log } from '../../src/log/s2-log.ts'
import { CleanUps } from '../support/clean-ups.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGateway } from '../support/gateway.ts'
import {
  appendJson,
  createJsonStream,
  LongPoller,
  readJson,
  SseReader,
} from '../support/http-calls.ts'
import { findS2Lite, startS2Lite } from '../support/s2-lite.ts'
import { startS2Proxy } from '../support/s2-proxy.ts'
import type { S2Proxy } from '../support/s2-proxy.ts'

const STREAMS = Array.from({ length: 10 }, (_, index) => `fan-out/${index}`)
/** Followed by one read session of every gateway, readers or not. */
const DIRECTORY = '__ds/directory'
const READERS_PER_STREAM = 100
const ROUNDS = 5
const HISTORY = ['before 0', 'before 1']
/** More at once than the kernel queues for a listener would make some wait for a second. */
const CONNECT_AT_ONCE = 100

type Readers = {
  readonly name: string
  readonly sse: readonly SseReader[]
  readonly polls: readonly LongPoller[]
}

describe.skipIf(findS2Lite() === undefined)('fan-out over a real s2-lite', () => {
  const cleanUps = new CleanUps()
  let proxy: S2Proxy
  let gateway: TestGateway
  const agent = new http.Agent({ keepAlive: true, maxSockets: Infinity, maxFreeSockets: Infinity })

  beforeAll(async () => {
    const s2 = await startS2Lite()
    cleanUps.add(() => s2.stop('SIGKILL'))
    proxy = await startS2Proxy({ target: s2.port })
    cleanUps.add(() => proxy.stop())
    const log = await openS2Log({
      endpoint: proxy.url,
      accessToken: 'none',
      basin: 'fan-out-test',
      requestTimeoutMs: 5000,
    })
    cleanUps.add(() => log.close())
    gateway = await startGateway({
      log,
      env: { HUB_IDLE_MS: '300', LONG_POLL_TIMEOUT_MS: '120000', SSE_LIFETIME_MS: '600000' },
    })
    cleanUps.add(() => gateway.shutdown())
  })
  afterAll(async () => {
    agent.destroy()
    await cleanUps.run()
  })

  const subscribers = (name: string): number => gateway.hubs.find(name)?.subscribers ?? 0

  /** Half of the readers of each kind begin at the start of the stream, half at its tail. */
  async function attach(name: string): Promise<Readers> {
    const url = gateway.stream(name)
    const sse: SseReader[] = []
    const polls: LongPoller[] = []
    for (let from = 0; from < READERS_PER_STREAM; from += CONNECT_AT_ONCE / 2) {
      const opening: Promise<SseReader>[] = []
      for (let index = from; index < from + CONNECT_AT_ONCE / 2; index += 1) {
        const offset = index % 2 === 0 ? '-1' : 'now'
        opening.push(SseReader.open(url, offset, agent))
        polls.push(new LongPoller(url, offset, agent))
      }
      sse.push(...(await Promise.all(opening)))
    }
    return { name, sse, polls }
  }

  test('1,000 SSE readers and 1,000 long-polls hold 10 read sessions, and get all exactly once', async () => {
    for (const name of STREAMS) {
      await createJsonStream(gateway.stream(name))
      await appendJson(gateway.stream(name), HISTORY)
    }
    await vi.waitFor(() => expect(proxy.readSessions().open).toEqual([DIRECTORY]))
    proxy.reset()

    const all: Readers[] = []
    for (const name of STREAMS) all.push(await attach(name))
    await vi.waitFor(
      () => {
        expect(STREAMS.map(subscribers)).toEqual(STREAMS.map(() => 2 * READERS_PER_STREAM))
      },
      { timeout: 30_000, interval: 100 },
    )
    await vi.waitFor(() => expectSessions([DIRECTORY, ...STREAMS]))

    const sent = new Map(STREAMS.map((name) => [name, [] as string[]]))
    for (let round = 0; round < ROUNDS; round += 1) {
      // Two at once, as they may come in one batch or in two.
      await Promise.all(
        STREAMS.flatMap((name) =>
          [0, 1].map(async (n) => {
            const message = `${name} ${round}.${n}`
            const { status } = await appendJson(gateway.stream(name), message)
            expect(status).toBe(204)
          }),
        ),
      )
      for (const name of STREAMS) sent.set(name, (await readJson(gateway.stream(name))) as string[])
      await vi.waitFor(() => expectAllToHave(all, sent), { timeout: 30_000, interval: 100 })
      await vi.waitFor(() => expectSessions([DIRECTORY, ...STREAMS]))
    }
    expect([...sent.values()].map(({ length }) => length)).toEqual(
      STREAMS.map(() => HISTORY.length + 2 * ROUNDS),
    )

    for (const { sse, polls } of all) for (const reader of [...sse, ...polls]) reader.leave()
    await Promise.all(all.flatMap(({ polls }) => polls.map(({ done }) => done)))
    await vi.waitFor(() => expectSessions([DIRECTORY]), { timeout: 10_000 })
    expect(gateway.hubs.size).toBe(0)
    expectAllToHave(all, sent)
  })

  /** Open are these, and no stream's has been begun twice; the directory's may be, at a trim. */
  function expectSessions(names: readonly string[]): void {
    const { begun, open } = proxy.readSessions()
    expect([...open].sort()).toEqual([...names].sort())
    expect(begun.filter((name) => name !== DIRECTORY).sort()).toEqual(STREAMS)
  }

  function expectAllToHave(all: readonly Readers[], sent: ReadonlyMap<string, string[]>): void {
    for (const { name, sse, polls } of all) {
      const messages = sent.get(name) ?? []
      const expected = [messages, messages.slice(HISTORY.length)].map((list) => list.join('|'))
      const got = [sse, polls].map((readers) =>
        [0, 1].map((half) =>
          [...new Set(readers.filter((_, index) => index % 2 === half).map(joined))].join(' / '),
        ),
      )
      expect(got).toEqual([expected, expected])
    }
  }

  const joined = ({ messages }: { readonly messages: readonly unknown[] }): string =>
    messages.join('|')
})
