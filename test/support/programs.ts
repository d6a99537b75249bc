/** Programs of the system that some suites need: where they are, and what to say without them. */
import { accessSync, constants } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { statusOf } from './gateway-process.ts'
import type { Exit, Running } from './gateway-process.ts'

/** Where Debian keeps servers, which is not on everybody's `PATH`. */
const MORE_FOLDERS = ['/usr/sbin', '/usr/local/sbin']

/** The path of a program, if it is installed. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), ...MORE_FOLDERS]
  return folders.map((folder) => join(folder, name)).find(isExecutable)
}

/** @throws Error it is not installed */
export function programPath(name: string): string {
  const path = findProgram(name)
  if (path === undefined) throw new Error(`${name} is not installed`)
  return path
}

/** What a suite needs. */
export type Demand = {
  /** As Debian calls it. */
  readonly package: string
  readonly programs: readonly string[]
}

/** Whether one of its programs is not installed; for `describe.skipIf`. */
export function isMissing({ programs }: Demand): boolean {
  return programs.some((name) => findProgram(name) === undefined)
}

/**
 * Says loudly what is missing, so that tests are skipped.
 *
 * @throws Error instead, when the environment has `variable` set to 1
 */
export function demandAll(demands: readonly Demand[], variable: string): void {
  const missing = demands.filter(isMissing).map((demand) => demand.package)
  if (missing.length === 0) return
  const packages = missing.join(' ')
  const message = `${packages} is not installed (Debian: apt-get install ${packages})`
  if (process.env[variable] === '1') throw new Error(`${variable}=1, and ${message}`)
  console.warn(`\n##  ${message}\n##  The tests that need it are SKIPPED.\n`)
}

/** A server's configuration with other addresses and paths. Each must be there. */
export async function recipeWith(
  file: URL,
  changes: readonly (readonly [string, string])[],
): Promise<string> {
  const text = await readFile(file, 'utf8')
  return changes.reduce((changed, [from, to]) => {
    if (!changed.includes(from)) throw new Error(`${file.pathname} has no ${from}`)
    return changed.replaceAll(from, to)
  }, text)
}

/** Servers start in well under a second; the rest is for a busy machine. */
const START_TIMEOUT_MS = 20_000

/** Waits for a server to answer 200; says what it wrote if it ends before. */
export async function untilOk(server: Running, url: string): Promise<void> {
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

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false // not there, or no program
  }
}
