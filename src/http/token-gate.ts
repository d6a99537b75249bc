/** The gate where every caller has a token, or reads what is public. */
import type { Authenticator } from '../auth/authenticator.ts'
import { judge, judgePattern, judgeScope } from '../auth/grant.ts'
import type { Grant, Scope, Verdict } from '../auth/grant.ts'
import type { ReaderKeys } from '../auth/reader-keys.ts'
import type { Clock } from '../clock.ts'
import { AuthError, KeysUnavailableError, StreamGoneError, StreamNotFoundError } from '../errors.ts'
import type { Audience } from '../protocol/caching.ts'
import type { Glob } from '../protocol/glob.ts'
import { bearerOf, cookieOf } from './credentials.ts'
import type { Credentials } from './credentials.ts'
import { EVERYBODY, andThen } from './gate.ts'
import type { Access, Gate, Intent, Later, Life } from './gate.ts'
import type { Lease } from './leases.ts'

export type TokenGateOptions = {
  readonly authenticator: Authenticator
  readonly clock: Clock
  /** Without secrets there are none, and private streams are stored by no shared cache. */
  readonly readerKeys: ReaderKeys
  /** Streams that everybody may read, whatever was said when they were created. */
  readonly publicStreams: readonly Glob[]
  /** The cookie that may hold a token or a ticket; undefined for none. */
  readonly cookie: string | undefined
  /**
   * Whether a stream was created as public; at once when its hub knows.
   *
   * @throws StreamNotFoundError
   * @throws StreamGoneError
   */
  readonly isPublic: (name: string) => Later<boolean>
}

/** A live read that would end sooner is not begun: clients take that for a broken connection. */
const SHORTEST_LEASE_MS = 1000

export class TokenGate implements Gate {
  readonly #options: TokenGateOptions

  constructor(options: TokenGateOptions) {
    this.#options = options
  }

  admit(intent: { scope: Scope; name: string }, credentials: Credentials): Later<Access> {
    return andThen(this.#grantOf(credentials), (grant) => this.#judge(intent, grant))
  }

  #judge({ scope, name }: { scope: Scope; name: string }, grant: Grant | undefined): Later<Access> {
    const verdict = grant === undefined ? 'unauthenticated' : judge(grant, scope, name)
    if (verdict === 'allowed') return { grant, unlessPublic: undefined }
    const refusal = refusalOf(verdict, scope)
    if (scope !== 'read') throw refusal
    if (this.#isNamedPublic(name)) return EVERYBODY
    return andThen(this.#isCreatedPublic(name), (isPublic) => {
      if (!isPublic) throw refusal
      // It may have become another stream by the time that it is read.
      return { grant: undefined, unlessPublic: refusal }
    })
  }

  /** What is not there is no more public than what is private. */
  #isCreatedPublic(name: string): Later<boolean> {
    const isPublic = this.#options.isPublic(name)
    return isPublic instanceof Promise ? isPublic.catch(ifAbsent) : isPublic
  }

  #isNamedPublic(name: string): boolean {
    return this.#options.publicStreams.some((glob) => glob.matches(name))
  }

  identify(credentials: Credentials): Later<Access> {
    return andThen(this.#grantOf(credentials), (grant) => {
      if (grant === undefined) throw refusalOf('unauthenticated', 'read')
      return { grant, unlessPublic: undefined }
    })
  }

  check({ grant }: Access, { scope, streams = [], pattern }: Intent): void {
    if (grant === undefined) throw refusalOf('unauthenticated', scope)
    for (const name of streams) refuseUnless(judge(grant, scope, name), scope)
    if (pattern !== undefined) refuseUnless(judgePattern(grant, scope, pattern), scope)
    refuseUnless(judgeScope(grant, scope), scope)
  }

  admitToRead({ grant }: Access, name: string): Later<Access> {
    return this.#judge({ scope: 'read', name }, grant)
  }

  confirm({ unlessPublic }: Access, { isPublic }: Life): void {
    if (unlessPublic !== undefined && !isPublic) throw unlessPublic
  }

  lease(access: Access, stream: Life): Lease | undefined {
    this.confirm(access, stream)
    const { grant } = access
    if (grant === undefined) return undefined
    const { authenticator, clock } = this.#options
    const { expiresAt: until, keyId } = grant
    if (!authenticator.isCurrent(keyId)) {
      throw new AuthError('invalid_token', "the token's key is withdrawn")
    }
    if (until - clock.now() < SHORTEST_LEASE_MS) {
      throw new AuthError('token_expired', 'the token is about to expire')
    }
    return { until, keyId }
  }

  audienceOf(stream: Life, readerKey: string | undefined): Audience {
    const { name, incarnation, isPublic } = stream
    if (isPublic || this.#isNamedPublic(name)) return 'shared'
    if (readerKey === undefined) return 'private'
    const isKeyed = this.#options.readerKeys.matches(readerKey, name, incarnation)
    return isKeyed ? 'shared' : 'private'
  }

  readerKeyOf({ name, incarnation, isPublic }: Life): string | undefined {
    if (isPublic || this.#isNamedPublic(name)) return undefined
    return this.#options.readerKeys.keyOf(name, incarnation)
  }

  /** Undefined for who says nothing that is for us. */
  #grantOf({ authorization, ticket, cookie }: Credentials): Later<Grant | undefined> {
    const { authenticator, cookie: name } = this.#options
    const bearer = authorization === undefined ? undefined : bearerOf(authorization)
    if (bearer !== undefined) return authenticator.verify(bearer)
    if (ticket !== undefined) return authenticator.verifyTicket(ticket)
    const kept = name === undefined || cookie === undefined ? undefined : cookieOf(cookie, name)
    return kept === undefined ? undefined : this.#grantOfCookie(kept)
  }

  /**
   * A browser sends it whether or not the page means it to: so it only ever reads, and one that
   * is of no use any more is none. An application may keep a token there, or a ticket.
   */
  async #grantOfCookie(kept: string): Promise<Grant | undefined> {
    const { authenticator } = this.#options
    const attempts = [
      async () => authenticator.verifyTicket(kept, 'cookie'),
      async () => authenticator.verify(kept),
    ]
    for (const attempt of attempts) {
      const grant = await attempt().catch(ifRefused)
      if (grant !== undefined) return { ...grant, scope: grant.scope && 'read' }
    }
    return undefined
  }
}

function ifRefused(error: unknown): undefined {
  if (error instanceof AuthError || error instanceof KeysUnavailableError) return
  throw error
}

function ifAbsent(error: unknown): false {
  if (error instanceof StreamNotFoundError || error instanceof StreamGoneError) return false
  throw error
}

type Refusal = Exclude<Verdict, 'allowed'> | 'unauthenticated'

function refuseUnless(verdict: Verdict, scope: Scope): void {
  if (verdict !== 'allowed') throw refusalOf(verdict, scope)
}

function refusalOf(refusal: Refusal, scope: Scope): AuthError {
  return new AuthError(refusal, undefined, refusal === 'insufficient_scope' ? scope : undefined)
}
