/**
 * A real s2-lite for tests: finds the binary that `npm run s2-lite:install` built and runs it.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { freePort } from './free-port.ts'

/** The same as in `install-s2-lite.mjs`. */
const VERSION = '0.42.7'

/** A start on an existing root was seen to take 1.4 s; the rest is for a busy machine. */
const START_TIMEOUT_MS = 20_000

/** The end of what s2-lite wrote to stderr, for messages. */
const STDERR_KEPT = 4_000

export type S2Lite = {
  /** Without a slash at the end: what the SDK takes as account and basin endpoint. */
  readonly url: string
  readonly port: number
  /** Resolves when the process is gone. With `SIGTERM` s2-lite may take 10 s to let go of sessions. */
  readonly stop: (signal?: NodeJS.Signals) => Promise<void>
  /** Stops it and starts it again on the same port and root. In memory, all is lost. */
  readonly restart: (signal?: NodeJS.Signals) => Promise<void>
}

export type S2LiteOptions = {
  /** Where it keeps its data; in memory by default. */
  readonly localRoot?: string
  /** A free one by default. */
  readonly port?: number
}

/** The path of the s2 binary, if it is installed. */
export function findS2Lite(): string | undefined {
  const cache = process.env['XDG_CACHE_HOME'] || join(homedir(), '.cache')
  const root =
    process.env['S2_LITE_DIR'] || join(cache, 'durable-streams-gateway', `s2-cli-${VERSION}`)
  const binary = join(root, 'bin', 's2')
  return existsSync(binary) ? binary : undefined
}

/** Starts an s2-lite and resolves once it answers. It dies with this process at the latest. */
export async function startS2Lite(options: S2LiteOptions = {}): Promise<S2Lite> {
  const binary = findS2Lite()
  if (binary === undefined) throw new Error('s2-lite is missing: npm run s2-lite:install')
  const port = options.port ?? (await freePort())
  const url = `http://127.0.0.1:${port}`
  const root = options.localRoot === undefined ? [] : ['--local-root', options.localRoot]
  const start = (): Promise<ChildProcess> =>
    run(binary, ['lite', '--port', `${port}`, ...root], url)

  let child = await start()
  const stop = async (signal: NodeJS.Signals = 'SIGTERM'): Promise<void> => {
    if (isGone(child)) return
    const exited = once(child, 'exit')
    child.kill(signal)
    await exited
  }
  const restart = async (signal?: NodeJS.Signals): Promise<void> => {
    await stop(signal)
    child = await start()
  }
  return { url, port, stop, restart }
}

async function run(binary: string, args: string[], url: string): Promise<ChildProcess> {
  const child = spawn(binary, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(-STDERR_KEPT)
  })
  child.on('error', (error) => (stderr += error.message))
  const kill = (): void => void child.kill('SIGKILL')
  process.on('exit', kill)
  child.on('exit', () => process.off('exit', kill))

  const deadline = Date.now() + START_TIMEOUT_MS
  while (!(await isHealthy(url))) {
    if (isGone(child) || Date.now() > deadline) {
      kill()
      throw new Error(`s2-lite did not start (exit code ${child.exitCode}): ${stderr}`)
    }
    await sleep(50)
  }
  // Someone else's server on the same port would answer too.
  if (isGone(child)) throw new Error(`s2-lite ended at once: ${stderr}`)
  return child
}

async function isHealthy(url: string): Promise<boolean> {
  try {
    return (await fetch(`${url}/health`, { signal: AbortSignal.timeout(1_000) })).ok
  } catch {
    return false // not listening yet
  }
}

function isGone(child: ChildProcess): boolean {
  return child.pid === undefined || child.exitCode !== null || child.signalCode !== null
}
