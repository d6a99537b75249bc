import fc from 'fast-check'
import { Map } from 'immutable'
import { describe, expect, test } from 'vitest'
import { InvariantError } from '../../../src/errors.ts'
import { composed } from './composed.ts'
import type { Composed } from './composed.ts'
import {
  encodeRecord,
  kindOf,
  readCheckpointPointer,
  readOperationId,
} from '../../../src/journal/envelope.ts'
import { composeAbort, composeGroup } from '../../../src/journal/group.ts'
import { encodeBegin, foldLock, lockToken } from '../../../src/journal/lock.ts'
import { LOG_LIMITS, checkBatch, meteredBytes } from '../../../src/log/log.ts'
import type { AppendRecord, LogRecord } from '../../../src/log/log.ts'
import { EMPTY_STATE, stepLocked, wholeState } from '../../../src/journal/state.ts'
import { STREAM_RULES } from '../../../src/streams/state.ts'
import type { Incarnation, KnownProducer, StreamState } from '../../../src/streams/state.ts'
import { JSON_MODE, NOW, TEXT, bytes, created, fold, foreign, placed } from '../streams/builders.ts'
import { due, options, run, say } from './stream-journal.ts'

const MIB = 1024 * 1024
const large = (size: number, more = {}) => say('x'.repeat(size), more)
const recordsOf = ({ batches }: Composed<Incarnation>, state: StreamState): LogRecord[] =>
  placed(
    batches.flatMap(({ records }) => records),
    { from: state.nextSeq },
  )
const kinds = (records: readonly AppendRecord[]): string[] =>
  placed(records).map((record) => kindOf(record) ?? record.kind)

