/** Metrics of fan-out: what hubs are like, and what became of the batches that came to them. */
import type { HubTransition } from '../hub/hub.ts'
import type { BatchDelivery, HubObserver } from '../hub/hub-observer.ts'
import type { HubState, StopReason } from '../hub/machine.ts'
import type { Instruments, Reading, Seconds, Tally } from './instruments.ts'
import type { Meter } from './meter.ts'
import type { HubSubject } from './metrics.ts'

const LATENCY_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]

const STOPS: readonly StopReason[] = [
  'idle',
  'shutdown',
  'failed',
  'gap',
  'stream_deleted',
  'stream_expired',
]

export class HubMetrics implements HubObserver {
  readonly #meter: Meter
  readonly #latency: Seconds
  readonly #stops: Tally
  #restarts = 0
  #batches = 0
  #deliveries = 0
  #sentBytes = 0

  constructor(to: Instruments, meter: Meter) {
    this.#meter = meter
    this.#latency = to.seconds(
      {
        name: 'delivery_latency_seconds',
        help: 'From the timestamp of a record until its batch was written to all readers.',
      },
      LATENCY_BUCKETS,
    )
    this.#stops = to
      .tally({ name: 'hub_stops_total', help: 'Hubs that stopped, and why.', labels: ['reason'] })
      .begin(STOPS)
    to.counter(
      { name: 'hub_restarts_total', help: 'Times that a hub has lost its read session.' },
      () => this.#restarts,
    )
    to.counter(
      { name: 'batches_total', help: 'Batches that came while readers were there.' },
      () => this.#batches,
    )
    to.counter(
      { name: 'deliveries_total', help: 'Batches times the readers who were there for each.' },
      () => this.#deliveries,
    )
    to.counter(
      { name: 'delivered_bytes_total', help: 'What those deliveries were, as encoded.' },
      () => this.#sentBytes,
    )
  }

  onBatch(delivery: BatchDelivery): void {
    this.#batches += 1
    this.#deliveries += delivery.readers
    this.#sentBytes += delivery.sentBytes
    this.#latency.observe(delivery.latencyMs)
    this.#meter.onBatch(delivery)
  }

  onTransition({ to }: HubTransition): void {
    if (to.phase === 'recovering') this.#restarts += 1
    if (to.phase === 'stopped') this.#stops.add(to.reason)
  }
}

const PHASES: readonly HubState['phase'][] = ['starting', 'live', 'recovering', 'sealed']

/** A sum over all hubs: made once for each scrape. */
export class HubSums {
  readonly #phases = new Map<string, number>(PHASES.map((phase) => [phase, 0]))
  ringBytes = 0
  sse = 0
  longPolls = 0
  lagging = 0
  waitingBytes = 0
  /** The largest there is. */
  lagBytes = 0

  constructor(hubs: Iterable<HubSubject>) {
    for (const hub of hubs) this.#add(hub)
  }

  get phases(): Iterable<Reading> {
    return [...this.#phases].map(([phase, count]) => [{ phase }, count] as const)
  }

  #add(hub: HubSubject): void {
    const { phase } = hub.state
    this.#phases.set(phase, (this.#phases.get(phase) ?? 0) + 1)
    this.ringBytes += hub.bytes
    const { sse, longPolls, lagging, waitingBytes, lagBytes } = hub.look()
    this.sse += sse
    this.longPolls += longPolls
    this.lagging += lagging
    this.waitingBytes += waitingBytes
    this.lagBytes = Math.max(this.lagBytes, lagBytes)
  }
}
