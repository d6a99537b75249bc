/** Traces of a real gateway, as a collector gets them; and that without one there is no trace of it. */
import { readFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { freePort } from '../support/free-port.ts'
import { spawnGateway, startGatewayProcess } from '../support/gateway-process.ts'
import type { GatewayProcess } from '../support/gateway-process.ts'
import { call } from '../support/http-calls.ts'
import { OtlpCollector } from '../support/otlp-collector.ts'
import type { CollectedSpan } from '../support/otlp-collector.ts'
import { SseClient } from '../support/sse-client.ts'
import { temporaryDirectory } from '../support/temporary.ts'
import { WebhookReceiver, subscriptionsAt } from '../support/webhook-receiver.ts'

const TEXT = { 'content-type': 'text/plain' }
const WRITER = { traceId: '0af7651916cd43dd8448eb211c80319c', spanId: 'b7ad6b7169203331' }
const TRACEPARENT = `00-${WRITER.traceId}-${WRITER.spanId}-01`
const READER = { traceId: '4bf92f3577b34da6a3ce929d0e0e4736', spanId: '00f067aa0ba902b7' }
/** What is not sent when a gateway leaves is dropped after three seconds; the rest is for the machine. */
const LEAVES_WITHIN_MS = 8000

const SERVER = 2
const FAILED = 2

async function start(env: Readonly<Record<string, string>>): Promise<GatewayProcess> {
  const directory = await temporaryDirectory()
  return startGatewayProcess({ DATA_DIR: directory, LOG_LEVEL: 'info', ...env }, { ready: false })
}

const create = (url: string) => call(url, { method: 'PUT', headers: TEXT })
const append = (url: string, body: string, headers: Readonly<Record<string, string>> = {}) =>
  call(url, { method: 'POST', headers: { ...TEXT, ...headers }, body })

/** The log lines of requests. */
const linesOf = (gateway: GatewayProcess): readonly Record<string, unknown>[] =>
  gateway
    .stdout()
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>)

/** Whether it is an operation on the stream's log: the gateway has logs of its own. */
const isOf = ({ attributes }: Pick<CollectedSpan, 'attributes'>): boolean =>
  attributes['durable_streams.stream'] === 'secret/name'

const isAppend = ({ name, attributes }: CollectedSpan): boolean =>
  name.startsWith('POST') && attributes['http.response.status_code'] === 204

