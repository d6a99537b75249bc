/** All keys that verify access tokens, from wherever they come, as of now. */
import type { Clock } from '../clock.ts'
import type { Key } from './key.ts'
import type { KeySource } from './key-source.ts'
import { KeyWatch } from './key-watch.ts'

export type KeyRingOptions = {
  /** Those that stay as they are as long as the process lives. */
  readonly keys: readonly Key[]
  readonly sources: readonly KeySource[]
  readonly clock: Clock
  /** A source can't be read, or holds what can't be used. What it said before stays. */
  readonly onProblem: (what: string, error: unknown) => void
}

/** The keys can't be read when we start. `message` names every problem, one a line. */
export class KeySourceError extends Error {
  constructor(problems: readonly string[]) {
    super(`the keys can't be used:\n${problems.map((line) => `  - ${line}`).join('\n')}`)
  }
}

export class KeyRing {
  readonly #fixed: readonly Key[]
  readonly #watches: readonly KeyWatch[]
  readonly #listeners: ((keyId: string) => void)[] = []
  #keys: readonly Key[]
  #ids: ReadonlySet<string>

  private constructor({ keys, sources, clock, onProblem }: KeyRingOptions) {
    this.#fixed = keys
    this.#keys = keys
    this.#ids = idsOf(keys)
    const onChange = (): void => this.#change()
    this.#watches = sources.map((source) => new KeyWatch(source, { clock, onChange, onProblem }))
  }

  /**
   * Reads all keys. An issuer that is out of reach is asked again later.
   *
   * @throws KeySourceError files that can't be used
   */
  static async open(options: KeyRingOptions): Promise<KeyRing> {
    const ring = new KeyRing(options)
    const starts = await Promise.allSettled(ring.#watches.map((watch) => watch.start()))
    const problems = starts.flatMap((start, index) =>
      start.status === 'fulfilled'
        ? []
        : `${ring.#watches[index]?.name ?? ''}: ${reasonOf(start.reason)}`,
    )
    if (problems.length === 0) return ring
    await ring.close()
    throw new KeySourceError(problems)
  }

  /** Those that can have signed a token with this header. A key without name may be any. */
  candidates(alg: string, kid: string | undefined): readonly Key[] {
    return this.#keys.filter(
      (key) => key.alg === alg && (kid === undefined || key.kid === undefined || key.kid === kid),
    )
  }

  /** Whether a key has this name: that another one has it too is nothing to look for. */
  knows(alg: string, kid: string | undefined): boolean {
    return kid !== undefined && this.#keys.some((key) => key.alg === alg && key.kid === kid)
  }

  has(keyId: string): boolean {
    return this.#ids.has(keyId)
  }

  /** False while an issuer has never said which keys it has. */
  get isComplete(): boolean {
    return this.#watches.every(({ isLoaded }) => isLoaded)
  }

  /** Asks the issuers for keys that are new, unless that was not long ago. Never rejects. */
  async refresh(): Promise<void> {
    const remote = this.#watches.filter(({ isRemote }) => isRemote)
    await Promise.all(remote.map((watch) => watch.refresh()))
  }

  /** Calls the listener when no source has a key any more. */
  onKeyWithdrawn(listener: (keyId: string) => void): void {
    this.#listeners.push(listener)
  }

  /** Looks at no source any more. */
  async close(): Promise<void> {
    await Promise.all(this.#watches.map((watch) => watch.close()))
  }

  #change(): void {
    const before = this.#ids
    this.#keys = [...this.#fixed, ...this.#watches.flatMap(({ keys }) => keys)]
    this.#ids = idsOf(this.#keys)
    for (const id of before) {
      if (!this.#ids.has(id)) for (const listener of this.#listeners) listener(id)
    }
  }
}

function idsOf(keys: readonly Key[]): ReadonlySet<string> {
  return new Set(keys.map(({ id }) => id))
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
