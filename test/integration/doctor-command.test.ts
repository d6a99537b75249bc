/** The command of the package, as a process: what it starts, how it ends, and what it leaves. */
import { readFile } from 'node:fs/promises'
import http from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { once } from 'node:events'
import { Readable, pipeline } from 'node:stream'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { JWT_ENV, tokenOf } from '../support/access-tokens.ts'
import { CleanUps } from '../support/clean-ups.ts'
import { freePort } from '../support/free-port.ts'
import { REPOSITORY, listening, run, startGatewayProcess } from '../support/gateway-process.ts'
import type { Environment, Running } from '../support/gateway-process.ts'
import { call } from '../support/http-calls.ts'
import { RecordingRelay } from '../support/recording-relay.ts'
import { temporaryDirectory } from '../support/temporary.ts'

const CLI = join(REPOSITORY, 'dist/cli.js')
/** Checks that take no time. */
const FEW = ['--only', 'tail,keep-alive']

function command(args: readonly string[], env: Environment = {}): Running {
  return run({ file: process.execPath, args: [CLI, ...args], env })
}

async function ended(running: Running) {
  const { code } = await running.exited
  return { code, out: running.stdout(), error: running.stderr() }
}

async function gatewayBehindRelay(env: Environment = { AUTH: 'none' }) {
  const cleanUps = new CleanUps()
  const gateway = await startGatewayProcess({ DATA_DIR: await temporaryDirectory(), ...env })
  // It ends before the gateway that it is in front of.
  const relay = await RecordingRelay.start(gateway.url, cleanUps)
  onTestFinished(() => cleanUps.run())
  const paths = (method: string) =>
    relay.requests.flatMap((line) =>
      line.startsWith(`${method} `) ? [line.slice(method.length + 1)] : [],
    )
  return { gateway, relay, paths }
}

describe('the command of the package', () => {
  test('is a program that the package names', async () => {
    const text = await readFile(CLI, 'utf8')
    expect(text.split('\n')[0]).toBe('#!/usr/bin/env node')
    const { bin } = JSON.parse(await readFile(join(REPOSITORY, 'package.json'), 'utf8')) as {
      bin?: unknown
    }
    expect(bin).toEqual({ 'durable-streams-gateway': 'dist/cli.js' })
  })

  test.each([[[]], [['serve']]])('starts the gateway with %o', async (args) => {
    const DATA_DIR = await temporaryDirectory()
    const { url } = await listening(command(args, { PORT: '0', DATA_DIR, LOG_LEVEL: 'warn' }))
    expect((await call(`${url}/healthz`)).status).toBe(200)
  })

  test.each([
    [['--help'], 0, /doctor <url>/],
    [['doctor', '--help'], 0, /sse-delivery .*\n[^]*retry-after/],
  ])('explains itself with %o', async (args, code, text) => {
    expect(await ended(command(args))).toMatchObject({
      code,
      out: expect.stringMatching(text) as string,
    })
  })

  test.each([
    [['dance'], /no command dance/],
    [['doctor'], /URL of the deployment is missing/],
    [['doctor', 'http://a.example', '--fast'], /--fast/],
  ])('refuses %o with 2', async (args, text) => {
    const { code, error } = await ended(command(args))
    expect([code, error]).toEqual([2, expect.stringMatching(text)])
  })
})

