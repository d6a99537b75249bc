/** What work a subscription has, and what a wake tells of it. PURE. */
import { hasRoom } from './commands.ts'
import { BEFORE_FIRST, placeOf } from './events.ts'
import type { SubscriptionEvent } from './events.ts'
import { isFound, isPending, linkSize } from './subscription.ts'
import type { Link, Subscription, Tails, Wake } from './subscription.ts'

/** What a subscriber is told of at once; streams beyond it are for the next wake. */
const MAX_WAKE_STREAMS = 500
const MAX_WAKE_BYTES = 192 * 1024

/** What a gateway knows and brings along to issue a wake. */
export type Issue = {
  /** The gateway itself. */
  readonly runner: string
  /** Unique: the name of the wake, if there will be one. */
  readonly wakeId: string
  /** The tails of streams that may have grown; `-1` for one that holds nothing. */
  readonly tails: Tails
  /** Every tail is written down, not only that there is work. */
  readonly thorough: boolean
  readonly maxStreams: number
}

/** The tails that lie beyond those noted; streams that the pattern finds now are among them. */
export function newsOf(life: Subscription, { tails, maxStreams }: Issue): Tails {
  const news = new Map<string, string>()
  const added = { streams: 0, bytes: 0 }
  for (const [path, tail] of tails) {
    const link = life.links.get(path)
    if (link !== undefined) {
      if (placeOf(tail) > placeOf(link.tail)) news.set(path, tail)
      continue
    }
    if (tail === BEFORE_FIRST || !isFound(life.config, path)) continue
    const more = { streams: added.streams + 1, bytes: added.bytes + linkSize(path) }
    if (!hasRoom(life, more, maxStreams)) continue
    Object.assign(added, more)
    news.set(path, tail)
  }
  return news
}

/** The streams with work, as far as one wake can name them. */
export function workOf({ links }: Subscription, news: Tails): Tails {
  const work = new Map<string, string>()
  let bytes = 0
  const add = (path: string, tail: string): void => {
    bytes += linkSize(path)
    if (work.size < MAX_WAKE_STREAMS && bytes <= MAX_WAKE_BYTES) work.set(path, tail)
  }
  for (const [path, tail] of news) add(path, tail)
  for (const [path, link] of links) {
    if (isPending(link) && !news.has(path)) add(path, link.tail)
  }
  return work
}

/** Whether it is known already that there is work in a stream. */
export function hasWorkIn({ links }: Subscription, path: string): boolean {
  const link = links.get(path)
  return link !== undefined && isPending(link)
}

/**
 * Whether a stream that a wake named is not what it was: unlinked since, or deleted. What is acked
 * of it says nothing of what may have come in its place.
 */
export function isForgotten({ links }: Subscription, { tails }: Wake, path: string): boolean {
  const named = tails.get(path)
  if (named === undefined) return false
  const link = links.get(path)
  return link === undefined || placeOf(link.tail) < placeOf(named)
}

/** The event that issues the next wake. */
export function wakeEvent(
  { generation }: Subscription,
  { runner, wakeId }: Pick<Issue, 'runner' | 'wakeId'>,
  work: Tails,
): SubscriptionEvent & { readonly kind: 'wake' } {
  return { kind: 'wake', id: wakeId, generation: generation + 1, runner, tails: [...work] }
}

/** The event that writes tails down; none when there are none. */
export function notedEvents(news: Tails): readonly (SubscriptionEvent & { kind: 'noted' })[] {
  return news.size === 0 ? [] : [{ kind: 'noted', tails: [...news] }]
}

/** One stream as a subscriber is told of it (PROTOCOL §7.1). */
export type WorkItem = { readonly path: string; readonly link: Link; readonly tail: string }

/** The work that a wake or a claim names, of the streams that are linked. */
export function workItems({ links }: Subscription, work: Tails): readonly WorkItem[] {
  return [...work].flatMap(([path, tail]) => {
    const link = links.get(path)
    return link === undefined ? [] : [{ path, link, tail }]
  })
}
