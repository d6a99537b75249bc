import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { InvariantError } from '../../../src/errors.ts'
import { LOG_LIMITS, meteredBytes } from '../../../src/log/log.ts'
import type { AppendRecord, RecordHeader } from '../../../src/log/log.ts'
import type { Creation, Snapshot } from '../../../src/streams/bodies.ts'
import { withOperationId } from '../../../src/journal/envelope.ts'
import {
  decodeRecord,
  encodeCheckpoint,
  encodeClosed,
  encodeCreated,
  encodeData,
  encodeDeleted,
  encodeTouch,
  toDataRecord,
} from '../../../src/streams/codec.ts'
import type { Entry } from '../../../src/streams/codec.ts'
import { NOW, bytes, text } from './builders.ts'

const context = { checkpoint: 1 }
const claim = { id: 'a:b "c" é', epoch: 2, seq: Number.MAX_SAFE_INTEGER }
const creation: Creation = {
  id: 'i1',
  fencingToken: 'o:i1',
  base: 7,
  config: {
    contentType: 'text/plain; charset="é"',
    expiry: { kind: 'at', at: NOW, text: '2023-11-14T22:13:20Z' },
    maxProducers: 5,
    isPublic: true,
  },
}
const { fencingToken: _token, ...identity } = creation
const snapshot: Snapshot = {
  fencingToken: 'someone-elses',
  lock: { id: 'g-7', owner: 'g', begin: 14, openToken: 'o:i1' },
  stream: {
    ...identity,
    config: { ...creation.config, expiry: { kind: 'ttl', seconds: 60 } },
    start: 9,
    dataTail: 12,
    lastActivity: NOW + 2,
    lastDataAt: NOW + 1,
    aborted: [[9, 11]],
    voids: [9],
    held: { end: 15, at: NOW + 3 },
    closed: true,
    closedBy: claim,
    streamSeq: 'é\u0001',
    retired: true,
    references: { f1: { name: 'a fork/é', since: NOW } },
    producers: [
      [claim.id, 2, Number.MAX_SAFE_INTEGER, NOW],
      ['p', 0, 0, NOW + 1],
    ],
  },
}
const placed = (record: AppendRecord) => ({ ...record, seqNum: 20, timestamp: NOW })
const raw = (headers: RecordHeader[], body = ''): AppendRecord => ({
  kind: 'data',
  headers,
  body: bytes(body),
})
const data = { kind: 'data', body: bytes('x'), closes: false, foreign: false } as const

describe('a checkpoint', () => {
  test('of a gateway that knew no forks has none', () => {
    const { fork: _fork, ...rest } = snapshot.stream!
    const record = encodeCheckpoint({ ...snapshot, stream: { ...rest, producers: [] } })
    const body = JSON.parse(text(record.kind === 'data' ? record.body : bytes(''))) as {
      stream: { retired?: boolean; references?: object }
    }
    delete body.stream.retired
    delete body.stream.references
    const entry = decodeRecord(placed(raw([['ds', 'checkpoint']], JSON.stringify(body))))
    expect(entry).toMatchObject({ snapshot: { stream: { retired: false, references: {} } } })
  })
})

/** As gateways wrote them that knew no public streams, of a stream that has one producer. */
const OLD_CREATION =
  '{"v":1,"id":"i1","fencingToken":"o:i1","base":7,' +
  '"contentType":"text/plain","expiry":{"kind":"ttl","seconds":60},"maxProducers":3}'
const OLD_CHECKPOINT =
  '{"v":1,"fencingToken":"o:i1","stream":{"id":"i1","base":7,"start":9,"dataTail":12,' +
  '"lastActivity":1700000000002,"lastDataAt":1700000000001,"aborted":[],"voids":[],' +
  '"closed":false,"streamSeq":"5","retired":false,"references":{},' +
  '"contentType":"text/plain","expiry":{"kind":"ttl","seconds":60},"maxProducers":3}}' +
  '\n0:4:1700000000000:p'

