/** Access tokens: JSON Web Tokens that an issuer has signed (RFC 7519, RFC 8725). */
import { decodeProtectedHeader, errors, jwtVerify } from 'jose'
import type { JWTVerifyOptions } from 'jose'
import type { Clock } from '../clock.ts'
import { AuthError, KeysUnavailableError } from '../errors.ts'
import { parseClaims } from './claims.ts'
import { isPublicAlgorithm, isSecretAlgorithm } from './key.ts'
import type { Key } from './key.ts'
import type { KeyRing } from './key-ring.ts'
import { TICKET_TYPE } from './tickets.ts'
import type { Verified } from './verified.ts'

export type TokenRules = {
  /** What `iss` must be; undefined: anything. */
  readonly issuer: string | undefined
  /** What `aud` must name; undefined: anything. */
  readonly audience: string | undefined
  /** How far the issuer's clock may be off, in s. */
  readonly toleranceS: number
  /** The claim that binds a token to a project; undefined: none does. */
  readonly projectClaim: string | undefined
}

type Header = { readonly alg: string; readonly kid: string | undefined }

/** Longer ones are refused before anything is done with them. */
const MAX_TOKEN_LENGTH = 8 * 1024
const TOKEN = /^[\w-]+\.[\w-]+\.([\w-]+)$/

export class AccessTokens {
  readonly #ring: KeyRing
  readonly #rules: TokenRules
  readonly #clock: Clock

  constructor(ring: KeyRing, rules: TokenRules, clock: Clock) {
    this.#ring = ring
    this.#rules = rules
    this.#clock = clock
  }

  /**
   * Verifies a token with the keys that its header selects. If none of them has signed it, and one
   * may be new, the issuers are asked once more.
   *
   * @throws AuthError `invalid_token`, `token_expired`
   * @throws KeysUnavailableError an issuer has never said which keys it has
   */
  async verify(token: string): Promise<Verified> {
    const { alg, kid } = parseHeader(token)
    const tried = this.#ring.candidates(alg, kid)
    const verified = await this.#verifyWith(token, tried)
    if (verified !== undefined) return verified
    if (isPublicAlgorithm(alg) && !this.#ring.knows(alg, kid)) {
      await this.#ring.refresh()
      const others = this.#ring.candidates(alg, kid).filter((key) => !tried.includes(key))
      const verifiedLater = await this.#verifyWith(token, others)
      if (verifiedLater !== undefined) return verifiedLater
      if (!this.#ring.isComplete) throw new KeysUnavailableError()
    }
    throw new AuthError('invalid_token')
  }

  /** Undefined: none of the keys has signed it. */
  async #verifyWith(token: string, keys: readonly Key[]): Promise<Verified | undefined> {
    for (const key of keys) {
      const verified = await this.#verifyWithKey(token, key)
      if (verified !== undefined) return verified
    }
    return undefined
  }

  async #verifyWithKey(token: string, key: Key): Promise<Verified | undefined> {
    const { projectClaim, toleranceS } = this.#rules
    try {
      const { payload } = await jwtVerify(token, key.material, this.#joseOptions(key))
      const rules = { projectClaim, toleranceMs: toleranceS * 1000 }
      const grant = parseClaims(payload, rules, key.id)
      return { grant, until: grant.expiresAt }
    } catch (error) {
      if (error instanceof errors.JWSSignatureVerificationFailed) return undefined
      throw error instanceof errors.JOSEError ? refusal(error) : error
    }
  }

  #joseOptions({ alg }: Key): JWTVerifyOptions {
    const { issuer, audience, toleranceS } = this.#rules
    return {
      algorithms: [alg],
      ...(issuer !== undefined && { issuer }),
      ...(audience !== undefined && { audience }),
      clockTolerance: toleranceS,
      requiredClaims: ['exp'],
      currentDate: new Date(this.#clock.now()),
    }
  }
}

/** What selects the key. Nothing else of a header is believed. */
function parseHeader(token: string): Header {
  if (token.length > MAX_TOKEN_LENGTH) throw new AuthError('invalid_token', 'the token is too long')
  const { alg, kid, typ } = decodeHeader(token)
  const isKnown = isPublicAlgorithm(alg) || isSecretAlgorithm(alg)
  if (!isKnown || typ === TICKET_TYPE) throw new AuthError('invalid_token')
  return { alg, kid: typeof kid === 'string' ? kid : undefined }
}

function decodeHeader(token: string): { alg?: unknown; kid?: unknown; typ?: unknown } {
  const [, signature] = TOKEN.exec(token) ?? []
  if (signature === undefined || !isCanonical(signature)) throw notSigned()
  try {
    return decodeProtectedHeader(token)
  } catch (error) {
    throw error instanceof TypeError ? notSigned() : error
  }
}

/** Several texts stand for the same bytes; a token with another text is another token. */
function isCanonical(base64url: string): boolean {
  return Buffer.from(base64url, 'base64url').toString('base64url') === base64url
}

const notSigned = (): AuthError =>
  new AuthError('invalid_token', 'the token is not a signed JWT in its compact form')

/** The signature was right, or the token is of a kind that we do not take: so why may be told. */
function refusal(error: errors.JOSEError): AuthError {
  if (error instanceof errors.JWTExpired) return new AuthError('token_expired')
  if (!(error instanceof errors.JWTClaimValidationFailed)) return new AuthError('invalid_token')
  const { claim, reason } = error
  if (claim === 'nbf' && reason === 'check_failed') {
    return new AuthError('invalid_token', 'the token is not valid yet')
  }
  return new AuthError('invalid_token', `the claim ${claim} of the token is not accepted`)
}
