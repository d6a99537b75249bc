/** What a credential allows, and whether that is enough for a request. PURE. */
import { covers } from '../protocol/glob.ts'
import type { Glob } from '../protocol/glob.ts'

/** Each allows what the ones before it do. */
export type Scope = 'read' | 'write' | 'manage'

/** What a verified token or ticket allows. */
export type Grant = {
  readonly subject: string | undefined
  /** The first segment of the names it is for; undefined: every project. */
  readonly project: string | undefined
  /** The highest one it has; undefined: none that we know, and so nothing at all. */
  readonly scope: Scope | undefined
  /** The full names it is for, any of them; undefined: every stream of the project. */
  readonly streams: readonly Glob[] | undefined
  /** When it ends, and every live read that it began, in ms since 1970. */
  readonly expiresAt: number
  /** Names the key that signed the token; without that key the grant is void. */
  readonly keyId: string
}

export type Verdict = 'allowed' | 'insufficient_scope' | 'forbidden'

const RANK: Readonly<Record<Scope, number>> = { read: 1, write: 2, manage: 3 }

/**
 * Whether the grant is enough for a request that needs `scope` on a stream. A stream that it is not
 * for is `forbidden` whatever its scope: a token with more scope would not help.
 *
 * @param streamName the full name, with its project
 */
export function judge(grant: Grant, scope: Scope, streamName: string): Verdict {
  if (grant.project !== undefined && projectOf(streamName) !== grant.project) return 'forbidden'
  if (grant.streams?.some(({ matches }) => matches(streamName)) === false) return 'forbidden'
  return judgeScope(grant, scope)
}

/** As {@link judge}, for a request that names no stream. */
export function judgeScope(grant: Grant, scope: Scope): Verdict {
  return includes(grant.scope, scope) ? 'allowed' : 'insufficient_scope'
}

/** As {@link judge}, for a request about all the streams that a pattern can ever match. */
export function judgePattern(grant: Grant, scope: Scope, pattern: Glob): Verdict {
  const { project, streams } = grant
  if (project !== undefined && projectOf(pattern.prefix) !== project) return 'forbidden'
  if (streams?.some((held) => covers(held, pattern)) === false) return 'forbidden'
  return judgeScope(grant, scope)
}

/** The first segment of a stream's name. */
export function projectOf(streamName: string): string {
  const end = streamName.indexOf('/')
  return end === -1 ? streamName : streamName.slice(0, end)
}

/** The greater of two scopes. */
export function greater(a: Scope | undefined, b: Scope): Scope {
  return includes(a, b) && a !== undefined ? a : b
}

function includes(held: Scope | undefined, needed: Scope): boolean {
  return held !== undefined && RANK[held] >= RANK[needed]
}

/** A pattern for exactly this name, whatever characters are in it. */
export function exactly(name: string): Glob {
  return { pattern: name, prefix: name, matches: (other) => other === name }
}
