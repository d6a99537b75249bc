/** What is kept with data of the trace that it was appended in: it is read again, and does nothing. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { LOG_LIMITS, meteredBytes } from '../../../src/log/log.ts'
import type { AppendRecord, RecordHeader } from '../../../src/log/log.ts'
import type { AppendRequest } from '../../../src/protocol/requests.ts'
import { appendCommand } from '../../../src/streams/append.ts'
import {
  decodeRecord,
  encodeData,
  latestTraceparent,
  toDataRecord,
  withTraceparent,
} from '../../../src/streams/codec.ts'
import type { Entry } from '../../../src/streams/codec.ts'
import { createCommand } from '../../../src/streams/create.ts'
import { EMPTY_STATE } from '../../../src/journal/state.ts'
import { JSON_MODE, NOW, TEXT, appendRequest, bytes, created, fold, placed } from './builders.ts'

const TRACEPARENT = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
const HEADER: RecordHeader = ['traceparent', TRACEPARENT]
const HEADER_BYTES = 2 + 'traceparent'.length + 55
const CONTEXT = { checkpoint: 1 }
const traced = (body: string, more: Partial<AppendRequest> = {}) =>
  appendRequest(body, { traceparent: TRACEPARENT, ...more })

function recordsOf(request: AppendRequest, state = created()): readonly AppendRecord[] {
  const decision = appendCommand(request)(state, NOW)
  if (decision.kind === 'write') return decision.records
  if (decision.kind === 'group') return [...decision.records()]
  throw new Error(`nothing to write: ${decision.kind}`)
}

const headersOf = (record: AppendRecord | undefined): readonly RecordHeader[] =>
  record?.kind === 'data' ? record.headers : []

const tracedOnes = (records: readonly AppendRecord[]): number[] =>
  records.flatMap((record, index) =>
    headersOf(record).some(([name]) => name === 'traceparent') ? [index] : [],
  )

/** The record as a reader gets it. */
function shown(record: AppendRecord) {
  const [stored] = placed([record], { from: 7 })
  if (stored === undefined) throw new Error('one record was placed')
  const entry = decodeRecord(stored) as Entry & { kind: 'data' }
  return toDataRecord(stored, entry, 'text/plain')
}

describe('an append in a trace', () => {
  test('says so behind what every record has', () => {
    expect(recordsOf(traced('x'))).toEqual([
      {
        kind: 'data',
        headers: [['ds', 'data'], ['cp', '1'], HEADER],
        body: bytes('x'),
      },
    ])
  })

  test('says so once, with the last of its messages', () => {
    const request = traced('[1,2,3]', { contentType: 'application/json' })
    expect(tracedOnes(recordsOf(request, created(JSON_MODE)))).toEqual([2])
  })

  test('says so with the record that commits a large one', () => {
    const records = recordsOf(traced('x'.repeat(2 * 1024 * 1024)))
    expect(records.length).toBeGreaterThan(8)
    expect(tracedOnes(records)).toEqual([records.length - 1])
  })

  test('says nothing when it has no data', () => {
    expect(tracedOnes(recordsOf(traced('', { close: true })))).toEqual([])
  })

  test('without a trace is what it always was', () => {
    expect(recordsOf(appendRequest('x'))).toEqual([encodeData(bytes('x'), CONTEXT)])
  })

  test('is as large as its records are metered', () => {
    const [bare, saying] = [recordsOf(appendRequest('x'))[0], recordsOf(traced('x'))[0]]
    expect(meteredBytes(saying!) - meteredBytes(bare!)).toBe(HEADER_BYTES)
  })

  test('never says so where that would make more than one batch of it', () => {
    // What fits as it is, to the byte; its batch is named in 64 more.
    const room = LOG_LIMITS.maxBatchBytes - 64
    const most = room - meteredBytes(encodeData(bytes(''), CONTEXT))
    const decided = (length: number) => {
      const decision = appendCommand(traced('x'.repeat(length)))(created(), NOW)
      return [decision.kind, decision.kind === 'write' && tracedOnes(decision.records)]
    }
    expect(decided(most - HEADER_BYTES)).toEqual(['write', [0]])
    expect(decided(most - HEADER_BYTES + 1)).toEqual(['write', []])
    expect(decided(most)).toEqual(['write', []])
    expect(decided(most + 1)[0]).toBe('group')
  })

  test('leaves the state that it leaves without one, but for the bytes since the checkpoint', () => {
    const producer = { id: 'p', epoch: 0, seq: 0 }
    const from = (request: AppendRequest) =>
      fold(placed(recordsOf(request), { from: created().nextSeq }), created())
    const [bare, saying] = [from(appendRequest('x', { producer })), from(traced('x', { producer }))]
    const { sinceCheckpoint: before, ...others } = bare
    const { sinceCheckpoint: after, ...same } = saying
    expect(JSON.stringify(same)).toBe(JSON.stringify(others))
    expect(after).toEqual({ ...before, bytes: before.bytes + HEADER_BYTES })
    // The same request again is the same request, whatever trace it is sent in.
    const again = appendCommand(traced('x', { producer, traceparent: undefined }))(saying, NOW)
    expect(again).toMatchObject({ kind: 'answer', answer: { kind: 'duplicate' } })
  })
})

