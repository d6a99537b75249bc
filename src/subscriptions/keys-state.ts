/**
 * The keys of all gateways as a fold over their log, and what their ages make of them. PURE.
 *
 * ```
 *   added ──publishMs──► active ───────────► succeeded ──retireMs──► removed
 *   in the JWKS from here, signs from here,  signs no more,          in no JWKS
 *                                            still verifies
 * ```
 */
import { invariant } from '../errors.ts'
import { mapIncarnation, step, wholeState } from '../journal/state.ts'
import type { LogState, Rules } from '../journal/state.ts'
import type { LogRecord } from '../log/log.ts'
import { decodeKeysRecord, encodeKeysCheckpoint } from './keys-codec.ts'
import type { KeysEntry, LogKey } from './keys-codec.ts'
import { JWKS_MAX_AGE_S } from './signature.ts'
import { WAKE_TOKEN_TTL_MS } from './wake-token.ts'

/** The life of the key log: it begins once and never ends. */
export type KeyRingState = {
  readonly id: string
  /** In the order in which they were added; never empty. */
  readonly keys: readonly LogKey[]
}

/** The ages of a key, in ms. All gateways of a log should have the same. */
export type KeyTimes = {
  /** For how long a key signs. */
  readonly rotationMs: number
  /** For how long a key is published before it signs. */
  readonly publishMs: number
  /** For how long a key verifies after its successor began to sign. */
  readonly retireMs: number
}

const DAY_MS = 24 * 60 * 60 * 1000

/** What key times are unless configured otherwise. */
export const KEY_TIMES: KeyTimes = {
  rotationMs: 30 * DAY_MS,
  // Twice as long as a JWKS may be cached: the other half is for clocks that differ.
  publishMs: 2 * JWKS_MAX_AGE_S * 1000,
  // The last token that a key signed; the replay window of webhooks is minutes.
  retireMs: WAKE_TOKEN_TTL_MS,
}

/** Most keys at a time: a gateway whose clock runs away must not fill the JWKS. Two are usual. */
const MAX_KEYS = 16

/** How the key log is folded. */
export const KEY_RULES: Rules<KeyRingState> = {
  apply,
  checkpoint: ({ fencingToken, incarnation }) => {
    invariant(incarnation !== undefined, 'only a log with keys gets a checkpoint')
    return encodeKeysCheckpoint({ ...incarnation, fencingToken })
  },
  // Old secrets serve nobody.
  trims: true,
}

function apply(state: LogState<KeyRingState>, record: LogRecord): LogState<KeyRingState> {
  const next = step(state, record)
  const entry = decodeKeysRecord(record)
  switch (entry.kind) {
    case 'fence':
      return { ...next, fencingToken: entry.token }
    case 'created': {
      const { timestamp } = record
      const first = { ...entry.key, addedAt: timestamp, activeAt: timestamp }
      return wholeState(next, record, entry.fencingToken, { id: entry.id, keys: [first] })
    }
    case 'checkpoint': {
      const { id, keys, fencingToken } = entry
      return wholeState(next, record, fencingToken, { id, keys })
    }
    case 'key-added':
      return mapIncarnation(next, (ring) => add(ring, entry, record))
    case 'key-removed':
      return mapIncarnation(next, (ring) => remove(ring, entry.kid))
    case 'other':
      return next
  }
}

function add(
  ring: KeyRingState,
  { key, publishMs }: KeysEntry & { kind: 'key-added' },
  { timestamp }: LogRecord,
): KeyRingState {
  const added = { ...key, addedAt: timestamp, activeAt: timestamp + publishMs }
  return { ...ring, keys: [...ring.keys, added] }
}

function remove(ring: KeyRingState, kid: string): KeyRingState {
  const keys = ring.keys.filter((key) => key.kid !== kid)
  // No gateway removes the last one: somebody must sign.
  return keys.length === 0 ? ring : { ...ring, keys }
}

/** The key that signs at `now` (ms): the last added of those that may. */
export function activeKey({ keys }: KeyRingState, now: number): LogKey {
  // Before the first one is active the clock is behind the log's, and it signs all the same.
  const active = keys.findLast(({ activeAt }) => activeAt <= now) ?? keys[0]
  invariant(active !== undefined, 'a key log always has a key')
  return active
}

/** Whether it is time at `now` (ms) to add a key that signs when the last one has had its time. */
export function isRotationDue({ keys }: KeyRingState, now: number, times: KeyTimes): boolean {
  const last = keys.at(-1)
  if (last === undefined || keys.length >= MAX_KEYS) return false
  return now >= last.activeAt + times.rotationMs - times.publishMs
}

/** The keys that at `now` (ms) nobody needs any more, by their `kid`. */
export function retiredKeys(ring: KeyRingState, now: number, times: KeyTimes): readonly string[] {
  const { keys } = ring
  const active = keys.indexOf(activeKey(ring, now))
  return keys
    .slice(0, active)
    .filter((_key, index) => now >= (keys[index + 1]?.activeAt ?? now) + times.retireMs)
    .map(({ kid }) => kid)
}
