/** SSE over real sockets (PROTOCOL §5.8). */
import http from 'node:http'
import type { Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { LogUnavailableError } from '../../src/errors.ts'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { DurableLog } from '../../src/log/log.ts'
import { call } from '../support/http-calls.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGateway } from '../support/gateway.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { connect } from '../support/raw-http.ts'
import { SseClient } from '../support/sse-client.ts'

const TEXT = { 'content-type': 'text/plain' }
const CLOSE = { 'stream-closed': 'true' }
const cleanups: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup()
})

type Setup = {
  readonly env?: Record<string, string>
  readonly type?: string
  readonly clock?: ManualClock
  readonly wrap?: (log: DurableLog) => DurableLog
}

async function start({ env = {}, type = 'text/plain', clock, wrap = (log) => log }: Setup = {}) {
  const now = clock === undefined ? {} : { now: () => clock.now() }
  const log = await openEmbeddedLog({ location: { kind: 'memory' }, ...now })
  const options = { log: wrap(log), env }
  const gateway = await startGateway(clock === undefined ? options : { ...options, clock })
  cleanups.push(async () => {
    await gateway.shutdown()
    await log.close()
  })
  const url = gateway.stream('s')
  const headers = { 'content-type': type }
  await call(url, { method: 'PUT', headers })
  const append = async (body: string, more = {}) => {
    const answer = await call(url, { method: 'POST', headers: { ...headers, ...more }, body })
    expect(answer.status).toBe(204)
    return String(answer.headers['stream-next-offset'])
  }
  const read = async (offset: string, more = {}) => {
    const reader = await SseClient.open(`${url}?offset=${offset}&live=sse`, more)
    expect(reader.status).toBe(200)
    return reader
  }
  return { gateway, log, url, append, read }
}

/** Resolves once so many readers are on the stream's hub. */
async function connected({ hubs }: TestGateway, count: number): Promise<void> {
  while ((hubs.find('s')?.subscribers ?? 0) !== count) {
    await new Promise((resolve) => setImmediate(resolve))
  }
}

const isUpToDate = ({ controls }: SseClient) => controls.at(-1)?.upToDate === true

/** All of it is there, and so is the control event that belongs to the last of it. */
const hasAll =
  (ending: string) =>
  ({ text, events }: SseClient): boolean =>
    text.endsWith(ending) && events.at(-1)?.event === 'control'

/** Every data event is followed by its control event, with the same offset and a higher cursor. */
function expectPaired({ events }: SseClient): void {
  let cursor = 0
  for (const [index, { event, id, data }] of events.entries()) {
    if (event === 'data') expect(events[index + 1]).toMatchObject({ event: 'control', id })
    if (event !== 'control') continue
    const control = JSON.parse(data) as { streamNextOffset: string; streamCursor?: string }
    expect(control.streamNextOffset).toBe(id)
    if (control.streamCursor === undefined) continue
    expect(Number(control.streamCursor)).toBeGreaterThan(cursor)
    cursor = Number(control.streamCursor)
  }
}

describe('representations', () => {
  test.each([
    ['text/plain', ['a\nb', 'c'], 'a\nbc', undefined],
    ['application/json', ['{"n":1}', '[2,3]'], '[{"n":1},2,3]', undefined],
    ['application/octet-stream', ['\x00\x01', '\x02'], 'AAEC', 'base64'],
  ])('%s', async (type, bodies, expected, encoding) => {
    const { append, read } = await start({ type })
    for (const body of bodies) await append(body)
    const reader = await read('-1')
    await reader.until(isUpToDate)
    expect([reader.text, reader.headers['stream-sse-data-encoding']]).toEqual([expected, encoding])
    expectPaired(reader)
    reader.leave()
  })

  test('has history, then what is appended, then the end', async () => {
    const { append, read, gateway } = await start()
    await append('1')
    const reader = await read('-1')
    await reader.until(isUpToDate)
    await append('2')
    await append('3', CLOSE)
    await reader.ended()
    expect([reader.text, reader.complete]).toEqual(['123', true])
    expect(reader.controls.at(-1)).toMatchObject({ streamClosed: true, upToDate: true })
    expect(reader.controls.at(-1)).not.toHaveProperty('streamCursor')
    expectPaired(reader)
    expect(gateway.hubs.find('s')!.subscribers).toBe(0)
  })

  test('tells a reader of a closed stream once, and ends', async () => {
    const { append, read } = await start()
    const end = await append('x', CLOSE)
    for (const offset of ['now', end]) {
      const reader = await read(offset)
      await reader.ended()
      expect(reader.controls).toEqual([
        { streamNextOffset: end, upToDate: true, streamClosed: true },
      ])
    }
  })
})

