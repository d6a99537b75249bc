/** All routes of the gateway, by what it has. */
import type { FastifyInstance } from 'fastify'
import type { Authenticator } from '../../auth/authenticator.ts'
import type { Scope } from '../../auth/grant.ts'
import type { Clock } from '../../clock.ts'
import type { StreamNames } from '../../protocol/names.ts'
import type { StreamService } from '../../streams/service.ts'
import type { SubscriptionService } from '../../subscriptions/service.ts'
import type { WorkService } from '../../subscriptions/work-service.ts'
import type { Gate } from '../gate.ts'
import type { HttpObserver } from '../http-observer.ts'
import type { LiveReads } from '../live.ts'
import type { Readiness } from '../readiness.ts'
import { opsRoutes } from './ops.ts'
import { readRoutes } from './read.ts'
import { subscriptionRoutes } from './subscriptions.ts'
import { ticketRoutes } from './tickets.ts'
import { writeRoutes } from './write.ts'

export type RoutesOptions = {
  readonly streams: StreamService
  readonly names: StreamNames
  readonly live: LiveReads
  readonly gate: Gate
  readonly clock: Clock
  readonly readiness: Readiness
  /** Who may create streams. */
  readonly creation: Scope
  /** Whether data is kept with the trace that it was appended in. */
  readonly tracesRecords: boolean
  /** Where clients reach the gateway, when that can't be taken from their requests. */
  readonly publicUrl: string | undefined
  /** Who has tokens can have tickets. */
  readonly authenticator: Authenticator | undefined
  /** The cookie that may hold a ticket. */
  readonly cookie: string | undefined
  readonly subscriptions:
    { readonly service: SubscriptionService; readonly work: WorkService } | undefined
  readonly observer: HttpObserver | undefined
}

/** To be called after all that a request has to pass. */
export async function registerRoutes(app: FastifyInstance, options: RoutesOptions): Promise<void> {
  const { authenticator, subscriptions, observer } = options
  await app.register(opsRoutes, options)
  await app.register(writeRoutes, options)
  await app.register(readRoutes, options)
  if (authenticator !== undefined) {
    await app.register(ticketRoutes, { ...options, authenticator })
  }
  if (subscriptions !== undefined) {
    const onProblem = (code: string): void => observer?.onProblem(code)
    const { service, work } = subscriptions
    await app.register(subscriptionRoutes, { ...options, subscriptions: service, work, onProblem })
  }
}
