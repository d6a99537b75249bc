/**
 * Access tokens, good and bad. Made by hand (RFC 7515 §5.1), so that a test can say what no library
 * would sign.
 */
import { createHmac } from 'node:crypto'

/** 32 bytes, as HS256 needs (RFC 7518 §3.2). */
export const SECRET = 'a-secret-of-thirty-two-bytes-or-more'

/** As a gateway's environment says it. */
export const JWT_ENV = { AUTH: 'jwt', JWT_HS256_SECRETS: SECRET }

export type Claims = Readonly<Record<string, unknown>>

type Signing = {
  readonly secret?: string
  /** What the header says; it is signed with HS256 all the same. */
  readonly alg?: string
}

/** A compact JWS over any claims. */
export function sign(claims: Claims, { secret = SECRET, alg = 'HS256' }: Signing = {}): string {
  const input = `${encode({ alg, typ: 'JWT' })}.${encode(claims)}`
  return `${input}.${createHmac('sha256', secret).update(input).digest('base64url')}`
}

/** One that expires in an hour, unless the claims say something else. */
export function tokenOf(claims: Claims): string {
  return sign({ exp: inSeconds(3600), ...claims })
}

/** The header that carries it. */
export function bearer(claims: Claims): { readonly authorization: string } {
  return { authorization: `Bearer ${tokenOf(claims)}` }
}

/** A NumericDate (RFC 7519 §2). */
export function inSeconds(seconds: number): number {
  return Math.floor(Date.now() / 1000) + seconds
}

function encode(part: unknown): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}
