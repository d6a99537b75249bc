/**
 * Patterns over stream names (PROTOCOL §6.2): `*` is one path segment, `**` any number of them,
 * and everything else is itself. `%2A` is a `*` that is meant literally. PURE.
 */
import { RequestError } from '../errors.ts'
import { MAX_STREAM_NAME_BYTES, trimSlashes } from './path.ts'

/** As long as a name: patterns stand in records whose bytes are counted, too. */
const MAX_PATTERN_BYTES = MAX_STREAM_NAME_BYTES

/** A pattern that is known to be well-formed. */
export type Glob = {
  readonly pattern: string
  /** What every matching name begins with: all a listing has to look at. */
  readonly prefix: string
  readonly matches: (name: string) => boolean
}

/**
 * Reads a pattern. Slashes around it mean nothing.
 *
 * @throws RequestError `invalid_path`: too long, a character that no name has, an empty segment, or
 * a wildcard that is only a part of one
 */
export function parseGlob(text: string): Glob {
  const pattern = trimSlashes(text)
  checkText(pattern)
  const segments = pattern.split('/')
  for (const segment of segments) checkSegment(segment)
  const parts = segments.map(partOf)
  const prefix = prefixOf(segments)
  return { pattern, prefix, matches: (name) => matches(parts, name.split('/')) }
}

/**
 * Whether one pattern matches every name that another one does. May say no where it does: `*` and
 * `**` inside of it are only compared as they are written.
 */
export function covers(one: Glob, other: Glob): boolean {
  const segments = other.pattern.split('/')
  if (!segments.some(isWildcard)) return one.matches(other.prefix)
  // Whatever its text looks like, it may be one for a single name that has asterisks in it.
  const sample = segments.map((segment) => (isWildcard(segment) ? 'x' : literalOf(segment)))
  if (!one.matches(sample.join('/'))) return false
  return one.pattern === other.pattern || isTreeAbove(one, other)
}

/** `a/**` has all there is under `a`. */
function isTreeAbove({ pattern, prefix }: Glob, other: Glob): boolean {
  const [last, ...before] = pattern.split('/').reverse()
  if (last !== '**' || before.some(isWildcard)) return false
  return prefix === '' || other.prefix === prefix || other.prefix.startsWith(`${prefix}/`)
}

/** `a/**` finds `a` as well; where anything else follows, `a/` comes before it. */
function prefixOf(segments: readonly string[]): string {
  const wild = segments.findIndex(isWildcard)
  const before = wild === -1 ? segments : segments.slice(0, wild)
  const prefix = before.map(literalOf).join('/')
  const canEnd = segments.slice(before.length).every((segment) => segment === '**')
  return prefix === '' || canEnd ? prefix : `${prefix}/`
}

type Part = { readonly kind: 'literal'; readonly text: string } | typeof ANY | typeof ANY_NUMBER
const ANY = { kind: 'any' } as const
const ANY_NUMBER = { kind: 'any number' } as const

function partOf(segment: string): Part {
  if (segment === '*') return ANY
  return segment === '**' ? ANY_NUMBER : { kind: 'literal', text: literalOf(segment) }
}

function literalOf(segment: string): string {
  return segment.replace(/%2A/gi, '*')
}

function isWildcard(segment: string): boolean {
  return segment === '*' || segment === '**'
}

function checkText(pattern: string): void {
  if (Buffer.byteLength(pattern) > MAX_PATTERN_BYTES) {
    throw new RequestError('invalid_path', `a pattern is at most ${MAX_PATTERN_BYTES} bytes`)
  }
  if (/[\p{Cc}\p{Cs}]/u.test(pattern)) {
    throw new RequestError('invalid_path', 'a pattern has no control characters or lone surrogates')
  }
}

function checkSegment(segment: string): void {
  if (segment === '' || segment === '.' || segment === '..') {
    throw new RequestError('invalid_path', 'a pattern has no empty, . or .. segments')
  }
  if (segment.includes('*') && !isWildcard(segment)) {
    throw new RequestError('invalid_path', 'a wildcard is a whole segment: * or **')
  }
}

/**
 * Only the last `**` is ever tried again: what an earlier one could take besides, the last one can
 * take as well. So a pattern can't be made to take more than pattern times name steps.
 */
function matches(parts: readonly Part[], segments: readonly string[]): boolean {
  let part = 0
  let segment = 0
  let retry: { readonly part: number; segment: number } | undefined
  while (segment < segments.length) {
    const current = parts[part]
    if (current?.kind === 'any number') {
      part += 1
      retry = { part, segment }
    } else if (current !== undefined && takes(current, segments[segment] ?? '')) {
      part += 1
      segment += 1
    } else if (retry !== undefined) {
      retry.segment += 1
      part = retry.part
      segment = retry.segment
    } else {
      return false
    }
  }
  return parts.slice(part).every(({ kind }) => kind === 'any number')
}

function takes(part: Part, segment: string): boolean {
  return part.kind === 'any' || (part.kind === 'literal' && part.text === segment)
}
