import fc from 'fast-check'
import { Map as ImmutableMap } from 'immutable'
import { describe, expect, test } from 'vitest'
import type { AppendRecord, LogRecord } from '../../../src/log/log.ts'
import {
  encodeClosed,
  encodeCreated,
  encodeData,
  encodeDeleted,
  encodeTouch,
} from '../../../src/streams/codec.ts'
import type { WriterMark } from '../../../src/streams/codec.ts'
import { existing } from '../../../src/streams/existence.ts'
import { NO_LINEAGE } from '../../../src/streams/lineage.ts'
import { EMPTY_STATE } from '../../../src/journal/state.ts'
import { STREAM_RULES, oldestProducer } from '../../../src/streams/state.ts'
import type { Incarnation, StreamState } from '../../../src/streams/state.ts'
import { NOW, TEXT, bytes, created, creation, fold, foreign, placed } from './builders.ts'

const context = { checkpoint: 1 }
const LATER = NOW + 1000
const born: Incarnation = {
  id: 'i1',
  base: 0,
  start: 2,
  dataTail: 2,
  config: TEXT,
  lastActivity: NOW,
  lastDataAt: NOW,
  aborted: [],
  voids: [],
  held: undefined,
  closed: false,
  closedBy: undefined,
  streamSeq: undefined,
  producers: ImmutableMap(),
  fork: undefined,
  lineage: NO_LINEAGE,
  retired: false,
  references: ImmutableMap(),
}
const data = (mark?: WriterMark, closes = false): AppendRecord =>
  encodeData(bytes('x'), context, mark, closes)
const claim = (id: string, seq = 0) => ({ id, epoch: 0, seq })

/** A state without what only a writer needs, in plain values. */
function plain(state: StreamState): unknown {
  const { sinceCheckpoint: _since, incarnation, ...rest } = state
  return { ...rest, incarnation: incarnation && plainly(incarnation) }
}
const plainly = ({ producers, references, ...rest }: Incarnation): object => ({
  ...rest,
  producers: producers.toObject(),
  references: references.toObject(),
})
const known = ({ producers }: Incarnation): object => producers.toObject()

const after = (records: readonly AppendRecord[]): Incarnation | undefined =>
  fold(placed(records, { from: 2, timestamp: LATER }), created()).incarnation

describe('apply', () => {
  test('begins an incarnation', () => {
    expect(plain(created())).toEqual({
      nextSeq: 2,
      timestamp: NOW,
      fencingToken: 'o:i1',
      checkpoint: 1,
      incarnation: { ...born, producers: {}, references: {} },
    })
  })

  test.each<[string, AppendRecord[], Partial<Incarnation>]>([
    ['data moves the data tail', [data()], { dataTail: 3, lastActivity: LATER, lastDataAt: LATER }],
    [
      'foreign data counts as data',
      [foreign('x')],
      { dataTail: 3, lastActivity: LATER, lastDataAt: LATER },
    ],
    ['a touch moves no offset', [encodeTouch(context)], { lastActivity: LATER }],
    ['a trim changes nothing', [{ kind: 'trim', before: 1 }], {}],
    [
      'a later kind changes nothing',
      [{ kind: 'data', headers: [['ds', 'z']], body: bytes('') }],
      {},
    ],
    [
      'a closure moves no offset',
      [encodeClosed(context, { producer: claim('p') })],
      {
        lastActivity: LATER,
        closed: true,
        closedBy: claim('p'),
        producers: ImmutableMap([['p', { epoch: 0, lastSeq: 0, activeAt: LATER }]]),
      },
    ],
    [
      'the final data closes',
      [data({}, true)],
      { dataTail: 3, lastActivity: LATER, lastDataAt: LATER, closed: true },
    ],
    [
      'foreign data after closure counts for nothing',
      [encodeClosed(context, {}), foreign('x')],
      { lastActivity: LATER, closed: true },
    ],
    [
      'a touch still renews a closed stream',
      [data({}, true), encodeTouch(context)],
      { dataTail: 3, lastActivity: LATER, lastDataAt: LATER, closed: true },
    ],
    [
      'Stream-Seq stays until a greater one comes',
      [data({ streamSeq: 'a' }), data()],
      { dataTail: 4, lastActivity: LATER, lastDataAt: LATER, streamSeq: 'a' },
    ],
  ])('%s', (_name, records, change) => {
    const incarnation = after(records)!
    const expected = { ...born, ...change }
    expect({ ...incarnation, producers: known(incarnation) }).toEqual({
      ...expected,
      producers: known(expected),
    })
  })

  test('ends an incarnation, and knows nothing of it afterwards', () => {
    const token = 'd:5'
    const records: AppendRecord[] = [
      { kind: 'fence', token },
      encodeDeleted(token),
      { kind: 'trim', before: 5 },
      foreign('written to no stream'),
    ]
    expect(plain(fold(placed(records, { from: 2 }), created()))).toEqual({
      nextSeq: 6,
      timestamp: NOW,
      fencingToken: token,
      checkpoint: 3,
      incarnation: undefined,
    })
  })

  test('takes the fence of whoever set one', () => {
    const fence = placed([{ kind: 'fence', token: 'mine' }], { from: 2 })
    expect(fold(fence, created()).fencingToken).toBe('mine')
  })

  test('forgets the producer that is silent longest when there are too many', () => {
    const { producers } = fold(
      ['a', 'b', 'c', 'a', 'd'].map((id, index): LogRecord => ({
        ...data({ producer: claim(id, index) }),
        seqNum: 2 + index,
        timestamp: NOW + index,
      })),
      created(),
    ).incarnation!
    expect(producers.toObject()).toEqual({
      a: { epoch: 0, lastSeq: 3, activeAt: NOW + 3 },
      c: { epoch: 0, lastSeq: 2, activeAt: NOW + 2 },
      d: { epoch: 0, lastSeq: 4, activeAt: NOW + 4 },
    })
  })
})