describe('the flag of a public stream', () => {
  const config = {
    contentType: 'text/plain',
    expiry: { kind: 'ttl', seconds: 60 },
    maxProducers: 3,
    isPublic: false,
  } as const

  test('is not set by records from before there were any', () => {
    expect(decodeRecord(placed(raw([['ds', 'created']], OLD_CREATION)))).toEqual({
      kind: 'created',
      creation: { id: 'i1', fencingToken: 'o:i1', base: 7, config },
    })
    expect(decodeRecord(placed(raw([['ds', 'checkpoint']], OLD_CHECKPOINT)))).toMatchObject({
      kind: 'checkpoint',
      snapshot: { stream: { id: 'i1', config, producers: [['p', 0, 4, 1_700_000_000_000]] } },
    })
  })

  test.each([
    ['creation', 'created', OLD_CREATION],
    ['checkpoint', 'checkpoint', OLD_CHECKPOINT],
  ])('leaves the %s of a private one as it was before', (_name, kind, old) => {
    const entry = decodeRecord(placed(raw([['ds', kind]], old)))
    const written =
      entry.kind === 'created'
        ? encodeCreated(entry.creation)
        : encodeCheckpoint((entry as Entry & { kind: 'checkpoint' }).snapshot)
    expect(fields(text(bodyOf(written)))).toEqual(fields(old))
  })

  test.each([
    ['text', forged({ isPublic: 'true' })],
    ['null', forged({ isPublic: null })],
  ])('is a boolean: refuses %s', (_name, record) => {
    expect(() => decodeRecord(placed(record))).toThrow(InvariantError)
  })

  test('comes back from creations and checkpoints as it was', () => {
    fc.assert(
      fc.property(fc.boolean(), fc.nat(), (isPublic, base) => {
        const mine = { ...creation, base, config: { ...creation.config, isPublic } }
        const shot = { ...snapshot, stream: { ...snapshot.stream!, base, config: mine.config } }
        expect(decodeRecord(placed(encodeCreated(mine)))).toEqual({
          kind: 'created',
          creation: mine,
        })
        expect(decodeRecord(placed(encodeCheckpoint(shot)))).toEqual({
          kind: 'checkpoint',
          snapshot: shot,
        })
      }),
    )
  })
})