describe('a command too large for one batch', () => {
  test('becomes a group: locked, in parts, and committed by its last record', () => {
    const composition = run([large(1.5 * MIB, { producer: { id: 'p', epoch: 0, seq: 0 } })])
    const [first, last, ...others] = composition.batches
    expect(others).toEqual([])
    expect(kinds(first!.records).slice(0, 3)).toEqual(['fence', 'begin', 'part'])
    expect(first!.records[0]).toEqual({ kind: 'fence', token: 'l:g-1' })
    expect(first).toMatchObject({ matchSeqNum: 2, fencingToken: 'o:i1', operation: 'g-1.0' })
    const end = 2 + first!.records.length
    expect(last).toMatchObject({ matchSeqNum: end, fencingToken: 'l:g-1', operation: 'g-1.1' })
    expect(last!.records.slice(-2)).toMatchObject([
      { kind: 'fence', token: 'o:i1' },
      { headers: [['ds', 'data'], ['cp', '1'], ['producer', '0:0:p'], ['commit', 'g-1']] }, // prettier-ignore
    ])
    const dataTail = end + last!.records.length
    expect(composition.decisions).toMatchObject([{ kind: 'write', answer: { dataTail } }])
    for (const batch of composition.batches) {
      checkBatch(batch)
      expect(placed(batch.records).slice(0, 3).map(readOperationId)).toContain(batch.operation)
    }
  })

  test('is made batch by batch, of no more records than a batch holds', () => {
    const asked: number[] = []
    function* records() {
      for (let n = 0; n < 100_000; n += 1) {
        asked.push(n)
        yield encodeRecord('part', bytes('1'))
      }
    }
    const state = created(JSON_MODE)
    const batches = composeGroup(STREAM_RULES, state, records(), options)
    expect(asked).toEqual([])
    for (let made = 1; made < 10; made += 1) {
      batches.next()
      expect(asked.length).toBeLessThanOrEqual(made * LOG_LIMITS.maxBatchRecords)
    }
  })

  test('that holds what fits in no batch fails, and nothing of that is sent', () => {
    const huge = encodeRecord('part', new Uint8Array(LOG_LIMITS.maxBatchBytes))
    const batches = composeGroup(STREAM_RULES, created(), [huge], options)
    expect(() => [...batches]).toThrow(InvariantError)
  })

  test('waits until those before it are written, and lets nobody in behind it', () => {
    expect(run([say('a'), large(2 * MIB)]).decisions).toHaveLength(1)
    const first = run([say('a', { contentType: 'a/b' }), large(2 * MIB), say('b')])
    expect(first.decisions.map(({ kind }) => kind)).toEqual(['refuse', 'write'])
    expect(first.batches).toHaveLength(3)
  })

  test('waits while another group is open, and so does everybody who writes', () => {
    const state = fold(recordsOf(run([large(2 * MIB)]), created()).slice(0, 5), created())
    expect(state).toMatchObject({ fencingToken: 'l:g-1', lock: { id: 'g-1', openToken: 'o:i1' } })
    const waiting = run([say('a', { contentType: 'a/b' }), say('b'), say('c')], state)
    expect(waiting).toMatchObject({ batches: [], decisions: [{ kind: 'refuse' }] })
    expect(run([say('b')], { ...due, lock: state.lock })).toMatchObject({
      batches: [],
      decisions: [],
    })
  })

  test('waits for what is in flight: the timestamps in a checkpoint must be those of the log', () => {
    const ahead = (commands: Parameters<typeof run>[0], state = created()) =>
      composed(STREAM_RULES, state, commands, { ...options, isAhead: true })
    expect(ahead([say('a'), large(2 * MIB)])).toMatchObject({
      batches: [{ operation: 'g-1' }],
      decisions: [{ kind: 'write' }],
    })
    expect(ahead([large(2 * MIB)])).toMatchObject({ batches: [], decisions: [] })
    expect(ahead([say('a')], due)).toMatchObject({ batches: [], decisions: [] })
  })

  test.each([64, 65])('ends where a checkpoint leaves %i bytes in its batch', (left) => {
    const empty = encodeRecord('checkpoint', new Uint8Array(0))
    const size = LOG_LIMITS.maxBatchBytes - left - meteredBytes(empty)
    const rules = {
      ...STREAM_RULES,
      checkpoint: () => encodeRecord('checkpoint', new Uint8Array(size)),
      apply: (before: StreamState, record: LogRecord): StreamState => {
        if (kindOf(record) !== 'checkpoint') return STREAM_RULES.apply(before, record)
        const after = stepLocked(before, record)
        const whole = wholeState(after, record, before.fencingToken, before.incarnation)
        return { ...whole, lock: before.lock }
      },
    }
    const { batches } = composed(rules, due, [large(2 * MIB)], options)
    for (const batch of batches) checkBatch(batch)
    const written = batches.flatMap(({ records }) => records)
    expect(written.filter((record) => kindOf(placed([record])[0]!) === 'part')).not.toEqual([])
  })

  test('names the newest checkpoint in each batch', () => {
    const composition = run([large(16 * MIB)], due)
    const records = recordsOf(composition, due)
    let checkpoint = due.checkpoint
    let since = { ...due.sinceCheckpoint }
    let at = due.nextSeq
    for (const batch of composition.batches) {
      const own = records.slice(at - due.nextSeq, at - due.nextSeq + batch.records.length)
      const isDue = since.records >= LOG_LIMITS.maxBatchRecords || since.bytes >= MIB
      expect(kindOf(own[0]!) === 'checkpoint').toBe(isDue)
      if (isDue) checkpoint = at
      expect(readCheckpointPointer(own.at(-1)!)).toBe(checkpoint)
      at += own.length
      since = { ...fold(records.slice(0, at - due.nextSeq), due).sinceCheckpoint }
    }
    expect(records.filter((record) => kindOf(record) === 'checkpoint').length).toBeGreaterThan(5)
  })

  test('goes on behind a checkpoint that fills a batch of its own', () => {
    const producers = Array.from({ length: 3000 }, (_, index): [string, KnownProducer] => [
      `${index}`.padStart(315, 'p'),
      { epoch: 0, lastSeq: 0, activeAt: NOW },
    ])
    const before = fold(
      placed(
        Array.from({ length: 999 }, () => foreign('1')),
        { from: 2 },
      ),
      created(JSON_MODE),
    )
    const full = { ...before, incarnation: { ...before.incarnation!, producers: Map(producers) } }
    const messages = JSON.stringify([1, 'x'.repeat(2 * MIB), 2])
    const composition = run([say(messages, { contentType: 'application/json' })], full)
    composition.batches.forEach(checkBatch)
    const lonely = composition.batches.filter(({ records }) => records.length === 1)
    expect(lonely.map(({ records }) => kinds(records)[0])).toContain('checkpoint')
    const after = fold(recordsOf(composition, full), full)
    expect(after.lock).toBeUndefined()
    expect(composition.decisions).toMatchObject([
      { answer: { dataTail: after.incarnation!.dataTail } },
    ])
  })
})

