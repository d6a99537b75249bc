/** Which seeds a run tries. */
import { randomInt } from 'node:crypto'

type Seed = { readonly seed: number; readonly name: string }

/** For every run. One that has found something gets the name of what it found. */
const FIXED: readonly Seed[] = [
  ...[1, 2, 4, 8, 45].map((seed) => ({ seed, name: 'as ever' })),
  { seed: 52, name: 'a group left open, on streams that are forgotten again and again' },
  { seed: 62, name: 'a page of the log that ends in the middle of an append' },
  { seed: 93, name: 'history that is trimmed under a poll' },
  { seed: 57, name: 'a poll at a gateway that hears late of a deletion and a creation' },
]

/** Room for seeds that people type. */
const MAX_SEED = 1_000_000

/** `SEED=17` is that one; `SEEDS=100` as many from it on, or from 1. */
export function chooseSeeds(environment: Readonly<Record<string, string | undefined>>): Seed[] {
  const { SEED, SEEDS } = environment
  if (SEED === undefined && SEEDS === undefined) {
    return [...FIXED, { seed: randomInt(MAX_SEED), name: 'by chance' }]
  }
  const first = Number(SEED ?? 1)
  return Array.from({ length: Number(SEEDS ?? 1) }, (_, index) => ({
    seed: first + index,
    name: 'as asked',
  }))
}
