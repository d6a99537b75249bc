/**
 * What metrics cost: CPU for each delivery with and without them, and how long a scrape takes.
 *
 * One hub in this process, with readers whose sockets take everything at once, so that nothing but
 * the gateway's own work is measured. Rounds take turns, for a machine that is not quiet.
 */
import { ManualClock } from '../test/support/manual-clock.ts'
import { loadConfig } from '../src/config.ts'
import type { EventSink } from '../src/http/event-sink.ts'
import { Leases } from '../src/http/leases.ts'
import { SseSubscriber } from '../src/http/sse.ts'
import { Wheel } from '../src/http/wheel.ts'
import type { Hub } from '../src/hub/hub.ts'
import type { Metrics } from '../src/metrics/metrics.ts'
import { openMetrics } from '../src/metrics/open.ts'
import { data, startHub } from '../test/unit/hub/fakes.ts'
import type { Scene } from '../test/unit/hub/fakes.ts'

const READERS = Number(process.env['READERS'] ?? 20_000)
const BATCHES = Number(process.env['BATCHES'] ?? 100)
const ROUNDS = Number(process.env['ROUNDS'] ?? 5)

/** Takes everything, and keeps nothing. */
class Nowhere implements EventSink {
  readonly isFull = false
  readonly waiting = 0
  own(): void {}
  send(): boolean {
    return true
  }
  end(): void {}
  destroy(): void {}
  readerEnded(): void {}
}

type Side = { readonly scene: Scene; readonly metrics: Metrics; seq: number; ns: number[] }

function open(METRICS: 'on' | 'off'): Side {
  const clock = new ManualClock()
  const metrics = openMetrics(loadConfig({ METRICS }), clock)
  const scene = startHub({}, { observer: metrics.observers.hubs })
  const options = {
    clock: scene.clock,
    wheel: new Wheel(scene.clock, 1000),
    heartbeatMs: 15_000,
    lifetimeMs: 60_000,
    stallMs: 30_000,
    leases: new Leases(scene.clock),
    onEnd: () => undefined,
    history: () => Promise.reject(new Error('no history')),
  }
  for (let count = 0; count < READERS; count += 1) {
    const place = { hub: scene.hub, position: scene.hub.tail }
    new SseSubscriber({ place, cursor: undefined, sink: new Nowhere() }, options).begin()
  }
  watch(metrics, scene.hub)
  return { scene, metrics, seq: 11, ns: [] }
}

function watch(metrics: Metrics, hub: Hub): void {
  metrics.watch({
    admission: {
      counts: { open: READERS, accepted: READERS, refused: { too_many: 0, too_fast: 0 } },
      loopDelayMs: 0,
    },
    drain: { begun: false },
    readiness: { isReady: true },
    hubs: { all: [hub], subscribers: READERS },
    streams: { openStreams: 1, chunkUse: { bytes: 0, hits: 0, misses: 0 } },
    budget: { taken: 0 },
    limits: {
      connections: READERS,
      hubs: 1,
      hub_ring_bytes: 1,
      buffered_append_bytes: 1,
      chunk_cache_bytes: 1,
    },
  })
}

function round(side: Side): void {
  const before = process.cpuUsage()
  for (let batch = 0; batch < BATCHES; batch += 1) side.scene.log.last.give(data(side.seq++))
  const { user, system } = process.cpuUsage(before)
  side.ns.push(((user + system) * 1000) / (BATCHES * READERS))
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN
}

const sides = { on: open('on'), off: open('off') }
for (const side of [sides.on, sides.off, sides.on, sides.off]) round(side)
for (const side of Object.values(sides)) side.ns = []
for (let turn = 0; turn < ROUNDS; turn += 1) for (const side of Object.values(sides)) round(side)

const scrapes: number[] = []
for (let turn = 0; turn < ROUNDS; turn += 1) {
  await new Promise((resolve) => setTimeout(resolve, 100))
  const begun = performance.now()
  await sides.on.metrics.page?.text()
  scrapes.push(performance.now() - begun)
}

process.stdout.write(`${READERS} readers of one hub, ${BATCHES} batches a round, ${ROUNDS} rounds
METRICS=on   ${median(sides.on.ns).toFixed(1)} ns of CPU for each delivery, without its socket
METRICS=off  ${median(sides.off.ns).toFixed(1)} ns
a scrape     ${median(scrapes).toFixed(1)} ms\n`)
process.exit(0)
