import { describe, expect, test } from 'vitest'
import { systemClock } from '../../../src/clock.ts'
import { LOG_LIMITS } from '../../../src/log/log.ts'
import type { AppendRecord, DurableLog, SeqNum } from '../../../src/log/log.ts'
import { appendCommand } from '../../../src/streams/append.ts'
import { encodeData } from '../../../src/streams/codec.ts'
import { createCommand, deleteCommand } from '../../../src/streams/create.ts'
import { StateLostError, advance, openState } from '../../../src/journal/load.ts'
import { EMPTY_STATE, huskState } from '../../../src/journal/state.ts'
import { STREAM_RULES } from '../../../src/streams/state.ts'
import type { StreamState } from '../../../src/streams/state.ts'
import { StreamLog } from '../../../src/streams/stream-log.ts'
import {
  NOW,
  STREAM,
  TEXT,
  appendRaw,
  appendRequest,
  bytes,
  creation,
  foreign,
  memoryLog,
  spied,
} from '../streams/builders.ts'

const create = createCommand({ id: 'i1', config: TEXT, body: bytes(''), close: false })

const source = (log: DurableLog) => ({ log, name: STREAM, rules: STREAM_RULES })

function gateway(log: DurableLog): StreamLog {
  const options = { clock: systemClock, commandTimeoutMs: 1000, gatewayId: 'g' }
  return new StreamLog(STREAM, { log, ...options })
}

/** Opens the stream and says what that took. */
async function opened(inner: DurableLog): Promise<{ state: StreamState; calls: string[] }> {
  const { log, calls } = spied(inner)
  return { state: await openState(source(log)), calls }
}

/** Appends a raw batch of records that name the checkpoint, as a gateway does. */
async function logOf(records: readonly AppendRecord[]): Promise<DurableLog> {
  const log = await memoryLog()
  await log.createStream(STREAM)
  await appendRaw(log, records, '')
  return log
}

