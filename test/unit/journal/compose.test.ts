import { describe, expect, test } from 'vitest'
import { InvariantError, RequestError, StreamClosedError } from '../../../src/errors.ts'
import { LOG_LIMITS, checkBatch, meteredBytes } from '../../../src/log/log.ts'
import type { AppendRecord } from '../../../src/log/log.ts'
import { formatOffset } from '../../../src/protocol/offset.ts'
import { readOperationId } from '../../../src/journal/envelope.ts'
import { decodeRecord, encodeData } from '../../../src/streams/codec.ts'
import type { Command } from '../../../src/journal/command.ts'
import { composed } from './composed.ts'
import type { Composed } from './composed.ts'
import { createCommand, deleteCommand } from '../../../src/streams/create.ts'
import { EMPTY_STATE } from '../../../src/journal/state.ts'
import { STREAM_RULES, snapshot } from '../../../src/streams/state.ts'
import type { Incarnation } from '../../../src/streams/state.ts'
import { JSON_MODE, NOW, TEXT, bytes, created, fold, foreign, placed } from '../streams/builders.ts'
import { due, holding, run, say } from './stream-journal.ts'

const kinds = ({ batches: [batch] }: Composed<Incarnation>): string[] =>
  (batch?.records ?? []).map((record) => decodeRecord(placed([record])[0]!).kind)
const outcomes = ({ decisions }: Composed<Incarnation>): string[] =>
  decisions.map(({ kind }) => kind)