describe.each(['on', 'off'])('with the fast lane %s', (FAST_LANE) => {
  test('an append is a part of its writer’s trace, and so is its delivery', async () => {
    const collector = await OtlpCollector.start()
    const gateway = await start({ ...collector.environment, FAST_LANE })
    const url = gateway.stream('secret/name')
    await create(url)
    const reader = await SseClient.open(`${url}?offset=-1&live=sse`, {
      traceparent: `00-${READER.traceId}-${READER.spanId}-01`,
    })
    await reader.until(({ controls }) => controls.length === 1)
    await append(url, 'hello', { traceparent: TRACEPARENT })
    await reader.until(({ text }) => text === 'hello')

    const server = await collector.span(isAppend)
    expect(server).toMatchObject({
      name: 'POST /v1/stream/*',
      kind: SERVER,
      traceId: WRITER.traceId,
      parentSpanId: WRITER.spanId,
      attributes: {
        'http.request.method': 'POST',
        'http.route': '/v1/stream/*',
        'url.path': '/v1/stream/secret/name',
      },
      status: 0,
      resource: { 'service.name': 'durable-streams-gateway' },
    })
    const log = await collector.span((span) => isOf(span) && span.parentSpanId === server.spanId)
    expect(log).toMatchObject({
      name: 'append',
      traceId: WRITER.traceId,
      attributes: {
        'durable_streams.stream': 'secret/name',
        'durable_streams.records': 1,
        'durable_streams.log.outcome': 'ok',
      },
    })
    const delivery = await collector.span(({ name }) => name === 'deliver')
    expect(delivery).toMatchObject({
      links: [WRITER],
      traceId: WRITER.traceId,
      attributes: {
        'durable_streams.stream': 'secret/name',
        'durable_streams.records': 1,
        'durable_streams.bytes': 5,
        'durable_streams.readers': 1,
      },
    })

    // A reader’s is told of when it ends.
    const isRead = ({ name }: CollectedSpan): boolean => name === 'GET /v1/stream/*'
    expect(collector.spans.some(isRead)).toBe(false)
    reader.leave()
    const read = await collector.span(isRead)
    expect(read).toMatchObject({
      kind: SERVER,
      traceId: READER.traceId,
      parentSpanId: READER.spanId,
      attributes: { 'durable_streams.live': 'sse', 'durable_streams.end': 'client' },
    })
    const checkTail = await collector.span(
      ({ name, ...span }) => name === 'check_tail' && isOf(span),
    )
    expect(checkTail.parentSpanId).toBe(read.spanId)
    expect((await gateway.stop()).code).toBe(0)
    // Nothing but traces is sent, and no name of a stream is one of a span.
    expect(new Set(collector.requests.map(({ path }) => path))).toEqual(new Set(['/v1/traces']))
    expect(collector.spans.filter(({ name }) => name.includes('secret'))).toEqual([])
    expect(linesOf(gateway).map(({ method, trace_id }) => [method, trace_id])).toEqual(
      expect.arrayContaining([
        ['POST', WRITER.traceId],
        ['GET', READER.traceId],
      ]),
    )
  })

  test('polls are told of one by one, and readers who are sent away with the reason', async () => {
    const collector = await OtlpCollector.start()
    const gateway = await start({
      ...collector.environment,
      FAST_LANE,
      LONG_POLL_TIMEOUT_MS: '50',
      OTEL_SERVICE_NAME: 'mine',
    })
    const url = gateway.stream('a')
    await create(url)
    const reader = await SseClient.open(`${url}?offset=-1&live=sse`)
    await call(`${url}?offset=now&live=long-poll`)
    const poll = await collector.span(
      ({ attributes }) => attributes['durable_streams.live'] === 'long-poll',
    )
    expect(poll).toMatchObject({
      attributes: { 'http.response.status_code': 204 },
      resource: { 'service.name': 'mine' },
    })
    // What is over only when the gateway leaves is sent before it has left.
    await gateway.stop()
    await reader.ended()
    const ends = collector.spans.map(({ attributes }) => attributes['durable_streams.end'])
    expect(ends).toContain('shutdown')
  })

  test('a live read that is refused is one span, over all that was done for it', async () => {
    const collector = await OtlpCollector.start()
    const gateway = await start({ ...collector.environment, FAST_LANE })
    for (const live of ['sse', 'long-poll']) {
      const { status } = await call(`${gateway.stream('none')}?offset=now&live=${live}`)
      expect(status).toBe(404)
    }
    await gateway.stop()
    const requests = collector.spans.filter(({ kind }) => kind === SERVER)
    expect(requests.map(({ attributes }) => attributes['durable_streams.code'])).toEqual([
      'stream_not_found',
      'stream_not_found',
    ])
    const looks = collector.spans.filter(
      ({ attributes }) => attributes['durable_streams.stream'] === 'none',
    )
    const parents = new Set(looks.map(({ parentSpanId }) => parentSpanId))
    expect(parents).toEqual(new Set(requests.map(({ spanId }) => spanId)))
  })
})

test('appends of one batch are linked to what is done for all of them', async () => {
  const collector = await OtlpCollector.start()
  const gateway = await start(collector.environment)
  const url = gateway.stream('a')
  await create(url)
  await Promise.all(Array.from({ length: 50 }, (_, index) => append(url, `${index}`)))
  await gateway.stop()
  const servers = collector.spans.filter(isAppend)
  const writes = collector.spans.filter(({ name, parentSpanId }) =>
    servers.some(({ spanId }) => name === 'append' && spanId === parentSpanId),
  )
  const told = writes.flatMap(({ parentSpanId, links }) => [
    parentSpanId,
    ...links.map(({ spanId }) => spanId),
  ])
  expect(servers).toHaveLength(50)
  // An attempt that another batch made vain is told of, too.
  expect(new Set(told)).toEqual(new Set(servers.map(({ spanId }) => spanId)))
  expect(writes.length).toBeLessThan(50)
})

