/**
 * The gateway as a process of its own: `node dist/main.js`, as `npm run build` left it, with the
 * environment the test gives it and nothing of the test's own.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { setTimeout as sleep } from 'node:timers/promises'
import { onTestFinished } from 'vitest'
import type { CleanUps } from './clean-ups.ts'

export const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url))
const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url))

/** A start takes well under a second; the rest is for a busy machine, and for a build before it. */
const START_TIMEOUT_MS = 30_000
const POLL_MS = 20

export type Environment = Readonly<Record<string, string>>

export type Exit = { readonly code: number | null; readonly signal: NodeJS.Signals | null }

/** A process whose output is kept. It is killed when the test or suite that started it is over. */
export type Running = {
  readonly pid: number
  readonly exited: Promise<Exit>
  stdout(): string
  stderr(): string
  kill(signal?: NodeJS.Signals): void
  /** Sends the signal and waits for the end. SIGTERM unless told otherwise. */
  stop(signal?: NodeJS.Signals): Promise<Exit>
}

export type GatewayProcess = Running & {
  /** `http://127.0.0.1:<port>`, as the process says it. */
  readonly url: string
  /** The URL of a stream. */
  readonly stream: (name: string) => string
}

export type Command = {
  readonly file: string
  readonly args: readonly string[]
  readonly env: Environment
  readonly cwd?: string
  /** Leads a process group of its own, which is killed as a whole in the end. */
  readonly group?: boolean
  /** Whose end is its end; that of the running test when left out. */
  readonly cleanUps?: CleanUps | undefined
}

/** Starts a command with a clean environment: only what finds programs is passed on. */
export function run(command: Command): Running {
  const { file, args, env, cwd = REPOSITORY, group = false, cleanUps } = command
  const { PATH = '', HOME = '' } = process.env
  const child = spawn(file, args, {
    cwd,
    detached: group,
    env: { PATH, HOME, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const { pid } = child
  if (pid === undefined) throw new Error(`${file} did not start`)
  const output = collect(child)
  const exited = new Promise<Exit>((resolve) => {
    // Not `exit`: the last of the output may come after that.
    child.once('close', (code, signal) => resolve({ code, signal }))
  })
  let isGone = false
  // A group may outlive its leader.
  const end = (): void => {
    if (group || !isGone) signalAll(group ? -pid : pid, 'SIGKILL')
  }
  process.once('exit', end)
  void exited.then(() => {
    isGone = true
    process.off('exit', end)
  })
  const cleanUp = async (): Promise<void> => {
    end()
    await exited
  }
  if (cleanUps === undefined) onTestFinished(cleanUp)
  else cleanUps.add(cleanUp)
  const kill = (signal: NodeJS.Signals = 'SIGTERM'): void => void child.kill(signal)
  return {
    pid,
    exited,
    stdout: () => output.stdout,
    stderr: () => output.stderr,
    kill,
    stop: (signal) => {
      kill(signal)
      return exited
    },
  }
}

/** Starts the gateway and returns at once. `PORT` is any free one unless `env` says otherwise. */
export function spawnGateway(env: Environment, cleanUps?: CleanUps): Running {
  if (!existsSync(MAIN)) throw new Error(`${MAIN} is missing: npm run build`)
  // Dozens of processes may share two cores: how late one is, says nothing of its own work.
  const given = { PORT: '0', LOG_LEVEL: 'warn', MAX_EVENT_LOOP_DELAY_MS: '60000', ...env }
  return run({ file: process.execPath, args: [MAIN], env: given, cleanUps })
}

export type StartOptions = {
  /** Resolve once it is ready, or else once it listens. */
  readonly ready?: boolean
  /** See `Command`. */
  readonly cleanUps?: CleanUps
}

/** Starts the gateway and resolves once it is ready, or, without `ready`, once it listens. */
export async function startGatewayProcess(
  env: Environment,
  { ready = true, cleanUps }: StartOptions = {},
): Promise<GatewayProcess> {
  return listening(spawnGateway(env, cleanUps), { ready })
}

/** Waits for a process to say where it listens, and to be ready. Ends it if that fails. */
export async function listening(
  running: Running,
  { ready = true }: { readonly ready?: boolean } = {},
): Promise<GatewayProcess> {
  let exit: Exit | undefined
  void running.exited.then((how) => (exit = how))
  const deadline = Date.now() + START_TIMEOUT_MS
  for (;;) {
    const url = /\bgateway on (http:\/\/\S+?),? /.exec(running.stdout())?.[1]
    if (url !== undefined && (!ready || (await statusOf(`${url}/readyz`)) === 200)) {
      return { ...running, url, stream: (name) => `${url}/v1/stream/${name}` }
    }
    if (exit !== undefined || Date.now() > deadline) {
      await running.stop('SIGKILL')
      const output = `${running.stdout()}${running.stderr()}`
      throw new Error(`the gateway did not start (${JSON.stringify(exit)}): ${output}`)
    }
    await sleep(POLL_MS)
  }
}

/** The status of a GET; undefined when nobody answers. */
export async function statusOf(url: string): Promise<number | undefined> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(5_000) })
    await response.arrayBuffer()
    return response.status
  } catch {
    return undefined // not listening
  }
}

/** Signals a process, or with a negative id its group; one that is gone is no failure. */
export function signalAll(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

function collect(child: ChildProcess): { stdout: string; stderr: string } {
  const output = { stdout: '', stderr: '' }
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (output.stdout += text))
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (output.stderr += text))
  return output
}
