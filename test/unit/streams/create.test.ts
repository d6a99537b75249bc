import { describe, expect, test } from 'vitest'
import { StreamConflictError, StreamNotFoundError } from '../../../src/errors.ts'
import type { StreamConfig } from '../../../src/streams/bodies.ts'
import {
  encodeClosed,
  encodeCreated,
  encodeData,
  encodeDeleted,
} from '../../../src/streams/codec.ts'
import { buryUnseenCommand, createCommand, deleteCommand } from '../../../src/streams/create.ts'
import type { NewStream } from '../../../src/streams/create.ts'
import { EMPTY_STATE, huskState } from '../../../src/journal/state.ts'
import type { StreamState } from '../../../src/streams/state.ts'
import { JSON_MODE, NOW, TEXT, after, bytes, created, heard } from './builders.ts'

const wanted = (more: Partial<NewStream> = {}): NewStream => {
  return { id: 'i2', config: TEXT, body: bytes(''), close: false, ...more }
}
const create = (request: NewStream, state: StreamState, now = NOW) =>
  createCommand(request)(state, now)
const fence = { kind: 'fence', token: 'o:i2' } as const
const birth = (base: number, config: StreamConfig = TEXT) =>
  encodeCreated({ id: 'i2', fencingToken: 'o:i2', base, config })

describe('createCommand', () => {
  test('begins an empty stream', () => {
    expect(create(wanted(), EMPTY_STATE)).toEqual({
      kind: 'write',
      records: [fence, birth(0)],
      answer: {
        kind: 'created',
        incarnation: 'i2',
        contentType: 'text/plain',
        dataTail: 2,
        depth: 0,
        closed: false,
        isPublic: false,
        hasData: false,
      },
    })
  })

  test('begins behind what a deletion has left', () => {
    expect(create(wanted(), huskState(40))).toEqual({
      kind: 'write',
      records: [fence, birth(40)],
      answer: {
        kind: 'created',
        incarnation: 'i2',
        contentType: 'text/plain',
        dataTail: 42,
        depth: 0,
        closed: false,
        isPublic: false,
        hasData: false,
      },
    })
  })

  test('stores the first content, and closes with its last message', () => {
    const request = wanted({ config: JSON_MODE, body: bytes('[1,2]'), close: true })
    expect(create(request, EMPTY_STATE)).toEqual({
      kind: 'write',
      records: [
        fence,
        birth(0, JSON_MODE),
        encodeData(bytes('1'), { checkpoint: 1 }),
        encodeData(bytes('2'), { checkpoint: 1 }, {}, true),
      ],
      answer: {
        kind: 'created',
        incarnation: 'i2',
        contentType: 'application/json',
        dataTail: 4,
        depth: 0,
        closed: true,
        isPublic: false,
        hasData: true,
      },
    })
  })

  test.each([
    ['no body', wanted({ close: true })],
    ['an empty JSON array', wanted({ config: JSON_MODE, body: bytes('[]'), close: true })],
  ])('closes an empty stream with %s', (_name, request) => {
    expect(create(request, EMPTY_STATE)).toMatchObject({
      records: [fence, birth(0, request.config), encodeClosed({ checkpoint: 1 }, {})],
      answer: { dataTail: 2, closed: true, hasData: false },
    })
  })

  test('replaces an expired stream, none of whose offsets is in the new one', () => {
    const expiry = { kind: 'at', at: NOW, text: '2023-11-14T22:13:20Z' } as const
    const expired = created({ ...TEXT, expiry })
    expect(expired.incarnation?.dataTail).toBe(2)
    expect(create(wanted(), expired)).toEqual({
      kind: 'write',
      records: [{ kind: 'trim', before: 2 }, fence, birth(3)],
      answer: {
        kind: 'created',
        incarnation: 'i2',
        contentType: 'text/plain',
        dataTail: 5,
        depth: 0,
        closed: false,
        isPublic: false,
        hasData: false,
      },
    })
  })

  const closed = after(EMPTY_STATE, [createCommand(wanted({ close: true }))])
  const ttl = after(EMPTY_STATE, [
    createCommand(wanted({ config: { ...TEXT, expiry: { kind: 'ttl', seconds: 60 } } })),
  ])
  const at = (text: string) =>
    wanted({ config: { ...TEXT, expiry: { kind: 'at', at: NOW + 5, text } } })

  const isPublic = { ...TEXT, isPublic: true }

  // PROTOCOL §5.1: content type, TTL or expiry, and closure status are compared; with us who may read, too.
  test.each<[string, NewStream, StreamState, unknown]>([
    [
      'the same',
      wanted({ config: { ...TEXT, contentType: 'TEXT/plain;charset=utf-8' } }),
      created(),
      {
        kind: 'exists',
        incarnation: 'i1',
        contentType: 'text/plain',
        dataTail: 2,
        depth: 0,
        closed: false,
        isPublic: false,
        hasData: false,
      },
    ],
    [
      'the same with a body, which is not appended again',
      wanted({ body: bytes('x') }),
      created(),
      {
        kind: 'exists',
        incarnation: 'i1',
        contentType: 'text/plain',
        dataTail: 2,
        depth: 0,
        closed: false,
        isPublic: false,
        hasData: false,
      },
    ],
    [
      'the same closed one',
      wanted({ close: true }),
      closed,
      {
        kind: 'exists',
        incarnation: 'i2',
        contentType: 'text/plain',
        dataTail: 2,
        depth: 0,
        closed: true,
        isPublic: false,
        hasData: false,
      },
    ],
    [
      'the same instant in other words',
      at('2023-11-14T22:13:20.005Z'),
      after(EMPTY_STATE, [createCommand(at('2023-11-14t22:13:20.0050z'))]),
      {
        kind: 'exists',
        incarnation: 'i2',
        contentType: 'text/plain',
        dataTail: 2,
        depth: 0,
        closed: false,
        isPublic: false,
        hasData: false,
      },
    ],
    [
      'another content type',
      wanted({ config: JSON_MODE }),
      created(),
      new StreamConflictError('content type'),
    ],
    [
      'the same public one',
      wanted({ config: isPublic }),
      created(isPublic),
      {
        kind: 'exists',
        incarnation: 'i1',
        contentType: 'text/plain',
        dataTail: 2,
        depth: 0,
        closed: false,
        isPublic: true,
        hasData: false,
      },
    ],
    [
      'a private one',
      wanted({ config: isPublic }),
      created(),
      new StreamConflictError('visibility'),
    ],
    ['a public one', wanted(), created(isPublic), new StreamConflictError('visibility')],
    ['another TTL', wanted(), ttl, new StreamConflictError('TTL or expiry')],
    ['an open one', wanted({ close: true }), created(), new StreamConflictError('closure status')],
    ['a closed one', wanted(), closed, new StreamConflictError('closure status')],
  ])('finds %s', (_name, request, state, answer) => {
    expect(heard(create(request, state))).toEqual(answer)
  })
})

