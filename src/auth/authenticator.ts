/**
 * Who is asking: verifies access tokens and tickets, and says what they allow. Knows no HTTP, and
 * decides nothing: `judge` does.
 */
import type { Clock } from '../clock.ts'
import { RequestError } from '../errors.ts'
import { AccessTokens } from './access-tokens.ts'
import type { TokenRules } from './access-tokens.ts'
import type { Grant } from './grant.ts'
import type { KeyRing } from './key-ring.ts'
import { Tickets } from './tickets.ts'
import type { Ticket, TicketRequest, TicketUse } from './tickets.ts'
import { VerifiedCredentials } from './verified.ts'

export type AuthenticatorOptions = {
  readonly ring: KeyRing
  readonly rules: TokenRules
  /** Shared by all gateways; without any there are no tickets. */
  readonly gatewaySecrets: readonly string[]
  readonly ticketTtlMs: number
  readonly clock: Clock
  /** Most credentials of each kind that are remembered. */
  readonly maxEntries?: number
}

/** More than a gateway has connections. */
const MAX_ENTRIES = 50_000

export class Authenticator {
  readonly #ring: KeyRing
  readonly #accessTokens: AccessTokens
  readonly #tickets: Tickets
  readonly #knownTokens: VerifiedCredentials
  readonly #knownTickets: VerifiedCredentials

  constructor(options: AuthenticatorOptions) {
    const { ring, rules, gatewaySecrets: secrets, ticketTtlMs: ttlMs, clock } = options
    this.#ring = ring
    this.#accessTokens = new AccessTokens(ring, rules, clock)
    this.#tickets = new Tickets({ secrets, ttlMs, clock })
    const isCurrent = (keyId: string): boolean => ring.has(keyId)
    const { maxEntries = MAX_ENTRIES } = options
    this.#knownTokens = new VerifiedCredentials({ maxEntries, clock, isCurrent })
    this.#knownTickets = new VerifiedCredentials({ maxEntries, clock, isCurrent })
    ring.onKeyWithdrawn((keyId) => {
      this.#knownTokens.forgetKey(keyId)
      this.#knownTickets.forgetKey(keyId)
    })
  }

  /**
   * Says what an access token allows: at once when the same token was verified before.
   *
   * @throws AuthError `invalid_token`, `token_expired`; thrown, or what the promise rejects with
   * @throws KeysUnavailableError an issuer has never said which keys it has
   */
  verify(token: string): Grant | Promise<Grant> {
    return this.#knownTokens.get(token, () => this.#accessTokens.verify(token))
  }

  /**
   * Says what a ticket allows, as {@link verify} does. The ticket can begin requests until it
   * expires; what it began can go on until its token does, when the grant ends.
   *
   * @param use where the ticket was found
   * @throws AuthError `invalid_token`, `token_expired`
   */
  verifyTicket(ticket: string, use: TicketUse = 'url'): Grant | Promise<Grant> {
    return this.#knownTickets.get(`${use} ${ticket}`, async () => {
      const content = await this.#tickets.read(ticket, use)
      // Another gateway may know a newer key than we do.
      if (!this.isCurrent(content.grant.keyId)) await this.#ring.refresh()
      return content
    })
  }

  /**
   * Issues a ticket for a part of what a token allows.
   *
   * @param grant an access token's, and not a ticket's: tickets must not renew themselves
   * @throws AuthError `insufficient_scope`, `forbidden`: more than the grant allows itself
   * @throws RequestError `not_supported` there are no tickets
   */
  async issueTicket(grant: Grant, request: TicketRequest): Promise<Ticket> {
    const ticket = await this.#tickets.issue(grant, request)
    if (ticket === undefined) throw new RequestError('not_supported', 'there are no tickets here')
    return ticket
  }

  /**
   * Calls the listener when a key is gone: what its tokens began has to end. Whoever begins
   * something and looks at {@link isCurrent} in the same turn misses none.
   */
  onKeyWithdrawn(listener: (keyId: string) => void): void {
    this.#ring.onKeyWithdrawn(listener)
  }

  /** Whether what this key has signed is accepted. */
  isCurrent(keyId: string): boolean {
    return this.#ring.has(keyId)
  }

  /** Looks at no source of keys any more. */
  close(): Promise<void> {
    return this.#ring.close()
  }
}
