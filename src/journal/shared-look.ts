/**
 * A look at the log that callers share, without ever getting one that began before they asked.
 */
export class SharedLook<Seen> {
  readonly #look: () => Promise<Seen>
  #running: Promise<Seen> | undefined
  #next: Promise<Seen> | undefined

  constructor(look: () => Promise<Seen>) {
    this.#look = look
  }

  /** The result of a look that starts after this call: at once, or after the one under way. */
  take(): Promise<Seen> {
    if (this.#running === undefined) return this.#start()
    this.#next ??= this.#running.then(
      () => this.#start(),
      () => this.#start(),
    )
    return this.#next
  }

  #start(): Promise<Seen> {
    this.#next = undefined
    this.#running = this.#look().finally(() => {
      // Whoever asks before the next look has started must wait for that one, not start a third.
      if (this.#next === undefined) this.#running = undefined
    })
    return this.#running
  }
}
