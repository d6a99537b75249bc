/** Programs of the system that some suites need: where they are, and what to say without them. */
import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

/** Where Debian keeps servers, which is not on everybody's `PATH`. */
const MORE_FOLDERS = ['/usr/sbin', '/usr/local/sbin']

/** The path of a program, if it is installed. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), ...MORE_FOLDERS]
  return folders.map((folder) => join(folder, name)).find(isExecutable)
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

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false // not there, or no program
  }
}
