/** What the gateway is like when somebody looks. */
import { HubSums } from './hub-metrics.ts'
import type { Instruments } from './instruments.ts'
import type { Meter } from './meter.ts'
import type { States } from './metrics.ts'

/** How long a sum over all hubs and readers is good for, in ms: as long as a scrape may take. */
const SUM_AGE_MS = 50

export function registerStates(to: Instruments, meter: Meter, states: States): void {
  connections(to, states)
  const sums = sumsOf(states)
  readers(to, sums)
  memory(to, states, sums)
  limits(to, states)
  to.gauge(
    { name: 'hubs', help: 'Followed streams by phase.', labels: ['phase'] },
    () => sums().phases,
  )
  to.gauge(
    {
      name: 'readers_per_read_session',
      help: 'Live readers for each read session with the log; 0 without sessions.',
    },
    () => {
      const { sse, longPolls } = sums()
      return meter.readSessions.open === 0 ? 0 : (sse + longPolls) / meter.readSessions.open
    },
  )
}

/** Several metrics are of the same sum. */
function sumsOf({ hubs }: States): () => HubSums {
  let latest: { readonly sums: HubSums; readonly at: number } | undefined
  return () => {
    const now = performance.now()
    if (latest === undefined || now - latest.at > SUM_AGE_MS) {
      latest = { sums: new HubSums(hubs.all), at: now }
    }
    return latest.sums
  }
}

function connections(to: Instruments, { admission, drain, readiness, hubs }: States): void {
  to.gauge({ name: 'connections', help: 'Connections of clients.' }, () => admission.counts.open)
  to.counter(
    { name: 'connections_total', help: 'Connections that came.' },
    () => admission.counts.accepted,
  )
  to.counter(
    {
      name: 'refused_connections_total',
      help: 'Connections on which every request is refused: one too many, or too soon after others.',
      labels: ['reason'],
    },
    () => Object.entries(admission.counts.refused).map(([reason, n]) => [{ reason }, n] as const),
  )
  to.gauge(
    {
      name: 'admission_event_loop_delay_seconds',
      help: 'Mean delay of the event loop in a second.',
    },
    () => admission.loopDelayMs / 1000,
  )
  to.gauge(
    { name: 'drain_remaining', help: 'Live readers still to be sent away; 0 when not leaving.' },
    () => (drain.begun ? hubs.subscribers : 0),
  )
  to.gauge({ name: 'ready', help: '1: takes requests, by the latest probe.' }, () =>
    Number(readiness.isReady),
  )
}

function readers(to: Instruments, sums: () => HubSums): void {
  to.gauge({ name: 'live_readers', help: 'Live readers on hubs.', labels: ['transport'] }, () => [
    [{ transport: 'sse' }, sums().sse],
    [{ transport: 'long_poll' }, sums().longPolls],
  ])
  to.gauge(
    { name: 'lagging_readers', help: 'SSE readers whose socket is full, or who read history.' },
    () => sums().lagging,
  )
  to.gauge(
    { name: 'out_buffer_bytes', help: 'What SSE readers were sent and have not taken.' },
    () => sums().waitingBytes,
  )
  to.gauge(
    {
      name: 'reader_lag_bytes',
      help: 'What the SSE reader farthest behind was not sent yet of its ring; out buffers aside.',
    },
    () => sums().lagBytes,
  )
}

function memory(to: Instruments, { streams, budget }: States, sums: () => HubSums): void {
  to.gauge(
    { name: 'hub_ring_bytes', help: 'What the rings of all hubs hold.' },
    () => sums().ringBytes,
  )
  to.gauge(
    { name: 'buffered_append_bytes', help: 'Bodies on their way in or to the log.' },
    () => budget.taken,
  )
  to.gauge(
    { name: 'chunk_cache_bytes', help: 'History that readers share.' },
    () => streams.chunkUse.bytes,
  )
  to.counter(
    {
      name: 'chunk_cache_requests_total',
      help: 'Chunks of history: a miss is a read of the log, a hit costs none.',
      labels: ['result'],
    },
    () => [
      [{ result: 'hit' }, streams.chunkUse.hits],
      [{ result: 'miss' }, streams.chunkUse.misses],
    ],
  )
  to.gauge(
    { name: 'open_streams', help: 'Streams whose state is in memory.' },
    () => streams.openStreams,
  )
}

/** So that a share of them can be shown and judged without a look at the configuration. */
function limits(to: Instruments, states: States): void {
  to.gauge(
    {
      name: 'limit',
      help: 'What is configured for the metric of that name, at most.',
      labels: ['limit'],
    },
    () => Object.entries(states.limits).map(([limit, value]) => [{ limit }, value] as const),
  )
}