describe('a creation in a trace', () => {
  const create = (body: string, more: object = {}) =>
    createCommand({ id: 'i', config: TEXT, body: bytes(body), close: false, ...more })
  const writes = (body: string, more: object = {}): readonly AppendRecord[] => {
    const decision = create(body, { traceparent: TRACEPARENT, ...more })(EMPTY_STATE, NOW)
    return decision.kind === 'write' ? decision.records : []
  }

  test.each([
    ['with data says so with its data', 'x', {}, [2]],
    ['without data says nothing', '', {}, []],
    ['that closes the stream says nothing', '', { close: true }, []],
  ])('%s', (_name, body, more, expected) => {
    expect(tracedOnes(writes(body, more))).toEqual(expected)
  })

  test('finds the stream that the same request made in another trace', () => {
    const state = fold(placed(writes('x')))
    const traceparent = TRACEPARENT.replace('4bf9', '5bf9')
    expect(create('x', { traceparent })(state, NOW)).toMatchObject({
      kind: 'answer',
      answer: { kind: 'exists' },
    })
  })

  test('is not refused for what it says', () => {
    const bare = create('')(EMPTY_STATE, NOW)
    const records = bare.kind === 'write' ? bare.records : []
    const used = [...records, encodeData(bytes(''), CONTEXT)].reduce(
      (sum, record) => sum + meteredBytes(record),
      64,
    )
    const most = 'x'.repeat(LOG_LIMITS.maxBatchBytes - used)
    expect(tracedOnes(writes(most))).toEqual([])
    expect(writes(most)).toHaveLength(3)
    expect(create(`${most}x`)(EMPTY_STATE, NOW)).toMatchObject({ kind: 'refuse' })
  })
})

describe('a record of a trace', () => {
  test('is shown with it', () => {
    const record = withTraceparent(encodeData(bytes('x'), CONTEXT), TRACEPARENT)
    expect(shown(record)).toEqual({
      seqNum: 7,
      timestamp: NOW,
      body: bytes('x'),
      traceparent: TRACEPARENT,
    })
  })

  test('without one has not even room for it', () => {
    expect(Object.keys(shown(encodeData(bytes('x'), CONTEXT)))).toEqual([
      'seqNum',
      'timestamp',
      'body',
    ])
  })

  test('of an S2 client is shown with it too', () => {
    const record: AppendRecord = { kind: 'data', headers: [HEADER], body: bytes('x') }
    expect(shown(record).traceparent).toBe(TRACEPARENT)
  })

  test.each(['', 'x', `${TRACEPARENT}\r\nSet-Cookie: a=b`, TRACEPARENT.toUpperCase()])(
    'that says %j is in none',
    (text) => {
      const record: AppendRecord = {
        kind: 'data',
        headers: [['traceparent', text]],
        body: bytes('x'),
      }
      expect(shown(record).traceparent).toBeUndefined()
    },
  )

  test.each([
    ['an append’s', TRACEPARENT],
    [
      'an S2 client’s of a later version, and large',
      `01${TRACEPARENT.slice(2)}-${'x'.repeat(50_000)}`,
    ],
  ])('costs no more memory than its text: %s', (_name, text) => {
    setFlagsFromString('--expose_gc')
    const collect = runInNewContext('gc') as () => void
    const heap = (): number => {
      collect()
      return process.memoryUsage().heapUsed
    }
    const [bytesOfText, body] = [Buffer.from(text), bytes('')]
    const record = (): AppendRecord => ({
      kind: 'data',
      headers: [['traceparent', bytesOfText.toString()]],
      body,
    })
    const kept = (count: number) => Array.from({ length: count }, () => shown(record()))
    kept(1000)
    const before = heap()
    const records = kept(1000)
    const each = (heap() - before) / records.length
    // Of that, 80 bytes are the text’s, and the rest what any record is.
    expect(each).toBeLessThan(300)
  })

  test('the latest one of several counts', () => {
    const record = (seqNum: number, traceparent?: string) => ({
      seqNum,
      timestamp: NOW,
      body: bytes('x'),
      ...(traceparent !== undefined && { traceparent }),
    })
    expect(latestTraceparent([])).toBeUndefined()
    expect(latestTraceparent([record(1), record(2)])).toBeUndefined()
    expect(latestTraceparent([record(1, 'a'), record(2, 'b'), record(3)])).toBe('b')
  })
})
