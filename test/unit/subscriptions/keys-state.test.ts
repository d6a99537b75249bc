import { describe, expect, test } from 'vitest'
import type { Command } from '../../../src/journal/command.ts'
import { EMPTY_STATE } from '../../../src/journal/state.ts'
import type { LogState } from '../../../src/journal/state.ts'
import type { AppendRecord } from '../../../src/log/log.ts'
import { encodeKeyRemoved } from '../../../src/subscriptions/keys-codec.ts'
import { createKeysCommand, maintainKeysCommand } from '../../../src/subscriptions/keys-commands.ts'
import { generateKey, openKey } from '../../../src/subscriptions/keys-material.ts'
import {
  KEY_RULES,
  KEY_TIMES,
  activeKey,
  isRotationDue,
  retiredKeys,
} from '../../../src/subscriptions/keys-state.ts'
import type { KeyRingState } from '../../../src/subscriptions/keys-state.ts'

type State = LogState<KeyRingState>

/** When the first key was added; the other times are counted from here. */
const T0 = 1_700_000_000_000
const TIMES = { rotationMs: 1000, publishMs: 100, retireMs: 300 }
const KEYS = Array.from({ length: 20 }, generateKey)
const [A, B, C] = KEYS as [KeyOf, KeyOf, KeyOf]
type KeyOf = ReturnType<typeof generateKey>

function fold(state: State, records: readonly AppendRecord[], at: number): State {
  return records.reduce<State>(
    (next, record) =>
      KEY_RULES.apply(next, { ...record, seqNum: next.nextSeq, timestamp: T0 + at }),
    state,
  )
}

function run(state: State, command: Command<KeyRingState, unknown>, at: number): State {
  const decision = command(state, T0 + at)
  return decision.kind === 'write' ? fold(state, decision.records, at) : state
}

const begin = (at = 0): State => run(EMPTY_STATE, createKeysCommand('i1', A), at)
const rotate = (state: State, key: KeyOf, at: number): State =>
  run(state, maintainKeysCommand(key, TIMES), at)
const ring = (state: State): KeyRingState => state.incarnation!
const kids = (state: State): string[] => ring(state).keys.map(({ kid }) => kid)

describe('generateKey', () => {
  test('makes keys with nothing in common', () => {
    expect(new Set(KEYS.flatMap(({ kid, x, d, secret }) => [kid, x, d, secret])).size).toBe(80)
  })

  test('makes keys whose secrets no logger prints once they are opened', () => {
    const opened = JSON.stringify({ ...openKey(A) })
    expect([A.d, A.secret].some((secret) => opened.includes(secret))).toBe(false)
  })
})

describe('the key log', () => {
  test('begins with a key that signs at once', () => {
    const state = begin()
    expect(state.incarnation).toEqual({ id: 'i1', keys: [{ ...A, addedAt: T0, activeAt: T0 }] })
    expect([state.nextSeq, state.fencingToken, state.checkpoint]).toEqual([2, 'o:i1', 1])
  })

  test('begins once', () => {
    const state = begin()
    expect(run(state, createKeysCommand('i2', B), 5)).toBe(state)
  })

  test('takes ages from the log, not from the gateway that wrote', () => {
    const decision = maintainKeysCommand(B, TIMES)(begin(), T0 + 950)
    const records = decision.kind === 'write' ? decision.records : []
    const [, added] = ring(fold(begin(), records, 1200)).keys
    expect(added).toEqual({ ...B, addedAt: T0 + 1200, activeAt: T0 + 1300 })
  })

  test('is the same after a checkpoint', () => {
    const state = rotate(begin(), B, 950)
    const restored = fold({ ...EMPTY_STATE, nextSeq: 3 }, [KEY_RULES.checkpoint(state)], 960)
    expect(restored.incarnation).toEqual(state.incarnation)
    expect([restored.fencingToken, restored.checkpoint]).toEqual(['o:i1', 3])
  })

  test('has its context in every record that is not the whole state', () => {
    const decision = maintainKeysCommand(B, TIMES)(begin(), T0 + 950)
    const [record] = decision.kind === 'write' ? decision.records : []
    expect(record?.kind === 'data' && record.headers).toEqual([
      ['ds', 'key-added'],
      ['cp', '1'],
    ])
  })

  test('never loses its last key', () => {
    const state = begin()
    expect(kids(fold(state, [encodeKeyRemoved({ checkpoint: 1 }, A.kid)], 5))).toEqual([A.kid])
  })

  test('changes nothing before it has begun', () => {
    expect(run(EMPTY_STATE, maintainKeysCommand(B, TIMES), 9999)).toBe(EMPTY_STATE)
  })
})

