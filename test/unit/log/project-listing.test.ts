import fc from 'fast-check'
import { expect, test } from 'vitest'
import { projectsInOrder } from '../../../src/log/project-listing.ts'

const project = fc.stringMatching(/^[ab01](-?[ab01]){0,4}$/)

/** Pages of projects in the order that basins are listed in. */
const listing = (projects: readonly string[], size: number) => (startAfter: string) => {
  const after = projects.toSorted().filter((text) => text > startAfter)
  return Promise.resolve(after.slice(0, size))
}

async function collect(projects: AsyncIterable<string>): Promise<string[]> {
  const found: string[] = []
  for await (const next of projects) found.push(next)
  return found
}

const byNames = (one: string, other: string): number => (`${one}/` < `${other}/` ? -1 : 1)

test('projects come as the names of their streams do, whatever a page holds', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(project, { maxLength: 30 }),
      fc.integer({ min: 1, max: 5 }),
      async (projects, size) => {
        const found = await collect(projectsInOrder(listing(projects, size)))
        expect(found).toEqual(projects.toSorted(byNames))
      },
    ),
  )
})

test('from one on, all others that come after it are there, in order', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(project, { maxLength: 30 }),
      fc.integer({ min: 1, max: 5 }),
      project,
      async (projects, size, from) => {
        const found = await collect(projectsInOrder(listing(projects, size), from))
        expect(found[0]).toBe(from)
        expect(found).toEqual(found.toSorted(byNames))
        const others = projects.filter((text) => byNames(from, text) < 0 && text !== from)
        // Those that begin it are there unseen.
        const seen = found.slice(1).filter((text) => projects.includes(text))
        expect(seen).toEqual(others.toSorted(byNames))
      },
    ),
  )
})

test('what begins one with a hyphen comes after it', async () => {
  const list = listing(['a', 'a-b', 'a-b-c', 'a-bc', 'a0', 'b'], 2)
  const found = await collect(projectsInOrder(list))
  expect(found).toEqual(['a-b-c', 'a-b', 'a-bc', 'a', 'a0', 'b'])
})
