/** The logs of subscriptions: one each, opened once, and forgotten when long unused. */
import { LRUCache } from 'lru-cache'
import { Journal } from '../journal/journal.ts'
import type { JournalOptions } from '../journal/journal.ts'
import { notFound } from './commands.ts'
import { SUBSCRIPTION_RULES } from './subscription.ts'
import type { Subscription } from './subscription.ts'

/** States kept in memory; each is as large as its subscription has streams. */
const MAX_OPEN = 1000

export type SubscriptionLog = Journal<Subscription>

/**
 * The subscription, as of a moment after the call.
 *
 * @throws SubscriptionError `SUBSCRIPTION_NOT_FOUND`
 */
export async function findReady(
  logs: SubscriptionLogs,
  subscription: string,
): Promise<Subscription> {
  const { incarnation } = await logs.open(subscription).refresh()
  if (incarnation?.ready !== true) throw notFound()
  return incarnation
}

export class SubscriptionLogs {
  readonly #options: JournalOptions
  readonly #open = new LRUCache<string, SubscriptionLog>({ max: MAX_OPEN })

  constructor(options: JournalOptions) {
    this.#options = options
  }

  open(subscription: string): SubscriptionLog {
    const known = this.#open.get(subscription)
    if (known !== undefined) return known
    const name = `__ds/subscriptions/${encodeURIComponent(subscription)}`
    const log = new Journal(name, SUBSCRIPTION_RULES, this.#options)
    this.#open.set(subscription, log)
    return log
  }
}
