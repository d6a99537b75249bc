/** Writes the JSON messages that a `ReconnectingReader` reads. */
import { JSON_TYPE, call } from './http-calls.ts'

/** Appends 0, 1, 2 and so on, each until it is acknowledged, as an idempotent producer. */
export class CountingPublisher {
  readonly #url: () => string
  readonly #everyMs: number
  readonly #done: Promise<void>
  #next = 0
  #phase: 'publishing' | 'stopping' = 'publishing'

  constructor(url: () => string, everyMs: number) {
    this.#url = url
    this.#everyMs = everyMs
    this.#done = this.#run()
  }

  /** Resolves with how many there are. */
  async stop(): Promise<number> {
    this.#phase = 'stopping'
    await this.#done
    return this.#next
  }

  #isPublishing(): boolean {
    return this.#phase === 'publishing'
  }

  async #run(): Promise<void> {
    while (this.#isPublishing()) {
      await this.#publish()
      this.#next += 1
      await new Promise((resolve) => setTimeout(resolve, this.#everyMs))
    }
  }

  async #publish(): Promise<void> {
    const seq = String(this.#next)
    const producer = { 'producer-id': 'p', 'producer-epoch': '0', 'producer-seq': seq }
    for (;;) {
      const headers = { ...JSON_TYPE, ...producer }
      const answer = call(this.#url(), { method: 'POST', headers, body: seq })
      const status = await answer.then(
        (answered) => answered.status,
        () => undefined,
      )
      if (status === 200 || status === 204) return
    }
  }
}
