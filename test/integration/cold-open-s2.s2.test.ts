/** A gateway that has never seen a stream opens it in three reads, whatever the stream's length. */
import http from 'node:http'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { openS2Log } from '../../src/log/s2-log.ts'
import { CleanUps } from '../support/clean-ups.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGateway } from '../support/gateway.ts'
import { appendJson, call, createJsonStream, readJson } from '../support/http-calls.ts'
import { findS2Lite, startS2Lite } from '../support/s2-lite.ts'
import { startS2Proxy } from '../support/s2-proxy.ts'
import type { S2Proxy } from '../support/s2-proxy.ts'

const RECORDS = 1_000_000
/** What one append can hold, with a checkpoint. */
const MESSAGES_PER_APPEND = 990
const NAME = 'a/million'

const MAX_OPENING_READS = 3
const CHUNK_READS = 1

describe.skipIf(findS2Lite() === undefined)('a stream of 1,000,000 records on s2-lite', () => {
  const cleanUps = new CleanUps()
  let proxy: S2Proxy
  let writer: TestGateway
  /** Messages are numbers, each the count of those before it. */
  let written = 0
  let tail = ''

  async function open(endpoint: string, ends: CleanUps): Promise<TestGateway> {
    const options = { endpoint, accessToken: 'none', basin: 'cold-open', requestTimeoutMs: 10_000 }
    const log = await openS2Log(options)
    ends.add(() => log.close())
    // Counted is what a stream costs, and not what subscriptions read beside it.
    const gateway = await startGateway({ log, env: { SUBSCRIPTIONS: 'off' } })
    ends.add(() => gateway.shutdown())
    return gateway
  }

  /** A gateway that knows nothing, and has made its look at the basin. */
  async function coldGateway(): Promise<TestGateway> {
    const ends = new CleanUps()
    onTestFinished(() => ends.run())
    const gateway = await open(proxy.url, ends)
    proxy.reset()
    return gateway
  }

  function readsMade(): number {
    const { append, create, ...reads } = proxy.counts()
    expect({ append, create }).toEqual({ append: 0, create: 0 })
    return Object.values(reads).reduce((sum, count) => sum + count, 0)
  }

  async function append(count: number, agent?: http.Agent): Promise<void> {
    const messages = Array.from({ length: count }, (_, index) => written + index)
    written += count
    const url = writer.stream(NAME)
    const { status, body, headers } = await appendJson(url, messages, { ...(agent && { agent }) })
    expect({ status, body }).toEqual({ status: 204, body: '' })
    tail = String(headers['stream-next-offset'])
  }

  async function fill(): Promise<void> {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    while (written < RECORDS) await append(Math.min(MESSAGES_PER_APPEND, RECORDS - written), agent)
    agent.destroy()
  }

  beforeAll(async () => {
    const s2 = await startS2Lite()
    cleanUps.add(() => s2.stop('SIGKILL'))
    proxy = await startS2Proxy({ target: s2.port })
    cleanUps.add(() => proxy.stop())
    writer = await open(s2.url, cleanUps)
    await createJsonStream(writer.stream(NAME))
    await fill()
  }, 120_000)

  afterAll(() => cleanUps.run())

  /** The place `back` messages before the tail. */
  const before = (back: number): string => {
    const [depth = '', position = ''] = tail.split('_')
    return `${depth}_${String(Number(position) - back).padStart(position.length, '0')}`
  }

  /** The messages of the last ten records, of which some may be checkpoints. */
  function expectLast(messages: readonly number[]): void {
    const { length } = messages
    expect(length).toBeGreaterThanOrEqual(8)
    expect(messages).toEqual(Array.from({ length }, (_, index) => written - length + index))
  }

  /** Whatever the tail looks like: it decides how far back the last checkpoint is. */
  const tails: readonly [string, () => Promise<void>][] = [
    ['as the appends left it', () => Promise.resolve()],
    [
      'right after a checkpoint',
      async () => {
        await append(MESSAGES_PER_APPEND)
        await append(1)
      },
    ],
    [
      'as far from the last checkpoint as it gets',
      async () => {
        // The second brings a checkpoint, and the others just do not.
        await append(MESSAGES_PER_APPEND)
        await append(1)
        await append(890)
        await append(MESSAGES_PER_APPEND)
      },
    ],
  ]

  describe.each(tails)('with its tail %s', (_name, makeTail) => {
    beforeAll(makeTail)

    test('opens cold for a HEAD, which is right', async () => {
      const gateway = await coldGateway()
      const head = await call(gateway.stream(NAME), { method: 'HEAD' })
      expect(head).toMatchObject({
        status: 200,
        headers: { 'content-type': 'application/json', 'stream-next-offset': tail },
      })
      expect(readsMade()).toBeLessThanOrEqual(MAX_OPENING_READS)
    })

    test('opens cold for a catch-up read of its end', async () => {
      const gateway = await coldGateway()
      const answer = await call(`${gateway.stream(NAME)}?offset=${before(10)}`)
      expectLast(JSON.parse(answer.body) as number[])
      expect(answer.headers).toMatchObject({
        'stream-next-offset': tail,
        'stream-up-to-date': 'true',
      })
      expect(readsMade()).toBeLessThanOrEqual(MAX_OPENING_READS + CHUNK_READS)
    })

    test('opens cold for a read of its beginning', async () => {
      const gateway = await coldGateway()
      const answer = await call(`${gateway.stream(NAME)}?offset=-1`)
      const first = JSON.parse(answer.body) as number[]
      expect(first).toEqual(Array.from({ length: first.length }, (_, index) => index))
      expect(answer.headers).not.toHaveProperty('stream-up-to-date')
      expect(readsMade()).toBeLessThanOrEqual(MAX_OPENING_READS + CHUNK_READS)
    })

    test('opens cold for an append, which is one more call and lands at the tail', async () => {
      const gateway = await coldGateway()
      const { status, headers } = await appendJson(gateway.stream(NAME), written)
      written += 1
      tail = String(headers['stream-next-offset'])
      expect(status).toBe(204)
      const { append: appends, create, ...reads } = proxy.counts()
      expect({ appends, create }).toEqual({ appends: 1, create: 0 })
      const count = Object.values(reads).reduce((sum, value) => sum + value, 0)
      expect(count).toBeLessThanOrEqual(MAX_OPENING_READS)
      expectLast((await readJson(writer.stream(NAME), before(10))) as number[])
    })
  })
})
