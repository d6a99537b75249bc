import { describe, expect, test } from 'vitest'
import { InvariantError } from '../../../src/errors.ts'
import type { AppendRecord, LogRecord } from '../../../src/log/log.ts'
import {
  decodeKeysRecord,
  encodeKeyAdded,
  encodeKeyRemoved,
  encodeKeysCheckpoint,
  encodeKeysCreated,
} from '../../../src/subscriptions/keys-codec.ts'
import { generateKey } from '../../../src/subscriptions/keys-material.ts'

const key = generateKey()
const creation = { id: 'i1', fencingToken: 'o:i1', key }
const placed = (record: AppendRecord): LogRecord => ({ ...record, seqNum: 5, timestamp: 1 })

/** A record as somebody else wrote it. */
const written = (kind: string, body: unknown): LogRecord => {
  const text = typeof body === 'string' ? body : JSON.stringify(body)
  return placed({ kind: 'data', headers: [['ds', kind]], body: Buffer.from(text) })
}

describe('decodeKeysRecord', () => {
  test.each([
    ['the creation', encodeKeysCreated(creation), { kind: 'created', ...creation }],
    [
      'a successor',
      encodeKeyAdded({ checkpoint: 1 }, { key, publishMs: 600 }),
      { kind: 'key-added', key, publishMs: 600 },
    ],
    [
      'the end of a key',
      encodeKeyRemoved({ checkpoint: 1 }, key.kid),
      { kind: 'key-removed', kid: key.kid },
    ],
    [
      'a checkpoint',
      encodeKeysCheckpoint({
        id: 'i1',
        fencingToken: 'o:i1',
        keys: [{ ...key, addedAt: 1, activeAt: 2 }],
      }),
      {
        kind: 'checkpoint',
        id: 'i1',
        fencingToken: 'o:i1',
        keys: [{ ...key, addedAt: 1, activeAt: 2 }],
      },
    ],
    ['a fence', { kind: 'fence', token: 't' }, { kind: 'fence', token: 't' }],
    ['a trim', { kind: 'trim', before: 3 }, { kind: 'other' }],
    [
      'what an S2 client wrote',
      { kind: 'data', headers: [], body: Buffer.from('hello') },
      { kind: 'other' },
    ],
  ] as const)('reads %s', (_name, record, entry) => {
    expect(decodeKeysRecord(placed(record))).toEqual(entry)
  })

  test('passes over a kind of a later version', () => {
    expect(decodeKeysRecord(written('key-frozen', 'x'))).toEqual({ kind: 'other' })
  })

  test.each([
    ['no JSON', 'created', `{"key":${JSON.stringify(key.d)}`],
    ['another version', 'created', { v: 2, ...creation }],
    ['no key', 'created', { v: 1, id: 'i1', fencingToken: 'o:i1' }],
    ['a key under another name', 'created', { v: 1, ...creation, key: { ...key, kid: 'ds_x' } }],
    ['half a secret', 'key-added', { v: 1, key: { ...key, secret: 'abc' }, publishMs: 1 }],
    ['a time below zero', 'key-added', { v: 1, key, publishMs: -1 }],
    ['no name', 'key-removed', { v: 1 }],
    ['no keys left', 'checkpoint', { v: 1, id: 'i1', fencingToken: '', keys: [] }],
  ])('stops at a record of ours with %s, and quotes none of it', (_name, kind, body) => {
    const record = written(kind, body)
    expect(() => decodeKeysRecord(record)).toThrow(
      new InvariantError(`a ${kind} record in the key log can't be read`),
    )
  })
})