describe('openState', () => {
  test('finds nothing where no stream is', async () => {
    const log = await memoryLog()
    expect(await opened(log)).toEqual({ state: EMPTY_STATE, calls: ['read'] })
    await log.createStream(STREAM)
    expect(await opened(log)).toEqual({ state: EMPTY_STATE, calls: ['read'] })
  })

  test('reads one record right after the creation', async () => {
    const { state, calls } = await opened(await logOf(creation()))
    expect(state.incarnation?.id).toBe('i1')
    expect(state.nextSeq).toBe(2)
    expect(calls).toEqual(['read'])
  })

  test('takes at most three reads, whatever the length and wherever it stops', async () => {
    const log = await memoryLog()
    const stream = gateway(log)
    await stream.execute(create)
    const reads = new Set<number>()
    for (let written = 0; written < 10_000;) {
      // Batches of one to many records, small and large.
      const count = 1 + ((written * 7) % 700)
      const size = written % 3 === 0 ? 900 : 10
      const appends = Array.from({ length: count }, () =>
        stream.execute(appendCommand(appendRequest('x'.repeat(size)))),
      )
      await Promise.all(appends)
      written += count
      const { state, calls } = await opened(log)
      expect(state.incarnation).toEqual((await stream.known()).incarnation)
      expect(new Set(calls)).toEqual(new Set(['read']))
      reads.add(calls.length)
    }
    expect(Math.max(...reads)).toBe(3)
  })

  test('takes at most three reads with the fullest pages there can be', async () => {
    const log = await memoryLog()
    const stream = gateway(log)
    await stream.execute(create)
    const room = LOG_LIMITS.maxBatchBytes - (await stream.known()).sinceCheckpoint.bytes
    const overhead = 8 + 2 + 'ds'.length + 'data'.length + 2 + 'cp'.length + '1'.length + 64
    // One byte less than makes a checkpoint due, then a batch that fills a page by itself.
    await stream.execute(appendCommand(appendRequest('x'.repeat(room - overhead))))
    await stream.execute(appendCommand(appendRequest('x'.repeat(LOG_LIMITS.maxBatchBytes - 100))))
    const { state, calls } = await opened(log)
    expect(state.nextSeq).toBe(4)
    expect(calls).toEqual(['read', 'read', 'read'])
  })

  test('goes back behind what S2 clients wrote', async () => {
    const log = await logOf(creation())
    const many = Array.from({ length: 900 }, () => foreign('x'))
    await appendRaw(log, many, 'o:i1')
    await appendRaw(log, many, 'o:i1')
    const { state } = await opened(log)
    expect(state.incarnation).toMatchObject({ id: 'i1', dataTail: 1802 })
    expect(state).toMatchObject({ nextSeq: 1802, fencingToken: 'o:i1', checkpoint: 1 })
  })

  test('finds no stream in a log that only S2 clients wrote to', async () => {
    const { state } = await opened(await logOf([foreign('x'), foreign('y')]))
    expect(state).toEqual({ ...EMPTY_STATE, nextSeq: 2 })
  })

  test('finds no stream after its deletion, whose every record is gone', async () => {
    const log = await memoryLog()
    const stream = gateway(log)
    await stream.execute(create)
    await stream.execute(deleteCommand)
    const { state, calls } = await opened(log)
    expect(state).toEqual(huskState(5))
    expect(calls).toEqual(['read', 'checkTail', 'read'])
  })

  test('finds a stream that is created again while it looks', async () => {
    const inner = await memoryLog()
    const stream = gateway(inner)
    await stream.execute(create)
    await stream.execute(deleteCommand)
    const { log } = spied(inner, {
      // In the very moment between the two looks.
      checkTail: async (name) => {
        await stream.execute(create)
        return inner.checkTail(name)
      },
    })
    expect((await openState(source(log))).incarnation?.id).toBe('i1')
  })

  test('knows a tombstone that S2 has not removed yet', async () => {
    const inner = await memoryLog()
    const kept: AppendRecord[] = []
    const { log } = spied(inner, {
      append: (name, batch) => {
        kept.push(...batch.records)
        return inner.append(name, batch)
      },
    })
    const writer = gateway(log)
    await writer.execute(create)
    await writer.execute(deleteCommand)
    const untrimmed = await logOf(kept.filter(({ kind }) => kind !== 'trim').concat(foreign('?')))
    expect((await openState(source(untrimmed))).incarnation).toBeUndefined()
  })

  test('gives up where everything before is trimmed, however long it was', async () => {
    const inner = await memoryLog()
    await inner.createStream(STREAM)
    for (let batch = 0; batch < 10; batch += 1) {
      await appendRaw(
        inner,
        Array.from({ length: 1000 }, () => foreign('x')),
        '',
      )
    }
    await appendRaw(inner, [{ kind: 'trim', before: 9_999 }, foreign('last')], '')
    const { state, calls } = await opened(inner)
    expect(state).toEqual({ ...EMPTY_STATE, nextSeq: 10_002 })
    expect(calls).toEqual(['read', 'read'])
  })

  test('finds no stream whose checkpoint was trimmed', async () => {
    const log = await logOf([
      ...creation(),
      encodeData(bytes('a'), { checkpoint: 1 }),
      encodeData(bytes('b'), { checkpoint: 1 }),
    ])
    await appendRaw(log, [{ kind: 'trim', before: 3 }, foreign('c')], 'o:i1')
    expect((await opened(log)).state).toEqual({ ...EMPTY_STATE, nextSeq: 6 })
  })

  test('begins again when the checkpoint is trimmed while it reads', async () => {
    const inner = await memoryLog()
    const stream = gateway(inner)
    await stream.execute(create)
    await stream.execute(appendCommand(appendRequest('x')))
    let reads = 0
    const { log } = spied(inner, {
      read: async (...args) => {
        reads += 1
        if (reads === 2) {
          await stream.execute(deleteCommand)
          await stream.execute(create)
        }
        return inner.read(...args)
      },
    })
    const state = await openState(source(log))
    expect(state.incarnation?.start).toBe(8)
  })
})

describe('advance', () => {
  const tail = 5
  const records = [...creation(), foreign('a'), foreign('b'), foreign('c')]
  async function known(upTo: SeqNum): Promise<StreamState> {
    return openState(source(await logOf(records.slice(0, upTo))))
  }

  test('folds what is new in one read', async () => {
    const { log, calls } = spied(await logOf(records))
    const state = await advance(source(log), await known(3), tail)
    expect(state.incarnation?.dataTail).toBe(5)
    expect(calls).toEqual(['read'])
  })

  test('reads nothing when nothing is new', async () => {
    const { log, calls } = spied(await logOf(records))
    const state = await known(5)
    expect(await advance(source(log), state, tail)).toBe(state)
    expect(calls).toEqual([])
  })

  test.each<[string, (log: DurableLog) => Promise<unknown>]>([
    ['was trimmed', (log) => appendRaw(log, [{ kind: 'trim', before: 4 }], 'o:i1')],
    ['was trimmed wholly', (log) => appendRaw(log, [{ kind: 'trim', before: 99 }], 'o:i1')],
  ])('says so when what it needs %s', async (_name, change) => {
    const log = await logOf(records)
    await change(log)
    await expect(advance(source(log), await known(3), tail)).rejects.toThrow(StateLostError)
  })

  test('says so when the log began anew and grew again', async () => {
    const anew = await memoryLog(() => NOW + 1)
    await anew.createStream(STREAM)
    await appendRaw(anew, records, '')
    await expect(advance(source(anew), await known(3), tail)).rejects.toThrow(StateLostError)
  })

  test('says so when the log has begun anew since', async () => {
    const short = await logOf(records.slice(0, 2))
    await expect(advance(source(short), await known(4), tail)).rejects.toThrow(StateLostError)
    const none = await memoryLog()
    await expect(advance(source(none), await known(4), tail)).rejects.toThrow(StateLostError)
  })
})
