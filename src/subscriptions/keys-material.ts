/** One key of the gateways: how it is made, how it is kept, and how it is used. */
import { createPrivateKey, createSecretKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import type { KeyObject } from 'node:crypto'
import { invariant } from '../errors.ts'
import { kidOf } from './signature.ts'

/** 256 bits, as many as HMAC-SHA-256 gives out (RFC 7518 §3.2). */
const TOKEN_SECRET_BYTES = 32

/** A key as the log keeps it; all of it unpadded base64url, and all but `kid` and `x` secret. */
export type KeyMaterial = {
  readonly kid: string
  /** The Ed25519 public key (RFC 8037 §2). */
  readonly x: string
  /** The Ed25519 private key. */
  readonly d: string
  /** What signs wake tokens while `d` signs webhooks. */
  readonly secret: string
}

/** A key ready for use. Its secrets are KeyObjects, which no logger prints. */
export type SigningKey = {
  readonly kid: string
  readonly privateKey: KeyObject
  readonly tokenSecret: KeyObject
}

/** A new key, from the system's randomness. */
export function generateKey(): KeyMaterial {
  const { x, d } = generateKeyPairSync('ed25519').privateKey.export({ format: 'jwk' })
  invariant(x !== undefined && d !== undefined, 'an Ed25519 private key has x and d')
  return { kid: kidOf(x), x, d, secret: randomBytes(TOKEN_SECRET_BYTES).toString('base64url') }
}

/** Makes a kept key ready for use. */
export function openKey({ kid, x, d, secret }: KeyMaterial): SigningKey {
  return {
    kid,
    privateKey: createPrivateKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x, d } }),
    tokenSecret: createSecretKey(secret, 'base64url'),
  }
}