describe('doctor', () => {
  test('ends with 0 when all is well, and leaves nothing', async () => {
    const { gateway, relay, paths } = await gatewayBehindRelay()
    const { code, out } = await ended(command(['doctor', relay.url, ...FEW]))
    expect([code, out]).toEqual([0, expect.stringMatching(/ok {4}tail: [^]*2 ok, 0 warnings/)])
    expect(paths('PUT').length).toBeGreaterThan(1)
    for (const path of paths('PUT')) {
      expect((await call(`${gateway.url}${path}`)).status).toBe(404)
    }
  })

  test('writes one line of JSON with --json', async () => {
    const { relay } = await gatewayBehindRelay()
    const { code, out } = await ended(command(['doctor', relay.url, '--json', ...FEW]))
    expect(code).toBe(0)
    expect(JSON.parse(out)).toMatchObject({ exitCode: 0, counts: { ok: 2 }, left: [] })
  })

  test('has its token from the environment', async () => {
    const { relay } = await gatewayBehindRelay(JWT_ENV)
    const args = ['doctor', relay.url, '--stream-prefix', 'acme/', ...FEW]
    const DOCTOR_TOKEN = tokenOf({ sub: 'acme', scope: 'manage' })
    expect(await ended(command(args, { DOCTOR_TOKEN }))).toMatchObject({ code: 0 })
    const refused = await ended(command(args))
    expect(refused).toMatchObject({
      code: 3,
      out: expect.stringContaining('DOCTOR_TOKEN') as string,
    })
    const other = await ended(command(['doctor', relay.url], { DOCTOR_TOKEN }))
    expect(other).toMatchObject({
      code: 3,
      out: expect.stringContaining('--stream-prefix') as string,
    })
  })

  test('ends with 3 where nobody answers', async () => {
    const url = `http://127.0.0.1:${await freePort()}`
    const { code, out } = await ended(command(['doctor', url]))
    expect([code, out]).toEqual([3, expect.stringContaining('refused')])
    expect(out).not.toContain('could not be deleted')
  })

  test('ends with 3 where it is sent elsewhere, and says where', async () => {
    const url = await siteOf((response) => {
      response.writeHead(308, { location: 'https://other.example/' }).end()
    })
    const { code, out } = await ended(command(['doctor', url, '--json']))
    expect([code, JSON.parse(out)]).toEqual([
      3,
      expect.objectContaining({
        left: [],
        unreachable: expect.stringContaining('308 to https://other.example/') as string,
      }),
    ])
  })

  test('waits as long as a refusal says, by seconds or by a date', async () => {
    const times: number[] = []
    const url = await siteOf((response) => {
      times.push(Date.now())
      const retryAfter = new Date(Date.now() + 2000).toUTCString()
      response.writeHead(times.length > 1 ? 403 : 429, { 'retry-after': retryAfter }).end()
    })
    expect(await ended(command(['doctor', url]))).toMatchObject({ code: 3, error: '' })
    expect((times[1] ?? 0) - (times[0] ?? 0)).toBeGreaterThan(900)
  })

  test('ends with 1 where answers have no end', async () => {
    const url = await siteOf((response, method) => {
      if (method !== 'GET') return void response.writeHead(201).end()
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      pipeline(endless(), response, () => undefined)
    })
    const { code, out } = await ended(command(['doctor', url, '--json', ...ENDLESS]))
    const { checks } = JSON.parse(out) as { checks: readonly { id: string; status: string }[] }
    expect([code, checks.map(({ status }) => status)]).toEqual([1, ['fail', 'fail']])
  })

  test('ends with 3 at a site that is no gateway', async () => {
    const url = await siteOf((response) => {
      response.setHeader('content-type', 'text/html').end('<h1>Welcome</h1>')
    })
    const { code, out } = await ended(command(['doctor', url, '--json']))
    expect([code, JSON.parse(out)]).toEqual([
      3,
      expect.objectContaining({ unreachable: expect.stringContaining('200') as string }),
    ])
  })

  test('ends with 1 when the deployment goes away meanwhile, and says what is left', async () => {
    const { gateway, relay, paths } = await gatewayBehindRelay()
    const running = command(['doctor', relay.url, '--json', '--only', 'sse-idle', '--idle', '30'])
    await relayHas(relay, 'live=sse')
    await gateway.stop('SIGKILL')
    const { code, out } = await ended(running)
    const { left } = JSON.parse(out) as { left: readonly string[] }
    expect([code, [...left].sort()]).toEqual([1, [...paths('PUT')].sort()])
  })

  test.each(['SIGINT', 'SIGTERM'] as const)('deletes its streams after %s', async (signal) => {
    const { gateway, relay, paths } = await gatewayBehindRelay()
    const running = command(['doctor', relay.url, '--idle', '30'])
    // In the middle of it: fifty of them wait.
    await relayHas(relay, 'cursor=')
    running.kill(signal)
    const { code, out } = await ended(running)
    expect([code, out]).toEqual([130, expect.stringContaining('Interrupted')])
    expect(paths('PUT').length).toBeGreaterThan(5)
    for (const path of paths('PUT')) {
      expect((await call(`${gateway.url}${path}`)).status).toBe(404)
    }
  })
})

const ENDLESS = ['--only', 'sse-delivery,tail', '--timeout', '2']

function endless(): Readable {
  const bytes = Buffer.alloc(64 * 1024, 'x')
  return new Readable({
    read() {
      this.push(bytes)
    },
  })
}

/** Starts a server that is no gateway. Returns its URL. */
async function siteOf(
  answer: (response: http.ServerResponse, method: string | undefined) => void,
): Promise<string> {
  const site = http.createServer((request, response) => {
    request.resume()
    answer(response, request.method)
  })
  site.listen(0, '127.0.0.1')
  await once(site, 'listening')
  onTestFinished(() => void site.close())
  return `http://127.0.0.1:${(site.address() as AddressInfo).port}`
}

async function relayHas(relay: RecordingRelay, text: string): Promise<void> {
  const wait = { timeout: 15_000, interval: 20 }
  await vi.waitFor(() => expect(relay.requests.join('\n')).toContain(text), wait)
}
