/**
 * Webhook signatures and the public keys that verify them (PROTOCOL §6.5, §7.1, §12.10). PURE.
 *
 * Ed25519 as RFC 8037 puts it into JOSE. Knows one key at a time; `key-ring.ts` says which.
 */
import { createHash, sign } from 'node:crypto'
import type { KeyObject } from 'node:crypto'

/** How long a JWKS may be cached, in seconds: the `max-age` of its response (PROTOCOL §6.5). */
export const JWKS_MAX_AGE_S = 300

/** What signs webhooks: an Ed25519 private key under the name that its public key has. */
export type PayloadKey = { readonly kid: string; readonly privateKey: KeyObject }

/** A public key as receivers get it: never with `d`. */
export type PublicJwk = {
  readonly kty: 'OKP'
  readonly crv: 'Ed25519'
  readonly kid: string
  readonly use: 'sig'
  readonly alg: 'EdDSA'
  readonly x: string
}

/** The body of `__ds/jwks.json`. */
export type JwkSet = { readonly keys: readonly PublicJwk[] }

/**
 * The SHA-256 thumbprint of an Ed25519 public key, unpadded base64url (RFC 7638, RFC 8037 §2).
 *
 * @param x the public key, unpadded base64url
 */
export function thumbprint(x: string): string {
  // Exactly the required members, in the order of their names, without white space.
  const canonical = JSON.stringify({ crv: 'Ed25519', kty: 'OKP', x })
  return createHash('sha256').update(canonical).digest('base64url')
}

/** The name of a key: from its material, so that it is stable and no two keys share one. */
export function kidOf(x: string): string {
  return `ds_${thumbprint(x)}`
}

/** The public keys as a JWK set, in the given order. Whatever else the keys hold stays here. */
export function jwkSet(keys: readonly { readonly kid: string; readonly x: string }[]): JwkSet {
  return {
    keys: keys.map(({ kid, x }) => ({
      kty: 'OKP',
      crv: 'Ed25519',
      kid,
      use: 'sig',
      alg: 'EdDSA',
      x,
    })),
  }
}

/**
 * The value of `Webhook-Signature` for a request: a signature over `<timestamp>.<raw body>`.
 *
 * Sign every attempt anew: receivers refuse a timestamp outside their replay window.
 *
 * @param body exactly the bytes that will be sent
 * @param now ms since 1970; the signature carries it in whole seconds
 */
export function webhookSignature(key: PayloadKey, body: Uint8Array, now: number): string {
  const seconds = Math.floor(now / 1000)
  const signed = Buffer.concat([Buffer.from(`${seconds}.`), body])
  // Ed25519 has its own hash, and so takes no name of one.
  const signature = sign(null, signed, key.privateKey).toString('base64url')
  return `t=${seconds},kid=${key.kid},ed25519=${signature}`
}