describe('resuming', () => {
  test('by Last-Event-ID stands above the offset of the URL', async () => {
    const { append, read } = await start()
    await append('1')
    const first = await read('-1')
    await first.until(isUpToDate)
    first.leave()
    await append('2')
    const { id } = first.events.at(-1)!
    const second = await read('-1', { 'last-event-id': id })
    await second.until(({ text }) => text !== '')
    expect(second.text).toBe('2')
    second.leave()
  })

  test('from any offset that was given out gives exactly the rest', async () => {
    const { append, read } = await start()
    const offsets = ['-1']
    for (let n = 0; n < 10; n += 1) offsets.push(await append(String(n)))
    for (const [n, offset] of offsets.entries()) {
      const reader = await read(offset)
      await reader.until(isUpToDate)
      expect(reader.text).toBe('0123456789'.slice(n))
      reader.leave()
    }
  })
})

describe('time', () => {
  test('brings heartbeats, and the end after the lifetime less some chance', async () => {
    const clock = new ManualClock()
    const { gateway, append, read } = await start({ clock })
    const reader = await read('now')
    await connected(gateway, 1)
    for (let beat = 1; beat <= 3; beat += 1) {
      clock.advance(15_000)
      await reader.until(({ comments }) => comments === beat)
    }
    await append('x')
    await reader.until(({ text }) => text === 'x')
    // Times are kept by turns of a 64th of the heartbeat.
    clock.advance(9_000 + 15_000 / 64)
    await reader.ended()
    expect(reader.complete).toBe(true)
    expect(reader.controls.at(-1)).toMatchObject({
      streamNextOffset: reader.events.at(-2)!.id,
      upToDate: true,
    })
    expectPaired(reader)
  })
})

describe('readers who are behind', () => {
  const TINY = { MAX_RING_RECORDS: '4', MAX_RING_BYTES: '1024' }

  test('join without a gap while appends go on', async () => {
    const { append, read } = await start({ env: TINY })
    for (let n = 0; n < 50; n += 1) await append(`${n},`)
    const following = await read('now')
    let appended = 50
    const appending = (async () => {
      for (; appended < 250; appended += 1) await append(`${appended},`)
    })()
    const readers: SseClient[] = []
    while (appended < 250) readers.push(await read('-1'))
    await appending
    const last = '249,'
    const all = Array.from({ length: 250 }, (_, n) => `${n},`).join('')
    for (const reader of readers) {
      await reader.until(hasAll(last))
      expect(reader.text).toBe(all)
      expectPaired(reader)
      reader.leave()
    }
    await following.until(({ text }) => text.endsWith(last))
    expect(following.text).toBe(all.slice(all.indexOf('50,')))
    following.leave()
    expect(readers.length).toBeGreaterThan(1)
  })

  test('stalled, they hold little here, and catch up exactly', async () => {
    const { gateway, url, append } = await start({ env: { MAX_RING_BYTES: '100000' } })
    const sockets = new Set<Socket>()
    gateway.app.server.on('connection', (socket: Socket) => sockets.add(socket))
    // A connection of its own, which begins after we listen for it.
    const reader = await SseClient.open(`${url}?offset=now&live=sse`, {}, new http.Agent())
    await reader.until(isUpToDate)
    reader.stall()
    const body = (n: number) => String(n % 10).repeat(100_000)
    for (let n = 0; n < 200; n += 1) await append(body(n))
    const held = [...sockets].reduce((sum, { writableLength }) => sum + writableLength, 0)
    expect([held > 0, held < 1_000_000]).toEqual([true, true])
    reader.resume()
    await append('end')
    await reader.until(hasAll('end'))
    const expected = Array.from({ length: 200 }, (_, n) => body(n)).join('') + 'end'
    expect(reader.text === expected).toBe(true)
    expectPaired(reader)
    reader.leave()
  })

  test('are refused, not taken and cut off, when history can’t be read', async () => {
    const wrap = (log: DurableLog) =>
      Object.assign(Object.create(log) as DurableLog, failingReads(log))
    const { append, url } = await start({ env: TINY, wrap })
    for (let n = 0; n < 10; n += 1) await append('x')
    failReads = true
    const reader = await SseClient.open(`${url}?offset=-1&live=sse`)
    expect(reader).toMatchObject({
      status: 503,
      headers: { 'retry-after': expect.stringMatching(/^[1-4]$/) as string },
    })
    expect((await call(`${url}?offset=-1&live=long-poll`)).status).toBe(503)
    failReads = false
    expect((await call(`${url}?offset=-1&live=long-poll`)).status).toBe(200)
  })
})

