import { describe, expect, test } from 'vitest'
import {
  ForkSourceError,
  StreamConflictError,
  StreamGoneError,
  StreamNotFoundError,
  StreamRetainedError,
} from '../../../src/errors.ts'
import { LOG_LIMITS, meteredBytes } from '../../../src/log/log.ts'
import { buryUnseenCommand, createCommand, deleteCommand } from '../../../src/streams/create.ts'
import type { NewStream } from '../../../src/streams/create.ts'
import { absence, existing, retained } from '../../../src/streams/existence.ts'
import { forkAt, NO_LINEAGE } from '../../../src/streams/lineage.ts'
import {
  addReferenceCommand,
  barCommand,
  removeReferenceCommand,
} from '../../../src/streams/reference.ts'
import { EMPTY_STATE, huskState } from '../../../src/journal/state.ts'
import { STREAM_RULES } from '../../../src/streams/state.ts'
import type { StreamState } from '../../../src/streams/state.ts'
import { NOW, TEXT, after, bytes, created, heard } from './builders.ts'

const reference = (id = 'f1', name = 'fork') => ({ id, name, source: 'i1' })
const add = (id?: string, name?: string) => addReferenceCommand(reference(id, name))
const referenced = after(created(), [add()])
const retiredState = after(referenced, [deleteCommand])
const expiring = { ...TEXT, expiry: { kind: 'ttl', seconds: 10 } } as const
const LATE = NOW + 60_000
const nothing = { kind: 'answer', answer: undefined }

describe('addReferenceCommand', () => {
  test('keeps the source for the fork, once', () => {
    expect(referenced.incarnation?.references.toObject()).toEqual({
      f1: { name: 'fork', since: NOW },
    })
    expect(add()(referenced, NOW)).toEqual(nothing)
  })

  test.each<[string, StreamState, string]>([
    ['that does not exist', EMPTY_STATE, 'fork_source_not_found'],
    [
      'that is another one by now',
      after(huskState(9), [create({ id: 'x' })]),
      'fork_source_not_found',
    ],
    ['that is kept for others', retiredState, 'fork_source_gone'],
  ])('refuses a source %s', (_name, state, code) => {
    const error = heard(add('f2')(state, NOW))
    expect(error).toBeInstanceOf(ForkSourceError)
    expect(error).toMatchObject({ code })
  })

  test('refuses more than fit in a checkpoint with the most producers', () => {
    let state = created()
    for (let n = 0; ; n += 1) {
      const decision = add(`incarnation-${n}`, '"'.repeat(512))(state, NOW)
      if (decision.kind === 'refuse') {
        expect(decision.error).toMatchObject({ code: 'too_many_forks' })
        break
      }
      state = after(state, [add(`incarnation-${n}`, '"'.repeat(512))])
    }
    const bytesOf = meteredBytes(STREAM_RULES.checkpoint(state))
    // 3,000 lines of producers, 16 KiB of lineage, and 200 ranges of aborted groups, all empty.
    expect(bytesOf + 3000 * 305 + 16 * 1024 + 200 * (36 + 17)).toBeLessThan(
      LOG_LIMITS.maxBatchBytes - 4096,
    )
  })
})

function create(more: Partial<NewStream> = {}) {
  return createCommand({ id: 'i2', config: TEXT, body: bytes(''), close: false, ...more })
}

describe('removeReferenceCommand', () => {
  test('gives it up, once', () => {
    const free = after(referenced, [removeReferenceCommand('f1')])
    expect(free.incarnation?.references.size).toBe(0)
    expect(removeReferenceCommand('f1')(free, NOW)).toEqual(nothing)
  })
})

describe('barCommand', () => {
  test('finds the fork, or moves the log on', () => {
    expect(barCommand('i1')(created(), NOW)).toEqual({ kind: 'answer', answer: true })
    const barred = after(EMPTY_STATE, [barCommand('f1')])
    expect(barred).toMatchObject({ nextSeq: 1, incarnation: undefined })
  })
})

describe('a stream with forks', () => {
  test('is retired by a deletion, and buried without them', () => {
    expect(existing(retiredState, NOW)).toBeUndefined()
    expect(retained(retiredState, NOW)?.id).toBe('i1')
    expect(absence(retiredState, NOW)).toEqual(new StreamGoneError())
    expect(heard(deleteCommand(retiredState, NOW))).toEqual(new StreamGoneError())
    expect(heard(create()(retiredState, NOW))).toEqual(new StreamRetainedError())
    expect(buryUnseenCommand(retiredState, NOW)).toEqual(nothing)
    const free = after(retiredState, [removeReferenceCommand('f1')])
    expect(absence(free, NOW)).toEqual(new StreamNotFoundError())
    expect(buryUnseenCommand(free, NOW)).toMatchObject({ kind: 'write', alone: true })
  })

  test('is kept when it expires', () => {
    const state = after(created(expiring), [add()])
    expect(retained(state, NOW)).toBeUndefined()
    expect(retained(state, LATE)?.id).toBe('i1')
    expect(buryUnseenCommand(state, LATE)).toEqual(nothing)
    expect(heard(create()(state, LATE))).toEqual(new StreamRetainedError())
  })
})

describe('createCommand of a fork', () => {
  const lineage = forkAt(
    { name: 's', incarnation: 'i1', lineage: NO_LINEAGE, base: 0, start: 2, aborted: [] },
    5,
  )
  const origin = { source: 's', offset: '0_5', subOffset: 0, inheritsExpiry: true, lineage }
  const fork = { origin, prefix: undefined, expectedSeq: 0 }

  test('begins with the cut-off part of a message, then its body', () => {
    const request = { fork: { ...fork, prefix: bytes('ab') }, body: bytes('cd') }
    const state = after(EMPTY_STATE, [create(request)])
    expect(state).toMatchObject({
      nextSeq: 4,
      incarnation: { start: 2, dataTail: 4, fork: origin },
    })
    expect(heard(create(request)(EMPTY_STATE, NOW))).toMatchObject({ kind: 'created', depth: 1 })
  })

  test('starts over when the log has moved', () => {
    expect(create({ fork })(huskState(3), NOW)).toEqual({
      kind: 'answer',
      answer: { kind: 'moved' },
    })
  })

  test.each([
    ['source', { ...origin, source: 'x' }],
    ['offset', { ...origin, offset: undefined }],
    ['sub-offset', { ...origin, subOffset: 1 }],
  ])('is another one with another %s', (_name, other) => {
    const state = after(EMPTY_STATE, [create({ fork })])
    expect(heard(create({ fork })(state, NOW))).toMatchObject({ kind: 'exists', depth: 1 })
    const error = heard(create({ fork: { ...fork, origin: other } })(state, NOW))
    expect(error).toEqual(new StreamConflictError('fork origin'))
  })

  test('that ends names the reference to give up', () => {
    const state = after(EMPTY_STATE, [create({ fork })])
    expect(heard(deleteCommand(state, NOW))).toEqual({ source: 's', id: 'i2' })
    const expired = after(EMPTY_STATE, [create({ fork, config: expiring })])
    expect(heard(create({ id: 'i3' })(expired, LATE))).toMatchObject({
      kind: 'created',
      released: { source: 's', id: 'i2' },
    })
  })
})
