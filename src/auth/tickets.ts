/**
 * Tickets: a small part of a grant, for where a browser can send no header.
 *
 * A ticket is a JWS of ours, for one stream. Any gateway with the same secret issues and reads
 * them; nothing is shared or remembered. Which keys are still good is not known here.
 */
import { CompactSign, compactVerify, decodeProtectedHeader, errors } from 'jose'
import { z } from 'zod'
import type { Clock } from '../clock.ts'
import { AuthError } from '../errors.ts'
import { deriveKey } from './derived-key.ts'
import { exactly, judge } from './grant.ts'
import type { Grant, Scope } from './grant.ts'

/** A ticket in a URL is short-lived; one in a cookie lasts as long as its token, or an hour. */
export type TicketUse = 'url' | 'cookie'

export type TicketRequest = {
  /** Full name of the only stream that it is for. */
  readonly stream: string
  readonly scope: Scope
  /** `url` by default. Each is refused where the other belongs. */
  readonly use?: TicketUse
}

export type Ticket = {
  readonly ticket: string
  /** Until when it can begin a request, in ms since 1970. */
  readonly expiresAt: number
}

/** What a ticket stands for: the grant goes on when the ticket has ended. */
export type TicketContent = { readonly grant: Grant; readonly until: number }

export type TicketsOptions = {
  /** The first one signs, all of them verify. */
  readonly secrets: readonly string[]
  /** How long a ticket in a URL can begin requests, in ms. */
  readonly ttlMs: number
  readonly clock: Clock
}

/** The type of a ticket's header: no token of anybody else has it (RFC 8725 §3.11). */
export const TICKET_TYPE = 'durable-streams-ticket'

const COOKIE_TTL_MS = 60 * 60_000
/** The longest name and subject come to less. */
const MAX_TICKET_LENGTH = 16 * 1024

const contentSchema = z.object({
  use: z.enum(['url', 'cookie']),
  /** Until when it can begin a request, and when its token ends, in ms since 1970. */
  until: z.number(),
  ends: z.number(),
  stream: z.string(),
  scope: z.enum(['read', 'write', 'manage']),
  sub: z.string().optional(),
  project: z.string().optional(),
  /** Id of the key that has signed the token. */
  key: z.string(),
})
type Content = z.infer<typeof contentSchema>

type TicketKey = { readonly kid: string; readonly secret: Uint8Array }

export class Tickets {
  readonly #keys: readonly TicketKey[]
  readonly #options: TicketsOptions

  constructor(options: TicketsOptions) {
    this.#options = options
    this.#keys = options.secrets.map((secret) => ({
      kid: deriveKey(secret, 'durable-streams ticket key id v1', 9).toString('base64url'),
      secret: deriveKey(secret, 'durable-streams ticket v1'),
    }))
  }

  /**
   * Issues a ticket for a part of the grant; undefined without secrets. The grant should be a
   * token's: a ticket that makes tickets would never end before the token does.
   *
   * @throws AuthError `insufficient_scope`, `forbidden`: the grant does not allow it itself
   */
  async issue(grant: Grant, request: TicketRequest): Promise<Ticket | undefined> {
    const { stream, scope, use = 'url' } = request
    const verdict = judge(grant, scope, stream)
    if (verdict === 'forbidden') throw new AuthError(verdict)
    if (verdict === 'insufficient_scope') throw new AuthError(verdict, undefined, scope)
    const [key] = this.#keys
    if (key === undefined) return undefined
    const { clock, ttlMs } = this.#options
    const lastsMs = use === 'url' ? ttlMs : COOKIE_TTL_MS
    const until = Math.min(grant.expiresAt, clock.now() + lastsMs)
    const { subject: sub, project, expiresAt: ends, keyId } = grant
    const content: Content = { use, until, ends, stream, scope, sub, project, key: keyId }
    const ticket = await new CompactSign(Buffer.from(JSON.stringify(content)))
      .setProtectedHeader({ alg: 'HS256', typ: TICKET_TYPE, kid: key.kid })
      .sign(key.secret)
    return { ticket, expiresAt: until }
  }

  /**
   * Reads a ticket. Whether the key of its token is still accepted is for the caller to see.
   *
   * @throws AuthError `invalid_token`, `token_expired`
   */
  async read(ticket: string, use: TicketUse): Promise<TicketContent> {
    const content = await this.#open(ticket)
    if (content?.use !== use) throw new AuthError('invalid_token', 'the ticket is not valid')
    const { until, ends, stream, scope, sub, project, key } = content
    const end = Math.min(until, ends)
    if (this.#options.clock.now() >= end) {
      throw new AuthError('token_expired', 'the ticket has expired')
    }
    const streams = [exactly(stream)]
    return {
      grant: { subject: sub, project, scope, streams, expiresAt: ends, keyId: key },
      until: end,
    }
  }

  async #open(ticket: string): Promise<Content | undefined> {
    if (ticket.length > MAX_TICKET_LENGTH) return undefined
    try {
      const { kid, typ } = decodeProtectedHeader(ticket)
      const key = this.#keys.find((candidate) => candidate.kid === kid)
      if (typ !== TICKET_TYPE || key === undefined) return undefined
      const { payload } = await compactVerify(ticket, key.secret, { algorithms: ['HS256'] })
      return contentSchema.safeParse(JSON.parse(Buffer.from(payload).toString())).data
    } catch (error) {
      // jose throws TypeErrors for what is no token at all.
      if (error instanceof errors.JOSEError || error instanceof TypeError) return undefined
      throw error
    }
  }
}
