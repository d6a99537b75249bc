/** Probes, and how the gateway leaves. */
import http from 'node:http'
import { afterEach, describe, expect, test } from 'vitest'
import { LogUnavailableError } from '../../src/errors.ts'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { DurableLog } from '../../src/log/log.ts'
import { call } from '../support/http-calls.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGateway } from '../support/gateway.ts'
import { connect, readAnswers } from '../support/raw-http.ts'
import { SseClient } from '../support/sse-client.ts'

const TEXT = { 'content-type': 'text/plain' }
const cleanups: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup()
})

async function start(wrap: (log: DurableLog) => DurableLog = (log) => log) {
  const log = await openEmbeddedLog({ location: { kind: 'memory' } })
  // Far above what a test may take: whoever waits for it fails.
  const env = { SHUTDOWN_GRACE_MS: '60000', LONG_POLL_TIMEOUT_MS: '60000' }
  const gateway = await startGateway({ log: wrap(log), env })
  const leave = once(() => gateway.shutdown())
  cleanups.push(async () => {
    await leave()
    await log.close()
  })
  await call(gateway.stream('s'), { method: 'PUT', headers: TEXT })
  return { gateway, url: gateway.stream('s'), leave }
}

function once<T>(run: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined
  return () => (result ??= run())
}

async function connected({ hubs }: TestGateway, count: number): Promise<void> {
  while ((hubs.find('s')?.subscribers ?? 0) !== count) {
    await new Promise((resolve) => setImmediate(resolve))
  }
}

describe('probes', () => {
  test('say that it lives and can serve, to nobody’s cache', async () => {
    const { gateway } = await start()
    for (const [path, status] of [
      ['/healthz', 'alive'],
      ['/readyz', 'ready'],
    ]) {
      const answer = await call(gateway.url + path!)
      expect([answer.status, answer.headers['cache-control'], JSON.parse(answer.body)]).toEqual([
        200,
        'no-store',
        { status },
      ])
    }
  })

  test('say that it lives but can’t serve when the log does not answer', async () => {
    const { gateway } = await start((log) => {
      const broken = Object.create(log) as DurableLog
      broken.ping = () => Promise.reject(new LogUnavailableError(new Error('a secret place')))
      broken.createStream = (...given) => log.createStream(...given)
      broken.append = (...given) => log.append(...given)
      broken.read = (...given) => log.read(...given)
      broken.checkTail = (...given) => log.checkTail(...given)
      return broken
    })
    expect((await call(`${gateway.url}/healthz`)).status).toBe(200)
    const { status, body } = await call(`${gateway.url}/readyz`)
    expect([status, JSON.parse(body)]).toEqual([
      503,
      {
        title: 'Service Unavailable',
        status: 503,
        detail: 'the log is unavailable',
        code: 'log_unavailable',
      },
    ])
  })
})

describe('a gateway that leaves', () => {
  test('ends live reads properly and closes kept connections, without waiting for its grace', async () => {
    const { gateway, url, leave } = await start()
    const agent = new http.Agent({ keepAlive: true })
    const readers = await Promise.all(
      Array.from({ length: 5 }, () => SseClient.open(`${url}?offset=-1&live=sse`, {}, agent)),
    )
    const polls = Array.from({ length: 5 }, () =>
      call(`${url}?offset=now&live=long-poll`, { agent }),
    )
    await connected(gateway, 10)
    await leave()
    for (const reader of readers) {
      await reader.ended()
      expect([reader.complete, reader.controls.at(-1)]).toEqual([
        true,
        expect.objectContaining({ upToDate: true }),
      ])
    }
    for (const { status, headers } of await Promise.all(polls)) {
      expect([status, headers['stream-up-to-date'], headers['connection']]).toEqual([
        204,
        'true',
        'close',
      ])
    }
    expect(gateway.hubs.size).toBe(0)
    agent.destroy()
  })

  test('refuses what arrives meanwhile, but says that it lives', async () => {
    const { gateway, leave } = await start()
    // Requests that have begun keep their connections open.
    const begin = async (path: string) => {
      const socket = await connect(gateway.url)
      socket.write(`GET ${path} HTTP/1.1\r\nHost: h`)
      return socket
    }
    const begun = await Promise.all(['/readyz', '/healthz', '/v1/stream/s'].map(begin))
    await call(`${gateway.url}/healthz`)
    const left = leave()
    const answers = await Promise.all(
      begun.map(async (socket) => {
        socket.write('\r\n\r\n')
        const [answer] = await readAnswers(socket, 1)
        return answer!
      }),
    )
    await left
    expect(answers.map(({ status }) => status)).toEqual([503, 200, 503])
    for (const { status, headers, body } of answers) {
      expect(headers).toMatchObject({ connection: 'close', 'cache-control': 'no-store' })
      if (status === 200) continue
      expect(headers['retry-after']).toMatch(/^[1-4]$/)
      expect(JSON.parse(body)).toMatchObject({ code: 'shutting_down' })
    }
  })
})
