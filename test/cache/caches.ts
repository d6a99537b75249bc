/**
 * Real shared caches with the configurations in `recipes/`, of which only addresses and paths are
 * changed here.
 */
import { execFile } from 'node:child_process'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { CleanUps } from '../support/clean-ups.ts'
import { freePort } from '../support/free-port.ts'
import { run, statusOf } from '../support/gateway-process.ts'
import type { Exit, Running } from '../support/gateway-process.ts'
import { findProgram } from '../support/programs.ts'
import type { Demand } from '../support/programs.ts'
import type { RecordingRelay } from '../support/recording-relay.ts'
import { temporaryDirectory } from '../support/temporary.ts'

const execute = promisify(execFile)

const START_TIMEOUT_MS = 20_000

export type RunningCache = {
  /** `http://127.0.0.1:<port>` */
  readonly url: string
  /** Requests that wait, in the cache, for the answer to another one. */
  waiting(): Promise<number>
}

export type SharedCache = Demand & {
  /** Starts one in front of the relay; what it keeps is gone with it. */
  start(upstream: RecordingRelay, cleanUps: CleanUps): Promise<RunningCache>
}

const nginx: SharedCache = {
  package: 'nginx',
  programs: ['nginx'],
  start: async (upstream, cleanUps) => {
    const directory = await temporaryDirectory(cleanUps)
    const [port, statusPort] = [await freePort(), await freePort()]
    const recipe = await recipeWith('nginx.conf', [
      ['127.0.0.1:4437', new URL(upstream.url).host],
      ['listen 8080', `listen 127.0.0.1:${port}`],
      ['/var/cache/nginx/durable-streams', join(directory, 'cache')],
    ])
    const file = join(directory, 'nginx.conf')
    await writeFile(file, surroundings(directory, statusPort, recipe))
    const args = ['-c', file, '-p', directory, '-e', 'stderr']
    const server = run({ file: find('nginx'), args, env: {}, group: true, cleanUps })
    await listening(server, `http://127.0.0.1:${statusPort}/`)
    return {
      url: `http://127.0.0.1:${port}`,
      waiting: async () => {
        const text = await (await fetch(`http://127.0.0.1:${statusPort}/`)).text()
        // It counts all requests that it has, and the one that asks.
        return Number(/Writing: (\d+)/.exec(text)?.[1]) - 1 - upstream.open
      },
    }
  },
}

/** What the system's own configuration has around files in `conf.d`. */
function surroundings(directory: string, statusPort: number, recipe: string): string {
  const folders = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi']
  const paths = folders.map((name) => `${name}_temp_path ${join(directory, name)};`).join('\n')
  // Workers of root's nginx would be someone who may not enter the directory.
  const user = process.getuid?.() === 0 ? 'user root;' : ''
  return `
daemon off;
${user}
pid ${join(directory, 'pid')};
worker_processes 1;
events { worker_connections 1024; }
http {
  access_log off;
  ${paths}
  server { listen 127.0.0.1:${statusPort}; location / { stub_status; } }
  ${recipe}
}
`
}

const varnish: SharedCache = {
  package: 'varnish',
  programs: ['varnishd', 'varnishstat'],
  start: async (upstream, cleanUps) => {
    const directory = await temporaryDirectory(cleanUps)
    const { hostname, port: upstreamPort } = new URL(upstream.url)
    const recipe = await recipeWith('varnish.vcl', [
      ['"127.0.0.1"', `"${hostname}"`],
      ['"4437"', `"${upstreamPort}"`],
    ])
    const file = join(directory, 'durable-streams.vcl')
    await writeFile(file, recipe)
    const work = join(directory, 'work')
    await mkdir(work)
    const port = await freePort()
    const args = ['-F', '-j', 'none', '-n', work, '-a', `127.0.0.1:${port}`, '-f', file]
    const small = ['-s', 'malloc,64m', '-p', 'vsl_space=1M', '-p', 'thread_pool_min=20']
    const server = run({
      file: find('varnishd'),
      args: [...args, ...small],
      env: {},
      group: true,
      cleanUps,
    })
    const url = `http://127.0.0.1:${port}`
    await listening(server, `${url}/healthz`)
    return {
      url,
      waiting: async () => {
        // Of requests asleep it counts the comings, not the goings: so all that it has.
        const args = ['-n', work, '-1', '-f', 'MEMPOOL.req*.live']
        const { stdout } = await execute(find('varnishstat'), args)
        const live = [...stdout.matchAll(/^\S+\s+(\d+)/gm)].map(([, count]) => Number(count))
        return live.reduce((sum, count) => sum + count, 0) - upstream.open
      },
    }
  },
}

export const SHARED_CACHES: readonly SharedCache[] = [nginx, varnish]

/** A recipe with other addresses and paths. Each must be there. */
async function recipeWith(
  name: string,
  changes: readonly (readonly [string, string])[],
): Promise<string> {
  const text = await readFile(new URL(`recipes/${name}`, import.meta.url), 'utf8')
  return changes.reduce((changed, [from, to]) => {
    if (!changed.includes(from)) throw new Error(`${name} has no ${from}`)
    return changed.replace(from, to)
  }, text)
}

function find(name: string): string {
  const path = findProgram(name)
  if (path === undefined) throw new Error(`${name} is not installed`)
  return path
}

/** Waits for a server to answer 200; says what it wrote if it ends before. */
async function listening(server: Running, url: string): Promise<void> {
  let exit: Exit | undefined
  void server.exited.then((how) => (exit = how))
  const deadline = Date.now() + START_TIMEOUT_MS
  while ((await statusOf(url)) !== 200) {
    if (exit !== undefined || Date.now() > deadline) {
      throw new Error(`it did not start: ${server.stdout()}${server.stderr()}`)
    }
    await sleep(20)
  }
}
