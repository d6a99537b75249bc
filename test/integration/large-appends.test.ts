/** Appends of more than one S2 batch over HTTP: atomic, exactly once, read as any other. */
import { createHash } from 'node:crypto'
import http from 'node:http'
import { once } from 'node:events'
import { afterEach, describe, expect, test } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { DurableLog } from '../../src/log/log.ts'
import { dyingLog } from '../support/dying-log.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGateway } from '../support/gateway.ts'
import { JSON_TYPE, claim } from '../support/http-calls.ts'
import { SseClient } from '../support/sse-client.ts'

const MIB = 1024 * 1024
const TEXT = { 'content-type': 'text/plain' }
const BYTES = { 'content-type': 'application/octet-stream' }
const CLOSE = { 'stream-closed': 'true' }
/** A test does not wait longer for a gateway that it has killed. */
const LEASE = { APPEND_LOCK_MS: '200' }
const cleanups: (() => Promise<void>)[] = []

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

type Answer = {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly body: Buffer
}

/** One request with bytes both ways. */
async function send(
  url: string,
  method = 'GET',
  headers: Readonly<Record<string, string>> = {},
  body: Buffer | string = '',
): Promise<Answer> {
  const request = http.request(url, { method, headers })
  request.end(body)
  const [response] = (await once(request, 'response')) as [http.IncomingMessage]
  const chunks: Buffer[] = []
  for await (const chunk of response) chunks.push(chunk as Buffer)
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    body: Buffer.concat(chunks),
  }
}

const next = ({ headers }: Answer): string => String(headers['stream-next-offset'])
const codeOf = ({ body }: Answer): string => (JSON.parse(body.toString()) as { code: string }).code

/** Every response from an offset to the tail. */
async function readAll(url: string, from = '-1'): Promise<Answer[]> {
  const answers: Answer[] = []
  for (let offset = from; ;) {
    const answer = await send(`${url}?offset=${offset}`)
    if (answer.status !== 200) throw new Error(`not read: ${answer.status} ${String(answer.body)}`)
    answers.push(answer)
    offset = next(answer)
    if (answer.headers['stream-up-to-date'] === 'true') return answers
  }
}

const bytesOf = (answers: readonly Answer[]): Buffer => Buffer.concat(answers.map((a) => a.body))
const messagesOf = (answers: readonly Answer[]): unknown[] =>
  answers.flatMap(({ body }) => JSON.parse(body.toString()) as unknown[])

/** Bytes that no compression or repetition could imitate. */
function noise(size: number, seed = 'noise'): Buffer {
  const blocks: Buffer[] = []
  for (let at = 0; at < size; at += 64) {
    blocks.push(createHash('sha512').update(`${seed}${at}`).digest())
  }
  return Buffer.concat(blocks).subarray(0, size)
}

async function start(log?: DurableLog, env: Record<string, string> = {}) {
  const inner = log ?? (await openEmbeddedLog({ location: { kind: 'memory' } }))
  if (log === undefined) cleanups.push(() => inner.close())
  const gateway: TestGateway = await startGateway({ log: inner, env: { ...LEASE, ...env } })
  cleanups.push(() => gateway.shutdown())
  return { gateway, log: inner, url: gateway.stream('s') }
}

async function started(headers: Readonly<Record<string, string>>, env = {}) {
  const all = await start(undefined, env)
  expect((await send(all.url, 'PUT', headers)).status).toBe(201)
  return all
}

