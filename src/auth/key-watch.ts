/**
 * Keeps the keys of one source as it last said them, whatever becomes of it later: an issuer that
 * is out of reach, or a file that is half written, withdraws nothing.
 */
import { backoffMs } from '../clock.ts'
import type { Clock } from '../clock.ts'
import type { Key } from './key.ts'
import type { KeySource } from './key-source.ts'

export type KeyWatchOptions = {
  readonly clock: Clock
  readonly onChange: () => void
  /** Told of what was not wrong at the look before. */
  readonly onProblem: (what: string, error: unknown) => void
}

/** Before a source that has failed is looked at again. */
const FIRST_RETRY_MS = 1000

/**
 * Any token can name a key that nobody knows, so that makes us look once in this time at most. As
 * long does a new key wait, in the worst case, that somebody else's nonsense came before.
 */
export const COOLDOWN_MS = 10_000

export class KeyWatch {
  readonly #source: KeySource
  readonly #options: KeyWatchOptions
  /** Undefined before the first look that succeeded. */
  #keys: readonly Key[] | undefined
  #looking: Promise<void> | undefined
  #lookedAt = -Infinity
  #failures = 0
  /** What was wrong at the last look. */
  #told: ReadonlySet<string> = new Set()
  #cancelTimer: () => void = () => undefined
  #isClosed = false

  constructor(source: KeySource, options: KeyWatchOptions) {
    this.#source = source
    this.#options = options
  }

  get keys(): readonly Key[] {
    return this.#keys ?? []
  }

  /** Whether the source has ever said which keys there are. */
  get isLoaded(): boolean {
    return this.#keys !== undefined
  }

  get isRemote(): boolean {
    return this.#source.isRemote
  }

  get name(): string {
    return this.#source.name
  }

  /**
   * Looks for the first time, and from then on now and then.
   *
   * @throws whatever is wrong with a source that is not remote
   */
  async start(): Promise<void> {
    if (this.isRemote) return this.#look()
    await this.#read()
    this.#schedule()
  }

  /** Looks now, unless that was not long ago. Never rejects. */
  async refresh(): Promise<void> {
    const isRecent = this.#options.clock.elapsed() - this.#lookedAt < COOLDOWN_MS
    if (this.#looking === undefined && (isRecent || this.#isClosed)) return
    await this.#look()
  }

  close(): Promise<void> {
    this.#isClosed = true
    this.#cancelTimer()
    return this.#source.close()
  }

  /** Whoever asks meanwhile gets the same look. */
  #look(): Promise<void> {
    this.#cancelTimer()
    this.#looking ??= this.#read()
      .then(
        () => {
          this.#failures = 0
        },
        (error: unknown) => {
          this.#failures += 1
          this.#tell([error])
        },
      )
      .finally(() => {
        this.#looking = undefined
        this.#schedule()
      })
    return this.#looking
  }

  async #read(): Promise<void> {
    this.#lookedAt = this.#options.clock.elapsed()
    const set = await this.#source.read()
    this.#tell(set?.problems ?? [])
    if (set === undefined || this.#isClosed) return
    this.#keys = set.keys
    this.#options.onChange()
  }

  #tell(problems: readonly unknown[]): void {
    const before = this.#told
    this.#told = new Set(problems.map(String))
    if (this.#isClosed) return
    for (const problem of problems) {
      if (!before.has(String(problem))) this.#options.onProblem(this.name, problem)
    }
  }

  #schedule(): void {
    if (this.#isClosed) return
    const { clock } = this.#options
    const { pollMs } = this.#source
    // Gateways that were started together need not ask together for ever.
    const usual = pollMs * (0.8 + clock.random() / 5)
    const backoff = { firstMs: FIRST_RETRY_MS, longestMs: pollMs }
    const ms = this.#failures === 0 ? usual : backoffMs(clock, this.#failures - 1, backoff)
    this.#cancelTimer = clock.after(ms, () => void this.#look())
  }
}
