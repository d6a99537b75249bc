import { Writable } from 'node:stream'
import Fastify, { LogController } from 'fastify'
import { afterEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/clock.ts'
import { loadConfig } from '../../../src/config.ts'
import { LogUnavailableError } from '../../../src/errors.ts'
import { Cors } from '../../../src/http/cors.ts'
import { registerBrowser } from '../../../src/http/plugins/browser.ts'
import { frameworkErrorHandler, registerErrors } from '../../../src/http/plugins/errors.ts'
import { registerRequestLog } from '../../../src/http/plugins/request-log.ts'

const close: (() => Promise<unknown>)[] = []
afterEach(async () => {
  for (const end of close.splice(0)) await end()
})

type Line = Record<string, unknown>

const cors = new Cors(loadConfig({}).cors)

function start() {
  const lines: Line[] = []
  const stream = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      lines.push(JSON.parse(chunk.toString()) as Line)
      done()
    },
  })
  const app = Fastify({
    logger: { level: 'info', stream },
    logController: new LogController({ disableRequestLogging: true }),
    frameworkErrors: frameworkErrorHandler(cors, 8192),
  })
  registerRequestLog(app)
  registerBrowser(app, cors)
  registerErrors(app, systemClock, cors)
  app.get('/ok', () => 'ok')
  app.get('/bug', () => {
    throw new TypeError('inside: token abc')
  })
  app.get('/down', () => {
    throw new LogUnavailableError(new Error('s2 at secret.example'))
  })
  close.push(() => app.close())
  return { app, lines }
}

describe('the request log', () => {
  test('has one line for a request: what it was and how it ended, and no secret', async () => {
    const { app, lines } = start()
    await app.inject({
      url: '/ok?live=sse&token=hush&offset=5',
      headers: { authorization: 'Bearer hush', cookie: 'hush' },
    })
    expect(lines).toEqual([
      expect.objectContaining({
        level: 30,
        msg: 'request',
        method: 'GET',
        path: '/ok',
        live: 'sse',
        status: 200,
        ms: expect.any(Number) as number,
      }),
    ])
    expect(JSON.stringify(lines)).not.toContain('hush')
  })

  test.each([
    ['/nothing?secret=hush', 404],
    ['/%zz?secret=hush', 400],
    ['/ok?live=hush', 200],
  ])('%s: one line too', async (url, status) => {
    const { app, lines } = start()
    await app.inject({ url })
    expect(lines.map(({ msg, status }) => [msg, status])).toEqual([['request', status]])
    expect(JSON.stringify(lines)).not.toContain('hush')
  })

  test('names the trace that a request is a part of, by its valid header', async () => {
    const { app, lines } = start()
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
    const traceparent = `00-${traceId}-00f067aa0ba902b7-00`
    for (const headers of [{ traceparent }, { traceparent: `${traceparent}-hush` }, {}]) {
      await app.inject({ url: '/ok', headers })
    }
    expect(lines.map(({ trace_id }) => trace_id)).toEqual([traceId, undefined, undefined])
  })

  test('has the bug that a client is told nothing of', async () => {
    const { app, lines } = start()
    const { statusCode, body } = await app.inject({ url: '/bug' })
    expect([statusCode, body.includes('abc')]).toEqual([500, false])
    expect(lines.map(({ level, msg }) => [level, msg])).toEqual([
      [50, 'request failed'],
      [30, 'request'],
    ])
    expect(lines[0]!['err']).toMatchObject({ type: 'TypeError', message: 'inside: token abc' })
  })

  test('has the code and the cause of a failure that is not ours, in its one line', async () => {
    const { app, lines } = start()
    const { body } = await app.inject({ url: '/down' })
    expect(body).not.toContain('secret')
    expect(lines).toHaveLength(1)
    expect(lines[0]).toMatchObject({ level: 30, status: 503, code: 'log_unavailable' })
    expect(lines[0]!['cause']).toContain('secret.example')
  })
})
