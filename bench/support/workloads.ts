/** What readers and the publisher do; rates keep the core of any server but the slowest below full. */
import type { Turns } from './load.ts'

export type Workload = {
  readonly name: string
  readonly readers: number
  readonly streams: number
} & (
  | {
      /** Readers stay, messages come. */
      readonly kind: 'live'
      readonly transport: 'sse' | 'long-poll'
      /** Turns a second, and the messages that each posts at once. */
      readonly rate: number
      readonly messages: number
    }
  | { readonly kind: 'connect' }
  | { readonly kind: 'catch-up'; readonly history: number }
  | {
      /** Readers stay and take nothing, messages come; then they take it all. */
      readonly kind: 'stalled'
      /** One message each. */
      readonly rate: number
      readonly bytes: number
    }
)

export const WORKLOADS: readonly Workload[] = [
  live('steady-1k', { readers: 1000, rate: 20 }),
  live('steady-10k', { readers: 10_000, rate: 3 }),
  live('burst', { readers: 1000, rate: 0.5, messages: 100 }),
  live('long-poll', { readers: 5000, rate: 1, transport: 'long-poll' }),
  live('many-streams', { readers: 10_000, streams: 1000, rate: 500 }),
  { name: 'connect', kind: 'connect', readers: 10_000, streams: 1 },
  { name: 'catch-up', kind: 'catch-up', readers: 100, streams: 1, history: 20_000 },
  { name: 'stalled', kind: 'stalled', readers: 1000, streams: 1, rate: 200, bytes: 1000 },
]

type Live = Extract<Workload, { readonly kind: 'live' }>

function live(
  name: string,
  workload: Pick<Live, 'readers' | 'rate'> & Partial<Live>,
): Extract<Workload, { kind: 'live' }> {
  return { name, kind: 'live', transport: 'sse', streams: 1, messages: 1, ...workload }
}

/** The turns of so many seconds, two at least. */
export function turnsOf(
  { rate, messages = 1 }: Pick<Live, 'rate'> & Partial<Pick<Live, 'messages'>>,
  seconds: number,
): Turns {
  return { turns: Math.max(2, Math.round(rate * seconds)), messages, intervalMs: 1000 / rate }
}

/** Smaller or larger by the same factor, for a first look at whether all works. */
export function scaled(workload: Workload, factor: number): Workload {
  const readers = Math.max(1, Math.round(workload.readers * factor))
  return { ...workload, readers, streams: Math.min(workload.streams, readers) }
}
