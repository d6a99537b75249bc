/** How a journal waits before it tries the log again. */
import { backoffMs, sleep } from '../clock.ts'
import type { Clock } from '../clock.ts'

/** From a few appends' time to what an outage may be over by. In ms. */
const BACKOFF = { firstMs: 50, longestMs: 1000 }

/** Waits before the next attempt; `attempt` counts from 0. */
export function waitBeforeRetry(clock: Clock, attempt: number): Promise<void> {
  return sleep(clock, backoffMs(clock, attempt, BACKOFF))
}