describe('a large append', () => {
  test.each([MIB - 64, MIB, MIB + 1, 5 * MIB + 12_345, 16 * MIB])('of %i bytes', async (size) => {
    const { url } = await started(BYTES)
    const body = noise(size)
    const appended = await send(url, 'POST', BYTES, body)
    expect(appended.status).toBe(204)
    const answers = await readAll(url)
    expect(bytesOf(answers).equals(body)).toBe(true)
    expect(next(answers.at(-1)!)).toBe(next(appended))
    for (const answer of answers) expect(answer.body.length).toBeLessThanOrEqual(MIB)
    const head = await send(url, 'HEAD')
    expect(next(head)).toBe(next(appended))
    // It goes on as any stream does.
    await send(url, 'POST', BYTES, 'more')
    expect(String(bytesOf(await readAll(url, next(appended))))).toBe('more')
  })

  test.each([
    ['1,001 messages', Array.from({ length: 1001 }, (_, index) => index)],
    [
      '16 MiB of messages',
      Array.from({ length: 70_000 }, (_, n) => ({ n, text: 'x'.repeat(210) })),
    ],
    ['a message of 3 MiB among small ones', [1, { large: 'é'.repeat(1.5 * MIB) }, 'last']],
    ['large and small messages', ['a', 'b', 'c'].map((c, n) => c.repeat(300_000 * (n + 1)))],
    ['messages of every size', Array.from({ length: 60 }, (_, n) => 'y'.repeat(n * 3000))],
  ])('of %s', async (_name, messages) => {
    const { url } = await started(JSON_TYPE)
    await send(url, 'POST', JSON_TYPE, '"before"')
    const appended = await send(url, 'POST', JSON_TYPE, JSON.stringify(messages))
    expect(appended.status).toBe(204)
    await send(url, 'POST', JSON_TYPE, '"after"')
    expect(messagesOf(await readAll(url))).toEqual(['before', ...messages, 'after'])
    expect(messagesOf(await readAll(url, next(appended)))).toEqual(['after'])
  })

  test('of one JSON message of 3 MiB', async () => {
    const { url } = await started(JSON_TYPE)
    const text = JSON.stringify({ large: '\u{1F600}'.repeat(0.75 * MIB) })
    const appended = await send(url, 'POST', JSON_TYPE, text)
    expect(appended.status).toBe(204)
    const [answer, ...others] = await readAll(url)
    expect(others).toEqual([])
    expect(answer!.body.equals(Buffer.from(`[${text}]`))).toBe(true)
    expect(next(answer!)).toBe(next(appended))
  })

  test('is read from any offset, also one that nobody was given', async () => {
    const { url } = await started(JSON_TYPE)
    const messages = [1, 'z'.repeat(700_000), 2, 'w'.repeat(900_000), 3]
    const appended = await send(url, 'POST', JSON_TYPE, JSON.stringify(messages))
    const [depth, end] = next(appended).split('_').map(Number)
    for (let at = 0; at <= end!; at += 1) {
      const offset = `${String(depth).padStart(16, '0')}_${String(at).padStart(16, '0')}`
      const seen = messagesOf(await readAll(url, offset))
      expect(seen).toEqual(messages.slice(messages.length - seen.length))
    }
  })

  test('carries its producer, once', async () => {
    const { url } = await started(BYTES)
    const body = noise(2 * MIB)
    const first = await send(url, 'POST', { ...BYTES, ...claim('p', 1, 0) }, body)
    expect([first.status, first.headers['producer-seq']]).toEqual([200, '0'])
    const again = await send(url, 'POST', { ...BYTES, ...claim('p', 1, 0) }, body)
    expect([again.status, next(again)]).toEqual([204, next(first)])
    const gap = await send(url, 'POST', { ...BYTES, ...claim('p', 1, 2) }, body)
    expect([gap.status, codeOf(gap)]).toEqual([409, 'producer_gap'])
    const stale = await send(url, 'POST', { ...BYTES, ...claim('p', 0, 0) }, body)
    expect([stale.status, codeOf(stale)]).toEqual([403, 'stale_epoch'])
    expect(bytesOf(await readAll(url)).equals(body)).toBe(true)
  })

  test('carries Stream-Seq and the end of the stream', async () => {
    const { url } = await started(BYTES)
    const body = noise(MIB + 1)
    expect((await send(url, 'POST', { ...BYTES, 'stream-seq': 'b' }, body)).status).toBe(204)
    const regression = await send(url, 'POST', { ...BYTES, 'stream-seq': 'a' }, body)
    expect(codeOf(regression)).toBe('stream_seq_regression')
    const last = await send(url, 'POST', { ...BYTES, ...CLOSE, 'stream-seq': 'c' }, body)
    expect([last.status, last.headers['stream-closed']]).toEqual([204, 'true'])
    const answers = await readAll(url)
    expect(bytesOf(answers).equals(Buffer.concat([body, body]))).toBe(true)
    expect(answers.at(-1)!.headers['stream-closed']).toBe('true')
    expect(codeOf(await send(url, 'POST', BYTES, 'x'))).toBe('stream_closed')
  })

  test('keeps its place among others of the same time', async () => {
    const { url } = await started(JSON_TYPE)
    const bodies = Array.from({ length: 12 }, (_, n) =>
      n % 3 === 0 ? [`${n}`, 'x'.repeat(1.2 * MIB), `${n}`] : [`${n}`],
    )
    const answers = await Promise.all(
      bodies.map((body) => send(url, 'POST', JSON_TYPE, JSON.stringify(body))),
    )
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([204]))
    expect(new Set(answers.map(next)).size).toBe(12)
    // In the order of their offsets, each in one piece.
    const order = answers.map((answer, index) => ({ at: next(answer), index }))
    order.sort((a, b) => (a.at < b.at ? -1 : 1))
    expect(messagesOf(await readAll(url))).toEqual(order.flatMap(({ index }) => bodies[index]))
  })
})

