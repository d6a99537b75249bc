/** Kinds of logs whose history nobody reads. */
import { describe, expect, test } from 'vitest'
import { composed } from './composed.ts'
import { kindOf } from '../../../src/journal/envelope.ts'
import { Journal } from '../../../src/journal/journal.ts'
import { openState } from '../../../src/journal/load.ts'
import { EMPTY_STATE } from '../../../src/journal/state.ts'
import type { LogState } from '../../../src/journal/state.ts'
import { LOG_LIMITS, checkBatch, meteredBytes } from '../../../src/log/log.ts'
import type { AppendBatch, DurableLog } from '../../../src/log/log.ts'
import { systemClock } from '../../../src/clock.ts'
import { NOW, STREAM, memoryLog, placed, spied } from '../streams/builders.ts'
import { add, begin, tallyRules } from './tally.ts'
import type { Tally } from './tally.ts'

const rules = tallyRules(true)
const at = { now: NOW, operation: 'g-1', owner: 'g' }
const PAGE = { maxRecords: LOG_LIMITS.maxBatchRecords, maxBytes: LOG_LIMITS.maxBatchBytes }

function journal(log: DurableLog): Journal<Tally> {
  const options = { clock: systemClock, commandTimeoutMs: 1000, gatewayId: 'g' }
  return new Journal(STREAM, rules, { log, ...options })
}

function kinds(batch: AppendBatch | undefined): (string | undefined)[] {
  return placed(batch?.records ?? []).map((record) => kindOf(record) ?? record.kind)
}

function fold(state: LogState<Tally>, batch: AppendBatch | undefined): LogState<Tally> {
  return placed(batch?.records ?? [], { from: state.nextSeq }).reduce(rules.apply, state)
}

/** A tally whose last checkpoint is a whole page ago. */
function due(note = ''): LogState<Tally> {
  const born = fold(EMPTY_STATE, composed(rules, EMPTY_STATE, [begin(note)], at).batches[0])
  return { ...born, sinceCheckpoint: { records: 1000, bytes: 1000 } }
}

describe('compose for a log that trims', () => {
  test('trims what is before a checkpoint right behind it', () => {
    const state = due()
    const [batch] = composed(rules, state, [add(1)], at).batches
    expect(kinds(batch)).toEqual(['checkpoint', 'trim', 'added'])
    expect(batch?.records[1]).toEqual({ kind: 'trim', before: state.nextSeq })
    expect(fold(state, batch)).toMatchObject({
      checkpoint: state.nextSeq,
      sinceCheckpoint: { records: 3 },
      incarnation: { sum: 1 },
    })
    expect(kinds(composed(tallyRules(false), state, [add(1)], at).batches[0])).toEqual([
      'checkpoint',
      'added',
    ])
  })

  test('writes both alone when the first command does not fit behind them', () => {
    const largest = add(1, LOG_LIMITS.maxBatchBytes - 200)
    const state = due('.'.repeat(300))
    const composition = composed(rules, state, [largest], at)
    expect([kinds(composition.batches[0]), composition.decisions]).toEqual([
      ['checkpoint', 'trim'],
      [],
    ])
    const next = composed(rules, fold(state, composition.batches[0]), [largest], at)
    expect(kinds(next.batches[0])).toEqual(['added'])
  })

  test('trims nothing when the checkpoint does not fit in a batch', () => {
    const bytes = meteredBytes(rules.checkpoint(due()))
    const room = LOG_LIMITS.maxBatchBytes - 64 - bytes
    const trim = meteredBytes({ kind: 'trim', before: 0 })
    const full = composed(rules, due('.'.repeat(room - trim)), [add(1)], at)
    expect(kinds(full.batches[0])).toEqual(['checkpoint', 'trim'])
    checkBatch(full.batches[0]!)
    const over: LogState<Tally> = {
      ...due(),
      incarnation: { sum: 0, note: '.'.repeat(room - trim + 1) },
    }
    expect(kinds(composed(rules, over, [add(1)], at).batches[0])).toEqual(['added'])
  })
})

describe('a journal that trims', () => {
  test('keeps no more than two pages, and opens from its checkpoint in three reads', async () => {
    const log = await memoryLog()
    const writer = journal(log)
    await writer.execute(begin('a note'))
    const reads = new Set<number>()
    let sum = 0
    for (let round = 0; sum < 6000; round += 1) {
      // Batches of one to many records, small and large.
      const count = 1 + ((round * 89) % 300)
      const padding = round % 3 === 0 ? 900 : 0
      await Promise.all(Array.from({ length: count }, () => writer.execute(add(1, padding))))
      sum += count
      const { log: watched, calls } = spied(log)
      const state = await openState({ log: watched, name: STREAM, rules })
      expect(state.incarnation).toEqual({ sum, note: 'a note' })
      expect(new Set(calls)).toEqual(new Set(['read']))
      reads.add(calls.length)
    }
    expect(Math.max(...reads)).toBe(3)
    const { checkpoint, nextSeq } = await writer.known()
    const [first] = await log.read(STREAM, { seqNum: 0 }, PAGE)
    expect([first?.seqNum, first && kindOf(first)]).toEqual([checkpoint, 'checkpoint'])
    expect(nextSeq - checkpoint!).toBeLessThan(2 * LOG_LIMITS.maxBatchRecords)
  })

  test('opens when a checkpoint and its trim are all there is', async () => {
    const log = await memoryLog()
    const note = '.'.repeat(300)
    const writer = journal(log)
    await writer.execute(begin(note))
    await Promise.all(Array.from({ length: 1000 }, () => writer.execute(add(1))))
    const state = await writer.known()
    const [batch] = composed(rules, state, [add(1, LOG_LIMITS.maxBatchBytes - 200)], at).batches
    await log.append(STREAM, batch!)
    const { log: watched, calls } = spied(log)
    const opened = await openState({ log: watched, name: STREAM, rules })
    expect(opened).toMatchObject({ checkpoint: state.nextSeq, nextSeq: state.nextSeq + 2 })
    expect(opened.incarnation).toEqual({ sum: 1000, note })
    expect(calls).toEqual(['read', 'read', 'read'])
  })

  test('finds its way when another gateway has trimmed what it knows', async () => {
    const log = await memoryLog()
    const [behind, ahead] = [journal(log), journal(log)]
    await behind.execute(begin())
    // Two pages less a little: near enough to fold on, had the records not been trimmed.
    for (let n = 0; n < 3; n += 1) {
      await Promise.all(Array.from({ length: 500 }, () => ahead.execute(add(1))))
    }
    expect((await behind.refresh()).incarnation?.sum).toBe(1500)
    expect(await behind.execute(add(1))).toBe(1501)
  })
})
