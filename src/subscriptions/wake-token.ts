/**
 * The bearer tokens of callbacks and claims (PROTOCOL §7.1-§7.3, §12.9). PURE.
 *
 * A token is a JWT that says for which wake of which subscription it was given out. It proves only
 * that: whether that wake is still the current one is for the subscription's state to say.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { z } from 'zod'
import { invariant } from '../errors.ts'

/**
 * How long a token lasts, in ms. Long, because expiry is not what ends a wake: the generation is.
 * A token whose lease ran out, or whose wake was answered, is fenced by the next generation at
 * once; one whose lease is extended must last as long as the work does. Expiry only bounds what
 * can be done with a token that somebody finds much later.
 */
export const WAKE_TOKEN_TTL_MS = 24 * 60 * 60 * 1000

/** Longest token that is looked at: the longest names come to less, and a header holds no more. */
const MAX_TOKEN_LENGTH = 4096

/** Which endpoint a token is for. */
export type WakeTokenUse = 'callback' | 'claim'

export type WakeClaims = {
  /** Name of the subscription. */
  readonly sub: string
  /** Id of its incarnation: a subscription that was deleted and made anew has another. */
  readonly inc: string
  readonly gen: number
  readonly wid: string
  readonly use: WakeTokenUse
  /** When it was issued and when it ends, in seconds since 1970 (RFC 7519). */
  readonly iat: number
  readonly exp: number
}

/** What signs tokens: a secret under the name of the key that it belongs to. */
export type TokenKey = { readonly kid: string; readonly tokenSecret: KeyObject }

/** The secret of a key by its `kid`; undefined when no such key is left. */
export type TokenSecrets = (kid: string) => KeyObject | undefined

export type WakeTokenVerdict =
  | { readonly kind: 'valid'; readonly claims: WakeClaims }
  /** Ours, but from too long ago. */
  | { readonly kind: 'expired' }
  /** Not ours, not whole, or of a key that is gone. */
  | { readonly kind: 'invalid' }

const INVALID: WakeTokenVerdict = { kind: 'invalid' }
const TOKEN = /^([\w-]+)\.([\w-]+)\.([\w-]+)$/

/** Strict: a header that asks for anything more (`crit`, another algorithm) is none of ours. */
const headerSchema = z.strictObject({
  alg: z.literal('HS256'),
  typ: z.literal('JWT'),
  kid: z.string(),
})
const claimsSchema = z.object({
  sub: z.string(),
  inc: z.string(),
  gen: z.int().nonnegative(),
  wid: z.string(),
  use: z.enum(['callback', 'claim']),
  iat: z.int(),
  exp: z.int(),
})

export type IssueOptions = {
  readonly key: TokenKey
  /** Ms since 1970. */
  readonly now: number
  /** In ms, whole seconds; {@link WAKE_TOKEN_TTL_MS} by default. */
  readonly ttlMs?: number
}

/**
 * Issues the token for a wake or a claim.
 *
 * @throws InvariantError it would be longer than the tokens that are read
 */
export function issueWakeToken(
  { sub, inc, gen, wid, use }: Omit<WakeClaims, 'iat' | 'exp'>,
  { key, now, ttlMs = WAKE_TOKEN_TTL_MS }: IssueOptions,
): string {
  const iat = Math.floor(now / 1000)
  const claims: WakeClaims = { sub, inc, gen, wid, use, iat, exp: iat + Math.ceil(ttlMs / 1000) }
  const signed = `${encode({ alg: 'HS256', typ: 'JWT', kid: key.kid })}.${encode(claims)}`
  const token = `${signed}.${mac(signed, key.tokenSecret)}`
  invariant(token.length <= MAX_TOKEN_LENGTH, 'a wake token is one that can be read')
  return token
}

/**
 * Says whether a token is one of ours, and what it claims. Nothing in it counts before its
 * signature has been checked, except the name of the key to check it with.
 *
 * @param now ms since 1970
 */
export function readWakeToken(token: string, secrets: TokenSecrets, now: number): WakeTokenVerdict {
  if (token.length > MAX_TOKEN_LENGTH) return INVALID
  const [, header = '', payload = '', signature = ''] = TOKEN.exec(token) ?? []
  const kid = decode(header, headerSchema)?.kid
  const secret = kid === undefined ? undefined : secrets(kid)
  if (secret === undefined) return INVALID
  if (!equalText(signature, mac(`${header}.${payload}`, secret))) return INVALID
  const claims = decode(payload, claimsSchema)
  if (claims === undefined) return INVALID
  return now >= claims.exp * 1000 ? { kind: 'expired' } : { kind: 'valid', claims }
}

function mac(signed: string, secret: KeyObject): string {
  return createHmac('sha256', secret).update(signed).digest('base64url')
}

/**
 * Takes the same time wherever the texts differ. Texts and not bytes, because several texts stand
 * for the same bytes in base64url.
 */
function equalText(given: string, expected: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(expected)]
  return a.length === b.length && timingSafeEqual(a, b)
}

function encode(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}

function decode<T>(part: string, schema: z.ZodType<T>): T | undefined {
  try {
    return schema.safeParse(JSON.parse(Buffer.from(part, 'base64url').toString())).data
  } catch {
    // Only text that is not JSON gets here.
    return undefined
  }
}