describe('a stream whose beginning was trimmed', () => {
  test('is read from what is left; an offset before that is gone', async () => {
    let earliest = 0
    const wrap = (log: DurableLog) =>
      Object.assign(
        Object.create(log) as DurableLog,
        trimmedReads(log, () => earliest),
      )
    const { gateway, append, read, url } = await start({ wrap, env: { MAX_RING_RECORDS: '1' } })
    const offsets: string[] = []
    for (let n = 0; n < 10; n += 1) offsets.push(await append(String(n)))
    const follower = await read('now')
    await connected(gateway, 1)
    // The offset after an append is the seq num of the next.
    earliest = Number(offsets[5]!.split('_')[1])
    const poll = await call(`${url}?offset=-1&live=long-poll`)
    expect([poll.status, poll.body]).toEqual([200, '6789'])
    const reader = await read('-1')
    await reader.until(isUpToDate)
    expect(reader.text).toBe('6789')
    for (const live of ['sse', 'long-poll']) {
      const gone = await call(`${url}?offset=${offsets[0]!}&live=${live}`)
      expect([gone.status, gone.headers['stream-earliest-offset']]).toEqual([410, offsets[5]])
    }
    reader.leave()
    follower.leave()
  })
})

/** Reads as S2 answers them once the records before a seq num are trimmed. */
function trimmedReads(log: DurableLog, earliest: () => number): Partial<DurableLog> {
  return {
    ...bound(log),
    read: (stream, start, limits) => {
      const from = 'seqNum' in start ? { seqNum: Math.max(start.seqNum, earliest()) } : start
      return log.read(stream, from, limits)
    },
  }
}

let failReads = false
function failingReads(log: DurableLog): Partial<DurableLog> {
  return {
    ...bound(log),
    read: (...given) =>
      failReads ? Promise.reject(new LogUnavailableError()) : log.read(...given),
  }
}

/** The log's other methods, for an object that stands in for it. */
function bound(log: DurableLog): Partial<DurableLog> {
  return {
    append: log.append.bind(log),
    checkTail: log.checkTail.bind(log),
    createStream: log.createStream.bind(log),
    openReadSession: log.openReadSession.bind(log),
    openAppendSession: log.openAppendSession.bind(log),
  }
}

describe('the end of the stream', () => {
  test('by deletion ends its readers', async () => {
    const { gateway, url, read } = await start()
    const reader = await read('now')
    await connected(gateway, 1)
    await call(url, { method: 'DELETE' })
    await reader.ended()
    expect(gateway.hubs.size).toBe(0)
  })

  test('and a new one of the same name: readers get the new one', async () => {
    const { url, append, read } = await start()
    await append('old')
    const reader = await read('-1')
    await reader.until(isUpToDate)
    await call(url, { method: 'DELETE' })
    await call(url, { method: 'PUT', headers: TEXT })
    await append('new')
    const later = await read('-1')
    await later.until(isUpToDate)
    expect([reader.text, later.text]).toEqual(['old', 'new'])
    later.leave()
  })
})

describe('a connection', () => {
  test('that its client leaves is forgotten', async () => {
    const { gateway, read } = await start()
    const reader = await read('now')
    await connected(gateway, 1)
    reader.leave()
    await connected(gateway, 0)
  })

  test('is not written into when its client sends nonsense', async () => {
    const { gateway } = await start()
    const socket = await connect(gateway.url)
    let text = ''
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
    const closed = new Promise((resolve) => socket.once('close', resolve))
    socket.write('GET /v1/stream/s?offset=now&live=sse HTTP/1.1\r\nHost: h\r\n\r\n')
    await connected(gateway, 1)
    socket.write('nonsense\r\n\r\n')
    await closed
    expect(text).toMatch(/^HTTP\/1.1 200 /)
    expect(text).not.toContain('400')
    await connected(gateway, 0)
  })

  test('to HTTP/1.0 carries plain events', async () => {
    const { gateway, append } = await start()
    await append('x', CLOSE)
    const socket = await connect(gateway.url)
    let text = ''
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
    socket.write('GET /v1/stream/s?offset=-1&live=sse HTTP/1.0\r\n\r\n')
    await new Promise((resolve) => socket.once('close', resolve))
    expect(text).toMatch(/\r\n\r\nid: \d+_\d+\nevent: data\ndata:x\n\n/)
  })
})
