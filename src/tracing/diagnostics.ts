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
    const error: unknown = JSON.parse(message)
    if (typeof error !== 'object' || error === null) return message
    const { name, message: text, code } = { name: 'Error', message: '', code: '', ...error }
    return [name, text, code].filter((part) => part !== '').join(': ')
  } catch {
    // Not one of those.
    return message
  }
}
