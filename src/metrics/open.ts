/** Metrics as the configuration has them. */
import type { Clock } from '../clock.ts'
import type { Config } from '../config.ts'
import type { Metrics } from './metrics.ts'
import { NO_METRICS } from './metrics.ts'
import { PromMetrics } from './prom-metrics.ts'

export function openMetrics({ METRICS, S2_PRICES, log }: Config, clock: Clock): Metrics {
  if (METRICS === 'off') return NO_METRICS
  // An endpoint of its own is an s2-lite, which asks for nothing.
  const isBilled = log.kind === 's2' && log.endpoint === undefined
  return new PromMetrics({ clock, prices: S2_PRICES, isBilled })
}
