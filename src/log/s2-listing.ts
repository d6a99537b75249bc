/**
 * Pages of stream names, out of S2's pages of streams.
 *
 * Pure but for the calls it is given. S2 also lists streams that are being deleted, so one of its
 * pages may hold no name for us though more follow.
 */
import type { ListStreamsInput, ListStreamsResponse } from '@s2-dev/streamstore'
import { LOG_LIMITS } from './log.ts'

/** The next page that is not empty, or an empty one at the end: see `DurableLog.listStreams`. */
export async function listNames(
  list: (input: ListStreamsInput) => Promise<ListStreamsResponse>,
  prefix: string,
  startAfter: string,
): Promise<readonly string[]> {
  for (let after = startAfter; ;) {
    const { streams, hasMore } = await list(listInput(prefix, after))
    const names = streams.filter(isKept).map(({ name }) => name)
    const last = streams.at(-1)
    if (names.length > 0 || !hasMore || last === undefined) return names
    after = last.name
  }
}

// S2 used to refuse a start before the prefix, and may do so where it is older than our s2-lite.
// Such a start leaves nothing out anyway.
function listInput(prefix: string, startAfter: string): ListStreamsInput {
  const isBefore = Buffer.compare(Buffer.from(startAfter), Buffer.from(prefix)) < 0
  return { prefix, limit: LOG_LIMITS.maxPageNames, ...(isBefore ? {} : { startAfter }) }
}

function isKept({ deletedAt }: ListStreamsResponse['streams'][number]): boolean {
  return deletedAt === undefined || deletedAt === null
}
