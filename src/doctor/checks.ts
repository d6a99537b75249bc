/** All checks, in the order in which they run. */
import type { Check } from './check.ts'
import { bodySize } from './checks/bodies.ts'
import { clock } from './checks/clock.ts'
import { collapsing } from './checks/collapsing.ts'
import { httpVersion, keepAlive } from './checks/connection.ts'
import { cors } from './checks/cors.ts'
import { sseCompression, sseDelivery } from './checks/delivery.ts'
import { history } from './checks/history.ts'
import { headers, urls } from './checks/passing.ts'
import { privacy } from './checks/privacy.ts'
import { refusals, retryAfter } from './checks/refusals.ts'
import { pollIdle, sseIdle } from './checks/silence.ts'
import { existence, tail } from './checks/tail.ts'

export const CHECKS: readonly Check[] = [
  sseDelivery,
  sseCompression,
  sseIdle,
  pollIdle,
  httpVersion,
  keepAlive,
  cors,
  tail,
  existence,
  // What it finds out about caches is used by the next one.
  history,
  collapsing,
  privacy,
  urls,
  headers,
  bodySize,
  refusals,
  clock,
  // Judges what all others were answered, too.
  retryAfter,
]

export const CHECK_NAMES: readonly string[] = CHECKS.map(({ id }) => id)
