/**
 * The container without an engine: the steps of the Dockerfile, read from it, run in clean
 * directories with its version of Node, and its last stage serves.
 */
import { execFile } from 'node:child_process'
import { chmod, chown, copyFile, cp, mkdir, readFile, readdir } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { basename, dirname, join, relative } from 'node:path'
import { homedir } from 'node:os'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CleanUps } from '../support/clean-ups.ts'
import { freePort } from '../support/free-port.ts'
import { REPOSITORY, listening, run } from '../support/gateway-process.ts'
import type { Environment } from '../support/gateway-process.ts'
import { temporaryDirectory } from '../support/temporary.ts'
import { allOf, environmentOfStage, ignoresOf, lastOf, parseDockerfile } from './dockerfile.ts'
import type { Instruction, Stage } from './dockerfile.ts'
import { areMissing, toolPath } from './tools.ts'

const execute = promisify(execFile)

/** An `npm ci` and a build on a machine that others use, too. */
const BUILD_TIMEOUT_MS = 900_000
const READ_ONLY = 0o555
const UID = 1000

const dockerfile = await readFile(join(REPOSITORY, 'Dockerfile'), 'utf8')
const [build, final] = parseDockerfile(dockerfile) as [Stage, Stage]

describe('the Dockerfile', () => {
  test('has two stages of one image with an exact version of the current LTS', () => {
    expect(parseDockerfile(dockerfile)).toHaveLength(2)
    expect(final.image).toBe(build.image)
    expect(final.image).toMatch(/^node:24\.\d+\.\d+-bookworm-slim$/)
  })

  test('installs from the lock file, before sources that change', () => {
    const steps = build.instructions.map(({ name, text }) => `${name} ${text}`)
    const install = steps.indexOf('RUN npm ci')
    expect(install).toBeGreaterThan(steps.findIndex((step) => step.includes('package-lock.json')))
    expect(install).toBeLessThan(steps.indexOf('COPY src ./src'))
  })

  test('runs nothing as root in the last stage, and serves as a number that is not root', () => {
    expect(allOf(final, 'RUN')).toEqual([])
    expect(lastOf(final, 'USER').text).toMatch(/^[1-9]\d*:[1-9]\d*$/)
  })

  test('says how it is stopped, checked and called', async () => {
    expect(lastOf(final, 'STOPSIGNAL').text).toBe('SIGTERM')
    expect(healthCheck()[0]).toBe('node')
    const { version } = JSON.parse(await readFile(`${REPOSITORY}/package.json`, 'utf8')) as {
      version: string
    }
    expect(allOf(final, 'ARG').map(({ text }) => text)).toContain(`VERSION=${version}`)
    for (const label of ['title', 'description', 'version', 'revision']) {
      expect(lastOf(final, 'LABEL').text).toContain(`org.opencontainers.image.${label}=`)
    }
  })

  test.skipIf(areMissing('hadolint'))('is nothing that hadolint knows better', async () => {
    const hadolint = ['--failure-threshold', 'style', join(REPOSITORY, 'Dockerfile')]
    await expect(execute(toolPath('hadolint'), hadolint)).resolves.toMatchObject({ stdout: '' })
  })
})

describe('.dockerignore', () => {
  test.each([
    ['package.json', false],
    ['package-lock.json', false],
    ['src/main.ts', false],
    ['src/http/routes/ops.ts', false],
    ['src/README.md', true],
    ['src/http/README.md', true],
    ['README.md', true],
    ['node_modules/fastify/package.json', true],
    ['test/unit/config.test.ts', true],
    ['.git/config', true],
    ['.env', true],
    ['data/000001.log', true],
  ])('%s: kept out is %s', async (path, isIgnored) => {
    const ignores = ignoresOf(await readFile(join(REPOSITORY, '.dockerignore'), 'utf8'))
    expect(ignores(path)).toBe(isIgnored)
  })
})