test('a writer without a trace begins one, which its readers are told of', async () => {
  const collector = await OtlpCollector.start()
  const gateway = await start(collector.environment)
  const url = gateway.stream('a')
  await create(url)
  await append(url, 'x')
  const { traceId, spanId } = await collector.span(isAppend)
  const { headers } = await call(`${url}?offset=-1`)
  expect(headers['stream-traceparent']).toBe(`00-${traceId}-${spanId}-01`)
})

test('what its writer does not record is not recorded here', async () => {
  const collector = await OtlpCollector.start()
  const gateway = await start(collector.environment)
  const url = gateway.stream('a')
  await create(url)
  const reader = await SseClient.open(`${url}?offset=-1&live=sse`)
  const traceparent = TRACEPARENT.replace(/01$/, '00')
  await append(url, 'x', { traceparent })
  await reader.until(({ text }) => text === 'x')
  const { headers } = await call(`${url}?offset=-1`)
  expect(headers['stream-traceparent']).toBe(traceparent)
  reader.leave()
  await gateway.stop()
  expect(collector.spans.length).toBeGreaterThan(0)
  expect(collector.spans.filter(({ traceId }) => traceId === WRITER.traceId)).toEqual([])
})

test('a sampler that takes nothing has nothing sent, and nothing kept', async () => {
  const collector = await OtlpCollector.start()
  const gateway = await start({ ...collector.environment, OTEL_TRACES_SAMPLER: 'always_off' })
  const url = gateway.stream('a')
  await create(url)
  await append(url, 'x')
  expect((await call(`${url}?offset=-1`)).headers).not.toHaveProperty('stream-traceparent')
  await gateway.stop()
  expect(collector.requests).toEqual([])
})

test('a failure is one of its span, by its code', async () => {
  const collector = await OtlpCollector.start()
  const gateway = await start(collector.environment)
  expect((await call(gateway.stream('none'))).status).toBe(404)
  const missing = await collector.span(
    ({ attributes }) => attributes['durable_streams.code'] === 'stream_not_found',
  )
  // Not a failure of the server.
  expect([missing.name, missing.status]).toEqual(['GET /v1/stream/*', 0])
  expect((await call(`${gateway.url}/nothing/here`)).status).toBe(404)
  const lost = await collector.span(({ attributes }) => attributes['url.path'] === '/nothing/here')
  expect([lost.name, lost.attributes['http.route'], lost.status]).toEqual(['GET', undefined, 0])
  // Nobody wants to hear of probes.
  await call(`${gateway.url}/healthz`)
  await gateway.stop()
  const paths = collector.spans.map(({ attributes }) => attributes['url.path'])
  expect(paths).not.toContain('/healthz')
  expect(collector.spans.some(({ status }) => status === FAILED)).toBe(false)
})

test('a webhook says which trace it is a part of', async () => {
  const collector = await OtlpCollector.start()
  const receiver = await WebhookReceiver.start()
  onTestFinished(() => receiver.close())
  const gateway = await start({ ...collector.environment, ALLOW_LOCAL_WEBHOOKS: 'true' })
  await create(gateway.stream('a'))
  const type = 'webhook'
  const webhook = { url: `${receiver.url}?secret=hush` }
  const { status } = await subscriptionsAt(gateway).put('s', { type, webhook, streams: ['a'] })
  expect(status).toBe(201)
  await append(gateway.stream('a'), 'x')
  const { headers } = await receiver.next()
  const span = await collector.span(({ name }) => name === 'POST')
  expect(headers['traceparent']).toBe(`00-${span.traceId}-${span.spanId}-01`)
  expect(span.attributes).toMatchObject({ 'server.address': '127.0.0.1' })
  expect(JSON.stringify(collector.spans)).not.toContain('hush')
})

test('without a word on the protocol it is OTLP as protobuf', async () => {
  const collector = await OtlpCollector.start()
  const { OTEL_EXPORTER_OTLP_PROTOCOL: _json, ...environment } = collector.environment
  const gateway = await start(environment)
  await create(gateway.stream('a'))
  await gateway.stop()
  expect(collector.requests[0]).toEqual({
    path: '/v1/traces',
    contentType: 'application/x-protobuf',
  })
})

