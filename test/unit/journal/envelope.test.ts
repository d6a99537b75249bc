import { describe, expect, test } from 'vitest'
import {
  encodeRecord,
  headerValue,
  kindOf,
  readCheckpointPointer,
  readOperationId,
  withOperationId,
} from '../../../src/journal/envelope.ts'
import type { AppendRecord, RecordHeader } from '../../../src/log/log.ts'

const NO_BODY = new Uint8Array(0)
const FENCE: AppendRecord = { kind: 'fence', token: 't' }
const TRIM: AppendRecord = { kind: 'trim', before: 1 }
const placed = (record: AppendRecord) => ({ ...record, seqNum: 20, timestamp: 0 })
const raw = (headers: RecordHeader[]): AppendRecord => ({ kind: 'data', headers, body: NO_BODY })

describe('encodeRecord', () => {
  test('writes the kind, the checkpoint, and then the further headers', () => {
    const body = Buffer.from('x')
    expect(encodeRecord('data', body, { checkpoint: 0 }, [['a', 'b']])).toEqual({
      kind: 'data',
      headers: [['ds', 'data'], ['cp', '0'], ['a', 'b']], // prettier-ignore
      body,
    })
  })

  test('names no checkpoint where there is none', () => {
    const alone = raw([['ds', 'created']])
    expect(encodeRecord('created', NO_BODY)).toEqual(alone)
    expect(encodeRecord('created', NO_BODY, { checkpoint: undefined })).toEqual(alone)
  })
})

describe('kindOf', () => {
  test.each<[string, AppendRecord, string | undefined]>([
    ['the kind of a record of ours', encodeRecord('touch', NO_BODY), 'touch'],
    ['no kind in a header that is not the first', raw([['x', 'y'], ['ds', 'data']]), undefined], // prettier-ignore
    ['no kind without headers', raw([]), undefined],
    ['no kind in a command', FENCE, undefined],
  ])('finds %s', (_name, record, kind) => {
    expect(kindOf(placed(record))).toBe(kind)
  })
})

describe('headerValue', () => {
  test('is that of the first header with the name', () => {
    const headers = [['a', '1'], ['b', '2'], ['b', '3']] as const // prettier-ignore
    expect([headerValue(headers, 'b'), headerValue(headers, 'c')]).toEqual(['2', undefined])
  })
})

describe('readCheckpointPointer', () => {
  test.each<[string, AppendRecord, number | undefined]>([
    ['the checkpoint that a record names', encodeRecord('data', NO_BODY, { checkpoint: 3 }), 3],
    ['the first record as a checkpoint', encodeRecord('touch', NO_BODY, { checkpoint: 0 }), 0],
    ['a creation itself', encodeRecord('created', NO_BODY), 20],
    ['a tombstone itself', encodeRecord('deleted', NO_BODY), 20],
    ['a checkpoint itself', encodeRecord('checkpoint', NO_BODY), 20],
    ['what a later kind names', raw([['ds', 'merged'], ['cp', '4']]), 4], // prettier-ignore
    ['nothing in what an S2 client wrote', raw([['cp', '4']]), undefined],
    ['nothing in a fence', FENCE, undefined],
    ['nothing in a trim', TRIM, undefined],
    ['no pointer that is no number', raw([['ds', 'data'], ['cp', 'x']]), undefined], // prettier-ignore
    ['no pointer that leads nowhere back', raw([['ds', 'data'], ['cp', '20']]), undefined], // prettier-ignore
  ])('finds %s', (_name, record, pointer) => {
    expect(readCheckpointPointer(placed(record))).toBe(pointer)
  })
})

describe('readOperationId', () => {
  test('finds what withOperationId added', () => {
    const record = encodeRecord('data', NO_BODY, { checkpoint: 1 }, [['producer', '0:0:p']])
    expect(readOperationId(placed(withOperationId(record, 'g-1')))).toBe('g-1')
    expect(readOperationId(placed(record))).toBeUndefined()
  })

  test('knows that commands have none', () => {
    expect(withOperationId(FENCE, 'g-1')).toEqual(FENCE)
    expect(readOperationId(placed(FENCE))).toBeUndefined()
  })
})
