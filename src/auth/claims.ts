/** From the claims of a token, whose signature has been checked, to what it allows. PURE. */
import { z } from 'zod'
import { AuthError, RequestError } from '../errors.ts'
import { parseGlob } from '../protocol/glob.ts'
import type { Glob } from '../protocol/glob.ts'
import { checkStreamName, trimSlashes } from '../protocol/path.ts'
import { exactly, greater } from './grant.ts'
import type { Grant, Scope } from './grant.ts'

export type ClaimRules = {
  /** The claim that names the project; undefined: tokens are for every project. */
  readonly projectClaim: string | undefined
  /** For how long a token goes on after its `exp`, in ms: clocks differ. */
  readonly toleranceMs: number
}

/** The project claim of a token for all of them. */
const EVERY_PROJECT = '*'

/** What a date can hold, in seconds: later instants are not times any more. */
const MAX_EXP_S = 8_640_000_000_000

const texts = z.union([z.string(), z.array(z.string())])
const claimsSchema = z.object({
  exp: z.number().max(MAX_EXP_S),
  sub: z.string().optional(),
  scope: texts.optional(),
  streams: texts.optional(),
  stream_id: z.string().optional(),
})
type Claims = z.infer<typeof claimsSchema>

/**
 * Reads what a token allows. Words of `scope` that are not ours are for others, and ignored; any
 * other claim of ours must be well-formed, as a token that is half understood may allow too much.
 *
 * @param keyId names the key that has signed it
 * @throws AuthError `invalid_token`
 */
export function parseClaims(
  payload: Readonly<Record<string, unknown>>,
  { projectClaim, toleranceMs }: ClaimRules,
  keyId: string,
): Grant {
  const { data: claims, error } = claimsSchema.safeParse(payload)
  if (claims === undefined) throw malformed(String(error.issues[0]?.path[0] ?? 'exp'))
  return {
    subject: claims.sub,
    project: projectClaim === undefined ? undefined : parseProject(payload, projectClaim),
    scope: parseScope(claims.scope),
    streams: parseStreams(claims),
    expiresAt: claims.exp * 1000 + toleranceMs,
    keyId,
  }
}

/** Whether a text can be a project: the first segment of a stream's name. */
export function isProject(text: string): boolean {
  return !text.includes('/') && isStreamName(text)
}

function parseProject(payload: Readonly<Record<string, unknown>>, claim: string): Grant['project'] {
  const value = Object.hasOwn(payload, claim) ? payload[claim] : undefined
  if (value === EVERY_PROJECT) return undefined
  if (typeof value !== 'string' || !isProject(value)) throw malformed(claim)
  return value
}

function parseScope(scope: Claims['scope'] = []): Scope | undefined {
  const words = typeof scope === 'string' ? scope.split(/\s+/) : scope
  return words.filter(isScope).reduce<Scope | undefined>(greater, undefined)
}

function isScope(word: string): word is Scope {
  return word === 'read' || word === 'write' || word === 'manage'
}

/** Both have to hold where both are given: the one name, if it is one of the others. */
function parseStreams({ streams, stream_id }: Claims): readonly Glob[] | undefined {
  const globs = streams === undefined ? undefined : [streams].flat().map(parsePattern)
  if (stream_id === undefined) return globs
  const name = trimSlashes(stream_id)
  if (!isStreamName(name)) throw malformed('stream_id')
  const isWithin = globs?.some(({ matches }) => matches(name)) ?? true
  return isWithin ? [exactly(name)] : []
}

function parsePattern(text: string): Glob {
  try {
    return parseGlob(text)
  } catch (error) {
    throw error instanceof RequestError ? malformed('streams') : error
  }
}

function isStreamName(text: string): boolean {
  try {
    checkStreamName(text)
    return true
  } catch (error) {
    if (error instanceof RequestError) return false
    throw error
  }
}

function malformed(claim: string): AuthError {
  return new AuthError('invalid_token', `the claim ${claim} of the token is missing or malformed`)
}