describe('the fold of a group', () => {
  const sizes = fc.integer({ min: 1, max: 3 * MIB })
  const messages = fc.array(fc.oneof({ weight: 20, arbitrary: fc.nat(50) }, fc.nat(700_000)), {
    minLength: 1,
    maxLength: 40,
  })

  test('shows nothing in any prefix, and all with its last record; a checkpoint is the same', () => {
    fc.assert(
      fc.property(messages, fc.boolean(), fc.boolean(), fc.nat(), (lengths, isDue, close, cut) => {
        const state = fold(
          isDue
            ? placed(
                Array.from({ length: 999 }, () => foreign('1')),
                { from: 2 },
              )
            : [],
          created(JSON_MODE),
        )
        const body = JSON.stringify([
          ...lengths.map((length) => 'x'.repeat(length)),
          'y'.repeat(MIB),
        ])
        const request = { contentType: 'application/json', close, streamSeq: 'a' }
        const composition = run([say(body, request)], state)
        const records = recordsOf(composition, state)
        const before = state.incarnation!
        let current = state
        for (const record of records.slice(0, -1)) {
          current = fold([record], current)
          expect(current.incarnation).toEqual(before)
        }
        const after = fold(records.slice(-1), current)
        expect(after).toMatchObject({ fencingToken: 'o:i1', lock: undefined })
        expect(after.incarnation).toMatchObject({
          dataTail: after.nextSeq,
          closed: close,
          streamSeq: 'a',
        })

        // Whoever opens the log at a checkpoint in the middle knows the same.
        const middle = fold(records.slice(0, cut % records.length), state)
        const stored = placed([STREAM_RULES.checkpoint(middle)], { from: middle.nextSeq })
        const opened = fold(stored, { ...EMPTY_STATE, nextSeq: middle.nextSeq })
        const { lock, incarnation, fencingToken } = middle
        expect(opened).toEqual({ ...fold(stored, middle), lock, incarnation, fencingToken })
      }),
      { numRuns: 25 },
    )
  })

  test('leaves a range where it was aborted, one for all in a row', () => {
    fc.assert(
      fc.property(fc.array(sizes, { minLength: 1, maxLength: 3 }), fc.nat(), (tries, cut) => {
        let state = created()
        for (const size of tries) {
          const records = recordsOf(run([large(MIB + size)], state), state)
          const open = fold(records.slice(0, 2 + (cut % (records.length - 3))), state)
          const abort = composeAbort(STREAM_RULES, open, { now: NOW, operation: 'g-2' })
          checkBatch(abort)
          expect(abort).toMatchObject({ matchSeqNum: open.nextSeq, fencingToken: 'l:g-1' })
          state = fold(placed(abort.records, { from: open.nextSeq }), open)
        }
        expect(state).toMatchObject({ fencingToken: 'o:i1', lock: undefined })
        expect(state.incarnation).toMatchObject({
          dataTail: 2,
          aborted: [[3, state.nextSeq - 1]],
          voids: [3],
        })
        const next = fold(recordsOf(run([say('a')], state), state), state)
        expect(next.incarnation!.dataTail).toBe(next.nextSeq)
      }),
      { numRuns: 20 },
    )
  })

  test.each(['commit', 'abort'])('shows what an S2 client wrote into it at its %s', (end) => {
    const state = created()
    const records = recordsOf(run([large(2 * MIB)]), state)
    const open = fold(
      [...records.slice(0, 6), ...placed([foreign('direct')], { from: 8, timestamp: NOW + 5 })],
      state,
    )
    expect(open.incarnation).toMatchObject({ dataTail: 2, held: { end: 9, at: NOW + 5 } })
    if (end === 'abort') {
      const abort = composeAbort(STREAM_RULES, open, { now: NOW, operation: 'g-2' })
      const after = fold(placed(abort.records, { from: 9, timestamp: NOW + 9 }), open)
      const held = { dataTail: 9, held: undefined, lastDataAt: NOW + 5, lastActivity: NOW + 5 }
      expect(after.incarnation).toMatchObject({ ...held, aborted: [[3, 10]], voids: [] })
    } else {
      const after = fold(placed(records.slice(-2), { from: 9 }), open)
      expect(after.incarnation).toMatchObject({ dataTail: 11, held: undefined, aborted: [] })
    }
  })

  test.each([
    ['nothing', [false, false], [3]],
    ['what an S2 client wrote into the first', [true, false], []],
    ['what an S2 client wrote into the last', [false, true], []],
  ])('knows of ranges that became one whether they hold %s', (_name, disturbed, voids) => {
    const state = disturbed.reduce((before, isDisturbed) => {
      const begun = recordsOf(run([large(2 * MIB)], before), before).slice(0, 4)
      const stray = placed([foreign('direct')], { from: before.nextSeq + 4 })
      const open = fold(isDisturbed ? [...begun, ...stray] : begun, before)
      const abort = composeAbort(STREAM_RULES, open, { now: NOW, operation: 'g-2' })
      return fold(placed(abort.records, { from: open.nextSeq }), open)
    }, created())
    expect(state.incarnation).toMatchObject({ aborted: [[3, state.nextSeq - 1]], voids })
  })

  test('knows that the range after data is another one', () => {
    let state = created()
    for (let n = 0; n < 2; n += 1) {
      state = fold(placed([foreign('direct')], { from: state.nextSeq }), state)
      const open = fold(recordsOf(run([large(2 * MIB)], state), state).slice(0, 4), state)
      const abort = composeAbort(STREAM_RULES, open, { now: NOW, operation: 'g-2' })
      state = fold(placed(abort.records, { from: open.nextSeq }), open)
    }
    expect(state.incarnation).toMatchObject({ aborted: [[4, 8], [11, 15]], voids: [4, 11] }) // prettier-ignore
  })

  test('keeps the token that an S2 client has set meanwhile', () => {
    const records = recordsOf(run([large(2 * MIB)]), created()).slice(0, 4)
    const open = fold(
      [...records, ...placed([{ kind: 'fence', token: 'mine' }], { from: 6 })],
      created(),
    )
    const abort = composeAbort(STREAM_RULES, open, { now: NOW, operation: 'g-2' })
    expect([kinds(abort.records), abort.fencingToken]).toEqual([['abort'], 'mine'])
  })

  test('takes what fits to no open group for what it is', () => {
    const [, , part] = recordsOf(run([large(2 * MIB)]), created())
    const strays = placed(
      [
        { kind: 'data', headers: [['ds', 'abort'], ['lock', 'g-9']], body: bytes('') }, // prettier-ignore
        { ...part!, kind: 'data', headers: [['ds', 'part']], body: bytes('stray') },
        { kind: 'data', headers: [['ds', 'data'], ['commit', 'g-9']], body: bytes('x') }, // prettier-ignore
      ],
      { from: 2 },
    )
    expect(fold(strays, created()).incarnation).toMatchObject({ dataTail: 5, aborted: [] })
  })

  test('refuses to go on when a lock cannot be read', () => {
    const begin = placed([{ kind: 'data', headers: [['ds', 'begin']], body: bytes('') }])
    expect(() => foldLock(undefined, begin[0]!)).toThrow(InvariantError)
    const good = placed([encodeBegin({ id: 'g-1', owner: 'g', openToken: '' }, { checkpoint: 1 })])
    const lock = foldLock(undefined, good[0]!)
    expect(lock).toEqual({ id: 'g-1', owner: 'g', openToken: '', begin: 0 })
    // A second one does not take the place of the first.
    expect(foldLock(lock, begin[0]!)).toBe(lock)
    expect(lockToken('g-1')).toBe('l:g-1')
  })

  test('has a bound on the ranges that a checkpoint holds', () => {
    const aborted = Array.from({ length: 200 }, (_, n): [number, number] => [2 * n, 2 * n + 1])
    const state = created(TEXT)
    const full = { ...state, incarnation: { ...state.incarnation!, aborted } }
    expect(run([large(2 * MIB)], full).decisions).toMatchObject([
      { kind: 'refuse', error: { code: 'too_many_aborted_appends' } },
    ])
    expect(run([say('small')], full).decisions).toMatchObject([{ kind: 'write' }])
  })
})