describe('the image', () => {
  const cleanUps = new CleanUps()
  /** What is at / of the last stage. */
  let root: string
  let env: Environment

  beforeAll(async () => {
    const directory = await temporaryDirectory(cleanUps)
    await chmod(directory, 0o755)
    const tools = await installNode(join(directory, 'bin'))
    const builder = { root: join(directory, 'build'), tools, from: await makeContext(directory) }
    await runStage(build, builder)
    root = join(directory, 'final')
    await runStage(final, { root, tools, from: builder.root })
    await makeReadOnly(root)
    const given = environmentOfStage(final)
    const data = join(root, given['DATA_DIR'] ?? '')
    await chmod(data, 0o755)
    if (process.getuid?.() === 0) await chown(data, UID, UID)
    env = { ...given, PATH: tools, DATA_DIR: data, PORT: String(await freePort()) }
  }, BUILD_TIMEOUT_MS)
  afterAll(() => cleanUps.run())

  /** A command of the last stage, as who it runs as. */
  const inContainer = (command: readonly string[], more: Environment = {}) => {
    const [, uid = '', gid = ''] = /^(\d+):(\d+)$/.exec(lastOf(final, 'USER').text) ?? []
    const user = ['--reuid', uid, '--regid', gid, '--clear-groups', '--']
    const [file = '', ...args] =
      process.getuid?.() === 0 ? ['/usr/bin/setpriv', ...user, ...command] : command
    const cwd = join(root, lastOf(final, 'WORKDIR').text)
    return run({ file, args, env: { ...env, ...more }, cwd })
  }
  const command = (): string[] => [
    ...lastOf(final, 'ENTRYPOINT').words,
    ...lastOf(final, 'CMD').words,
  ]

  test('has what it runs and nothing else', async () => {
    const app = join(root, lastOf(final, 'WORKDIR').text)
    expect((await readdir(app)).sort()).toEqual(['dist', 'node_modules', 'package.json'])
    const { dependencies, devDependencies } = JSON.parse(
      await readFile(join(app, 'package.json'), 'utf8'),
    ) as Record<'dependencies' | 'devDependencies', Record<string, string>>
    const isThere = (name: string): boolean => existsSync(join(app, 'node_modules', name))
    expect(Object.keys(dependencies).filter((name) => !isThere(name))).toEqual([])
    expect(['typescript', 'vitest', 'eslint', 'tsx'].filter(isThere)).toEqual([])
    expect(Object.keys(devDependencies)).toContain('typescript')
  })

  test('refuses to serve others than itself until it is said who may', async () => {
    const refused = inContainer(command())
    expect(await refused.exited).toMatchObject({ code: 2 })
    expect(refused.stderr()).toContain('AUTH must be set')
  })

  test('serves, is healthy, writes to its volume only, and leaves when told', async () => {
    const before = await filesOf(root)
    expect((await inContainer(healthCheck()).exited).code).toBe(1)
    const running = await listening(inContainer(command(), { AUTH: 'none' }))
    const url = `http://127.0.0.1:${env['PORT'] ?? ''}/v1/stream/hello`
    const headers = { 'content-type': 'text/plain' }
    expect((await fetch(url, { method: 'PUT', headers })).status).toBe(201)
    expect((await fetch(url, { method: 'POST', headers, body: 'hello' })).status).toBe(204)
    expect(await (await fetch(url)).text()).toBe('hello')
    expect((await inContainer(healthCheck()).exited).code).toBe(0)
    const signal = lastOf(final, 'STOPSIGNAL').text as NodeJS.Signals
    expect(await running.stop(signal)).toEqual({ code: 0, signal: null })
    expect(await filesOf(root)).toEqual(before)
  })
})

/** The command of HEALTHCHECK, which has to be one that needs no shell. */
function healthCheck(): string[] {
  const { text } = lastOf(final, 'HEALTHCHECK')
  const [, command = '[]'] = /^CMD (\[.*\])$/.exec(text) ?? []
  return JSON.parse(command) as string[]
}

/** All files but those of the volume. */
async function filesOf(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true })
  const files = entries.filter((entry) => entry.isFile())
  const paths = files.map(({ parentPath, name }) => relative(root, join(parentPath, name)))
  return paths.filter((path) => !path.startsWith('data/')).sort()
}

/** A folder with the version of Node that the image has, and what npm needs beside it. */
async function installNode(folder: string): Promise<string> {
  const [, version = ''] = /^node:([\d.]+)-/.exec(final.image) ?? []
  const find = ['--yes', `--package=node@${version}`, '--', 'node', '-p', 'process.execPath']
  const { stdout } = await execute('npx', find)
  await mkdir(folder)
  await copyFile(stdout.trim(), join(folder, 'node'))
  await chmod(join(folder, 'node'), 0o755)
  return folder
}

/** What .dockerignore lets in. */
async function makeContext(directory: string): Promise<string> {
  const ignores = ignoresOf(await readFile(join(REPOSITORY, '.dockerignore'), 'utf8'))
  const context = join(directory, 'context')
  const names = (await readdir(REPOSITORY)).filter((name) => !ignores(name))
  for (const name of names) {
    await cp(join(REPOSITORY, name), join(context, name), {
      recursive: true,
      filter: (path) => !ignores(relative(REPOSITORY, path)),
    })
  }
  return context
}

type Place = {
  /** What stands for / of the stage. */
  readonly root: string
  /** A folder with its programs. */
  readonly tools: string
  /** What COPY copies from: the context, or / of another stage. */
  readonly from: string
}

async function runStage(stage: Stage, place: Place): Promise<void> {
  let directory = place.root
  for (const instruction of stage.instructions) {
    if (instruction.name === 'WORKDIR') {
      directory = join(place.root, instruction.text)
      await mkdir(directory, { recursive: true })
    }
    if (instruction.name === 'COPY') await copy(instruction, { ...place, directory })
    if (instruction.name === 'RUN') {
      const cache = process.env['npm_config_cache'] ?? join(homedir(), '.npm')
      const path = `${place.tools}:${process.env['PATH'] ?? ''}`
      const env = { PATH: path, HOME: place.root, npm_config_cache: cache }
      await execute('sh', ['-ec', instruction.text], { cwd: directory, env })
    }
  }
}

async function copy(
  { words }: Instruction,
  { root, from, directory }: Place & { readonly directory: string },
): Promise<void> {
  const target = words.at(-1) ?? ''
  const to = target.startsWith('/') ? join(root, target) : join(directory, target)
  for (const source of words.slice(0, -1)) {
    const isInto = target.endsWith('/')
    const path = isInto ? join(to, basename(source)) : to
    await mkdir(dirname(path), { recursive: true })
    await cp(join(from, source), path, { recursive: true, verbatimSymlinks: true })
  }
}

async function makeReadOnly(root: string): Promise<void> {
  await execute('chmod', ['-R', 'a-w,a+rX', root])
  await chmod(root, READ_ONLY)
}
