/** The process from start to end on the embedded log: greeting, configuration, failures. */
import { execFile } from 'node:child_process'
import { cp, symlink, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { freePort } from '../support/free-port.ts'
import {
  listening,
  REPOSITORY,
  run,
  signalAll,
  spawnGateway,
  startGatewayProcess,
  statusOf,
} from '../support/gateway-process.ts'
import type { Environment, GatewayProcess } from '../support/gateway-process.ts'
import { appendJson, call, createJsonStream, readJson } from '../support/http-calls.ts'
import { temporaryDirectory } from '../support/temporary.ts'

const SECRET = 's3cr3t-0f-n0b0dy-e15e'

/** A line of a stack trace. */
const STACK = /^\s+at /m

/** Starts what is expected to end by itself. */
async function outcome(env: Environment) {
  const running = spawnGateway(env)
  const exit = await running.exited
  return { exit, stdout: running.stdout(), stderr: running.stderr() }
}

describe('a start', () => {
  test('says where it listens, which log it uses, where the data is and what to type', async () => {
    const directory = await temporaryDirectory()
    const gateway = await startGatewayProcess({ DATA_DIR: directory })
    const lines = gateway.stdout().trimEnd().split('\n')
    expect(lines[0]).toContain(gateway.url)
    expect(lines[0]).toContain('embedded log')
    expect(lines[0]).toContain(directory)
    const commands = lines.filter((line) => line.trim().startsWith('curl '))
    expect(commands).toHaveLength(3)
    expect(gateway.stderr()).toBe('')
  })

  test('prints commands that work as they stand', async () => {
    const gateway = await startGatewayProcess({
      DATA_DIR: await temporaryDirectory(),
      SSE_LIFETIME_MS: '500',
    })
    const commands = gateway.stdout().match(/^ *curl .*$/gm) ?? []
    const shell = promisify(execFile)
    const outputs: string[] = []
    for (const command of commands) {
      const { stdout } = await shell('sh', ['-c', `${command.trim()} --fail --silent`])
      outputs.push(stdout)
    }
    expect(outputs).toHaveLength(3)
    expect(outputs[2]).toContain('data:hello, world\n')
  })

  test('says that it takes a token, where it does, and no secret', async () => {
    const env = { JWT_HS256_SECRETS: SECRET.repeat(2), GATEWAY_SECRETS: SECRET.repeat(2) }
    const gateway = await startGatewayProcess({ DATA_DIR: await temporaryDirectory(), ...env })
    expect(gateway.stdout()).toContain('Every request needs a token')
    expect(gateway.stdout()).not.toContain('curl')
    expect((await call(gateway.stream('s'))).status).toBe(401)
    expect(gateway.stdout() + gateway.stderr()).not.toContain(SECRET)
  })

  test('keeps its data over a restart, and takes its port from PORT', async () => {
    const env = { DATA_DIR: await temporaryDirectory(), PORT: String(await freePort()) }
    const first = await startGatewayProcess(env)
    expect(first.url).toBe(`http://127.0.0.1:${env.PORT}`)
    await createJsonStream(first.stream('kept'))
    await appendJson(first.stream('kept'), [1, { two: 'deux' }])
    const before = await call(first.stream('kept'), { method: 'HEAD' })
    expect(await first.stop()).toEqual({ code: 0, signal: null })

    const second = await startGatewayProcess(env)
    expect(await readJson(second.stream('kept'))).toEqual([1, { two: 'deux' }])
    const after = await call(second.stream('kept'), { method: 'HEAD' })
    expect(after.headers['stream-next-offset']).toBe(before.headers['stream-next-offset'])
    await appendJson(second.stream('kept'), 3)
    expect(await readJson(second.stream('kept'))).toEqual([1, { two: 'deux' }, 3])
  })

  test('logs one line a request at info, and neither bodies nor tokens', async () => {
    const gateway = await startGatewayProcess({
      DATA_DIR: await temporaryDirectory(),
      LOG_LEVEL: 'info',
    })
    await createJsonStream(gateway.stream('logged'))
    await appendJson(gateway.stream('logged'), 'the-body', {
      headers: { authorization: `Bearer ${SECRET}` },
    })
    await call(`${gateway.stream('logged')}?offset=now&token=${SECRET}`)
    const lines = () =>
      gateway
        .stdout()
        .split('\n')
        .filter((line) => line.includes('/v1/stream/logged'))
        .filter((line) => line.startsWith('{'))
        .map((line) => JSON.parse(line) as Record<string, unknown>)
    await vi.waitFor(() => expect(lines()).toHaveLength(3))
    expect(lines().map(({ method, status }) => [method, status])).toEqual([
      ['PUT', 201],
      ['POST', 204],
      ['GET', 200],
    ])
    await gateway.stop()
    expect(gateway.stdout() + gateway.stderr()).not.toContain('the-body')
    expect(gateway.stdout() + gateway.stderr()).not.toContain(SECRET)
  })
})

describe('npm start', () => {
  /** A fresh clone, as far as `npm start` can tell; its build is not the one other tests run. */
  async function clone(): Promise<string> {
    const directory = await temporaryDirectory()
    for (const name of ['package.json', 'tsconfig.json', 'src']) {
      await cp(join(REPOSITORY, name), join(directory, name), { recursive: true })
    }
    await symlink(join(REPOSITORY, 'node_modules'), join(directory, 'node_modules'))
    return directory
  }

  const npmStart = (cwd: string, env: Environment): Promise<GatewayProcess> => {
    return listening(run({ file: 'npm', args: ['start'], cwd, env, group: true }))
  }

  test('builds, serves, and leaves with 0 on a SIGTERM to npm or to its process group', async () => {
    const directory = await clone()
    const env = { DATA_DIR: join(directory, 'elsewhere'), PORT: String(await freePort()) }
    const first = await npmStart(directory, env)
    expect(first.url).toBe(`http://127.0.0.1:${env.PORT}`)
    expect(first.stdout()).toContain(env.DATA_DIR)
    await createJsonStream(first.stream('a'))
    signalAll(first.pid, 'SIGTERM')
    expect(await first.exited).toEqual({ code: 0, signal: null })
    expect(await statusOf(`${first.url}/healthz`)).toBeUndefined()

    const second = await npmStart(directory, env)
    expect(await readJson(second.stream('a'))).toEqual([])
    // As a terminal does it, or a supervisor: npm passes the signal on to a gateway that has it.
    signalAll(-second.pid, 'SIGTERM')
    expect(await second.exited).toEqual({ code: 0, signal: null })
  }, 60_000)
})

describe('a configuration that can not be used', () => {
  test('is refused with exit code 2 when keys can not be read', async () => {
    const directory = await temporaryDirectory()
    const JWT_PEM_FILES = join(directory, 'nothing.pem')
    const { exit, stdout, stderr } = await outcome({ DATA_DIR: directory, JWT_PEM_FILES })
    expect(exit).toEqual({ code: 2, signal: null })
    expect(stderr).toContain(JWT_PEM_FILES)
    expect(stderr).not.toMatch(STACK)
    expect(stdout).toBe('')
  })

  test('is refused with every problem in one message, exit code 2 and no value', async () => {
    const { exit, stdout, stderr } = await outcome({
      DATA_DIR: await temporaryDirectory(),
      PORT: '99999',
      HUB_IDLE_MS: '-1',
      LOG_LEVEL: 'loud',
      S2_ENDPOINT: `ftp://me:${SECRET}@s2.example`,
      S2_ACCESS_TOKEN: SECRET,
      S2_BASIN: 'X',
    })
    expect(exit).toEqual({ code: 2, signal: null })
    expect(stdout).toBe('')
    for (const name of ['PORT', 'HUB_IDLE_MS', 'LOG_LEVEL', 'S2_ENDPOINT', 'S2_BASIN']) {
      expect(stderr).toMatch(new RegExp(`^ *- ${name}\\b`, 'm'))
    }
    expect(stderr).not.toContain(SECRET)
    expect(stderr).not.toMatch(STACK)
  })

  test('names what is malformed and what is missing together', async () => {
    const { exit, stderr } = await outcome({
      PORT: 'http',
      S2_ACCESS_TOKEN: SECRET,
      LONG_POLL_TIMEOUT_MS: '1.5',
    })
    expect(exit.code).toBe(2)
    for (const name of ['PORT', 'LONG_POLL_TIMEOUT_MS', 'S2_BASIN', 'AUTH']) {
      expect(stderr).toMatch(new RegExp(`^ *- ${name}\\b`, 'm'))
    }
    expect(stderr).not.toContain(SECRET)
  })

  test.each([
    ['an S2 endpoint', { S2_ENDPOINT: 'http://127.0.0.1:1' }],
    ['a listener for the world', { HOST: '0.0.0.0' }],
    ['a listener for the world over IPv6', { HOST: '::' }],
  ])('must say AUTH with %s', async (_name, env) => {
    const directory = await temporaryDirectory()
    const { exit, stderr } = await outcome({ DATA_DIR: directory, ...env })
    expect(exit).toEqual({ code: 2, signal: null })
    expect(stderr).toMatch(/^ *- AUTH\b.*AUTH=none/m)
    expect(stderr).not.toMatch(STACK)
  })

  test('is one that says an AUTH there is not', async () => {
    const { exit, stderr } = await outcome({ AUTH: 'open-sesame' })
    expect(exit.code).toBe(2)
    expect(stderr).toMatch(/^ *- AUTH\b/m)
  })

  test('is not one that lets everybody in and says so', async () => {
    const gateway = await startGatewayProcess({
      DATA_DIR: await temporaryDirectory(),
      HOST: '0.0.0.0',
      AUTH: 'none',
    })
    expect(await statusOf(`${gateway.url}/healthz`)).toBe(200)
  })
})

describe('a start that fails', () => {
  test('says that another process has the data directory', async () => {
    const directory = await temporaryDirectory()
    const first = await startGatewayProcess({ DATA_DIR: directory })
    const { exit, stderr } = await outcome({ DATA_DIR: directory })
    expect(exit).toEqual({ code: 1, signal: null })
    expect(stderr).toContain(`the data directory ${directory} is in use by another process`)
    expect(stderr).not.toMatch(STACK)
    expect(await statusOf(`${first.url}/readyz`)).toBe(200)
  })

  test('says that the data directory can not be made', async () => {
    const file = join(await temporaryDirectory(), 'file')
    await writeFile(file, '')
    const { exit, stderr } = await outcome({ DATA_DIR: join(file, 'data') })
    expect(exit).toEqual({ code: 2, signal: null })
    expect(stderr).toContain(`can't open the data directory ${file}/data`)
    expect(stderr).not.toMatch(STACK)
  })

  test('says that the port is in use, and lets go of the data directory', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    onTestFinished(async () => {
      server.close()
      await once(server, 'close')
    })
    await once(server, 'listening')
    const address = server.address()
    const port = String(typeof address === 'object' && address?.port)
    const directory = await temporaryDirectory()
    const { exit, stdout, stderr } = await outcome({ DATA_DIR: directory, PORT: port })
    expect(exit).toEqual({ code: 1, signal: null })
    expect(stderr).toContain('EADDRINUSE')
    expect(stderr).toContain(port)
    expect(stderr).not.toMatch(STACK)
    expect(stdout).toBe('')
    await startGatewayProcess({ DATA_DIR: directory })
  })
})
