import { describe, expect, test } from 'vitest'
import {
  EMPTY_STATE,
  huskState,
  mapIncarnation,
  step,
  wholeState,
} from '../../../src/journal/state.ts'
import type { LogState } from '../../../src/journal/state.ts'
import type { LogRecord } from '../../../src/log/log.ts'

const at = (seqNum: number): LogRecord => ({
  kind: 'data',
  headers: [['ds', 'x']],
  body: Buffer.from('abc'),
  seqNum,
  timestamp: 7,
})
// 8 + ("ds" "x") + "abc"
const BYTES = 8 + 5 + 3
const state: LogState<string> = {
  nextSeq: 4,
  timestamp: 5,
  fencingToken: 't',
  lock: undefined,
  checkpoint: 1,
  sinceCheckpoint: { records: 3, bytes: 100 },
  incarnation: 'life',
}

describe('step', () => {
  test('moves on by one record and counts what a page from the checkpoint on would hold', () => {
    const before = structuredClone(state)
    expect(step(state, at(4))).toEqual({
      ...state,
      nextSeq: 5,
      timestamp: 7,
      sinceCheckpoint: { records: 4, bytes: 100 + BYTES },
    })
    expect(state).toEqual(before)
  })

  test.each([3, 5])('takes no record twice and leaves none out: %i', (seqNum) => {
    expect(() => step(state, at(seqNum))).toThrow('in order')
  })
})

describe('wholeState', () => {
  test('keeps nothing but the place', () => {
    expect(wholeState(step(state, at(4)), at(4), 'u', undefined)).toEqual({
      nextSeq: 5,
      timestamp: 7,
      fencingToken: 'u',
      checkpoint: 4,
      sinceCheckpoint: { records: 1, bytes: BYTES },
      incarnation: undefined,
    })
  })
})

describe('mapIncarnation', () => {
  test('changes what is there, and nothing where nothing is', () => {
    const longer = (life: string): string => `${life}!`
    expect(mapIncarnation(state, longer)).toEqual({ ...state, incarnation: 'life!' })
    expect(mapIncarnation<string>(EMPTY_STATE, longer)).toBe(EMPTY_STATE)
  })
})

describe('huskState', () => {
  test('has the token of the tombstone that trimmed itself', () => {
    expect(huskState(9)).toEqual({ ...EMPTY_STATE, nextSeq: 9, fencingToken: 'd:9' })
    expect(huskState(0)).toEqual(EMPTY_STATE)
  })
})
