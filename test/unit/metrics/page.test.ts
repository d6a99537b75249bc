/** What is shown, of nothing that has happened: names, types and labels are the contract. */
import { describe, expect, test } from 'vitest'
import { loadConfig } from '../../../src/config.ts'
import { NO_METRICS } from '../../../src/metrics/metrics.ts'
import type { States } from '../../../src/metrics/metrics.ts'
import { openMetrics } from '../../../src/metrics/open.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const IDLE: States = {
  admission: {
    counts: { open: 3, accepted: 5, refused: { too_many: 1, too_fast: 2 } },
    loopDelayMs: 20,
  },
  drain: { begun: false },
  readiness: { isReady: true },
  hubs: { all: [], subscribers: 0 },
  streams: { openStreams: 4, chunkUse: { bytes: 10, hits: 2, misses: 1 } },
  budget: { taken: 7 },
  limits: {
    connections: 20,
    hubs: 10,
    hub_ring_bytes: 500,
    buffered_append_bytes: 60,
    chunk_cache_bytes: 70,
  },
}

/** Metrics, and a page of theirs as a map from series to value. */
async function pageOf(states: Partial<States> = {}) {
  const clock = new ManualClock()
  const metrics = openMetrics(loadConfig({}), clock)
  metrics.watch({ ...IDLE, ...states })
  const text = (await metrics.page?.text()) ?? ''
  metrics.stop()
  return { text, metrics, clock, series: seriesOf(text) }
}

function seriesOf(text: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.split(' ').at(-1))]),
  )
}

const CONTRACT = `
connections gauge
connections_total counter
connection_duration_seconds histogram
live_readers gauge
live_reads_total counter
live_read_duration_seconds histogram
sse_ends_total counter
long_poll_results_total counter
refused_connections_total counter
problems_total counter
drain_remaining gauge
ready gauge
admission_event_loop_delay_seconds gauge
buffered_append_bytes gauge
chunk_cache_bytes gauge
chunk_cache_requests_total counter
open_streams gauge
limit gauge
http_requests_total counter
http_request_duration_seconds histogram
cache_class_total counter
not_modified_total counter
appends_total counter
append_bytes_total counter
append_duration_seconds histogram
producer_refusals_total counter
hubs gauge
hub_ring_bytes gauge
hub_restarts_total counter
hub_stops_total counter
readers_per_read_session gauge
batches_total counter
deliveries_total counter
delivered_bytes_total counter
delivery_latency_seconds histogram
lagging_readers gauge
out_buffer_bytes gauge
reader_lag_bytes gauge
log_operations_total counter
log_operation_duration_seconds histogram
log_records_total counter
log_bytes_total counter
log_read_sessions gauge
log_read_sessions_opened_total counter
log_read_sessions_ended_total counter
log_read_session_seconds_total counter
log_append_sessions gauge
log_append_sessions_ended_total counter
log_connections_replaced_total counter
subscription_wakes_total counter
webhook_attempts_total counter
webhook_duration_seconds histogram
claims_total counter
auth_failures_total counter
jwks_refreshes_total counter
s2_cost_usd_total counter
s2_cost_month_usd gauge
s2_cost_month_without_fan_out_usd gauge
build_info gauge
`

