/** What a run has found, for people and for programs. PURE. */
import { inWords } from './check.ts'
import type { Result, Status } from './check.ts'
import { adviceFor } from './remedies.ts'
import type { Advice, Where } from './remedies.ts'

export const EXIT_OK = 0
export const EXIT_FAILED = 1
export const EXIT_USAGE = 2
export const EXIT_UNREACHABLE = 3
/** Of a process that SIGINT ends. */
export const EXIT_INTERRUPTED = 130

export type Report = {
  readonly url: string
  /** When it began, as RFC 3339 has it. */
  readonly startedAt: string
  readonly tookMs: number
  readonly protocol: string
  readonly proxies: readonly Where[]
  readonly results: readonly Result[]
  /** Streams that could not be deleted. */
  readonly left: readonly string[]
  /** Why there was nothing to check. */
  readonly unreachable?: string | undefined
  readonly interrupted: boolean
}

type Counts = Readonly<Record<Status, number>>

export function countsOf(results: readonly Result[]): Counts {
  const counts = { ok: 0, warn: 0, fail: 0, skip: 0 }
  for (const { status } of results) counts[status] += 1
  return counts
}

/** `strict`: warnings count as failures. */
export function exitCodeOf(report: Report, strict: boolean): number {
  if (report.interrupted) return EXIT_INTERRUPTED
  if (report.unreachable !== undefined) return EXIT_UNREACHABLE
  const { fail, warn } = countsOf(report.results)
  return fail > 0 || (strict && warn > 0) ? EXIT_FAILED : EXIT_OK
}

/** One line of JSON, for programs. Its names stay. */
export function renderJson(report: Report, strict: boolean): string {
  const { results, proxies, ...rest } = report
  const exitCode = exitCodeOf(report, strict)
  const checks = results.map(({ remedy, tookMs, ...result }) => ({
    ...result,
    tookMs: Math.round(tookMs),
    change: remedy === undefined ? [] : adviceFor(remedy, proxies),
  }))
  const tookMs = Math.round(rest.tookMs)
  const counts = countsOf(results)
  return `${JSON.stringify({ ...rest, tookMs, proxies, exitCode, counts, checks })}\n`
}

const WORDS: Readonly<Record<Status, string>> = {
  ok: 'ok  ',
  warn: 'WARN',
  fail: 'FAIL',
  skip: 'skip',
}
const INDENT = ' '.repeat(6)
const WIDTH = 100

export function renderHead(url: string): string {
  return `Checking ${url}\n\n`
}

/** One result: what was seen, and what to change. */
export function renderResult(result: Result, proxies: readonly Where[]): string {
  const { id, status, seen, remedy } = result
  const lines = [...wrap(`${WORDS[status]}  ${id}: ${seen}`, INDENT)]
  const isMendable = status === 'warn' || status === 'fail'
  if (isMendable && remedy !== undefined) {
    for (const { at, set } of adviceFor(remedy, proxies)) lines.push(...adviceLines({ at, set }))
  }
  return `${lines.join('\n')}\n`
}

function adviceLines({ at, set }: Advice): readonly string[] {
  const where = at === 'any' ? '' : `${at}: `
  return wrap(`${INDENT}→ ${where}${set}`, `${INDENT}  `)
}

/** The end of it: what it comes to. */
export function renderTail(report: Report): string {
  const { results, proxies, left, unreachable, interrupted, tookMs, protocol } = report
  const lines: string[] = []
  if (unreachable !== undefined) lines.push(`There is nothing to check: ${unreachable}`)
  if (left.length > 0) {
    lines.push(`These streams could not be deleted; they expire within an hour of silence:`)
    lines.push(...left.map((path) => `  ${path}`))
  }
  if (interrupted) lines.push('Interrupted.')
  if (results.length > 0) {
    const { ok, warn, fail, skip } = countsOf(results)
    const way = proxies.length === 0 ? 'no proxy that names itself' : proxies.join(', ')
    lines.push(
      '',
      `${counted(ok, 'ok')}, ${counted(warn, 'warning', 's')}, ${counted(fail, 'failure', 's')}, ${counted(skip, 'skipped')}, in ${inWords(tookMs)}, by ${protocol}, through ${way}`,
    )
  }
  return lines.map((line) => `${line}\n`).join('')
}

const counted = (count: number, word: string, plural = ''): string =>
  `${count} ${word}${count === 1 ? '' : plural}`

/** Lines of at most `WIDTH`, of which all but the first begin with `indent`. */
function wrap(text: string, indent: string): readonly string[] {
  const lines: string[] = []
  let line = /^ */.exec(text)?.[0] ?? ''
  for (const word of text.trimStart().split(/ (?! )/)) {
    const isFirst = line.trim() === ''
    if (!isFirst && line.length + 1 + word.length > WIDTH) {
      lines.push(line)
      line = `${indent}${word}`
    } else {
      line += isFirst ? word : ` ${word}`
    }
  }
  return [...lines, line]
}