describe('oldestProducer', () => {
  test('is the first by name among equals, whatever the order', () => {
    const entry = { epoch: 0, lastSeq: 0, activeAt: NOW }
    expect(oldestProducer(ImmutableMap({ b: entry, a: entry }))?.id).toBe('a')
    expect(oldestProducer(ImmutableMap({ a: entry, b: entry }))?.id).toBe('a')
    expect(oldestProducer(ImmutableMap())).toBeUndefined()
  })
})

describe('existing', () => {
  const expiry = { kind: 'ttl', seconds: 10 } as const
  const state = created({ ...TEXT, expiry })

  test('is there until the window and what reads may have renewed are over', () => {
    // PROTOCOL §5.1: 10 s, and a tenth of it that is never written down.
    expect(existing(state, NOW + 10_999)?.id).toBe('i1')
    expect(existing(state, NOW + 11_000)).toBeUndefined()
    expect(existing(EMPTY_STATE, NOW)).toBeUndefined()
  })
})

/** Any history of one log, gateways' and S2 clients' records mixed. */
const step = fc.oneof(
  fc
    .record({ id: fc.constantFrom('a', 'b', 'c', 'd', 'e'), seq: fc.nat(3) })
    .map((producer) => data({ producer: { ...producer, epoch: 0 } })),
  fc.constantFrom<AppendRecord>(
    data(),
    data({ streamSeq: '5' }),
    foreign('z'),
    encodeTouch(context),
    { kind: 'fence', token: 'foreign' },
    { kind: 'trim', before: 0 },
    { kind: 'data', headers: [['ds', 'later']], body: bytes('') },
  ),
  { weight: 1, arbitrary: fc.constant(encodeClosed(context, { producer: claim('a') })) },
  { weight: 1, arbitrary: fc.constant(encodeDeleted('d:x')) },
  {
    weight: 1,
    arbitrary: fc.boolean().map((isPublic) => {
      const config = { ...TEXT, isPublic }
      return encodeCreated({ id: 'i2', fencingToken: 'o:i2', base: 3, config })
    }),
  },
)
const steps = fc.array(fc.tuple(step, fc.nat(5)), { maxLength: 40 })
const history = fc.tuple(fc.boolean(), steps).map(([isPublic, steps]) => {
  let timestamp = NOW
  const begun = creation({ ...TEXT, isPublic })
  return [...begun, ...steps.map(([record]) => record)].map((record, seqNum): LogRecord => {
    timestamp += steps[seqNum - 2]?.[1] ?? 0
    return { ...record, seqNum, timestamp }
  })
})

describe('a state', () => {
  test('is the same from a checkpoint as from the start', () => {
    fc.assert(
      fc.property(history, fc.nat(40), (records, cut) => {
        const head = records.slice(0, Math.min(cut, records.length))
        const checkpoint: LogRecord = {
          ...STREAM_RULES.checkpoint(fold(head)),
          seqNum: head.length,
          timestamp: head.at(-1)?.timestamp ?? NOW,
        }
        const tail = records.slice(head.length).map((record) => {
          return { ...record, seqNum: record.seqNum + 1 }
        })
        const fromCheckpoint = { ...EMPTY_STATE, nextSeq: checkpoint.seqNum }
        expect(plain(fold([checkpoint, ...tail], fromCheckpoint))).toEqual(
          plain(fold([...head, checkpoint, ...tail])),
        )
      }),
    )
  })

  test('is not changed by its checkpoint, but for its place', () => {
    fc.assert(
      fc.property(history, (records) => {
        const state = fold(records)
        const [checkpoint] = placed([STREAM_RULES.checkpoint(state)], { from: state.nextSeq })
        const place = { nextSeq: 0, timestamp: 0, checkpoint: 0 }
        expect({ ...(plain(STREAM_RULES.apply(state, checkpoint!)) as object), ...place }).toEqual({
          ...(plain(state) as object),
          ...place,
        })
      }),
    )
  })

  test('never remembers more producers than it may', () => {
    fc.assert(
      fc.property(history, (records) => {
        const { incarnation } = fold(records)
        expect(incarnation?.producers.size ?? 0).toBeLessThanOrEqual(TEXT.maxProducers)
      }),
    )
  })
})