describe('a collector', () => {
  /** Some requests, and how long the gateway takes to leave. */
  async function use(gateway: GatewayProcess): Promise<number> {
    const url = gateway.stream('a')
    expect((await create(url)).status).toBe(201)
    for (let index = 0; index < 20; index += 1) {
      expect((await append(url, 'x', { traceparent: TRACEPARENT })).status).toBe(204)
    }
    expect((await call(`${url}?offset=-1`)).body).toBe('x'.repeat(20))
    const begun = performance.now()
    expect(await gateway.stop()).toMatchObject({ code: 0 })
    return performance.now() - begun
  }

  const complaints = (gateway: GatewayProcess): readonly unknown[] =>
    linesOf(gateway).filter(({ msg, level }) => msg === 'tracing' && Number(level) >= 40)

  test('that is not there costs nothing but its traces, and a line', async () => {
    const gateway = await start({
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${await freePort()}`,
      OTEL_EXPORTER_OTLP_TIMEOUT: '100',
      OTEL_BSP_SCHEDULE_DELAY: '20',
      LOG_LEVEL: 'debug',
    })
    await create(gateway.stream('b'))
    const failAgain = async (): Promise<number> => {
      await append(gateway.stream('b'), 'x')
      return linesOf(gateway).filter(({ msg }) => msg === 'tracing').length
    }
    await expect.poll(failAgain, { timeout: 10_000, interval: 50 }).toBeGreaterThan(3)
    expect(await use(gateway)).toBeLessThan(LEAVES_WITHIN_MS)
    expect(complaints(gateway)).toEqual([
      expect.objectContaining({ cause: expect.stringContaining('ECONNREFUSED') as string }),
    ])
  })

  test('that never answers costs no more', async () => {
    const collector = await OtlpCollector.start()
    collector.isSilent = true
    const gateway = await start(collector.environment)
    expect(await use(gateway)).toBeLessThan(LEAVES_WITHIN_MS)
    expect(collector.requests.length).toBeGreaterThan(0)
  })

  test('that nobody can be meant by stops the start, and says why', async () => {
    const gateway = spawnGateway({ OTEL_TRACES_EXPORTER: 'jaeger' })
    expect(await gateway.exited).toMatchObject({ code: 2 })
    expect(gateway.stderr()).toMatch(/OTEL_TRACES_EXPORTER must be some of otlp/)
  })
})

describe('the packages of OpenTelemetry', () => {
  /** All scripts that a gateway has run, by what V8 itself says of them when it ends. */
  async function scriptsOf(env: Readonly<Record<string, string>>): Promise<readonly string[]> {
    const NODE_V8_COVERAGE = await temporaryDirectory()
    const gateway = await start({ ...env, NODE_V8_COVERAGE })
    await create(gateway.stream('a'))
    await append(gateway.stream('a'), 'x', { traceparent: TRACEPARENT })
    await call(`${gateway.stream('a')}?offset=-1&live=long-poll`)
    await gateway.stop()
    const files = await readdir(NODE_V8_COVERAGE)
    expect(files.length).toBeGreaterThan(0)
    const reports = await Promise.all(
      files.map(async (file) => {
        const text = await readFile(join(NODE_V8_COVERAGE, file), 'utf8')
        return JSON.parse(text) as { readonly result: readonly { readonly url: string }[] }
      }),
    )
    return reports.flatMap(({ result }) => result.map(({ url }) => url))
  }

  /** Its API alone does nothing; prom-client has it, and asks it for nothing. */
  const theirs = (scripts: readonly string[]): readonly string[] =>
    scripts.filter((url) => /@opentelemetry\/(?!api\/)|tracing\/opentelemetry/.test(url))

  test('are not there where tracing is off', async () => {
    const collector = await OtlpCollector.start()
    const scripts = await scriptsOf({ ...collector.environment, OTEL_SDK_DISABLED: 'true' })
    expect(scripts.some((url) => url.includes('fastify'))).toBe(true)
    expect(theirs(scripts)).toEqual([])
    expect(collector.requests).toEqual([])
  })

  test('are there where it is on', async () => {
    const collector = await OtlpCollector.start()
    expect(theirs(await scriptsOf(collector.environment)).length).toBeGreaterThan(10)
  })
})