describe('what is refused', () => {
  test('a body over the limit, and more messages than may be', async () => {
    const { url } = await started(JSON_TYPE, { MAX_APPEND_BYTES: '3000000' })
    const large = await send(url, 'POST', JSON_TYPE, `"${'x'.repeat(3_000_000)}"`)
    expect([large.status, codeOf(large)]).toEqual([413, 'payload_too_large'])
    const many = await send(url, 'POST', JSON_TYPE, `[${'1,'.repeat(100_000)}1]`)
    expect([many.status, codeOf(many)]).toEqual([413, 'too_many_messages'])
    const most = await send(url, 'POST', JSON_TYPE, `[${'1,'.repeat(99_999)}1]`)
    expect(most.status).toBe(204)
    expect(messagesOf(await readAll(url))).toHaveLength(100_000)
  })

  test('JSON that breaks at its very end: nothing of it is written', async () => {
    const { url, log } = await started(JSON_TYPE)
    const before = await log.checkTail('s')
    const answer = await send(url, 'POST', JSON_TYPE, `[${'"x",'.repeat(50_000)}"y`)
    expect([answer.status, codeOf(answer)]).toEqual([400, 'invalid_json'])
    expect(await log.checkTail('s')).toBe(before)
  })

  test('a creation of more than one batch', async () => {
    const { url } = await start()
    const large = await send(url, 'PUT', BYTES, noise(MIB))
    expect([large.status, codeOf(large)]).toEqual([413, 'payload_too_large'])
    expect(String(large.body)).toContain('create it first')
    const many = await send(url, 'PUT', JSON_TYPE, `[${'1,'.repeat(1000)}1]`)
    expect([many.status, codeOf(many)]).toEqual([413, 'too_many_messages'])
    expect(String(many.body)).toContain('create it first')
    expect((await send(url, 'HEAD')).status).toBe(404)
  })
})

