/** Producers that keep account of what they were told about each message, and judge the log by it. */
import http from 'node:http'
import { expect } from 'vitest'
import { appendJson, claim } from './http-calls.ts'
import type { Answer } from './http-calls.ts'

export type Message = { readonly writer: string; readonly n: number }

type Fate =
  | 'stored'
  /** `append_outcome_unknown`: it may be there, once. */
  | 'unknown'
  /** Any other refusal: it must not be there. */
  | 'refused'

/** A pause after a refusal, so that a writer does not keep a core busy through an outage. */
const PAUSE_MS = 20

/**
 * Sends one numbered message after the other over one connection.
 *
 * Idempotent, it sends the same one until that is acknowledged; else it goes on with the next.
 */
export class Writer {
  readonly name: string
  readonly #url: string
  readonly #isIdempotent: boolean
  readonly #fates: Fate[] = []
  readonly #codes = new Set<string>()
  #stopping = false
  #failures = 0
  readonly done: Promise<void>

  constructor(url: string, name: string, { idempotent }: { readonly idempotent: boolean }) {
    this.#url = url
    this.name = name
    this.#isIdempotent = idempotent
    this.done = this.#run()
    this.done.catch(() => undefined)
  }

  /** How many were acknowledged. */
  get stored(): number {
    return this.#fates.filter((fate) => fate === 'stored').length
  }

  /** How many requests were not answered with success. */
  get failures(): number {
    return this.#failures
  }

  /** The codes of the refusals, sorted. */
  get codes(): readonly string[] {
    return [...this.#codes].sort()
  }

  /** Stops after the message under way; an idempotent one is acknowledged before. */
  async stop(): Promise<void> {
    this.#stopping = true
    await this.done
  }

  /** Compares what is in the log with what this writer was told. */
  expectIn(messages: readonly Message[]): void {
    const numbers = messages.filter(({ writer }) => writer === this.name).map(({ n }) => n)
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b))
    const found = new Set(numbers)
    const broken = this.#fates.flatMap((fate, n) => {
      const promised = fate === 'unknown' ? found.has(n) : fate === 'stored'
      return promised === found.has(n) ? [] : [`${this.name} ${n} was ${fate}: ${found.has(n)}`]
    })
    expect(broken).toEqual([])
    expect(Math.max(-1, ...numbers)).toBeLessThan(this.#fates.length)
  }

  async #run(): Promise<void> {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 })
    for (let n = 0; !this.#stopping; n += 1) {
      const message: Message = { writer: this.name, n }
      let fate = await this.#send(message, agent)
      while (this.#isIdempotent && fate !== 'stored') fate = await this.#send(message, agent)
      this.#fates.push(fate)
    }
    agent.destroy()
  }

  async #send(message: Message, agent: http.Agent): Promise<Fate> {
    const headers = this.#isIdempotent ? claim(this.name, 0, message.n) : {}
    const answer = await appendJson(this.#url, message, { agent, headers })
    if (answer.status === 200 || answer.status === 204) return 'stored'
    this.#failures += 1
    const code = codeOf(answer)
    this.#codes.add(code)
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS))
    return code === 'append_outcome_unknown' ? 'unknown' : 'refused'
  }
}

/** The stable code of a problem. */
export function codeOf({ body }: Answer): string {
  return (JSON.parse(body) as { code: string }).code
}
