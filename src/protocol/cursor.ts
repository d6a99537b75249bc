/**
 * Cursors that let a CDN collapse live readers (PROTOCOL §10.1).
 *
 * §10.1 describes a cursor as the number of the current 20 s interval. On a stream with more than
 * one message per interval every reader then runs ahead of the clock by its own history, and
 * readers that joined at different times never share a URL again. Ours follows from the position
 * instead: every gateway gives every reader of a position the same one, so late joiners meet the
 * others. What §10.1 demands holds: numeric, changing while a stream is idle, strictly greater
 * than a cursor it would not exceed. To clients a cursor is opaque.
 */

/** Above every interval number and Unix second, so that cursors of other servers are surpassed. */
const BASE = 2 ** 40
const SLOTS_PER_POSITION = 1024
/** The default interval of §10.1: how often the cursor of an idle stream changes. */
const INTERVAL_MS = 20_000

/** Where a response ends, how long nothing has been appended there, and what the client sent. */
export type CursorInput = {
  readonly seqNum: number
  readonly idleMs: number
  readonly clientCursor?: number | undefined
}

/**
 * The cursor of a live response that ends before `seqNum`.
 *
 * Where the clock would not take it past the client's (a stream recreated, gateways' clocks
 * apart, two polls in one interval), it is the next number rather than a random one: random
 * jitter is what tears readers of one position apart.
 */
export function nextCursor({ seqNum, idleMs, clientCursor = -1 }: CursorInput): number {
  const intervals = Math.floor(Math.max(0, idleMs) / INTERVAL_MS)
  const slot = Math.min(SLOTS_PER_POSITION - 1, intervals)
  const own = Math.min(BASE + seqNum * SLOTS_PER_POSITION + slot, Number.MAX_SAFE_INTEGER)
  // Far inside what a fork inherits, positions are below any that a cursor could stand for.
  return Math.max(0, own, clientCursor + 1)
}

/**
 * Reads the cursor a client sent, or undefined if it can't be one of ours.
 *
 * A foreign cursor is no error: it only means that there is nothing to surpass, as the reference
 * server has it. The greatest number is refused because none could follow it.
 */
export function parseCursor(text: string): number | undefined {
  if (!/^\d{1,16}$/.test(text)) return undefined
  const cursor = Number(text)
  return cursor < Number.MAX_SAFE_INTEGER ? cursor : undefined
}
