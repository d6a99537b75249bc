/**
 * Pages of names, out of S2's pages of streams or basins.
 *
 * Pure but for the calls it is given. S2 also lists what is being deleted, so one of its pages may
 * hold no name for us though more follow.
 */
import { LOG_LIMITS } from './log.ts'

/** What S2 takes and gives, of streams and basins alike. */
export type ListInput = { readonly prefix: string; readonly limit: number; startAfter?: string }
export type ListPage = { readonly entries: readonly ListEntry[]; readonly hasMore: boolean }
type ListEntry = { readonly name: string; readonly deletedAt?: Date | null }

/** The next page that is not empty, or an empty one at the end: see `DurableLog.listStreams`. */
export async function listNames(
  list: (input: ListInput) => Promise<ListPage>,
  prefix: string,
  startAfter: string,
): Promise<readonly string[]> {
  for (let after = startAfter; ;) {
    const { entries, hasMore } = await list(listInput(prefix, after))
    const names = entries.filter(isKept).map(({ name }) => name)
    const last = entries.at(-1)
    if (names.length > 0 || !hasMore || last === undefined) return names
    after = last.name
  }
}

// S2 used to refuse a start before the prefix, and may do so where it is older than our s2-lite.
// Such a start leaves nothing out anyway.
function listInput(prefix: string, startAfter: string): ListInput {
  const isBefore = Buffer.compare(Buffer.from(startAfter), Buffer.from(prefix)) < 0
  return { prefix, limit: LOG_LIMITS.maxPageNames, ...(isBefore ? {} : { startAfter }) }
}

function isKept({ deletedAt }: ListEntry): boolean {
  return deletedAt === undefined || deletedAt === null
}
