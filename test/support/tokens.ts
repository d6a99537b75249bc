/** Keys of every algorithm and tokens signed with them, right ones and wrong ones. */
import { createHmac, createSecretKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { SignJWT, exportJWK } from 'jose'
import type { JWK } from 'jose'
import type { Algorithm } from '../../src/auth/key.ts'

/** What signs and what verifies; the same for a secret. */
export type TestKey = {
  readonly alg: Algorithm
  readonly kid: string | undefined
  readonly signing: KeyObject
  readonly verifying: KeyObject
}

export const SECRET_ALGORITHMS = ['HS256', 'HS384', 'HS512'] as const
export const PUBLIC_ALGORITHMS = [
  ...(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'] as const),
  ...(['ES256', 'ES384', 'ES512', 'EdDSA'] as const),
] as const

const CURVES = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' } as const
const BYTES = { HS256: 32, HS384: 48, HS512: 64 } as const

/** Makes a key; RSA ones take a moment. */
export function makeKey(alg: Algorithm, kid?: string): TestKey {
  if (alg === 'HS256' || alg === 'HS384' || alg === 'HS512') {
    // Text, as it comes from the environment.
    return secretKey(alg, randomBytes(BYTES[alg]).toString('hex'), kid)
  }
  const pair = makePair(alg)
  return { alg, kid, signing: pair.privateKey, verifying: pair.publicKey }
}

export function secretKey(alg: Algorithm, secret: string, kid?: string): TestKey {
  const key = createSecretKey(Buffer.from(secret))
  return { alg, kid, signing: key, verifying: key }
}

/** The text of a secret. */
export function textOf({ verifying }: TestKey): string {
  return verifying.export().toString()
}

export function pemOf({ verifying }: TestKey): string {
  return verifying.export({ type: 'spki', format: 'pem' }).toString()
}

/** The public key as an issuer publishes it. */
export async function jwkOf({ verifying, alg, kid }: TestKey): Promise<JWK> {
  return { ...(await exportJWK(verifying)), alg, use: 'sig', ...(kid !== undefined && { kid }) }
}

export async function keySetOf(...keys: readonly TestKey[]): Promise<string> {
  return JSON.stringify({ keys: await Promise.all(keys.map(jwkOf)) })
}

/** Signs exactly these claims; `header` is added to what the key says. */
export function sign(
  key: TestKey,
  claims: Readonly<Record<string, unknown>>,
  header: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  const { alg, kid } = key
  return new SignJWT({ ...claims })
    .setProtectedHeader({ alg, ...(kid !== undefined && { kid }), ...header })
    .sign(key.signing)
}

/** A token with any header at all, with a right HMAC by the bytes given. */
export function forge(
  header: Readonly<Record<string, unknown>>,
  claims: Readonly<Record<string, unknown>>,
  hmacKey: string | Buffer = '',
): string {
  const signed = `${encode(header)}.${encode(claims)}`
  return `${signed}.${createHmac('sha256', hmacKey).update(signed).digest('base64url')}`
}

/** The token with other claims under the same signature. */
export function withClaims(token: string, claims: Readonly<Record<string, unknown>>): string {
  const [header = '', , signature = ''] = token.split('.')
  return `${header}.${encode(claims)}.${signature}`
}

/** The token with another header under the same signature. */
export function withHeader(token: string, header: Readonly<Record<string, unknown>>): string {
  const [, claims = '', signature = ''] = token.split('.')
  return `${encode(header)}.${claims}.${signature}`
}

/** The token with one bit of its signature turned over. */
export function withOtherSignature(token: string, bit = 0): string {
  const [header = '', claims = '', signature = ''] = token.split('.')
  const bytes = Buffer.from(signature, 'base64url')
  bytes[bit >> 3]! ^= 1 << (bit & 7)
  return `${header}.${claims}.${bytes.toString('base64url')}`
}

function encode(part: object): string {
  return Buffer.from(JSON.stringify(part)).toString('base64url')
}

function makePair(alg: Exclude<Algorithm, 'HS256' | 'HS384' | 'HS512'>) {
  if (alg === 'EdDSA') return generateKeyPairSync('ed25519')
  if (alg === 'ES256' || alg === 'ES384' || alg === 'ES512') {
    return generateKeyPairSync('ec', { namedCurve: CURVES[alg] })
  }
  return generateKeyPairSync('rsa', { modulusLength: 2048 })
}
