/** The parts in C: built by gcc when they are first used, and again when their source changes. */
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import { CACHE } from './cache.ts'
import { pathOf } from './processes.ts'

const FOLDER = pathOf('support/c')
const FLAGS = ['-O2', '-std=gnu11', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror']

/** The path of a program of these sources. */
export function build(name: string, sources: readonly string[]): string {
  // Of everything in the folder: headers are shared.
  const hash = createHash('sha256').update(FLAGS.join(' '))
  for (const file of readdirSync(FOLDER).sort()) hash.update(readFileSync(join(FOLDER, file)))
  const program = join(CACHE, `${name}-${hash.digest('hex').slice(0, 16)}`)
  if (existsSync(program)) return program
  mkdirSync(CACHE, { recursive: true })
  // Another run may build it at the same time.
  const unfinished = `${program}.${process.pid}`
  const files = sources.map((source) => join(FOLDER, source))
  execFileSync('gcc', [...FLAGS, '-o', unfinished, ...files], { stdio: 'inherit' })
  renameSync(unfinished, program)
  return program
}
