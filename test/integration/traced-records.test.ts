/** What writers and readers who trace learn of each other through a stream, and others do not notice. */
import { DurableStream } from '@durable-streams/client'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { DurableLog } from '../../src/log/log.ts'
import { CleanUps } from '../support/clean-ups.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGateway } from '../support/gateway.ts'
import { call } from '../support/http-calls.ts'
import { RecordingTracing } from '../support/recording-tracing.ts'
import { SseClient } from '../support/sse-client.ts'

const TEXT = { 'content-type': 'text/plain' }
const JSON_MODE = { 'content-type': 'application/json' }
const named = (digit: number) => `00-${String(digit).repeat(32)}-${String(digit).repeat(16)}-01`
const TRACEPARENT = named(1)
const LIMITS = { maxRecords: 100, maxBytes: 1024 * 1024 }

let cleanUps: CleanUps
let log: DurableLog
beforeEach(async () => {
  cleanUps = new CleanUps()
  log = await openEmbeddedLog({ location: { kind: 'memory' } })
  cleanUps.add(() => log.close())
})
afterEach(() => cleanUps.run())

async function start(
  env: Readonly<Record<string, string>> = {},
  tracing?: RecordingTracing,
): Promise<TestGateway> {
  const gateway = await startGateway({ log, env, ...(tracing && { tracing }) })
  cleanUps.add(() => gateway.shutdown())
  return gateway
}

type Headers = Readonly<Record<string, string>>
const create = (url: string, headers: Headers = {}, body?: string) =>
  call(url, {
    method: 'PUT',
    headers: { ...TEXT, ...headers },
    ...(body !== undefined && { body }),
  })
const append = (url: string, body: string, headers: Headers = {}) =>
  call(url, { method: 'POST', headers: { ...TEXT, ...headers }, body })

/** The headers of each record of a stream, as an S2 client sees them. */
async function headersIn(stream: string): Promise<readonly string[][]> {
  const records = await log.read(stream, { seqNum: 0 }, LIMITS)
  return records.map((record) =>
    record.kind === 'data' ? record.headers.map(([name]) => name) : [record.kind],
  )
}

const toldBy = ({ headers }: { headers: Readonly<Record<string, unknown>> }) =>
  headers['stream-traceparent']
const controlsOf = (reader: SseClient) =>
  reader.controls.map((control) => (control as { streamTraceparent?: string }).streamTraceparent)

describe.each(['on', 'off'])('with the fast lane %s', (FAST_LANE) => {
  test('every kind of reader is told of the latest append in what it gets', async () => {
    const gateway = await start({ FAST_LANE })
    const url = gateway.stream('a')
    await create(url)
    const reader = await SseClient.open(`${url}?offset=-1&live=sse`)
    const poll = call(`${url}?offset=now&live=long-poll`)
    await reader.until(({ controls }) => controls.length === 1)
    await append(url, 'x', { traceparent: TRACEPARENT })
    await reader.until(({ text }) => text === 'x')
    await reader.until(({ controls }) => controls.length === 2)
    expect(controlsOf(reader)).toEqual([undefined, TRACEPARENT])
    expect(toldBy(await call(`${url}?offset=-1`))).toBe(TRACEPARENT)
    expect(toldBy(await poll)).toBe(TRACEPARENT)
    await append(url, 'y')
    await append(url, 'z', { traceparent: named(2) })
    expect(toldBy(await call(`${url}?offset=-1`))).toBe(named(2))
    reader.leave()
    // One who reads history is told, too.
    const late = await SseClient.open(`${url}?offset=-1&live=sse`)
    await late.until(({ text, controls }) => text === 'xyz' && controls.length > 0)
    expect(controlsOf(late).filter(Boolean).at(-1)).toBe(named(2))
    late.leave()
  })
})

test('its record is what it always was, and says it last', async () => {
  const gateway = await start()
  const url = gateway.stream('a')
  await create(url)
  await append(url, 'x')
  await append(url, 'y', { traceparent: TRACEPARENT })
  const [bare, traced] = (await headersIn('a')).slice(2)
  expect([bare, traced]).toEqual([
    ['ds', 'cp', 'op'],
    ['ds', 'cp', 'traceparent', 'op'],
  ])
  expect(toldBy(await call(`${url}?offset=-1`))).toBe(TRACEPARENT)
})

test('messages of one append say it once, and data that a stream begins with, too', async () => {
  const gateway = await start()
  const url = gateway.stream('a')
  await create(url, { ...JSON_MODE, traceparent: TRACEPARENT }, '[1,2]')
  await append(url, '[3,4,5]', { ...JSON_MODE, traceparent: named(2) })
  const traced = (await headersIn('a')).map((names) => names.includes('traceparent'))
  expect(traced).toEqual([false, false, false, true, false, false, true])
  expect((await call(`${url}?offset=-1`)).body).toBe('[1,2,3,4,5]')
})

test('an append of several batches says it when it counts', async () => {
  const gateway = await start()
  const url = gateway.stream('a')
  await create(url)
  const body = 'x'.repeat(1_500_000)
  await append(url, body, { traceparent: TRACEPARENT })
  const told: unknown[] = []
  let read = ''
  for (let offset = '-1'; read.length < body.length;) {
    const answer = await call(`${url}?offset=${offset}`)
    told.push(toldBy(answer))
    read += answer.body
    offset = String(answer.headers['stream-next-offset'])
  }
  expect(told.filter(Boolean)).toEqual([TRACEPARENT])
  expect(told.at(-1)).toBe(TRACEPARENT)
})

