import { describe, expect, it } from 'vitest'
import {
  applyAppend,
  EMPTY_STREAM,
  judgeAppend,
  type StreamState,
} from '../../../src/log/embedded-state.ts'
import type { AppendRecord } from '../../../src/log/log.ts'

const state = (change: Partial<StreamState>): StreamState => ({ ...EMPTY_STREAM, ...change })
const data: AppendRecord = { kind: 'data', headers: [], body: Uint8Array.of(1) }
const fence = (token: string): AppendRecord => ({ kind: 'fence', token })
const trim = (before: number): AppendRecord => ({ kind: 'trim', before })

describe('judgeAppend', () => {
  it.each([
    { matchSeqNum: 3, fencingToken: 't', conflict: undefined },
    { matchSeqNum: 2, fencingToken: 't', conflict: { kind: 'seq_num', nextSeqNum: 3 } },
    { matchSeqNum: 4, fencingToken: 't', conflict: { kind: 'seq_num', nextSeqNum: 3 } },
    { matchSeqNum: 3, fencingToken: '', conflict: { kind: 'fencing_token', token: 't' } },
    { matchSeqNum: 9, fencingToken: 'x', conflict: { kind: 'fencing_token', token: 't' } },
  ])('of $fencingToken at $matchSeqNum', ({ conflict, ...conditions }) => {
    const judged = judgeAppend(state({ tail: 3, token: 't' }), { records: [data], ...conditions })
    expect(judged).toEqual(conflict)
  })
})

describe('applyAppend', () => {
  it('gives the records their places', () => {
    const { state: next, records } = applyAppend(state({ tail: 7 }), [data, fence('t'), data], 50)
    expect(records).toEqual([
      { ...data, seqNum: 7, timestamp: 50 },
      { ...fence('t'), seqNum: 8, timestamp: 50 },
      { ...data, seqNum: 9, timestamp: 50 },
    ])
    expect(next).toEqual({ tail: 10, trimPoint: 0, token: 't', timestamp: 50 })
  })

  it.each([
    { case: 'forward', records: [trim(3)], trimPoint: 3 },
    { case: 'never backwards', records: [trim(1)], trimPoint: 2 },
    { case: 'up to and with itself', records: [trim(11)], trimPoint: 11 },
    { case: 'never past itself', records: [trim(12)], trimPoint: 11 },
    { case: 'never past itself inside a batch', records: [data, trim(99), data], trimPoint: 12 },
    { case: 'by the furthest of several', records: [trim(5), trim(4), trim(6)], trimPoint: 6 },
  ])('trims $case', ({ records, trimPoint }) => {
    const before = state({ tail: 10, trimPoint: 2 })
    expect(applyAppend(before, records, 0).state.trimPoint).toBe(trimPoint)
  })

  it('keeps the last token of a batch', () => {
    expect(applyAppend(state({ token: 'a' }), [fence('b'), fence('')], 0).state.token).toBe('')
  })

  it('never lets the time run backwards', () => {
    const { state: next, records } = applyAppend(state({ timestamp: 100 }), [data], 99)
    expect([next.timestamp, records[0]?.timestamp]).toEqual([100, 100])
  })
})