test('A public stream is one from its creation on, whatever comes', () => {
  const begun = after(EMPTY_STATE, [
    createCommand(wanted({ config: { ...TEXT, isPublic: true }, body: bytes('x') })),
  ])
  expect(begun.incarnation?.config.isPublic).toBe(true)
  const anew = after(begun, [deleteCommand, createCommand(wanted())])
  expect(anew.incarnation?.config.isPublic).toBe(false)
})

describe('deleteCommand', () => {
  test('writes a tombstone under a token of its own and trims everything, itself too', () => {
    expect(deleteCommand(created(), NOW)).toEqual({
      kind: 'write',
      records: [{ kind: 'fence', token: 'd:5' }, encodeDeleted('d:5'), { kind: 'trim', before: 5 }],
      answer: undefined,
      alone: true,
    })
  })

  test('leaves what a gateway that finds nothing takes for granted', () => {
    const { fencingToken, nextSeq } = after(created(), [deleteCommand])
    expect({ fencingToken, nextSeq }).toEqual({
      fencingToken: huskState(5).fencingToken,
      nextSeq: 5,
    })
  })

  test.each([
    ['nothing', EMPTY_STATE],
    ['a deleted stream', after(created(), [deleteCommand])],
    ['an expired stream', created({ ...TEXT, expiry: { kind: 'ttl', seconds: 0 } })],
  ])('finds no stream where there is %s', (_name, state) => {
    expect(heard(deleteCommand(state, NOW))).toEqual(new StreamNotFoundError())
  })
})

describe('buryUnseenCommand', () => {
  test('buries what has expired, and nothing else', () => {
    const expired = created({ ...TEXT, expiry: { kind: 'ttl', seconds: 0 } })
    expect(buryUnseenCommand(expired, NOW)).toMatchObject({ kind: 'write', alone: true })
    const nothing = { kind: 'answer', answer: undefined }
    expect(buryUnseenCommand(created(), NOW)).toEqual(nothing)
    expect(buryUnseenCommand(EMPTY_STATE, NOW)).toEqual(nothing)
  })
})
