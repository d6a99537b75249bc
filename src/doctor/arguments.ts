/** The command line of `doctor`. PURE: what the environment has is an argument. */
import { parseArgs } from 'node:util'
import { parseTarget } from './target.ts'
import type { Target } from './target.ts'

export type Options = {
  readonly target: Target
  readonly token: string | undefined
  /** The page that reads, if one was named. */
  readonly origin: string | undefined
  /** Begins the names of the streams that are created. */
  readonly streamPrefix: string
  /** How long an answer may take, or an event. */
  readonly timeoutMs: number
  /** How long live reads are left silent. */
  readonly idleMs: number
  readonly json: boolean
  /** Warnings count as failures. */
  readonly strict: boolean
  readonly insecure: boolean
  readonly http1: boolean
  /** The checks to run; all when left out. */
  readonly only: readonly string[] | undefined
  readonly skip: readonly string[]
  readonly userAgent: string
}

export type Parsed =
  | { readonly kind: 'run'; readonly options: Options }
  | { readonly kind: 'help' }
  | { readonly kind: 'wrong'; readonly message: string }

const USER_AGENT = 'durable-streams-doctor'

export const USAGE = `Usage: durable-streams-gateway doctor <url> [options]

Checks a deployment from outside, through whatever is in front of it: buffering, time-outs, HTTP
version, compression, CORS, caches, limits. It creates streams of its own, and deletes them in the
end. A run takes about half a minute.

  <url>                  https://streams.example.com, with the path that the gateway is below, if any

  --token <token>        for deployments that take tokens; better in the environment: DOCTOR_TOKEN.
                         It has to allow reading, writing and managing below --stream-prefix
  --stream-prefix <name> what the names of its streams begin with [doctor/]. With projects: acme/doctor/
  --origin <origin>      a page that has to be able to read: https://app.example.com
  --idle <seconds>       how long live reads are left silent [20]; above SSE_HEARTBEAT_MS
  --timeout <seconds>    how long an answer or an event may take [10]
  --only <checks>        these checks alone, separated by commas
  --skip <checks>        all but these
  --http1                HTTP/1.1, also where HTTP/2 is to be had
  --insecure             takes certificates that nobody trusts
  --json                 a report for programs, on standard output
  --strict               warnings count as failures
  --help

Exit code: 0 all is well (there may be warnings), 1 a check failed, 2 wrong usage, 3 the deployment
could not be reached or lets nobody create streams, 130 interrupted.
`

const OPTIONS = {
  token: { type: 'string' },
  'stream-prefix': { type: 'string', default: 'doctor/' },
  origin: { type: 'string' },
  idle: { type: 'string', default: '20' },
  timeout: { type: 'string', default: '10' },
  only: { type: 'string' },
  skip: { type: 'string', default: '' },
  http1: { type: 'boolean', default: false },
  insecure: { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
  strict: { type: 'boolean', default: false },
  help: { type: 'boolean', short: 'h', default: false },
} as const

const SECONDS = /^\d+(\.\d+)?$/
const LONGEST_S = 3600

class Wrong extends Error {}

/** Reads the arguments behind `doctor`. `checks` are the names that `--only` and `--skip` may have. */
export function parseDoctorArguments(
  args: readonly string[],
  environmentToken: string | undefined,
  checks: readonly string[],
): Parsed {
  try {
    return parse(args, environmentToken, checks)
  } catch (error) {
    if (!(error instanceof Wrong) && !isOfParser(error)) throw error
    return { kind: 'wrong', message: error.message }
  }
}

function parse(
  args: readonly string[],
  environmentToken: string | undefined,
  checks: readonly string[],
): Parsed {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: OPTIONS,
    allowPositionals: true,
  })
  if (values.help) return { kind: 'help' }
  const [url, ...more] = positionals
  if (url === undefined) throw new Wrong('the URL of the deployment is missing')
  if (more.length > 0) throw new Wrong(`one URL, not also ${more.join(' ')}`)
  const target = parseTarget(url)
  if (target === undefined) throw new Wrong(`${url} is no URL as https://streams.example.com`)
  const token = values.token ?? environmentToken
  const only = values.only === undefined ? undefined : names('--only', values.only, checks)
  const skip = names('--skip', values.skip, checks)
  // A run of nothing would say that all is well.
  if ((only ?? checks).every((name) => skip.includes(name))) throw new Wrong('no check is left')
  return {
    kind: 'run',
    options: {
      target,
      token: token === '' ? undefined : checkToken(token),
      origin: values.origin === undefined ? undefined : checkOrigin(values.origin),
      streamPrefix: checkPrefix(values['stream-prefix']),
      timeoutMs: milliseconds('--timeout', values.timeout),
      idleMs: milliseconds('--idle', values.idle),
      json: values.json,
      strict: values.strict,
      insecure: values.insecure,
      http1: values.http1,
      only,
      skip,
      userAgent: USER_AGENT,
    },
  }
}

function isOfParser(error: unknown): error is Error {
  return (
    error instanceof Error &&
    'code' in error &&
    typeof error.code === 'string' &&
    error.code.startsWith('ERR_PARSE_ARGS')
  )
}

function milliseconds(option: string, text: string): number {
  const seconds = SECONDS.test(text) ? Number(text) : NaN
  if (!(seconds > 0 && seconds <= LONGEST_S)) {
    throw new Wrong(`${option} is a number of seconds, at most ${LONGEST_S}, not ${text}`)
  }
  return seconds * 1000
}

function names(option: string, text: string, checks: readonly string[]): readonly string[] {
  const given = text
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
  const unknown = given.filter((name) => !checks.includes(name))
  if (unknown.length === 0) return given
  throw new Wrong(
    `${option}: no check is called ${unknown.join(', ')}; there are ${checks.join(', ')}`,
  )
}

/** A token that a header can carry. */
function checkToken(token: string | undefined): string | undefined {
  if (token !== undefined && !/^[\x21-\x7e]+$/.test(token)) {
    throw new Wrong('a token is printable ASCII without spaces')
  }
  return token
}

function checkOrigin(text: string): string {
  if (URL.canParse(text) && new URL(text).origin === text) return text
  throw new Wrong(`--origin is scheme, host and port of a page, not ${text}`)
}

function checkPrefix(prefix: string): string {
  const name = `${prefix}x`
  const isName =
    !/[\p{Cc}\p{Cs}\\]/u.test(name) &&
    name.split('/').every((segment) => segment !== '' && segment !== '.' && segment !== '..')
  if (isName && Buffer.byteLength(name) <= 400) return prefix
  throw new Wrong(`--stream-prefix begins the name of a stream, as doctor/, not ${prefix}`)
}