describe('compose', () => {
  test('makes one conditional batch of the commands that wait, in their order', () => {
    const {
      batches: [batch],
      decisions,
    } = run([say('a'), say('b')])
    expect(batch).toEqual({
      records: [
        {
          ...encodeData(bytes('a'), { checkpoint: 1 }),
          headers: [['ds', 'data'], ['cp', '1'], ['op', 'g-1']], // prettier-ignore
        },
        encodeData(bytes('b'), { checkpoint: 1 }),
      ],
      matchSeqNum: 2,
      fencingToken: 'o:i1',
      operation: 'g-1',
    })
    expect(decisions.map((decision) => 'answer' in decision && decision.answer)).toEqual([
      { kind: 'appended', dataTail: 3, depth: 0, closed: false, producer: undefined },
      { kind: 'appended', dataTail: 4, depth: 0, closed: false, producer: undefined },
    ])
  })

  test('takes no operation id that is longer than what is kept free for it', () => {
    const withId = (operation: string) => () =>
      composed(STREAM_RULES, created(), [say('a')], { now: NOW, operation, owner: 'g' })
    expect(withId('x'.repeat(60))).not.toThrow()
    expect(withId('x'.repeat(61))).toThrow(InvariantError)
  })

  test('judges each command by what those before it will leave', () => {
    const claim = (seq: number) => say('x', { producer: { id: 'p', epoch: 0, seq } })
    const composition = run([claim(0), claim(1), claim(1), say('end', { close: true }), say('y')])
    expect(outcomes(composition)).toEqual(['write', 'write', 'answer', 'write', 'refuse'])
    expect(composition.decisions[4]).toEqual({
      kind: 'refuse',
      error: new StreamClosedError(formatOffset({ depth: 0, seqNum: 5 })),
    })
    expect(composition.batches[0]?.records).toHaveLength(3)
  })

  test('makes no batch when nobody writes', () => {
    expect(run([deleteCommand, say('x')], EMPTY_STATE)).toMatchObject({
      batches: [],
      decisions: [{ kind: 'refuse' }, { kind: 'refuse' }],
    })
    expect(run([])).toMatchObject({ batches: [], decisions: [] })
  })

  test('marks the first record that is no command', () => {
    const born = run(
      [createCommand({ id: 'i', config: TEXT, body: bytes(''), close: false })],
      EMPTY_STATE,
    )
    expect(placed(born.batches[0]!.records).map(readOperationId)).toEqual([undefined, 'g-1'])
    const buried = run([deleteCommand])
    expect(placed(buried.batches[0]!.records).map(readOperationId)).toEqual([
      undefined,
      'g-1',
      undefined,
    ])
  })

  test('gives a deletion a batch of its own', () => {
    expect(kinds(run([deleteCommand, say('x')]))).toEqual(['fence', 'deleted', 'trim'])
    const behind = run([say('x'), deleteCommand, say('y')])
    expect([kinds(behind), outcomes(behind)]).toEqual([['data'], ['write']])
    const answered = run([say('x', { contentType: 'a/b' }), deleteCommand])
    expect(outcomes(answered)).toEqual(['refuse', 'write'])
  })

  test('refuses a command that breaks, and no other', () => {
    const bug: Command<Incarnation, unknown> = () => {
      throw new InvariantError('a bug')
    }
    const broken: Command<Incarnation, unknown> = () => {
      const record: AppendRecord = { kind: 'data', headers: [['ds', 'created']], body: bytes('?') }
      return {
        kind: 'write',
        records: [encodeData(bytes('lost'), { checkpoint: 1 }), record],
        answer: 0,
      }
    }
    const json = say('{', { contentType: 'application/json' })
    const composition = run(
      [bug, broken, json, say('1', { contentType: 'application/json' })],
      created(JSON_MODE),
    )
    expect(outcomes(composition)).toEqual(['refuse', 'refuse', 'refuse', 'write'])
    expect(composition.decisions[0]).toEqual({ kind: 'refuse', error: new InvariantError('a bug') })
    expect(kinds(composition)).toEqual(['data'])
  })

  test('holds no more records than one batch may', () => {
    const composition = run(Array.from({ length: 1001 }, () => say('x')))
    expect(composition.decisions).toHaveLength(1000)
    checkBatch(composition.batches[0]!)
  })

  test('holds no more bytes than one batch may, the operation id among them', () => {
    const command = say('x'.repeat(2000))
    const composition = run(Array.from({ length: 1000 }, () => command))
    checkBatch(composition.batches[0]!)
    const one = meteredBytes(encodeData(bytes('x'.repeat(2000)), { checkpoint: 1 }))
    expect(composition.decisions).toHaveLength(Math.floor((LOG_LIMITS.maxBatchBytes - 64) / one))
  })

  test('lets what does not fit wait, and goes no further', () => {
    const large = say('x'.repeat(600 * 1024))
    expect(outcomes(run([large, large, say('small')]))).toEqual(['write'])
  })

  test('refuses what fits in no batch, and goes on', () => {
    const json = (count: number) =>
      say(`[${Array.from({ length: count }, () => '1').join(',')}]`, {
        contentType: 'application/json',
      })
    const tooMany = createCommand({
      id: 'i',
      config: JSON_MODE,
      body: bytes(`[${'1,'.repeat(998)}1]`),
      close: false,
    })
    expect(run([tooMany], EMPTY_STATE).decisions).toEqual([
      {
        kind: 'refuse',
        error: new RequestError(
          'too_many_messages',
          'a new stream has room for one batch: create it first, then append',
        ),
      },
    ])
    expect(outcomes(run([json(1000)], created(JSON_MODE)))).toEqual(['write'])
    const huge: Command<Incarnation, unknown> = () => ({
      kind: 'write',
      records: [encodeData(bytes('x'.repeat(1024 * 1024)), { checkpoint: 1 })],
      answer: 0,
    })
    expect(run([huge, say('y')])).toMatchObject({
      batches: [{ records: [{ body: bytes('y') }] }],
      decisions: [{ kind: 'refuse', error: { code: 'payload_too_large' } }, { kind: 'write' }],
    })
  })

  test('begins with a checkpoint once a page from the last one is full', () => {
    expect(due.sinceCheckpoint.records).toBe(1000)
    const composition = run([say('x')], due)
    expect(kinds(composition)).toEqual(['checkpoint', 'data'])
    const [checkpoint, data] = placed(composition.batches[0]!.records, { from: due.nextSeq })
    expect(decodeRecord(checkpoint!)).toEqual({ kind: 'checkpoint', snapshot: snapshot(due) })
    expect(readOperationId(checkpoint!)).toBe('g-1')
    expect(data).toMatchObject({ headers: [['ds', 'data'], ['cp', String(due.nextSeq)]] }) // prettier-ignore
    expect(composition.decisions).toMatchObject([{ answer: { dataTail: due.nextSeq + 2 } }])
  })

  test('writes nothing for those who are refused, due or not', () => {
    const refused = say('a', { contentType: 'text/html' })
    expect(run([refused], due).batches).toEqual([])
    expect(kinds(run([refused, say('b')], due))).toEqual(['checkpoint', 'data'])
  })

  test('needs no checkpoint one record or byte earlier', () => {
    expect(kinds(run([say('x')], holding(998)))).toEqual(['data'])
    const fill =
      LOG_LIMITS.maxBatchBytes - created().sinceCheckpoint.bytes - meteredBytes(foreign(''))
    const filled = (size: number) =>
      fold(placed([foreign('x'.repeat(size))], { from: 2 }), created())
    expect(kinds(run([say('x')], filled(fill - 1)))).toEqual(['data'])
    expect(kinds(run([say('x')], filled(fill)))).toEqual(['checkpoint', 'data'])
  })

  test('writes the checkpoint alone when the first command does not fit behind it', () => {
    const largest = say('x'.repeat(LOG_LIMITS.maxBatchBytes - 200))
    const composition = run([largest, say('y')], due)
    expect([kinds(composition), composition.decisions]).toEqual([['checkpoint'], []])
    const next = fold(placed(composition.batches[0]!.records, { from: due.nextSeq }), due)
    expect(outcomes(run([largest], next))).toEqual(['write'])
  })
})
