/**
 * Which pages may read answers, by their origins (RFC 6454, and the CORS protocol of the Fetch
 * standard). PURE.
 *
 * Scheme, host and port are compared, each as a whole. No pattern is ever made a regular
 * expression: a forgotten `\` or `$` in one would let strangers in.
 */
import { checkStreamName } from './path.ts'

export const ANY_ORIGIN = { kind: 'any' } as const

export type Origins =
  | typeof ANY_ORIGIN
  | {
      readonly kind: 'listed'
      /** As browsers write them. */
      readonly exact: ReadonlySet<string>
      readonly subdomains: readonly Subdomains[]
    }

type Subdomains = {
  /** `https://*.a.example:8443` without the `*`, in two parts. */
  readonly scheme: string
  readonly rest: string
}

/** What the operator has decided. */
export type OriginPolicy = {
  /** For every stream whose project has none of its own, and for what is no stream. */
  readonly origins: Origins
  /** By the first segments of stream names. They stand in place of the former. */
  readonly projects: ReadonlyMap<string, Origins>
  /** Whether pages may read what they ask for with cookies. */
  readonly credentials: boolean
}

/** The first one that holds says what is wrong with a pattern. */
const SLIPS: readonly (readonly [RegExp, string])[] = [
  [/^\*$/, 'is *, which has to stand alone'],
  [/^null$/i, 'is null, which every sandboxed page is'],
  [/[^\x21-\x7e]/, 'is not ASCII: international names are written as browsers do, xn--'],
  [/[\\^$|(){}+?~]|\/\.\*/, 'has characters of a regular expression or a query'],
  [/^(?!https?:\/\/)/i, 'does not begin with http:// or https://'],
  [/@/, 'has user information'],
  [/^[a-z]+:\/\/.*\//i, 'has a path, or a slash at its end'],
  [/^[a-z]+:\/\/(?!\*\.[^*]+$).*\*/i, 'has a * that is not the whole leftmost label'],
  [/\.(?::|$)/, 'has a host that ends with a dot'],
]

/**
 * Reads `*`, or origins like `https://a.example` and `https://*.a.example`, separated by commas or
 * white space.
 *
 * @throws Error which of them is wrong, and how; without its text
 */
export function parseOrigins(text: string): Origins {
  const words = wordsOf(text)
  if (words.length === 0) throw new Error('there is no origin')
  if (words.length === 1 && words[0] === '*') return ANY_ORIGIN
  const exact = new Set<string>()
  const subdomains: Subdomains[] = []
  for (const [index, word] of words.entries()) {
    const slip = SLIPS.find(([pattern]) => pattern.test(word))
    if (slip !== undefined) throw new Error(`origin ${index + 1} ${slip[1]}`)
    // Any label does for a look at the others.
    const origin = readOrigin(word.replace('*.', 'x.'))
    if (origin === undefined || !isCanonical(origin)) {
      throw new Error(`origin ${index + 1} is not scheme, host and port as browsers write them`)
    }
    if (!word.includes('*')) exact.add(`${origin.scheme}${origin.rest}`)
    else subdomains.push({ scheme: origin.scheme, rest: origin.rest.slice('x'.length) })
  }
  return { kind: 'listed', exact, subdomains }
}

/**
 * Reads `acme=https://a.example https://b.example; other=*`.
 *
 * @throws Error which of them is wrong, and how; without its text
 */
export function parseProjectOrigins(text: string): ReadonlyMap<string, Origins> {
  const projects = new Map<string, Origins>()
  const entries = text.split(';').filter((entry) => entry.trim() !== '')
  for (const [index, entry] of entries.entries()) {
    try {
      const equals = entry.indexOf('=')
      const project = checkProject(entry.slice(0, Math.max(equals, 0)).trim())
      if (projects.has(project)) throw new Error('it is there twice')
      projects.set(project, parseOrigins(entry.slice(equals + 1)))
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : ''
      throw new Error(`project ${index + 1}: ${reason}`, { cause })
    }
  }
  return projects
}

function checkProject(name: string): string {
  if (/^$|[\s/,]/.test(name)) throw new Error('its name is not followed by = and origins')
  return checkStreamName(name)
}

/** Whether each of them is an origin in full. */
export function areExact(origins: Origins): boolean {
  return origins.kind === 'listed' && origins.subdomains.length === 0
}

/** Tells whether an `Origin` as it was sent is one of them. `null` is only one of any. */
export function isAmong(origins: Origins, sent: string): boolean {
  if (origins.kind === 'any') return true
  const origin = readOrigin(sent)
  if (origin === undefined) return false
  const { scheme, rest } = origin
  return (
    origins.exact.has(`${scheme}${rest}`) ||
    origins.subdomains.some((parent) => scheme === parent.scheme && rest.endsWith(parent.rest))
  )
}

/** The origins that may read what is of a project, or of none. */
export function originsOf(policy: OriginPolicy, project: string | undefined): Origins {
  return (project === undefined ? undefined : policy.projects.get(project)) ?? policy.origins
}

type Origin = {
  /** With `://`. */
  readonly scheme: string
  /** The host, and the port unless it is the scheme's own. */
  readonly rest: string
}

/** Labels, none of them empty, or an IPv6 address. Turned small before, `\u212a` would be a `k`. */
const ORIGIN = /^(https?:\/\/)([a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[0-9]{1,5})?$/i
const OWN_PORTS: Readonly<Record<string, string>> = { 'http://': ':80', 'https://': ':443' }

function readOrigin(text: string): Origin | undefined {
  const [, scheme = '', host = '', port = ''] =
    ORIGIN.exec(text)?.map((part?: string) => part?.toLowerCase()) ?? []
  if (scheme === '') return undefined
  return { scheme, rest: port === OWN_PORTS[scheme] ? host : `${host}${port}` }
}

/** Whether a browser would write it so: no `0x7f.1`, no port 99999. */
function isCanonical({ scheme, rest }: Origin): boolean {
  const text = `${scheme}${rest}`
  return URL.canParse(text) && new URL(text).origin === text
}

function wordsOf(text: string): readonly string[] {
  return text.split(/[\s,]+/).filter((word) => word !== '')
}
