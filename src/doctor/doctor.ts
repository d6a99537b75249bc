/** One run: reach the deployment, check it, delete what was created, tell. */
import { negotiated } from './alpn.ts'
import { USAGE, parseDoctorArguments } from './arguments.ts'
import type { Options } from './arguments.ts'
import type { Check, Result } from './check.ts'
import { CHECKS, CHECK_NAMES } from './checks.ts'
import { Context } from './context.ts'
import { EXIT_OK, EXIT_USAGE, exitCodeOf, renderHead, renderJson } from './report.ts'
import { renderResult, renderTail } from './report.ts'
import type { Report } from './report.ts'
import { runChecks } from './runner.ts'
import { CreateError } from './scratch.ts'
import { WireError } from './wire.ts'

export type Io = {
  readonly out: (text: string) => void
  readonly error: (text: string) => void
  /** `DOCTOR_TOKEN` of the environment. */
  readonly token: string | undefined
  /** Ends the run early; what was created is deleted all the same. */
  readonly signal: AbortSignal
}

/** So long may it take to delete what was created when the run was broken off. */
const CLEAN_UP_MS = 10_000

/** Runs `doctor` with these arguments. Returns the exit code. */
export async function doctor(args: readonly string[], io: Io): Promise<number> {
  const parsed = parseDoctorArguments(args, io.token, CHECK_NAMES)
  if (parsed.kind === 'help') {
    io.out(`${USAGE}\nChecks:\n${CHECKS.map(describe).join('')}`)
    return EXIT_OK
  }
  if (parsed.kind === 'wrong') {
    io.error(`${parsed.message}\nTry doctor --help\n`)
    return EXIT_USAGE
  }
  const { options } = parsed
  const report = await examine(options, io)
  io.out(options.json ? renderJson(report, options.strict) : renderTail(report))
  return exitCodeOf(report, options.strict)
}

const describe = ({ id, title }: Check): string => `  ${id.padEnd(16)} ${title}\n`

/** What is known of a run before it is over. */
type Findings = Pick<Report, 'protocol' | 'proxies' | 'results' | 'left' | 'unreachable'>

async function examine(options: Options, io: Io): Promise<Report> {
  const { target } = options
  const url = `${target.origin.origin}${target.streams}`
  const [startedAt, begunAt] = [new Date().toISOString(), performance.now()]
  if (!options.json) io.out(renderHead(url))
  const findings = await findAll(options, io)
  return {
    url,
    startedAt,
    tookMs: performance.now() - begunAt,
    interrupted: io.signal.aborted,
    ...findings,
  }
}

const NOTHING = { proxies: [], results: [], left: [] }

async function findAll(options: Options, io: Io): Promise<Findings> {
  const { signal } = io
  let context: Context
  try {
    context = await reach(options, signal)
  } catch (error) {
    return { ...NOTHING, protocol: 'none', unreachable: explain(error) }
  }
  let results: readonly Result[] = []
  let unreachable: string | undefined
  try {
    await context.streams.create()
    const onResult = (result: Result): void => {
      if (!options.json) io.out(renderResult(result, context.sightings.proxies))
    }
    results = await runChecks(chosen(options), context, { signal, onResult })
  } catch (error) {
    unreachable = signal.aborted ? undefined : explain(error)
  }
  const left = await cleanUp(context)
  context.close()
  const { proxies } = context.sightings
  return { protocol: `HTTP/${context.wire.version}`, proxies, results, left, unreachable }
}

/** @throws WireError nobody answers there */
async function reach(options: Options, signal: AbortSignal): Promise<Context> {
  const { target, insecure, timeoutMs, http1 } = options
  const within = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
  const protocol = await negotiated({ origin: target.origin, insecure }, within)
  return new Context(options, { protocol, speaksHttp2: protocol === 'h2' && !http1 }, signal)
}

function chosen({ only, skip }: Options): readonly Check[] {
  return CHECKS.filter(({ id }) => (only?.includes(id) ?? true) && !skip.includes(id))
}

/** By connections of its own: those of the run may have been broken off. */
async function cleanUp(context: Context): Promise<readonly string[]> {
  const own = context.withSignal(AbortSignal.timeout(CLEAN_UP_MS))
  try {
    return await context.streams.deleteAll(own)
  } finally {
    own.close()
  }
}

function explain(error: unknown): string {
  if (error instanceof CreateError) {
    const { status, message } = error
    if (status >= 300 && status < 400) return `${message}\nGive the URL that it redirects to`
    if (status === 401) return `${message}\nIt takes a token: --token, or DOCTOR_TOKEN`
    if (status === 403) return `${message}\nWhere may the token create streams? --stream-prefix`
    return `${message}\nIs the gateway there? With a base path the URL has to have it`
  }
  if (error instanceof WireError) return error.message
  throw error
}
