/**
 * Metrics of prom-client that are read when somebody scrapes: what happens meanwhile costs an
 * addition, or a place in a map.
 */
import { Counter, Gauge, Histogram, Registry } from 'prom-client'

export const PREFIX = 'durable_streams_'

export type Labels = Readonly<Record<string, string>>

/** A value, with its labels if it has some. */
export type Reading = readonly [labels: Labels, value: number]

export type Metric = {
  /** Without the prefix. */
  readonly name: string
  readonly help: string
  readonly labels?: readonly string[]
}

export class Instruments {
  readonly registry = new Registry()

  /** A state. */
  gauge(metric: Metric, read: () => number | Iterable<Reading>): void {
    const gauge: Gauge = new Gauge({
      ...this.#describe(metric),
      collect: () => {
        gauge.reset()
        for (const [labels, value] of readings(read())) gauge.set({ ...labels }, value)
      },
    })
  }

  /** What never goes down; kept elsewhere. */
  counter(metric: Metric, read: () => number | Iterable<Reading>): void {
    const counter: Counter = new Counter({
      ...this.#describe(metric),
      collect: () => {
        counter.reset()
        for (const [labels, value] of readings(read())) counter.inc({ ...labels }, value)
      },
    })
  }

  /** A counter of things that have labels, and who counts them. */
  tally(metric: Metric & { readonly labels: readonly string[] }): Tally {
    const tally = new Tally(metric.labels)
    this.counter(metric, () => tally.readings())
    return tally
  }

  /** Times in seconds. `observe` takes ms. */
  seconds(metric: Metric, buckets: readonly number[]): Seconds {
    return new Seconds(new Histogram({ ...this.#describe(metric), buckets: [...buckets] }))
  }

  #describe({ name, help, labels = [] }: Metric) {
    const labelNames = [...labels]
    return { name: PREFIX + name, help, labelNames, registers: [this.registry] }
  }
}

function readings(read: number | Iterable<Reading>): Iterable<Reading> {
  return typeof read === 'number' ? [[{}, read]] : read
}

/** How often, by the same labels. */
export type Count = { value: number }

/** Counts by labels, of which there must be few. */
export class Tally {
  readonly #names: readonly string[]
  readonly #counts = new Map<string, Count>()

  constructor(names: readonly string[]) {
    this.#names = names
  }

  /** `values` are those of the labels, separated by a space: none of them has one. */
  add(values: string, by = 1): void {
    this.count(values).value += by
  }

  /** That of these labels, for who adds to it so often that finding it counts. */
  count(values: string): Count {
    const known = this.#counts.get(values)
    if (known !== undefined) return known
    const count = { value: 0 }
    this.#counts.set(values, count)
    return count
  }

  /** How often those of these labels were added. */
  of(values: string): number {
    return this.#counts.get(values)?.value ?? 0
  }

  /** Has these be there from the start: what begins with 1 has no rate before. */
  begin(all: Iterable<string>): this {
    for (const values of all) this.add(values, 0)
    return this
  }

  *readings(): Generator<Reading> {
    for (const [key, { value }] of this.#counts) {
      const values = key.split(' ')
      const labels = this.#names.map((name, index) => [name, values[index] ?? ''] as const)
      yield [Object.fromEntries(labels), value]
    }
  }
}

type Observer = { observe(seconds: number): void }

const MS_PER_S = 1000

export class Seconds {
  readonly #histogram: Histogram
  /** By the value of the only label; '' for none. */
  readonly #known = new Map<string, Observer>()

  constructor(histogram: Histogram) {
    this.#histogram = histogram
  }

  /** `value` is that of the label, if there is one. */
  observe(ms: number, value = ''): void {
    const known = this.#known.get(value) ?? this.#begin(value)
    known.observe(ms / MS_PER_S)
  }

  #begin(value: string): Observer {
    const observer = value === '' ? this.#histogram : this.#histogram.labels(value)
    this.#known.set(value, observer)
    return observer
  }
}