describe('decodeRecord', () => {
  test.each<[string, AppendRecord, Entry]>([
    ['data', encodeData(bytes('x'), context), { ...data, mark: {} }],
    [
      'data with a claim and a Stream-Seq',
      encodeData(bytes('x'), context, { producer: claim, streamSeq: 'é' }),
      { ...data, mark: { producer: claim, streamSeq: 'é' } },
    ],
    [
      'data with a claim and no checkpoint to name',
      encodeData(bytes('x'), { checkpoint: undefined }, { producer: claim }),
      { ...data, mark: { producer: claim } },
    ],
    [
      'the last data',
      encodeData(bytes('x'), context, { streamSeq: '9' }, true),
      { ...data, mark: { streamSeq: '9' }, closes: true },
    ],
    [
      'a closure',
      encodeClosed(context, { producer: claim }),
      { kind: 'closed', mark: { producer: claim } },
    ],
    ['a touch', encodeTouch(context), { kind: 'touch' }],
    ['a creation', encodeCreated(creation), { kind: 'created', creation }],
    ['a tombstone', encodeDeleted('d:9'), { kind: 'deleted', fencingToken: 'd:9' }],
    ['a checkpoint', encodeCheckpoint(snapshot), { kind: 'checkpoint', snapshot }],
    [
      'a checkpoint without a stream',
      encodeCheckpoint({ fencingToken: 'd:9' }),
      { kind: 'checkpoint', snapshot: { fencingToken: 'd:9' } },
    ],
    ['a fence', { kind: 'fence', token: 't' }, { kind: 'fence', token: 't' }],
    ['a trim', { kind: 'trim', before: 3 }, { kind: 'trim', before: 3 }],
    ['a kind of a later version', raw([['ds', 'merged']]), { kind: 'unknown' }],
    [
      'what an S2 client wrote, whatever its headers',
      raw([['x', 'y'], ['ds', 'closed'], ['producer', '1:1:p']], 'x'), // prettier-ignore
      { ...data, mark: {}, foreign: true },
    ],
    ['data that calls itself a piece and says not which', raw([['ds', 'data'], ['piece', 'two']], 'x'), { ...data, mark: {} }], // prettier-ignore
    ['a piece of more than any append has', raw([['ds', 'data'], ['piece', '1/99999']], 'x'), { ...data, mark: {} }], // prettier-ignore
    ['a piece after the last', raw([['ds', 'part'], ['piece', '3/2']], 'x'), { kind: 'part', body: bytes('x') }], // prettier-ignore
    ['a piece before the first', raw([['ds', 'part'], ['piece', '0/2']], 'x'), { kind: 'part', body: bytes('x') }], // prettier-ignore
    ['a foreign record without headers', raw([], 'x'), { ...data, mark: {}, foreign: true }],
  ])('reads %s', (_name, record, entry) => {
    expect(decodeRecord(placed(record))).toEqual(entry)
    // The operation id is no part of the meaning.
    expect(decodeRecord(placed(withOperationId(record, 'op-1')))).toEqual(entry)
  })

  test.each([
    ['a creation that is no JSON', raw([['ds', 'created']], 'garbage')],
    ['a creation of another version', raw([['ds', 'created']], '{"v":2}')],
    ['a tombstone without a token', raw([['ds', 'deleted']], '{"v":1}')],
    ['a checkpoint that is not UTF-8', { ...raw([['ds', 'checkpoint']]), body: Buffer.of(0xff) }],
    [
      'a checkpoint with a broken producer',
      {
        ...encodeCheckpoint(snapshot),
        body: Buffer.concat([bodyOf(encodeCheckpoint(snapshot)), bytes('\n1:x:2:p')]),
      },
    ],
    // What they say is sent in headers.
    ['a content type that ends its header', forged({ contentType: 'text/plain\r\nx: y' })],
    [
      'a content type that does so as latin1',
      forged({ contentType: 'text/plain\u010d\u010ax: y' }),
    ],
    ['a content type that is none', forged({ contentType: 'text' })],
    ['an id that ends its header', forged({ id: 'i1"\r\nx: y' })],
    ['an id that ends its ETag', forged({ id: 'i1"' })],
    [
      'an expiry that is no time',
      forged({ expiry: { kind: 'at', at: NOW, text: 'soon\r\nx: y' } }),
    ],
    ['a checkpoint with such a content type', checkpointOf({ contentType: 'text/plain\r\nx: y' })],
    ['a broken claim', raw([['ds', 'data'], ['producer', '1:p']])], // prettier-ignore
  ])('refuses %s', (_name, record) => {
    expect(() => decodeRecord(placed(record))).toThrow(InvariantError)
  })

  test('fits the most and longest producers into one record', () => {
    const longest = (n: number): string => String(n).padStart(4, '0') + '"\\'.repeat(126)
    const most = Array.from({ length: 3000 }, (_, n) => {
      const largest = Number.MAX_SAFE_INTEGER
      return [longest(n), largest, largest, NOW] as const
    })
    const full = { ...snapshot, stream: { ...snapshot.stream!, producers: most } }
    const record = encodeCheckpoint(full)
    expect(meteredBytes(record)).toBeLessThan(LOG_LIMITS.maxBatchBytes)
    expect(decodeRecord(placed(record))).toEqual({ kind: 'checkpoint', snapshot: full })
  })
})

describe('toDataRecord', () => {
  const shown = (record: AppendRecord, contentType: string): string => {
    const entry = decodeRecord(placed(record))
    if (entry.kind !== 'data') throw new Error('not data')
    return text(toDataRecord(placed(record), entry, contentType).body)
  }

  test.each([
    ['ours as it is', encodeData(bytes(' {"a": 1} '), context), 'application/json', ' {"a": 1} '],
    ['foreign JSON as it is', raw([], '{"a": 1}'), 'application/json', '{"a": 1}'],
    ['foreign text as a JSON string', raw([], 'no "json"'), 'application/json', '"no \\"json\\""'],
    ['foreign bytes as they are elsewhere', raw([], 'no json'), 'text/plain', 'no json'],
  ])('shows %s', (_name, record, contentType, body) => {
    expect(shown(record, contentType)).toBe(body)
  })
})

/** What a record's JSON has, in whatever order, and the lines behind it. */
function fields(body: string): unknown[] {
  const [head = '', ...lines] = body.split('\n')
  return [JSON.parse(head), ...lines]
}

/** A creation as no gateway writes it. */
function forged(fields: object): AppendRecord {
  const flat = JSON.parse(text(bodyOf(encodeCreated(creation)))) as object
  return raw([['ds', 'created']], JSON.stringify({ ...flat, ...fields }))
}

function checkpointOf(config: Partial<Creation['config']>): AppendRecord {
  const stream = { ...snapshot.stream!, config: { ...creation.config, ...config } }
  return encodeCheckpoint({ ...snapshot, stream })
}

function bodyOf(record: AppendRecord): Uint8Array {
  if (record.kind !== 'data') throw new Error('a command has no body')
  return record.body
}
