/**
 * Real shared caches with the configurations in `recipes/`, of which only addresses and paths are
 * changed here.
 */
import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { CleanUps } from '../support/clean-ups.ts'
import { freePort } from '../support/free-port.ts'
import { run } from '../support/gateway-process.ts'
import { runNginx } from '../support/nginx.ts'
import { programPath, recipeWith, untilOk } from '../support/programs.ts'
import type { Demand } from '../support/programs.ts'
import type { RecordingRelay } from '../support/recording-relay.ts'
import { temporaryDirectory } from '../support/temporary.ts'

const execute = promisify(execFile)
const RECIPES = new URL('recipes/', import.meta.url)

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
    const recipe = await recipeWith(new URL('nginx.conf', RECIPES), [
      ['127.0.0.1:4437', new URL(upstream.url).host],
      ['listen 8080', `listen 127.0.0.1:${port}`],
      ['/var/cache/nginx/durable-streams', join(directory, 'cache')],
    ])
    const status = `server { listen 127.0.0.1:${statusPort}; location / { stub_status; } }`
    const server = await runNginx({ directory, recipe: `${status}\n${recipe}`, cleanUps })
    await untilOk(server, `http://127.0.0.1:${statusPort}/`)
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

const varnish: SharedCache = {
  package: 'varnish',
  programs: ['varnishd', 'varnishstat'],
  start: async (upstream, cleanUps) => {
    const directory = await temporaryDirectory(cleanUps)
    const { hostname, port: upstreamPort } = new URL(upstream.url)
    const recipe = await recipeWith(new URL('varnish.vcl', RECIPES), [
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
      file: programPath('varnishd'),
      args: [...args, ...small],
      env: {},
      group: true,
      cleanUps,
    })
    const url = `http://127.0.0.1:${port}`
    await untilOk(server, `${url}/healthz`)
    return {
      url,
      waiting: async () => {
        // Of requests asleep it counts the comings, not the goings: so all that it has.
        const args = ['-n', work, '-1', '-f', 'MEMPOOL.req*.live']
        const { stdout } = await execute(programPath('varnishstat'), args)
        const live = [...stdout.matchAll(/^\S+\s+(\d+)/gm)].map(([, count]) => Number(count))
        return live.reduce((sum, count) => sum + count, 0) - upstream.open
      },
    }
  },
}

export const SHARED_CACHES: readonly SharedCache[] = [nginx, varnish]
