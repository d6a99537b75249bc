/** Which subscriptions a stream belongs to. */
import { LRUCache } from 'lru-cache'
import { parseGlob } from '../protocol/glob.ts'
import type { Glob } from '../protocol/glob.ts'
import type { Directory } from './directory-state.ts'

/** A subscription that a stream belongs to. */
export type Match = {
  readonly subscription: string
  readonly life: string
}

type Pattern = Match & { readonly glob: Glob; readonly not: string | undefined }

const NONE: readonly Match[] = []
/** Names whose matches are remembered: as many streams are appended to in turn. */
const REMEMBERED = 10_000

/** Finds them by an index that is made anew when subscriptions come and go. */
export class Matcher {
  readonly #found = new LRUCache<string, readonly Match[]>({ max: REMEMBERED })
  #subscriptions: Directory['subscriptions'] | undefined
  #byPattern: readonly Pattern[] = []
  #byName: ReadonlyMap<string, readonly Match[]> = new Map()

  /**
   * The subscriptions that a stream belongs to. One whose wake events go to the stream is none:
   * it would wake itself for ever.
   */
  matching({ subscriptions }: Pick<Directory, 'subscriptions'>, name: string): readonly Match[] {
    if (subscriptions !== this.#subscriptions) this.#index(subscriptions)
    if (subscriptions.size === 0) return NONE
    const known = this.#found.get(name)
    if (known !== undefined) return known
    const named = this.#byName.get(name) ?? NONE
    const found = this.#byPattern.filter(
      ({ life, glob, not }) =>
        name !== not && !named.some((match) => match.life === life) && glob.matches(name),
    )
    const matches = [...named, ...found.map(toMatch)]
    this.#found.set(name, matches)
    return matches
  }

  #index(subscriptions: Directory['subscriptions']): void {
    const byPattern: Pattern[] = []
    const byName = new Map<string, Match[]>()
    for (const [life, { subscription, pattern, streams, wakeStream }] of subscriptions) {
      const match = { subscription, life }
      if (pattern !== undefined) {
        byPattern.push({ ...match, glob: parseGlob(pattern), not: wakeStream })
      }
      for (const path of streams) {
        if (path === wakeStream) continue
        byName.set(path, [...(byName.get(path) ?? []), match])
      }
    }
    this.#found.clear()
    this.#subscriptions = subscriptions
    this.#byPattern = byPattern
    this.#byName = byName
  }
}

function toMatch({ subscription, life }: Match): Match {
  return { subscription, life }
}
