/** Credentials that were verified not long ago: who sends the same one again waits for nothing. */
import { LRUCache } from 'lru-cache'
import type { Clock } from '../clock.ts'
import { AuthError } from '../errors.ts'
import type { Grant } from './grant.ts'

/** What a credential stands for, and until when it is accepted, in ms since 1970. */
export type Verified = { readonly grant: Grant; readonly until: number }

export type VerifiedCredentialsOptions = {
  readonly maxEntries: number
  readonly clock: Clock
  /** Whether what this key has signed is accepted. */
  readonly isCurrent: (keyId: string) => boolean
}

/** As long as that are all of them together: a token may have 8 KiB, and most have less than 1. */
const MAX_CHARACTERS = 32 * 1024 * 1024

export class VerifiedCredentials {
  readonly #options: VerifiedCredentialsOptions
  readonly #known: LRUCache<string, Verified>
  /** A crowd that comes back with the same credential has it verified once. */
  readonly #underWay = new Map<string, Promise<Grant>>()

  constructor(options: VerifiedCredentialsOptions) {
    this.#options = options
    this.#known = new LRUCache({
      max: options.maxEntries,
      maxSize: MAX_CHARACTERS,
      sizeCalculation: (_verified, credential) => credential.length + 1,
    })
  }

  /** How many are known. */
  get size(): number {
    return this.#known.size
  }

  /**
   * What the credential stands for: at once if it is known, else what `verify` says.
   *
   * @throws AuthError `token_expired`, and what `verify` throws
   */
  get(credential: string, verify: () => Promise<Verified>): Grant | Promise<Grant> {
    const verified = this.#known.get(credential)
    if (verified === undefined) return this.#share(credential, verify)
    if (this.#options.clock.now() < verified.until) return verified.grant
    this.#known.delete(credential)
    throw new AuthError('token_expired')
  }

  /** Forgets what this key has signed. */
  forgetKey(keyId: string): void {
    for (const [credential, { grant }] of [...this.#known.entries()]) {
      if (grant.keyId === keyId) this.#known.delete(credential)
    }
  }

  #share(credential: string, verify: () => Promise<Verified>): Promise<Grant> {
    const underWay = this.#underWay.get(credential)
    if (underWay !== undefined) return underWay
    const verifying = verify()
      .then((verified) => this.#remember(credential, verified))
      .finally(() => this.#underWay.delete(credential))
    this.#underWay.set(credential, verifying)
    return verifying
  }

  #remember(credential: string, verified: Verified): Grant {
    const { clock, isCurrent } = this.#options
    // Meanwhile the key may have been withdrawn, or the time gone by.
    if (!isCurrent(verified.grant.keyId)) throw new AuthError('invalid_token')
    if (clock.now() >= verified.until) throw new AuthError('token_expired')
    this.#known.set(credential, verified)
    return verified.grant
  }
}
