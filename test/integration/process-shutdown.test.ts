/** SIGTERM in the middle of everything: readers ended, appends answered, exit code 0. */
import http from 'node:http'
import { once } from 'node:events'
import { describe, expect, test, vi } from 'vitest'
import { startGatewayProcess, statusOf } from '../support/gateway-process.ts'
import type { GatewayProcess } from '../support/gateway-process.ts'
import {
  appendJson,
  call,
  createJsonStream,
  JSON_TYPE,
  readJson,
  SseReader,
} from '../support/http-calls.ts'
import type { Answer } from '../support/http-calls.ts'
import { temporaryDirectory } from '../support/temporary.ts'

const GRACE_MS = 8_000
const READERS = 40

function start(directory: string): Promise<GatewayProcess> {
  return startGatewayProcess({
    DATA_DIR: directory,
    SHUTDOWN_GRACE_MS: String(GRACE_MS),
    LONG_POLL_TIMEOUT_MS: '60000',
    LOG_LEVEL: 'info',
  })
}

/** A POST whose head has arrived and whose body has not. */
async function beginAppend(url: string, message: unknown) {
  const body = JSON.stringify(message)
  const request = http.request(url, {
    method: 'POST',
    headers: { ...JSON_TYPE, 'content-length': body.length, expect: '100-continue' },
  })
  const answered = once(request, 'response') as Promise<[http.IncomingMessage]>
  answered.catch(() => undefined)
  request.flushHeaders()
  // The server says `continue` once it has the head.
  await once(request, 'continue')
  const finish = async (): Promise<http.IncomingMessage> => {
    request.end(body)
    const [response] = await answered
    response.resume()
    return response
  }
  return { finish }
}

/** Appends one message after the other over one connection, for as long as it is let. */
class Appender {
  readonly acknowledged: string[] = []
  readonly refused: { readonly message: string; readonly answer: Answer }[] = []
  /** The message of a request that the closing of its connection has swallowed. */
  swallowed: string | undefined
  readonly done: Promise<void>

  constructor(url: string, name: string) {
    this.done = this.#run(url, name)
  }

  async #run(url: string, name: string): Promise<void> {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    for (let n = 0; this.refused.length === 0 && this.swallowed === undefined; n += 1) {
      const message = `${name}:${n}`
      try {
        const answer = await appendJson(url, message, { agent })
        if (answer.status === 204) this.acknowledged.push(message)
        else this.refused.push({ message, answer })
      } catch {
        this.swallowed = message
      }
    }
    agent.destroy()
  }
}

