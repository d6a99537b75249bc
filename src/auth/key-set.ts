/** JWK sets (RFC 7517 §5): which of their keys verify tokens, and which must not. */
import { z } from 'zod'
import { UnusableKeyError, keyFromJwk } from './key.ts'
import type { Key } from './key.ts'

/** More would make a token without `kid` expensive: it is tried with every key. */
const MAX_KEYS = 100

const text = z.string().exactOptional()
/** The members that are read. What else there is, is not for us. */
const jwkSchema = z.object({
  kty: z.string(),
  use: text,
  key_ops: z.array(z.string()).exactOptional(),
  alg: text,
  kid: text,
  n: text,
  e: text,
  crv: text,
  x: text,
  y: text,
  d: text,
  k: text,
})
const setSchema = z.object({ keys: z.array(z.unknown()).max(MAX_KEYS) })

export type KeySet = {
  readonly keys: readonly Key[]
  /** Why others of its keys can't be used; those for something else are not among them. */
  readonly problems: readonly UnusableKeyError[]
}

export type KeySetRules = {
  /** Whether secrets count, or are ignored: what anybody can read is none. */
  readonly withSecrets: boolean
}

/**
 * Reads a JWK set. One without keys is as good as any: its keys have been withdrawn.
 *
 * @throws UnusableKeyError it is no JWK set
 */
export async function parseKeySet(json: string, { withSecrets }: KeySetRules): Promise<KeySet> {
  const set = setSchema.safeParse(parseJson(json)).data
  if (set === undefined) {
    throw new UnusableKeyError(`it is no JWK set of at most ${MAX_KEYS} keys`)
  }
  const read = await Promise.allSettled(set.keys.map((key) => parseKey(key, withSecrets)))
  const keys = read.flatMap((one) => (one.status === 'fulfilled' ? (one.value ?? []) : []))
  const problems = read.flatMap((one, index) =>
    one.status === 'rejected' ? problemOf(one.reason, index) : [],
  )
  return { keys, problems }
}

async function parseKey(given: unknown, withSecrets: boolean): Promise<Key | undefined> {
  const jwk = jwkSchema.safeParse(given).data
  if (jwk === undefined) throw new UnusableKeyError('it is no JWK')
  return jwk.kty === 'oct' && !withSecrets ? undefined : keyFromJwk(jwk)
}

function problemOf(reason: unknown, index: number): UnusableKeyError {
  if (!(reason instanceof UnusableKeyError)) throw reason
  return new UnusableKeyError(`key ${index + 1} of the set: ${reason.message}`)
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    // Only text that is not JSON gets here, and it is no set either.
    return undefined
  }
}
