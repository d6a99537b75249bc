/**
 * The keys with which all gateways sign webhooks and wake tokens, as one gateway sees them.
 *
 * All truth is in the log `__ds/keys`: gateways that begin together agree on one first key, and
 * one that notices a rotation first does it for all. Clocks must agree to within minutes: ages
 * compare the log's timestamps with the gateway's clock.
 */
import { randomBytes } from 'node:crypto'
import { invariant } from '../errors.ts'
import { Journal } from '../journal/journal.ts'
import type { JournalOptions } from '../journal/journal.ts'
import type { LogState } from '../journal/state.ts'
import type { LogKey } from './keys-codec.ts'
import { createKeysCommand, maintainKeysCommand } from './keys-commands.ts'
import { generateKey, openKey } from './keys-material.ts'
import type { SigningKey } from './keys-material.ts'
import { KEY_RULES, KEY_TIMES, activeKey, isRotationDue, retiredKeys } from './keys-state.ts'
import type { KeyRingState, KeyTimes } from './keys-state.ts'
import { jwkSet } from './signature.ts'
import type { JwkSet } from './signature.ts'
import type { TokenSecrets } from './wake-token.ts'

/** Name of the key log; HTTP serves no stream under `__ds/` (PROTOCOL §6). */
export const KEY_LOG = '__ds/keys'

/**
 * How old the keys may be that the JWKS shows, in ms: anybody may ask for it, and the log is asked
 * once a second at most. A key that is a second late here signs only minutes later.
 */
const JWKS_LAG_MS = 1000

export type KeyRingOptions = JournalOptions & { readonly times?: KeyTimes }

export class KeyRing {
  readonly #options: KeyRingOptions
  readonly #times: KeyTimes
  readonly #journal: Journal<KeyRingState>
  readonly #open = new WeakMap<LogKey, SigningKey>()
  /** When the last look that succeeded began, in ms. */
  #lookedAt = -Infinity
  #looking: Promise<LogState<KeyRingState>> | undefined

  constructor(options: KeyRingOptions) {
    this.#options = options
    this.#times = options.times ?? KEY_TIMES
    const { rotationMs, publishMs } = this.#times
    invariant(rotationMs > publishMs, 'a key is published before its predecessor has had its time')
    this.#journal = new Journal(KEY_LOG, KEY_RULES, options)
  }

  /**
   * The key that signs now; the first one is made when there is none.
   *
   * @throws LogUnavailableError, AppendOutcomeUnknownError
   */
  async signing(): Promise<SigningKey> {
    const ring = await this.#keys(this.#signingLagMs)
    return this.#opened(activeKey(ring, this.#options.clock.now()))
  }

  /**
   * The secrets of all keys whose tokens are still accepted, as of now.
   *
   * @throws as {@link signing}
   */
  async secrets(): Promise<TokenSecrets> {
    const { keys } = await this.#keys(this.#signingLagMs)
    return (kid) => {
      const key = keys.find((candidate) => candidate.kid === kid)
      return key === undefined ? undefined : this.#opened(key).tokenSecret
    }
  }

  /**
   * The public keys: of those that sign, that will, and that did not long ago. The first one is
   * made when there is none, because an empty set would be cached while webhooks go out.
   *
   * @throws as {@link signing}
   */
  async jwks(): Promise<JwkSet> {
    const { keys } = await this.#keys(JWKS_LAG_MS)
    return jwkSet(keys)
  }

  /**
   * Adds the next key when one is due, and removes those that nobody needs any more. To be called
   * now and then, once an hour say: when it is late, a key signs and verifies that much longer.
   *
   * @throws as {@link signing}
   */
  async maintain(): Promise<void> {
    const { incarnation } = await this.#look()
    const now = this.#options.clock.now()
    const isDue =
      incarnation !== undefined &&
      (isRotationDue(incarnation, now, this.#times) ||
        retiredKeys(incarnation, now, this.#times).length > 0)
    if (!isDue) return
    await this.#journal.executeOnce('maintain', maintainKeysCommand(generateKey(), this.#times))
  }

  /**
   * A key is in the log for `publishMs` before anybody uses it. Keys that are half as old are all
   * that can be in use, even where clocks differ by the other half.
   */
  get #signingLagMs(): number {
    return this.#times.publishMs / 2
  }

  /** The keys as of at most `lagMs` ago. */
  async #keys(lagMs: number): Promise<KeyRingState> {
    const age = this.#options.clock.now() - this.#lookedAt
    const isRecent = age >= 0 && age < lagMs
    const { incarnation } = await (isRecent ? this.#journal.known() : this.#look())
    if (incarnation !== undefined) return incarnation
    return this.#create()
  }

  async #create(): Promise<KeyRingState> {
    const id = randomBytes(12).toString('base64url')
    await this.#journal.executeOnce('create', createKeysCommand(id, generateKey()))
    const { incarnation } = await this.#journal.refresh()
    invariant(incarnation !== undefined, 'a key log that was begun has keys')
    return incarnation
  }

  /** Looks at the log; whoever asks meanwhile gets the same look. */
  #look(): Promise<LogState<KeyRingState>> {
    const began = this.#options.clock.now()
    this.#looking ??= this.#journal
      .refresh()
      .then((state) => {
        this.#lookedAt = began
        return state
      })
      .finally(() => {
        this.#looking = undefined
      })
    return this.#looking
  }

  #opened(key: LogKey): SigningKey {
    const opened = this.#open.get(key) ?? openKey(key)
    this.#open.set(key, opened)
    return opened
  }
}