describe('the page', () => {
  test('has every metric there is, by its type, and no other of ours', async () => {
    const { text } = await pageOf()
    const types = [...text.matchAll(/^# TYPE durable_streams_(\S+) (\S+)$/gm)]
    const shown = types.map(([, name, type]) => `${name} ${type}`)
    expect(shown.sort()).toEqual(CONTRACT.trim().split('\n').sort())
  })

  test('has what is the process’s, once', async () => {
    const { text } = await pageOf()
    for (const name of [
      'process_cpu_seconds_total',
      'nodejs_gc_duration_seconds',
      'process_resident_memory_bytes',
    ]) {
      expect(text.split(`# TYPE ${name} `)).toHaveLength(2)
    }
    expect(text).not.toMatch(/nodejs_active_/)
  })

  test('says what the gateway is like when it is asked for', async () => {
    const { series } = await pageOf()
    const expected = {
      connections: 3,
      connections_total: 5,
      'refused_connections_total{reason="too_fast"}': 2,
      admission_event_loop_delay_seconds: 0.02,
      open_streams: 4,
      buffered_append_bytes: 7,
      'limit{limit="connections"}': 20,
      'limit{limit="hubs"}': 10,
      'limit{limit="hub_ring_bytes"}': 500,
      'limit{limit="buffered_append_bytes"}': 60,
      'limit{limit="chunk_cache_bytes"}': 70,
      chunk_cache_bytes: 10,
      'chunk_cache_requests_total{result="hit"}': 2,
      drain_remaining: 0,
      ready: 1,
      readers_per_read_session: 0,
    }
    for (const [name, value] of Object.entries(expected)) {
      expect([name, series.get(`durable_streams_${name}`)]).toEqual([name, value])
    }
  })

  test('says who is left while the gateway leaves', async () => {
    const { series } = await pageOf({
      drain: { begun: true },
      readiness: { isReady: false },
      hubs: { all: [], subscribers: 9 },
    })
    expect(series.get('durable_streams_drain_remaining')).toBe(9)
    expect(series.get('durable_streams_ready')).toBe(0)
  })

  test('sums over hubs, and takes the largest lag', async () => {
    const hub = (phase: 'live' | 'recovering', lagBytes: number) => ({
      state: { phase, generation: 1, attempt: 1 },
      bytes: 100,
      look: () => ({ sse: 4, longPolls: 1, lagging: 2, waitingBytes: 30, lagBytes }),
    })
    const all = [hub('live', 5), hub('live', 50), hub('recovering', 0)]
    const { series } = await pageOf({ hubs: { all, subscribers: 15 } })
    const expected = {
      'hubs{phase="live"}': 2,
      'hubs{phase="recovering"}': 1,
      'hubs{phase="sealed"}': 0,
      hub_ring_bytes: 300,
      'live_readers{transport="sse"}': 12,
      'live_readers{transport="long_poll"}': 3,
      lagging_readers: 6,
      out_buffer_bytes: 90,
      reader_lag_bytes: 50,
    }
    for (const [name, value] of Object.entries(expected)) {
      expect([name, series.get(`durable_streams_${name}`)]).toEqual([name, value])
    }
  })

  test('begins what has few labels at 0, so that the first one shows as a rate', async () => {
    const { series } = await pageOf()
    for (const name of [
      'problems_total{code="overloaded"}',
      'sse_ends_total{reason="stalled"}',
      'producer_refusals_total{reason="fenced"}',
      'auth_failures_total{reason="invalid_token"}',
      'log_operations_total{operation="append",outcome="unavailable"}',
      'webhook_attempts_total{outcome="timeout"}',
    ]) {
      expect([name, series.get(`durable_streams_${name}`)]).toEqual([name, 0])
    }
  })

  test('two gateways in one process count for themselves', async () => {
    const [one, other] = await Promise.all([pageOf(), pageOf()])
    one.metrics.observers.http?.onProblem('overloaded')
    const name = 'durable_streams_problems_total{code="overloaded"}'
    const values = await Promise.all(
      [one, other].map(async ({ metrics }) =>
        seriesOf((await metrics.page?.text()) ?? '').get(name),
      ),
    )
    expect(values).toEqual([1, 0])
  })
})

describe('METRICS=off', () => {
  test('hears nothing and shows nothing', () => {
    const clock = new ManualClock()
    const metrics = openMetrics(loadConfig({ METRICS: 'off' }), clock)
    metrics.watch(IDLE)
    metrics.stop()
    expect(metrics).toBe(NO_METRICS)
    expect([metrics.observers, metrics.page, clock.timers]).toEqual([{}, undefined, 0])
  })
})