describe('rotation', () => {
  const rotated = rotate(begin(), B, 900)

  test.each([
    ['before the last part of its time', 899, false],
    ['when the successor has just time to be published', 900, true],
    ['long after', 100_000, true],
  ])('of a lone key is due or not: %s', (_name, at, due) => {
    expect(isRotationDue(ring(begin()), T0 + at, TIMES)).toBe(due)
  })

  test.each([
    ['on a clock that is behind the log’s', -50, A],
    ['at once', 0, A],
    ['while the successor is only published', 999, A],
    ['when the successor has been published long enough', 1000, B],
    ['until it has a successor itself', 100_000, B],
  ])('says who signs %s', (_name, at, key) => {
    expect(activeKey(ring(rotated), T0 + at).kid).toBe(key.kid)
  })

  test('publishes both keys while one is to follow the other', () => {
    expect(kids(rotated)).toEqual([A.kid, B.kid])
  })

  test.each([
    ['in the same moment', 900],
    ['while the successor is only published', 999],
    ['while the successor signs', 1899],
  ])('is not due again %s', (_name, at) => {
    expect(isRotationDue(ring(rotated), T0 + at, TIMES)).toBe(false)
    const decision = maintainKeysCommand(C, TIMES)(rotated, T0 + at)
    const records = decision.kind === 'write' ? decision.records : []
    expect(
      records.filter((record: AppendRecord) => JSON.stringify(record).includes(C.kid)),
    ).toEqual([])
  })

  test('that comes late still publishes before it signs', () => {
    const late = rotate(begin(), B, 50_000)
    expect(activeKey(ring(late), T0 + 50_099).kid).toBe(A.kid)
    expect(activeKey(ring(late), T0 + 50_100).kid).toBe(B.kid)
  })

  test.each([
    ['while it signs', 999, []],
    ['while its signatures may be looked at', 1299, []],
    ['when nothing it signed counts any more', 1300, [A.kid]],
  ])('retires a key: %s', (_name, at, retired) => {
    expect(retiredKeys(ring(rotated), T0 + at, TIMES)).toEqual(retired)
  })

  test('removes what is retired and adds what is due in one batch', () => {
    expect(kids(rotate(rotated, C, 5000))).toEqual([B.kid, C.kid])
  })

  test('never retires a key whose successors do not sign yet', () => {
    const state = rotate(begin(), B, 5000)
    expect(retiredKeys(ring(state), T0 + 5099, TIMES)).toEqual([])
  })

  test('adds no key to a full ring, whatever a clock says', () => {
    const times = { ...TIMES, retireMs: Infinity }
    const full = KEYS.reduce(
      (state, key, index) => run(state, maintainKeysCommand(key, times), index * 100_000),
      begin(),
    )
    expect(ring(full).keys).toHaveLength(16)
  })
})

describe('KEY_TIMES', () => {
  test('publishes a key for twice as long as a JWKS is cached', () => {
    expect(KEY_TIMES).toEqual({
      rotationMs: 30 * 24 * 3600 * 1000,
      publishMs: 600_000,
      retireMs: 24 * 3600 * 1000,
    })
  })
})
