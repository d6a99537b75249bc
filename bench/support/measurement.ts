/** One round of appends, and the figures of several. */
import { setTimeout as sleep } from 'node:timers/promises'
import { median } from './figures.ts'
import { LOAD_CORE, watchCore } from './processes.ts'
import type { Server } from './processes.ts'
import { Producers } from './producers.ts'

export type Measurement = {
  readonly appendsPerSecond: number
  /** Of all the servers together. */
  readonly cpuUsPerAppend: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** The longest wait of any producer, whether it was over or not. */
  readonly longestMs: number
  /** Acknowledged appends for each batch that S2 got. */
  readonly recordsPerBatch?: number
  /** How busy the core of the load was, 0 to 1. */
  readonly loadCore?: number
}

export type Round = {
  readonly producers: number
  readonly bytes: number
  readonly warmUpMs: number
  readonly measureMs: number
  /** Batches that S2 has got so far; without it they are not counted. */
  readonly batches?: (() => Promise<number>) | undefined
}

/** A fresh stream and fresh producers, spread over the servers, measured once they are warm. */
export async function measure(servers: readonly Server[], round: Round): Promise<Measurement> {
  const { producers, bytes, warmUpMs, measureMs, batches } = round
  const urls = servers.map(({ url }) => url)
  const stream = `bench-${Date.now()}`
  const headers = { 'content-type': 'text/plain' }
  await fetch(`${urls[0] ?? ''}/v1/stream/${stream}`, { method: 'PUT', headers })
  const load = new Producers({ urls, stream, producers, bytes })
  await load.start()
  await sleep(warmUpMs)
  const cpuMs = (): number => servers.reduce((sum, server) => sum + server.cpuMs(), 0)
  const batchesBefore = await batches?.()
  const loadCore = watchCore(LOAD_CORE)
  load.take()
  const [begunAt, cpuBefore] = [performance.now(), cpuMs()]
  await sleep(measureMs)
  const latencies = load.take()
  const used = { ms: performance.now() - begunAt, cpuMs: cpuMs() - cpuBefore }
  const measured = summarize(latencies, { ...used, longestMs: load.longestWait() })
  const busy = loadCore()
  const batchesAfter = await batches?.()
  load.stop()
  return {
    ...measured,
    loadCore: busy,
    ...(batchesBefore !== undefined && batchesAfter !== undefined
      ? { recordsPerBatch: latencies.length / (batchesAfter - batchesBefore) }
      : {}),
  }
}

type Used = {
  readonly ms: number
  readonly cpuMs: number
  /** What those have waited that are not acknowledged yet. */
  readonly longestMs: number
}

/** @param latencies of what was acknowledged, in ms, in any order */
export function summarize(
  latencies: readonly number[],
  { ms, cpuMs, longestMs }: Used,
): Measurement {
  const sorted = [...latencies].sort((a, b) => a - b)
  const at = (share: number): number => sorted[Math.floor((sorted.length - 1) * share)] ?? NaN
  return {
    appendsPerSecond: (sorted.length / ms) * 1000,
    cpuUsPerAppend: (cpuMs * 1000) / sorted.length,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    longestMs: Math.max(at(1), longestMs),
  }
}

/** The median of each figure by itself; of the longest wait the longest. */
export function medians(rounds: readonly Measurement[]): Measurement {
  const of = (figure: keyof Measurement): number =>
    median(rounds.map((round) => round[figure] ?? NaN))
  return {
    appendsPerSecond: of('appendsPerSecond'),
    cpuUsPerAppend: of('cpuUsPerAppend'),
    p50Ms: of('p50Ms'),
    p99Ms: of('p99Ms'),
    longestMs: Math.max(...rounds.map(({ longestMs }) => longestMs)),
    recordsPerBatch: of('recordsPerBatch'),
    loadCore: of('loadCore'),
  }
}
