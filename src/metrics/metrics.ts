/**
 * Metrics as the rest of the gateway sees them: observers to hand to the layers, states that are
 * looked at when somebody asks, and a page for whoever asks. Layers know their own observers only.
 */
import type { OnFetched } from '../auth/key-source.ts'
import type { ConnectionCounts } from '../http/admission.ts'
import type { HttpObserver, LiveObserver } from '../http/http-observer.ts'
import type { HubTransition } from '../hub/hub.ts'
import type { HubLook, HubObserver } from '../hub/hub-observer.ts'
import type { HubState } from '../hub/machine.ts'
import type { ConnectionObserver, LogObserver } from '../log/log-observer.ts'
import type { AppendObserver } from '../streams/append-observer.ts'
import type { ChunkUse } from '../streams/chunks.ts'
import type { SubscriptionObserver } from '../subscriptions/subscription-observer.ts'
import type { Bill } from './bill.ts'

/** What hears of each layer; undefined where nobody counts. */
export type Observers = {
  readonly log?: LogObserver
  /** Of the log as subscriptions have it; of what they do with it {@link log} hears, too. */
  readonly subscriptionLog?: LogObserver
  readonly s2Connections?: ConnectionObserver
  readonly hubs?: HubObserver
  readonly onHubTransition?: (transition: HubTransition) => void
  readonly http?: HttpObserver
  readonly live?: LiveObserver
  readonly appends?: AppendObserver
  readonly subscriptions?: SubscriptionObserver
  readonly onKeysFetched?: OnFetched
}

/** What can be asked of a hub. */
export type HubSubject = {
  readonly state: HubState
  readonly bytes: number
  look(): HubLook
}

/** What is bounded, by the name of the metric that says how much of it there is. */
export type Bounded =
  'connections' | 'hubs' | 'hub_ring_bytes' | 'buffered_append_bytes' | 'chunk_cache_bytes'

/** Parts of the gateway, as far as they are looked at. */
export type States = {
  readonly admission: { readonly counts: ConnectionCounts; readonly loopDelayMs: number }
  readonly drain: { readonly begun: boolean }
  readonly readiness: { readonly isReady: boolean }
  readonly hubs: { readonly all: Iterable<HubSubject>; readonly subscribers: number }
  readonly streams: { readonly openStreams: number; readonly chunkUse: ChunkUse }
  readonly budget: { readonly taken: number }
  /** As configured. */
  readonly limits: Readonly<Record<Bounded, number>>
}

/** What is shown. */
export type MetricsPage = {
  /** Of {@link text}. */
  readonly contentType: string
  /** All metrics, in the text format of Prometheus. */
  text(): Promise<string>
  bill(): Bill
}

export interface Metrics {
  readonly observers: Observers
  /** Undefined: there is nothing to show. */
  readonly page: MetricsPage | undefined
  /** To be called once, when the gateway is there. */
  watch(states: States): void
  /** Nothing is counted any more; what was can still be shown. */
  stop(): void
}

/** Counts nothing, and costs nothing. */
export const NO_METRICS: Metrics = {
  observers: {},
  page: undefined,
  watch: () => undefined,
  stop: () => undefined,
}
