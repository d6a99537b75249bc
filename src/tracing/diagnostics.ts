/**
 * What OpenTelemetry's SDK says of itself, fit for our log: a collector that is away fails each
 * export, every few seconds, and is worth one line.
 */

/** `error` is what the SDK says: it may name the collector, but none of what is sent there. */
export type OnTracingProblem = (level: 'warn' | 'debug', error: string) => void

/** After so many different ones nobody learns more from the next. */
const MAX_KNOWN = 20

/** A logger as `diag` of OpenTelemetry's API takes it. */
export class Diagnostics {
  readonly #onProblem: OnTracingProblem
  readonly #known = new Set<string>()

  constructor(onProblem: OnTracingProblem) {
    this.#onProblem = onProblem
  }

  error(message: string): void {
    this.#warn(message)
  }

  warn(message: string): void {
    this.#warn(message)
  }

  info(message: string): void {
    this.#onProblem('debug', readable(message))
  }

  debug(message: string): void {
    this.#onProblem('debug', readable(message))
  }

  verbose(): void {}

  #warn(message: string): void {
    const text = readable(message)
    const isNews = !this.#known.has(text) && this.#known.size < MAX_KNOWN
    this.#known.add(text)
    this.#onProblem(isNews ? 'warn' : 'debug', text)
  }
}

/** An error comes as JSON of all there is of it, its stack included. */
function readable(message: string): string {
  if (!message.startsWith('{')) return message
  try {
    return explain(JSON.parse(message))
  } catch {
    // Not one of those.
    return message
  }
}

/** An error in a line: the same for one that was caught as for what the SDK says of it. */
export function explain(error: unknown): string {
  if (typeof error !== 'object' || error === null) return String(error)
  const { name, message, code } = { name: 'Error', message: '', code: '', ...partsOf(error) }
  // Most have it in their message.
  const parts = [name, message, message.includes(code) ? '' : code]
  return parts.filter((part) => part !== '').join(': ')
}

/** Those of an error itself are not enumerable. */
function partsOf(error: object): object {
  if (!(error instanceof Error)) return error
  const { name, message } = error
  return 'code' in error ? { name, message, code: error.code } : { name, message }
}
