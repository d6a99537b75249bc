/** Metrics with prom-client. */
import { readFileSync } from 'node:fs'
import { Registry, collectDefaultMetrics } from 'prom-client'
import { HttpMetrics, LiveMetrics } from './http-metrics.ts'
import { HubMetrics } from './hub-metrics.ts'
import { Instruments } from './instruments.ts'
import { LogMetrics, ownSessions } from './log-metrics.ts'
import { Meter } from './meter.ts'
import type { MeterOptions } from './meter.ts'
import type { Metrics, MetricsPage, Observers, States } from './metrics.ts'
import { costs } from './bill.ts'
import { PRICE_KINDS } from './prices.ts'
import { registerStates } from './state-metrics.ts'
import { AppendMetrics, SubscriptionMetrics, keyMetrics } from './work-metrics.ts'

/** As the default of the gateway's own look at it: a hundredth of a core is too much for that. */
const EVENT_LOOP_RESOLUTION_MS = 50

/**
 * They go through every socket and every timer of the process, which takes longer than all the
 * rest; `connections` says it for nothing.
 */
const LEFT_OUT = ['nodejs_active_handles', 'nodejs_active_requests', 'nodejs_active_resources']

export class PromMetrics implements Metrics {
  readonly observers: Observers
  readonly page: MetricsPage
  readonly #instruments = new Instruments()
  readonly #meter: Meter

  constructor(options: MeterOptions) {
    const to = this.#instruments
    const meter = (this.#meter = new Meter(options))
    const log = new LogMetrics(to, meter)
    const hubs = new HubMetrics(to, meter)
    const http = new HttpMetrics(to)
    this.observers = {
      log,
      subscriptionLog: ownSessions(meter),
      s2Connections: log,
      hubs,
      onHubTransition: (transition) => hubs.onTransition(transition),
      http,
      live: new LiveMetrics(to, http, meter),
      appends: new AppendMetrics(to),
      subscriptions: new SubscriptionMetrics(to),
      onKeysFetched: keyMetrics(to),
    }
    this.#costs()
    this.#build()
    this.page = {
      contentType: to.registry.contentType,
      text: async () => `${await to.registry.metrics()}\n${await ofProcess().metrics()}`,
      bill: () => meter.bill(),
    }
  }

  watch(states: States): void {
    registerStates(this.#instruments, this.#meter, states)
  }

  stop(): void {
    this.#meter.stop()
  }

  #costs(): void {
    const to = this.#instruments
    const meter = this.#meter
    to.counter(
      {
        name: 's2_cost_usd_total',
        help: 'What S2 asks for what was done since the start, or would ask.',
        labels: ['kind'],
      },
      () => {
        const byKind = costs(meter.usage().quantities, meter.prices)
        return PRICE_KINDS.map((kind) => [{ kind }, byKind[kind]] as const)
      },
    )
    to.gauge(
      { name: 's2_cost_month_usd', help: 'What a month costs at the rate of the last 5 minutes.' },
      () => meter.month().usd,
    )
    to.gauge(
      {
        name: 's2_cost_month_without_fan_out_usd',
        help: 'The same with a read session for each live reader.',
      },
      () => meter.month().usdWithoutFanOut,
    )
  }

  #build(): void {
    const labels = { version: versionOf(), node: process.version }
    this.#instruments.gauge(
      { name: 'build_info', help: 'What runs here; always 1.', labels: Object.keys(labels) },
      () => [[labels, 1]],
    )
  }
}

let processRegistry: Registry | undefined

/** What is the process's is counted once, however many gateways are in it. */
function ofProcess(): Registry {
  if (processRegistry !== undefined) return processRegistry
  const register = (processRegistry = new Registry())
  collectDefaultMetrics({ register, eventLoopMonitoringPrecision: EVENT_LOOP_RESOLUTION_MS })
  for (const name of LEFT_OUT) {
    register.removeSingleMetric(name)
    register.removeSingleMetric(`${name}_total`)
  }
  return register
}

/** Of the package, two folders above this file and above what it is compiled to. */
function versionOf(): string {
  try {
    const file = new URL('../../package.json', import.meta.url)
    const [, version] = /"version": *"([^"]+)"/.exec(readFileSync(file, 'utf8')) ?? []
    return version ?? 'unknown'
  } catch {
    return 'unknown'
  }
}