test('a fork tells of what it inherits, and of its own', async () => {
  const gateway = await start()
  const [source, fork] = [gateway.stream('a'), gateway.stream('b')]
  await create(source)
  await append(source, 'x', { traceparent: TRACEPARENT })
  const answer = await create(fork, { 'stream-forked-from': '/v1/stream/a' })
  expect(answer.status).toBe(201)
  expect(toldBy(await call(`${fork}?offset=-1`))).toBe(TRACEPARENT)
  await append(fork, 'y', { traceparent: named(2) })
  const rest = await call(`${fork}?offset=${String(answer.headers['stream-next-offset'])}`)
  expect([rest.body, toldBy(rest)]).toEqual(['y', named(2)])
})

test('what an S2 client says of its own data is told, if it is valid', async () => {
  const gateway = await start()
  const url = gateway.stream('a')
  await create(url)
  for (const traceparent of [TRACEPARENT, `${TRACEPARENT}\r\nSet-Cookie: a=b`]) {
    const matchSeqNum = await log.checkTail('a')
    const fencing = await log.read('a', { seqNum: 0 }, LIMITS)
    const fence = fencing.find(({ kind }) => kind === 'fence')
    await log.append('a', {
      records: [{ kind: 'data', headers: [['traceparent', traceparent]], body: Buffer.from('x') }],
      matchSeqNum,
      fencingToken: fence?.kind === 'fence' ? fence.token : '',
    })
  }
  const answer = await call(`${url}?offset=-1`)
  expect([answer.status, answer.body, toldBy(answer)]).toEqual([200, 'xx', TRACEPARENT])
  expect(answer.headers).not.toHaveProperty('set-cookie')
})

test.each([
  ['that is malformed', { traceparent: `${TRACEPARENT}-` }, {}],
  ['where none is to be kept', { traceparent: TRACEPARENT }, { TRACE_RECORDS: 'off' }],
])('a traceparent %s is not kept', async (_name, headers, env) => {
  const gateway = await start(env)
  const url = gateway.stream('a')
  await create(url, headers, 'x')
  expect((await append(url, 'y', headers)).status).toBe(204)
  expect((await headersIn('a')).flat()).not.toContain('traceparent')
  expect((await call(`${url}?offset=-1`)).headers).not.toHaveProperty('stream-traceparent')
})

test('where requests are traced one without a traceparent is named itself', async () => {
  const tracing = new RecordingTracing()
  const gateway = await start({}, tracing)
  const url = gateway.stream('a')
  await create(url)
  await append(url, 'x')
  const [span] = tracing.named('POST /v1/stream/*')
  expect(toldBy(await call(`${url}?offset=-1`))).toBe(span?.traceparent)
  // Nor is it kept where nothing is to be.
  const silent = await start({ TRACE_RECORDS: 'off' }, tracing)
  await create(silent.stream('b'))
  await append(silent.stream('b'), 'x')
  expect((await headersIn('b')).flat()).not.toContain('traceparent')
})

test('a producer that sends an append again, in another trace, sends the same one', async () => {
  const gateway = await start()
  const url = gateway.stream('a')
  await create(url)
  const producer = { 'producer-id': 'p', 'producer-epoch': '0', 'producer-seq': '0' }
  expect((await append(url, 'x', { ...producer, traceparent: TRACEPARENT })).status).toBe(200)
  expect((await append(url, 'x', { ...producer, traceparent: named(2) })).status).toBe(204)
  const { body, headers } = await call(`${url}?offset=-1`)
  expect([body, headers['stream-traceparent']]).toEqual(['x', TRACEPARENT])
})

test('a cache that has it asks, and is told of the same', async () => {
  const gateway = await start()
  const url = gateway.stream('a')
  await create(url)
  await append(url, 'x', { traceparent: TRACEPARENT })
  const { headers } = await call(`${url}?offset=-1`)
  const again = await call(`${url}?offset=-1`, {
    headers: { 'if-none-match': String(headers['etag']) },
  })
  expect([again.status, toldBy(again)]).toEqual([304, TRACEPARENT])
})

test.each(['sse', 'long-poll'] as const)(
  'the protocol’s own client does not mind, reading by %s',
  async (live) => {
    const gateway = await start()
    const url = gateway.stream('a')
    await create(url, { ...JSON_MODE, traceparent: TRACEPARENT }, '["one"]')
    const seen: unknown[] = []
    const response = await new DurableStream({ url }).stream({ live })
    const done = new Promise<void>((resolve) => {
      response.subscribeJson(({ items }) => {
        seen.push(...items)
        if (seen.length === 3) resolve()
      })
    })
    await expect.poll(() => seen).toEqual(['one'])
    await append(url, '["two"]', { ...JSON_MODE, traceparent: named(2) })
    await append(url, '["three"]', JSON_MODE)
    await done
    expect(seen).toEqual(['one', 'two', 'three'])
    response.cancel()
  },
)
