/** Bodies on their way in: what all of them may hold together, and how long they may take. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { DurableLog } from '../../src/log/log.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGatewayOptions } from '../support/gateway.ts'
import { call } from '../support/http-calls.ts'
import type { Answer } from '../support/http-calls.ts'
import { connect, readAnswers } from '../support/raw-http.ts'
import { spied } from '../unit/streams/builders.ts'

const MIB = 1024 * 1024
const TEXT = { 'content-type': 'text/plain' }
/** Room for two of the largest. */
const ENV = { MAX_APPEND_BYTES: String(MIB), MAX_BUFFERED_APPEND_BYTES: String(2 * MIB) }
const cleanups: (() => unknown)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

async function start(options: Partial<TestGatewayOptions> = {}) {
  const log = options.log ?? (await openEmbeddedLog({ location: { kind: 'memory' } }))
  const env = { ...ENV, ...options.env }
  const gateway = await startGateway({ ...options, log, env })
  cleanups.push(
    () => log.close(),
    () => gateway.shutdown(),
  )
  const url = gateway.stream('s')
  expect((await call(url, { method: 'PUT', headers: TEXT })).status).toBe(201)
  const append = (body: string): Promise<Answer> =>
    call(url, { method: 'POST', headers: TEXT, body })
  return { gateway, url, append }
}

/** Begins an append; resolves when the gateway has its head and waits for its body. */
async function upload(url: string, framing: string): Promise<Socket> {
  const socket = await connect(url)
  cleanups.push(() => socket.destroy())
  const head = ['POST /v1/stream/s HTTP/1.1', 'Host: h', 'Content-Type: text/plain', framing]
  socket.write([...head, 'Expect: 100-continue', '', ''].join('\r\n'))
  const [bytes] = (await once(socket, 'data')) as [Buffer]
  expect(String(bytes)).toMatch(/^HTTP\/1.1 100 /)
  return socket
}

const ofLength = (bytes: number): string => `Content-Length: ${bytes}`
const CHUNKED = 'Transfer-Encoding: chunked'
const chunk = (bytes: number): string => `${bytes.toString(16)}\r\n${'x'.repeat(bytes)}\r\n`
const LAST_CHUNK = '0\r\n\r\n'

const refused = {
  status: 503,
  headers: { 'retry-after': expect.stringMatching(/^[1-4]$/) as string },
  body: expect.stringContaining('"code":"overloaded"') as string,
}

describe('bodies that are being received', () => {
  test('count with all that they are going to be, and are refused at once', async () => {
    const { gateway, append } = await start()
    const uploads = [
      await upload(gateway.url, ofLength(MIB)),
      await upload(gateway.url, ofLength(MIB)),
    ]
    expect(await append('x')).toMatchObject(refused)
    uploads[0]!.write('x'.repeat(MIB))
    const [stored] = await readAnswers(uploads[0]!, 1)
    expect(stored!.status).toBe(204)
    expect((await append('x')).status).toBe(204)
  })

  test('count as they grow when their length is not known', async () => {
    const { gateway, append } = await start()
    await upload(gateway.url, ofLength(MIB))
    const growing = await upload(gateway.url, CHUNKED)
    growing.write(chunk(MIB - 10))
    await expect.poll(async () => (await append('0123456789x')).status).toBe(503)
    expect((await append('0123456789')).status).toBe(204)
    growing.write(chunk(10))
    await expect.poll(async () => (await append('x')).status).toBe(503)
    growing.write(LAST_CHUNK)
    const [stored] = await readAnswers(growing, 1)
    expect(stored!.status).toBe(204)
    expect((await append('x')).status).toBe(204)
  })

  test('are refused where they have grown too large, also for a client that sends on', async () => {
    const { gateway, append } = await start()
    await upload(gateway.url, ofLength(MIB))
    const other = await upload(gateway.url, ofLength(MIB - 1000))
    const growing = await upload(gateway.url, CHUNKED)
    growing.write(chunk(2000) + chunk(100_000) + LAST_CHUNK)
    const [answer] = await readAnswers(growing, 1)
    expect(answer).toMatchObject(refused)
    // What it held is free again.
    expect((await append('x'.repeat(1000))).status).toBe(204)
    other.destroy()
  })

  test('count no more when their client has gone', async () => {
    const { gateway, append } = await start()
    for (const framing of [ofLength(MIB), CHUNKED]) {
      const socket = await upload(gateway.url, framing)
      if (framing === CHUNKED) socket.write(chunk(MIB))
      const other = await upload(gateway.url, ofLength(MIB))
      await expect.poll(async () => (await append('x')).status).toBe(503)
      socket.destroy()
      await expect.poll(async () => (await append('x')).status).toBe(204)
      other.destroy()
      await expect.poll(async () => (await append('x'.repeat(MIB))).status).toBe(204)
    }
  })

  test('count until they are answered, also for a client that does not wait', async () => {
    const inner = await openEmbeddedLog({ location: { kind: 'memory' } })
    let open = (): void => undefined
    const gate = new Promise<void>((resolve) => (open = resolve))
    const network = { isHeld: false }
    const held: DurableLog['append'] = async (name, batch) => {
      if (network.isHeld) await gate
      return inner.append(name, batch)
    }
    const { log, calls } = spied(inner, { append: held })
    const { gateway, append, url } = await start({ log })
    network.isHeld = true
    calls.length = 0
    const gone = await upload(gateway.url, ofLength(1_000_000))
    gone.write('x'.repeat(1_000_000))
    await expect.poll(() => calls).toContain('append')
    const closed = once(gone, 'close')
    gone.destroy()
    await closed
    await upload(gateway.url, ofLength(MIB))
    expect(await append('x'.repeat(100_000))).toMatchObject(refused)
    open()
    await expect.poll(async () => (await append('x'.repeat(100_000))).status).toBe(204)
    expect((await call(`${url}?offset=-1`)).body.length).toBeGreaterThan(0)
  })

  test('have only so much time when they stand still, and count no more then', async () => {
    const { gateway, append } = await start({ env: { REQUEST_TIMEOUT_MS: '200' } })
    const uploads = [
      await upload(gateway.url, ofLength(MIB)),
      await upload(gateway.url, ofLength(MIB)),
    ]
    for (const socket of uploads) {
      const [answer] = await readAnswers(socket, 1)
      expect(answer).toMatchObject({
        status: 408,
        headers: { connection: 'close' },
        body: expect.stringContaining('"code":"request_timeout"') as string,
      })
    }
    expect((await append('x'.repeat(MIB))).status).toBe(204)
  })

  test('of a request that is refused count no more', async () => {
    const { gateway, append } = await start()
    await upload(gateway.url, ofLength(MIB))
    const put = { method: 'POST', headers: { 'content-type': 'a/b' }, body: 'x'.repeat(MIB) }
    for (let n = 0; n < 3; n += 1) {
      expect((await call(gateway.stream('s'), put)).status).toBe(409)
    }
    expect((await append('x'.repeat(MIB))).status).toBe(204)
  })
})
