/** A page of metrics, read as Prometheus reads it. */
import { call } from './http-calls.ts'
import type { Call } from './http-calls.ts'

const PREFIX = 'durable_streams_'

/** The series of a page, and what they are at. */
export class MetricsPage {
  readonly text: string
  readonly #series: ReadonlyMap<string, number>

  constructor(text: string) {
    this.text = text
    const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
    this.#series = new Map(
      lines.map((line) => {
        const space = line.lastIndexOf(' ')
        return [line.slice(0, space), Number(line.slice(space + 1))]
      }),
    )
  }

  /** A value of ours, by its name without prefix and its labels; undefined when it is not there. */
  get(series: string): number | undefined {
    return this.#series.get(PREFIX + series)
  }

  /** Several of them. */
  pick(...names: readonly string[]): Record<string, number | undefined> {
    return Object.fromEntries(names.map((name) => [name, this.get(name)]))
  }
}

/** What a gateway, or its own port for it, shows at `/metrics`. */
export async function scrape(url: string, options: Call = {}): Promise<MetricsPage> {
  const { status, body } = await call(`${url}/metrics`, options)
  if (status !== 200) throw new Error(`no metrics: ${status} ${body}`)
  return new MetricsPage(body)
}
