/**
 * The processes under measurement, each pinned to a core, and what they use of it. Linux only:
 * `taskset` pins, and `/proc` counts.
 */
import { execFileSync, spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { signalAll } from '../../test/support/gateway-process.ts'

/** Where the servers under measurement run, and where everything else does. */
export const SERVER_CORE = 0
export const LOAD_CORE = 1

const PAGE_KB = 4

/** A process, and those that it has started. */
export type Server = {
  readonly url: string
  /** CPU time so far, user and system and all threads, in ms. */
  cpuMs(): number
  /** What is resident in memory, in KiB. */
  rssKb(): number
  stop(): Promise<void>
}

export type Start = {
  readonly env?: Readonly<Record<string, string>>
  /** Where it will answer; without it, the first URL that it prints. */
  readonly url?: string
  /** As `taskset` has them; the servers' one by default. */
  readonly cores?: string
}

/** For servers that would each have a machine of their own. */
export const BOTH_CORES = `${SERVER_CORE},${LOAD_CORE}`

/** Keeps this process, and what it starts from now on, off the core of the servers. */
export function pinThisProcess(): void {
  execFileSync('taskset', ['-acp', String(LOAD_CORE), String(process.pid)])
}

/** On a signal, ends as at the end: what was started must not outlive this process. */
export function exitOnSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))
}

/** Starts a command and resolves once it listens. */
export async function startServer(
  command: readonly string[],
  { env = {}, url, cores = String(SERVER_CORE) }: Start = {},
): Promise<Server> {
  const child = spawnPinned(command, env, cores)
  const exited = once(child, 'exit')
  const listening = url === undefined ? printedUrl(child) : answering(url)
  const ended = exited.then(() => Promise.reject(new Error(`it ended: ${command.join(' ')}`)))
  const pid = child.pid ?? 0
  return {
    url: await Promise.race([listening, ended]),
    cpuMs: () => sum(familyOf(pid).map(cpuMsOf)),
    rssKb: () => sum(familyOf(pid).map(rssKbOf)),
    stop: async () => {
      child.kill('SIGTERM')
      await exited
    },
  }
}

/** `node` with these arguments, as a command. */
export function node(...args: readonly string[]): readonly string[] {
  return [process.execPath, ...args]
}

/** A script beside this one, as a command. */
export function script(file: string, ...args: readonly string[]): readonly string[] {
  return node('--import', 'tsx', pathOf(`support/${file}`), ...args)
}

/** Runs a command on the servers' core and resolves with what it printed. */
export async function runPinned(command: readonly string[]): Promise<string> {
  const child = spawnPinned(command, {}, String(SERVER_CORE))
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

/** proc(5), sockstat: what the kernel holds in the buffers of all TCP sockets, in KiB. */
export function socketMemoryKb(): number {
  const sockets = readFileSync('/proc/net/sockstat', 'utf8')
  return Number(/^TCP:.* mem (\d+)$/m.exec(sockets)?.[1] ?? 0) * PAGE_KB
}

/** The path of a file beside this one's folder. */
export function pathOf(file: string): string {
  return fileURLToPath(new URL(`../${file}`, import.meta.url))
}

function spawnPinned(
  command: readonly string[],
  env: Readonly<Record<string, string>>,
  cores: string,
): ChildProcess {
  const child = spawn('taskset', ['-c', cores, ...command], {
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const kill = (): void => {
    for (const member of familyOf(child.pid ?? 0)) signalAll(member, 'SIGKILL')
  }
  process.on('exit', kill)
  child.on('exit', () => process.off('exit', kill))
  return child
}

async function printedUrl(child: ChildProcess): Promise<string> {
  let printed = ''
  return new Promise((resolve) => {
    child.stdout?.on('data', (chunk: Buffer) => {
      printed += chunk.toString()
      const [found] = /http:\/\/[\d.]+:\d+/.exec(printed) ?? []
      if (found !== undefined) resolve(found)
    })
  })
}

async function answering(url: string): Promise<string> {
  for (;;) {
    try {
      await fetch(url)
      return url
    } catch {
      await sleep(20) // not listening yet
    }
  }
}

/** proc(5): the second field behind the name, which may hold spaces. */
function parentOf(pid: number): number {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
  } catch {
    return 0 // gone meanwhile
  }
}

/** The process and its descendants: nginx works in a child. */
function familyOf(pid: number): readonly number[] {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name))
  const parents = pids.map((name) => [Number(name), parentOf(Number(name))] as const)
  const family = [pid]
  for (const member of family) {
    family.push(...parents.filter(([, parent]) => parent === member).map(([child]) => child))
  }
  return family
}

/** The first field of a thread's schedstat is its time on a core in ns; stat has but ticks of 10 ms. */
function cpuMsOf(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`)
  const stats = threads.map((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8'),
  )
  return sum(stats.map((stat) => Number(stat.split(' ')[0]) / 1e6))
}

function rssKbOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0)
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

/** proc(5): user, nice, system, idle, iowait, irq, softirq, steal; guests are counted in user. */
function ticksOf(core: number): { readonly busy: number; readonly all: number } {
  const line = new RegExp(`^cpu${core} (.*)$`, 'm').exec(readFileSync('/proc/stat', 'utf8'))
  const ticks = (line?.[1] ?? '').split(' ').slice(0, 8).map(Number)
  const all = ticks.reduce((sum, count) => sum + count, 0)
  return { all, busy: all - (ticks[3] ?? 0) - (ticks[4] ?? 0) }
}
