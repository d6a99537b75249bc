/**
 * Who may use which subscription.
 *
 * One tells what happens in streams, so nobody gets to it who may not read all of them; and it
 * belongs to the project of whoever has made it.
 */
import type { Scope } from '../auth/grant.ts'
import { AuthError } from '../errors.ts'
import { parseGlob } from '../protocol/glob.ts'
import type { SubscriptionRequest } from '../subscriptions/requests.ts'
import type { Described, SubscriptionService } from '../subscriptions/service.ts'
import type { Access, Gate, Intent } from './gate.ts'

type Covered = Pick<SubscriptionRequest, 'pattern' | 'wakeStream'> & {
  readonly streams: Iterable<string>
}

export class SubscriptionDoor {
  readonly #gate: Gate
  readonly #subscriptions: Pick<SubscriptionService, 'describe'>

  constructor(gate: Gate, subscriptions: Pick<SubscriptionService, 'describe'>) {
    this.#gate = gate
    this.#subscriptions = subscriptions
  }

  /** Whether the caller may make a subscription like this. @throws AuthError */
  checkRequest(access: Access, request: SubscriptionRequest): void {
    this.#checkCovered(access, 'manage', request)
    // The gateway writes to it in the caller's stead.
    const { wakeStream } = request
    if (wakeStream !== undefined) {
      this.#gate.check(access, { scope: 'write', streams: [wakeStream] })
    }
  }

  /** Whether the subscription with an id, if there was one, is the caller's. @throws AuthError */
  checkOwner({ grant }: Access, { life }: Described): void {
    if (grant?.project === undefined || life.config.project === grant.project) return
    throw new AuthError('forbidden', 'the token is not for this subscription')
  }

  /**
   * Whether the caller may do something with a subscription, and with further streams.
   *
   * @throws AuthError
   * @throws SubscriptionError `SUBSCRIPTION_NOT_FOUND`
   */
  async check(
    access: Access,
    scope: Scope,
    id: string,
    further: readonly string[] = [],
  ): Promise<void> {
    this.#gate.check(access, { scope, streams: further })
    // Of whoever may do everything nothing more is asked.
    const { grant } = access
    if (grant === undefined || (grant.project === undefined && grant.streams === undefined)) return
    const described = await this.#subscriptions.describe(id)
    this.checkOwner(access, described)
    const { config, links } = described.life
    const { pattern, wakeStream } = config
    this.#checkCovered(access, scope, { pattern, wakeStream, streams: links.keys() })
  }

  #checkCovered(access: Access, scope: Scope, { pattern, streams, wakeStream }: Covered): void {
    const glob = pattern === undefined ? undefined : parseGlob(pattern)
    const wake = wakeStream === undefined ? [] : [wakeStream]
    const intent: Intent = { scope, streams: [...streams, ...wake], pattern: glob }
    this.#gate.check(access, intent)
  }
}
