/**
 * The processes under measurement, each pinned to a core, and what they use of it. Linux only:
 * `taskset` pins, and `/proc` counts.
 */
import { execFileSync, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** What `/proc` counts CPU time in: `getconf CLK_TCK` is 100 on every Linux there is. */
const TICK_MS = 10

/** Where the servers under measurement run, and where everything else does. */
export const SERVER_CORE = 0
export const LOAD_CORE = 1

export type Server = {
  readonly url: string
  /** CPU time so far, user and system, in ms. */
  cpuMs(): number
  stop(): Promise<void>
}

/** Keeps this process, and what it starts from now on, off the core of the servers. */
export function pinThisProcess(): void {
  execFileSync('taskset', ['-acp', String(LOAD_CORE), String(process.pid)])
}

/** Starts `node <args>` on the servers' core and resolves with the first URL that it prints. */
export async function startServer(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<Server> {
  const child = spawnPinned(args, env)
  const exited = once(child, 'exit')
  const url = await new Promise<string>((resolve, reject) => {
    let printed = ''
    child.stdout?.on('data', (chunk: Buffer) => {
      printed += chunk.toString()
      const [found] = /http:\/\/[\d.]+:\d+/.exec(printed) ?? []
      if (found !== undefined) resolve(found)
    })
    exited.then(() => reject(new Error(`the server ended:\n${printed}`)), reject)
  })
  return {
    url,
    cpuMs: () => cpuMsOf(child.pid ?? 0),
    stop: async () => {
      child.kill('SIGTERM')
      await exited
    },
  }
}

/** Runs `node <args>` on the servers' core and resolves with what it printed. */
export async function runPinned(
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): Promise<string> {
  const child = spawnPinned(args, env)
  let printed = ''
  child.stdout?.on('data', (chunk: Buffer) => (printed += chunk.toString()))
  const [code] = (await once(child, 'close')) as [number | null]
  if (code !== 0) throw new Error(`it ended with ${code}:\n${printed}`)
  return printed
}

/** How much of a core was in use, by whomever, since the time that it was asked for: 0 to 1. */
export function watchCore(core: number): () => number {
  const before = ticksOf(core)
  return () => {
    const after = ticksOf(core)
    return (after.busy - before.busy) / (after.all - before.all)
  }
}

/** The path of a file beside this one's folder. */
export function pathOf(file: string): string {
  return fileURLToPath(new URL(`../${file}`, import.meta.url))
}

function spawnPinned(args: readonly string[], env: Readonly<Record<string, string>>): ChildProcess {
  const child = spawn('taskset', ['-c', String(SERVER_CORE), process.execPath, ...args], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const kill = (): void => void child.kill('SIGKILL')
  process.on('exit', kill)
  child.on('exit', () => process.off('exit', kill))
  return child
}

/** proc(5): fields 14 and 15 of stat are user and system time, after a name that may hold spaces. */
function cpuMsOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS
}

/** proc(5): user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in user. */
function ticksOf(core: number): { readonly busy: number; readonly all: number } {
  const line = new RegExp(`^cpu${core} (.*)$`, 'm').exec(readFileSync('/proc/stat', 'utf8'))
  const ticks = (line?.[1] ?? '').split(' ').slice(0, 8).map(Number)
  const all = ticks.reduce((sum, count) => sum + count, 0)
  return { all, busy: all - (ticks[3] ?? 0) - (ticks[4] ?? 0) }
}
