/**
 * Projects in the order of the names of their streams. PURE but for the calls it is given.
 *
 * That is the order of `project/`, and not that of projects: `a-b/x` comes before `a/x`, as `-` is
 * before `/`, while the project `a` comes before `a-b`. What a project is followed by with a hyphen
 * comes directly behind it among projects, and directly before it here.
 */

/** No project comes between one and this, but those that it begins. Longer than any. */
const LAST_WITH_HYPHEN = `-${'z'.repeat(48)}`

/** One page of projects after a text in ascending order; only an empty one says that it is all. */
export type ListProjects = (startAfter: string) => Promise<readonly string[]>

/**
 * Yields the projects from one on, which need not be there, or all.
 *
 * Those that could be there, and come after `from` but not after it among projects, are yielded
 * unseen: they are few, and one that is not there has no streams.
 */
export async function* projectsInOrder(
  list: ListProjects,
  from?: string,
): AsyncGenerator<string, void, undefined> {
  // Each begins the next one, with a hyphen.
  const waiting = from === undefined ? [] : beginningsOf(from)
  if (from !== undefined) yield from
  for (let last = from === undefined ? '' : from + LAST_WITH_HYPHEN; ;) {
    const page = await list(last)
    const next = page.at(-1)
    if (next === undefined) break
    last = next
    for (const project of page) {
      while (!isBegunBy(project, waiting.at(-1))) yield* takeLast(waiting)
      waiting.push(project)
    }
  }
  while (waiting.length > 0) yield* takeLast(waiting)
}

function isBegunBy(project: string, beginning: string | undefined): boolean {
  return beginning === undefined || project.startsWith(`${beginning}-`)
}

function* takeLast(waiting: string[]): Generator<string, void, undefined> {
  const last = waiting.pop()
  if (last !== undefined) yield last
}

/** What a project begins with, up to each of its hyphens, the shortest first. */
function beginningsOf(project: string): string[] {
  return [...project.matchAll(/-/g)].map(({ index }) => project.slice(0, index))
}
