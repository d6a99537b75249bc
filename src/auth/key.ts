/**
 * The keys that verify access tokens. Each is for exactly one algorithm, whatever a token says: so
 * a public key is never taken for a secret (RFC 8725 §2.1, §3.1).
 */
import { createHmac, createPublicKey, webcrypto } from 'node:crypto'
import { calculateJwkThumbprint, importJWK } from 'jose'
import type { CryptoKey, JWK } from 'jose'

const SECRET_ALGORITHMS = ['HS256', 'HS384', 'HS512'] as const
const PUBLIC_ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
] as const

export type SecretAlgorithm = (typeof SECRET_ALGORITHMS)[number]
export type PublicAlgorithm = (typeof PUBLIC_ALGORITHMS)[number]
export type Algorithm = SecretAlgorithm | PublicAlgorithm

export type Key = {
  /** From the material and the algorithm, so that every gateway calls it the same. */
  readonly id: string
  readonly alg: Algorithm
  /** What the issuer calls it. */
  readonly kid: string | undefined
  readonly material: CryptoKey
}

/** It can't be used, or must not be. `message` is for people, and shows nothing of the key. */
export class UnusableKeyError extends Error {}

/** Bytes of the shortest secret: as long as the hash (RFC 7518 §3.2). */
export const MIN_SECRET_BYTES: Readonly<Record<SecretAlgorithm, number>> = {
  HS256: 32,
  HS384: 48,
  HS512: 64,
}

/** RFC 7518 §3.3, §3.5. */
const MIN_RSA_BITS = 2048

const HASHES = { HS256: 'SHA-256', HS384: 'SHA-384', HS512: 'SHA-512' } as const
const CURVES = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521', EdDSA: 'Ed25519' } as const

export function isSecretAlgorithm(alg: unknown): alg is SecretAlgorithm {
  return SECRET_ALGORITHMS.some((known) => known === alg)
}

export function isPublicAlgorithm(alg: unknown): alg is PublicAlgorithm {
  return PUBLIC_ALGORITHMS.some((known) => known === alg)
}

/** @throws UnusableKeyError the secret is too short */
export async function keyFromSecret(
  alg: SecretAlgorithm,
  secret: Uint8Array,
  kid?: string,
): Promise<Key> {
  if (secret.byteLength < MIN_SECRET_BYTES[alg]) {
    throw new UnusableKeyError(`a secret for ${alg} has at least ${MIN_SECRET_BYTES[alg]} bytes`)
  }
  const algorithm = { name: 'HMAC', hash: HASHES[alg] }
  const material = await webcrypto.subtle.importKey('raw', secret, algorithm, false, ['verify'])
  // A plain hash would let a secret be recognised by whoever has seen its hash elsewhere.
  const name = createHmac('sha256', secret).update('durable-streams key id').digest('base64url')
  return { id: `${alg}.${name}`, alg, kid, material }
}

/**
 * Reads a public key or a certificate in PEM.
 *
 * @param alg what it is for; by default what its kind is mostly for: RS256, ES256, EdDSA ...
 * @throws UnusableKeyError not one public key, weak, or not of the algorithm
 */
export async function keyFromPem(pem: string, alg?: PublicAlgorithm): Promise<Key> {
  const [block, ...more] = [...pem.matchAll(/-----BEGIN ([^-]+)-----/g)].map(([, kind]) => kind)
  if (/PRIVATE KEY/.test(pem)) throw new UnusableKeyError('it is a private key')
  if (block === undefined || more.length > 0) throw new UnusableKeyError('it is not one PEM block')
  const key = await keyFromJwk({ ...jwkOf(pem), ...(alg && { alg }) })
  if (key === undefined) throw new UnusableKeyError('its kind of key is not supported')
  return key
}

function jwkOf(pem: string): JWK {
  try {
    return { ...createPublicKey(pem).export({ format: 'jwk' }) }
  } catch {
    // OpenSSL's reasons can quote what they did not like.
    throw new UnusableKeyError('it is no public key in PEM, or of a kind that is not supported')
  }
}

/**
 * Reads a JWK (RFC 7517 §4). Undefined: it is for something else than verifying, or of a kind that
 * is not known; such keys are ignored (RFC 7517 §5).
 *
 * @throws UnusableKeyError a private key, weak, or malformed
 */
export async function keyFromJwk(jwk: JWK): Promise<Key | undefined> {
  const { use = 'sig', key_ops: uses = ['verify'], alg = usualAlgorithm(jwk), kid } = jwk
  if (use !== 'sig' || !uses.includes('verify')) return undefined
  if (isSecretAlgorithm(alg)) return keyFromSecret(alg, secretOf(jwk), kid)
  if (!isPublicAlgorithm(alg)) return undefined
  if (jwk.d !== undefined) throw new UnusableKeyError('it is a private key')
  const members = publicMembers(jwk, alg)
  const material = await importMembers(members, alg)
  return { id: `${alg}.${await calculateJwkThumbprint(members)}`, alg, kid, material }
}

/** The one to take where the key itself does not say. */
function usualAlgorithm({ kty, crv }: JWK): string | undefined {
  if (kty === 'RSA') return 'RS256'
  if (kty === 'oct') return 'HS256'
  return Object.entries(CURVES).find(([, curve]) => curve === crv)?.[0]
}

/** Only what the key consists of: with the rest, others could be meant. */
function publicMembers(jwk: JWK, alg: PublicAlgorithm): JWK {
  const { kty, n, e, crv, x, y } = jwk
  if (kty === 'RSA' && !(alg in CURVES)) return { kty, ...(n && { n }), ...(e && { e }) }
  const isCurve = Object.entries(CURVES).some((entry) => entry[0] === alg && entry[1] === crv)
  if (isCurve && crv !== undefined && kty === (alg === 'EdDSA' ? 'OKP' : 'EC')) {
    return { kty, crv, ...(x && { x }), ...(y && alg !== 'EdDSA' && { y }) }
  }
  throw new UnusableKeyError(`it is not a key for ${alg}`)
}

async function importMembers(members: JWK, alg: PublicAlgorithm): Promise<CryptoKey> {
  const material = await importJWK(members, alg).catch(() => undefined)
  if (material === undefined || material instanceof Uint8Array) {
    throw new UnusableKeyError(`it is not a key for ${alg}`)
  }
  const { algorithm } = material
  const bits = 'modulusLength' in algorithm ? Number(algorithm.modulusLength) : MIN_RSA_BITS
  if (bits < MIN_RSA_BITS) {
    throw new UnusableKeyError(`an RSA key has at least ${MIN_RSA_BITS} bits`)
  }
  return material
}

function secretOf({ kty, k }: JWK): Uint8Array {
  if (kty !== 'oct' || k === undefined) throw new UnusableKeyError('it is not a secret')
  return Buffer.from(k, 'base64url')
}
