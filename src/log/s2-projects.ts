/** The log of projects in S2: a basin for each of them, and one for names of our own. */
import type { Clock } from '../clock.ts'
import type { DurableLog } from './log.ts'
import { ProjectLog } from './project-log.ts'
import { S2Account, type S2AccountOptions } from './s2-account.ts'
import { BoundedCalls } from './s2-calls.ts'
import { readFailure } from './s2-errors.ts'
import { listNames, type ListInput } from './s2-listing.ts'
import { S2Log } from './s2-log.ts'

/** S2's bound on the name of a basin, and on what a listing of basins is asked for. */
const MAX_BASIN_LENGTH = 48

export type S2ProjectLogOptions = S2AccountOptions & {
  /** Holds our own names: no basin that could be a project's. */
  readonly basin: string
  /** With the name of a project behind it, the name of its basin. */
  readonly basinPrefix: string
  readonly isProject: (text: string) => boolean
  readonly clock: Clock
  /** As {@link ProjectLogOptions}. */
  readonly maxOpen: number
  readonly idleMs?: number | undefined
}

/**
 * Opens the log and creates the basin of our own names when that is missing; those of projects come
 * with their first streams.
 *
 * Resolves even when S2 can't be reached, as `openS2Log` does.
 *
 * @throws S2Error the endpoint or the basin's name is none that S2 could have
 */
export async function openS2ProjectLog(options: S2ProjectLogOptions): Promise<DurableLog> {
  const { basin, basinPrefix, isProject, clock, maxOpen, idleMs, ...access } = options
  const account = new S2Account(access)
  const own = new S2Log(account, { basin, creation: 'at once' })
  const log = new ProjectLog({
    description: `${account.description}, basin ${basin}, projects in ${basinPrefix}*`,
    own,
    openProject: (project) =>
      new S2Log(account, { basin: basinPrefix + project, creation: 'with its first stream' }),
    isProject,
    listProjects: listProjectsOf(account, basinPrefix),
    clock,
    maxOpen,
    idleMs,
  })
  try {
    await log.ping()
  } catch {
    // Unreachable at start is no failure: readiness asks again.
  }
  return log
}

function listProjectsOf({ client, options }: S2Account, basinPrefix: string) {
  const calls = new BoundedCalls(options.requestTimeoutMs)
  return async (
    prefix: string,
    startAfter: string,
    signal?: AbortSignal,
  ): Promise<readonly string[]> => {
    const begin = basinPrefix + prefix
    // S2 refuses what no basin could be called.
    if (begin.length > MAX_BASIN_LENGTH || !/^[a-z0-9-]*$/.test(prefix)) return []
    const after = (basinPrefix + startAfter).slice(0, MAX_BASIN_LENGTH)
    const list = async (input: ListInput) => {
      const { basins: entries, hasMore } = await calls.run(
        (own) => client.basins.list(input, { signal: own }),
        signal,
      )
      return { entries, hasMore }
    }
    try {
      const names = await listNames(list, begin, startAfter === '' ? '' : after)
      return names.map((name) => name.slice(basinPrefix.length))
    } catch (error) {
      throw readFailure(error, begin)
    }
  }
}
