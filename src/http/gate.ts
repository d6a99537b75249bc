/**
 * Who may do what, for every way a request can come: Fastify's routes and the fast lane ask here.
 *
 * Streams are judged by their names, before anything is looked up: who may not read a stream does
 * not learn whether there is one.
 */
import type { Grant, Scope } from '../auth/grant.ts'
import type { AuthError } from '../errors.ts'
import type { Audience } from '../protocol/caching.ts'
import type { Glob } from '../protocol/glob.ts'
import type { Credentials } from './credentials.ts'
import type { Lease } from './leases.ts'

/** What is known at once, or is looked for: who is known already must not cost a turn. */
export type Later<T> = T | Promise<T>

export function andThen<T, U>(value: Later<T>, next: (value: T) => Later<U>): Later<U> {
  return value instanceof Promise ? value.then(next) : next(value)
}

/** What the one who asks may do, as far as this request is concerned. */
export type Access = {
  /** Undefined for whoever needs none: of a public stream, or where everything is open. */
  readonly grant: Grant | undefined
  /** Why it is refused after all if the stream that was read is not public. */
  readonly unlessPublic: AuthError | undefined
}

/** A life of a stream, as far as it matters who reads it. */
export type Life = {
  readonly name: string
  /** Names this life. */
  readonly incarnation: string
  readonly isPublic: boolean
}

/** What a request wants, and of which streams. */
export type Intent = {
  readonly scope: Scope
  readonly streams?: Iterable<string>
  readonly pattern?: Glob | undefined
}

export interface Gate {
  /**
   * Lets a request about one stream in. Answers at once when the caller is known already.
   *
   * @throws AuthError
   * @throws GatewayError the stream had to be looked at, and the log is away
   */
  admit(intent: { scope: Scope; name: string }, credentials: Credentials): Later<Access>

  /** Lets a request in that says further on what it is about: see {@link check}. @throws AuthError */
  identify(credentials: Credentials): Later<Access>

  /** Whether the caller may do what its request turns out to want. @throws AuthError */
  check(access: Access, intent: Intent): void

  /** As {@link admit} for reading another stream: it is to be confirmed, too. @throws GatewayError */
  admitToRead(access: Access, name: string): Later<Access>

  /** Asked once the stream was read, before anything of it is shown. @throws AuthError */
  confirm(access: Access, stream: Life): void

  /** As {@link confirm}, before a live read begins: for how long it may go on. @throws AuthError */
  lease(access: Access, stream: Life): Lease | undefined

  /** Who may have the answer to a read, given the reader key in its URL. */
  audienceOf(stream: Life, readerKey: string | undefined): Audience

  /** The reader key to tell; undefined for a stream that has none. */
  readerKeyOf(stream: Life): string | undefined
}

export const EVERYBODY: Access = { grant: undefined, unlessPublic: undefined }

/** Everybody may do everything. */
export const OPEN_GATE: Gate = {
  admit: () => EVERYBODY,
  identify: () => EVERYBODY,
  check: () => undefined,
  admitToRead: () => EVERYBODY,
  confirm: () => undefined,
  lease: () => undefined,
  audienceOf: () => 'shared',
  readerKeyOf: () => undefined,
}