describe('SIGTERM', () => {
  test('with nothing to do ends the process at once', async () => {
    const gateway = await start(await temporaryDirectory())
    const begin = performance.now()
    expect(await gateway.stop()).toEqual({ code: 0, signal: null })
    expect(performance.now() - begin).toBeLessThan(GRACE_MS / 2)
    expect(gateway.stderr()).toBe('')
  })

  test('with idle keep-alive connections does not wait for them', async () => {
    const gateway = await start(await temporaryDirectory())
    const agent = new http.Agent({ keepAlive: true })
    await Promise.all(Array.from({ length: 20 }, () => call(`${gateway.url}/healthz`, { agent })))
    const begin = performance.now()
    expect(await gateway.stop()).toEqual({ code: 0, signal: null })
    expect(performance.now() - begin).toBeLessThan(GRACE_MS / 2)
    agent.destroy()
  })

  test('ends SSE readers with a whole response and answers parked long-polls', async () => {
    const gateway = await start(await temporaryDirectory())
    const url = gateway.stream('read')
    await createJsonStream(url)
    const { headers } = await appendJson(url, ['a', 'b'])
    const tail = String(headers['stream-next-offset'])
    const readers = await Promise.all(Array.from({ length: READERS }, () => SseReader.open(url)))
    const polls = Array.from({ length: READERS }, () =>
      call(`${url}?offset=${tail}&live=long-poll`),
    )
    await vi.waitFor(() => {
      for (const { messages } of readers) expect(messages).toEqual(['a', 'b'])
    })
    // Each connection's requests are taken in order: all polls have been parked by now.
    await Promise.all(Array.from({ length: READERS }, () => call(`${gateway.url}/healthz`)))

    const begin = performance.now()
    expect(await gateway.stop()).toEqual({ code: 0, signal: null })
    expect(performance.now() - begin).toBeLessThan(GRACE_MS)

    for (const reader of readers) {
      expect(await reader.ended).toBe('complete')
      expect(reader.lastEvent?.event).toBe('control')
      expect(reader.lastControl).toMatchObject({ streamNextOffset: tail, upToDate: true })
      expect(reader.messages).toEqual(['a', 'b'])
    }
    for (const answer of await Promise.all(polls)) {
      expect(answer).toMatchObject({
        status: 204,
        headers: { 'stream-next-offset': tail, 'stream-up-to-date': 'true' },
      })
    }
  })

  test('settles the appends it has begun to take, and turns the next ones away', async () => {
    const directory = await temporaryDirectory()
    const gateway = await start(directory)
    const url = gateway.stream('written')
    await createJsonStream(url)
    const begun = await Promise.all(
      Array.from({ length: 10 }, (_, index) => beginAppend(url, `begun:${index}`)),
    )
    const appenders = Array.from({ length: 10 }, (_, index) => new Appender(url, `loop${index}`))
    const total = () => appenders.reduce((sum, { acknowledged }) => sum + acknowledged.length, 0)
    await vi.waitFor(() => expect(total()).toBeGreaterThan(100), { timeout: 10_000 })

    const signalled = performance.now()
    gateway.kill('SIGTERM')
    await Promise.all(appenders.map(({ done }) => done))
    const answers = await Promise.all(begun.map(({ finish }) => finish()))
    expect(answers.map(({ statusCode }) => statusCode)).toEqual(answers.map(() => 204))
    expect(answers.map(({ headers }) => headers.connection)).toEqual(answers.map(() => 'close'))
    expect(await gateway.exited).toEqual({ code: 0, signal: null })
    expect(performance.now() - signalled).toBeLessThan(GRACE_MS)

    const refused = appenders.flatMap((appender) => appender.refused)
    for (const { answer } of refused) {
      expect(answer.status).toBe(503)
      expect(answer.headers['content-type']).toBe('application/problem+json')
      expect(Number(answer.headers['retry-after'])).toBeGreaterThan(0)
      expect(JSON.parse(answer.body)).toMatchObject({ code: 'shutting_down' })
    }

    const again = await start(directory)
    const stored = (await readJson(again.stream('written'))) as string[]
    expect(new Set(stored).size).toBe(stored.length)
    for (const [index, { acknowledged, swallowed }] of appenders.entries()) {
      const own = stored.filter((message) => message.startsWith(`loop${index}:`))
      // A request that got no answer may have been stored; one that was refused may not.
      expect([...acknowledged, swallowed].slice(0, own.length)).toEqual(own)
      expect(own.length).toBeGreaterThanOrEqual(acknowledged.length)
    }
    expect(stored.filter((message) => message.startsWith('begun:')).sort()).toEqual(
      Array.from({ length: 10 }, (_, index) => `begun:${index}`),
    )
  })

  test('makes the gateway unready while it settles what it has begun', async () => {
    const gateway = await start(await temporaryDirectory())
    await createJsonStream(gateway.stream('held'))
    const held = await beginAppend(gateway.stream('held'), 1)
    gateway.kill('SIGTERM')
    // A closed listener says it as well as an answer does.
    await vi.waitFor(async () => {
      expect([undefined, 503]).toContain(await statusOf(`${gateway.url}/readyz`))
    })
    expect((await held.finish()).statusCode).toBe(204)
    expect(await gateway.exited).toEqual({ code: 0, signal: null })
  })

  // A terminal and `kill -- -<group>` signal npm and the gateway, and npm passes its own on.
  test.each(['SIGTERM', 'SIGINT'] as const)('twice in one instant is once: %s', async (signal) => {
    const gateway = await start(await temporaryDirectory())
    await createJsonStream(gateway.stream('held'))
    const held = await beginAppend(gateway.stream('held'), 1)
    gateway.kill(signal)
    await vi.waitFor(() => expect(gateway.stdout()).toContain('shutting down'))
    gateway.kill(signal)
    expect((await held.finish()).statusCode).toBe(204)
    expect(await gateway.exited).toEqual({ code: 0, signal: null })
  })

  test('again and again ends the process at once: somebody is in a hurry', async () => {
    const gateway = await start(await temporaryDirectory())
    await createJsonStream(gateway.stream('held'))
    const held = await beginAppend(gateway.stream('held'), 1)
    const begin = performance.now()
    const hurry = setInterval(() => gateway.kill('SIGTERM'), 200)
    expect(await gateway.exited).toEqual({ code: 1, signal: null })
    clearInterval(hurry)
    expect(performance.now() - begin).toBeLessThan(GRACE_MS / 2)
    await expect(held.finish()).rejects.toThrow()
  })

  test('does not wait longer than the grace for a client that never ends its request', async () => {
    const gateway = await startGatewayProcess({
      DATA_DIR: await temporaryDirectory(),
      SHUTDOWN_GRACE_MS: '500',
    })
    await createJsonStream(gateway.stream('stuck'))
    await beginAppend(gateway.stream('stuck'), 1)
    const begin = performance.now()
    expect(await gateway.stop()).toEqual({ code: 0, signal: null })
    expect(performance.now() - begin).toBeLessThan(5_000)
  })
})