describe('readers of a large append', () => {
  /** Text with line ends and characters wherever it may be cut. */
  const text = 'a\r\nbé\u{1F600}\n'.repeat(400_000)

  test('follow by SSE from before it, and see all of it once', async () => {
    const { gateway, url } = await started(TEXT)
    await send(url, 'POST', TEXT, 'first ')
    const readers = await Promise.all(
      ['-1', 'now', 'now'].map((offset) => SseClient.open(`${url}?offset=${offset}&live=sse`)),
    )
    await expect.poll(() => gateway.hubs.find('s')?.subscribers).toBe(3)
    const appended = await send(url, 'POST', TEXT, text)
    const after = await send(url, 'POST', TEXT, ' last')
    for (const reader of readers) {
      await expect
        .poll(() => reader.controls.at(-1)?.streamNextOffset, { timeout: 10_000 })
        .toBe(next(after))
    }
    // An SSE parser gives each line end back as LF (PROTOCOL §5.8).
    const lines = `${text} last`.replaceAll('\r\n', '\n')
    expect(readers.map((reader) => reader.text === lines)).toEqual([false, true, true])
    expect(readers[0]!.text === `first ${lines}`).toBe(true)
    expect(readers[0]!.controls.some((c) => c.streamNextOffset === next(appended))).toBe(true)
    for (const reader of readers) reader.leave()
  })

  test('follow by SSE in JSON mode, from inside and to the end of the stream', async () => {
    const { url } = await started(JSON_TYPE)
    const messages = [1, 'x'.repeat(2 * MIB), 2, ...Array.from({ length: 3000 }, (_, n) => n)]
    const reader = await SseClient.open(`${url}?offset=-1&live=sse`)
    await send(url, 'POST', { ...JSON_TYPE, ...CLOSE }, JSON.stringify(messages))
    await expect.poll(() => reader.complete, { timeout: 10_000 }).toBe(true)
    expect(reader.controls.at(-1)?.streamClosed).toBe(true)
    const data = reader.events.filter(({ event }) => event === 'data')
    expect(data.flatMap((event) => JSON.parse(event.data) as unknown[])).toEqual(messages)
    const inside = data[0]!.id
    const late = await SseClient.open(`${url}?offset=${inside}&live=sse`)
    await expect.poll(() => late.complete, { timeout: 10_000 }).toBe(true)
    const rest = late.events.filter(({ event }) => event === 'data')
    const first = JSON.parse(data[0]!.data) as unknown[]
    expect([...first, ...rest.flatMap((event) => JSON.parse(event.data) as unknown[])]).toEqual(
      messages,
    )
  })

  test('wait by long-poll, and are woken by the whole of it', async () => {
    const { gateway, url } = await started(BYTES, { LONG_POLL_TIMEOUT_MS: '10000' })
    const tail = next(await send(url, 'HEAD'))
    const polls = Array.from({ length: 5 }, () => send(`${url}?offset=${tail}&live=long-poll`))
    await expect.poll(() => gateway.hubs.find('s')?.subscribers).toBe(5)
    const body = noise(3 * MIB)
    const appended = await send(url, 'POST', BYTES, body)
    for (const answer of await Promise.all(polls)) {
      expect(answer.status).toBe(200)
      const rest = await readAll(url, next(answer))
      expect(bytesOf([answer, ...rest]).equals(body)).toBe(true)
      expect(next(rest.at(-1)!)).toBe(next(appended))
    }
  })
})

describe('a fork', () => {
  test('inside and after a large append, with sub-offsets across its records', async () => {
    const { gateway, url } = await started(BYTES)
    const body = noise(3 * MIB)
    const begin = next(await send(url, 'HEAD'))
    await send(url, 'POST', BYTES, body)
    await send(url, 'POST', BYTES, 'tail')
    const [first] = await readAll(url)
    const forked = { ...BYTES, 'stream-forked-from': '/v1/stream/s' }
    const forks: [string, Record<string, string>, Buffer][] = [
      ['whole', {}, Buffer.concat([body, Buffer.from('tail')])],
      ['inside', { 'stream-fork-offset': next(first!) }, body.subarray(0, first!.body.length)],
      ...[1, 127 * 1024, 1_500_000, body.length].map(
        (bytes): [string, Record<string, string>, Buffer] => [
          `sub-${bytes}`,
          { 'stream-fork-offset': begin, 'stream-fork-sub-offset': String(bytes) },
          body.subarray(0, bytes),
        ],
      ),
    ]
    for (const [name, headers, inherited] of forks) {
      const fork = gateway.stream(name)
      expect((await send(fork, 'PUT', { ...forked, ...headers })).status).toBe(201)
      const own = noise(MIB + 5, name)
      await send(fork, 'POST', BYTES, own)
      expect(bytesOf(await readAll(fork)).equals(Buffer.concat([inherited, own]))).toBe(true)
    }
    const over = { 'stream-fork-offset': begin, 'stream-fork-sub-offset': String(body.length + 1) }
    expect((await send(gateway.stream('over'), 'PUT', { ...forked, ...over })).status).toBe(400)
  })

  test('at an offset inside a JSON message, which nobody was given, has none of it', async () => {
    const { gateway, url } = await started(JSON_TYPE)
    const messages = [1, 'a'.repeat(900_000), 2, 'b'.repeat(900_000), 3]
    const begin = next(await send(url, 'HEAD'))
    const end = next(await send(url, 'POST', JSON_TYPE, JSON.stringify(messages)))
    const [depth, first] = begin.split('_').map(Number)
    const last = Number(end.split('_')[1])
    const counts = new Set<number>()
    for (let at = first!; at <= last; at += 1) {
      const offset = `${String(depth).padStart(16, '0')}_${String(at).padStart(16, '0')}`
      const fork = gateway.stream(`at-${at}`)
      const headers = { 'stream-forked-from': '/v1/stream/s', 'stream-fork-offset': offset }
      expect((await send(fork, 'PUT', headers)).status).toBe(201)
      await send(fork, 'POST', JSON_TYPE, '"own"')
      const seen = messagesOf(await readAll(fork))
      const inherited = seen.slice(0, -1)
      expect(seen).toEqual([...messages.slice(0, inherited.length), 'own'])
      counts.add(inherited.length)
    }
    expect(counts).toEqual(new Set([0, 1, 2, 3, 4, 5]))
  })

  test('of JSON counts whole messages', async () => {
    const { gateway, url } = await started(JSON_TYPE)
    const messages = ['a'.repeat(400_000), 1, 'b'.repeat(800_000), 2]
    const begin = next(await send(url, 'HEAD'))
    await send(url, 'POST', JSON_TYPE, JSON.stringify(messages))
    for (const count of [1, 2, 3, 4]) {
      const fork = gateway.stream(`f${count}`)
      const headers = {
        'stream-forked-from': '/v1/stream/s',
        'stream-fork-offset': begin,
        'stream-fork-sub-offset': String(count),
      }
      expect((await send(fork, 'PUT', headers)).status).toBe(201)
      expect(messagesOf(await readAll(fork))).toEqual(messages.slice(0, count))
    }
  })
})

describe('a gateway that dies in the middle', () => {
  const body = noise(3 * MIB)
  const cases = [0, 1, 2, 3, 4].flatMap((appends) =>
    [false, true].map((lastIsStored) => ({ appends, lastIsStored })),
  )

  test.each(cases)('leaves all or nothing: $appends, $lastIsStored', async (death) => {
    const { url, log, gateway } = await started(BYTES)
    const before = await send(url, 'POST', BYTES, 'before ')
    const reader = await SseClient.open(`${url}?offset=${next(before)}&live=sse`)
    const victim = await start(dyingLog(log, death), { APPEND_TIMEOUT_MS: '300' })
    const headers = { ...BYTES, ...claim('p', 0, 0) }
    const lost = await send(victim.url, 'POST', headers, body)
    expect([200, 503]).toContain(lost.status)
    const seen = bytesOf(await readAll(url)).length
    expect([7, 7 + body.length]).toContain(seen)
    // The idempotent producer tries again elsewhere: it is stored once, whatever was before.
    const retried = await send(url, 'POST', headers, body)
    expect([200, 204]).toContain(retried.status)
    const more = await send(url, 'POST', BYTES, ' after')
    const all = Buffer.concat([Buffer.from('before '), body, Buffer.from(' after')])
    expect(bytesOf(await readAll(url)).equals(all)).toBe(true)
    // A gateway that opens the log anew says the same.
    const fresh = await start(log)
    expect(bytesOf(await readAll(fresh.url)).equals(all)).toBe(true)
    await expect.poll(() => reader.controls.at(-1)?.streamNextOffset).toBe(next(more))
    const heard = Buffer.concat(
      reader.events.filter((e) => e.event === 'data').map((e) => Buffer.from(e.data, 'base64')),
    )
    expect(heard.equals(all.subarray(7))).toBe(true)
    // Forks inherit what counts, and nothing else.
    const fork = gateway.stream('fork')
    await send(fork, 'PUT', { 'stream-forked-from': '/v1/stream/s' })
    expect(bytesOf(await readAll(fork)).equals(all)).toBe(true)
    reader.leave()
  })
})
