import { describe, expect, test } from 'vitest'
import { LogUnavailableError } from '../../../src/errors.ts'
import type { AppendRecord, DurableLog } from '../../../src/log/log.ts'
import { ChunkReader, endsBefore } from '../../../src/streams/chunks.ts'
import { encodePart, encodeTouch } from '../../../src/streams/codec.ts'
import { TrimmedError } from '../../../src/streams/read-chunk.ts'
import type { ChunkSource } from '../../../src/streams/read-chunk.ts'
import type { Portion } from '../../../src/streams/shared-chunk.ts'
import { STREAM, appendRaw, bytes, foreign, memoryLog, spied, text } from './builders.ts'

const CACHE_BYTES = 16 * 1024 * 1024
const source = (dataTail: number, incarnation = 'i1'): ChunkSource => {
  return { name: STREAM, incarnation, contentType: 'text/plain', start: 0, dataTail, aborted: [] }
}
const bodies = ({ records }: Portion): string[] => records.map(({ body }) => text(body))

/** A log of `count` records, each with its seq num as its body. */
async function logOf(count: number, size = 0): Promise<DurableLog> {
  const log = await memoryLog()
  await log.createStream(STREAM)
  for (let from = 0; from < count; from += 500) {
    const records = Array.from({ length: Math.min(500, count - from) }, (_, index) =>
      foreign(`${from + index}`.padStart(size)),
    )
    await appendRaw(log, records, '')
  }
  return log
}

function reader(inner: DurableLog, cacheBytes = CACHE_BYTES) {
  const { log, calls } = spied(inner)
  return { chunks: new ChunkReader(log, cacheBytes), calls }
}

describe('ChunkReader', () => {
  test.each([
    ['ends on the grid', 0, 2500, 1000],
    ['ends on the grid from anywhere', 990, 2500, 1000],
    ['ends one further from a corner of the grid', 1000, 2500, 2000],
    ['never reaches past the tail', 2000, 2100, 2100],
    ['never reaches past an older tail', 0, 10, 10],
  ])('%s', async (_name, from, tail, end) => {
    const { chunks } = reader(await logOf(2500))
    const chunk = await chunks.read(source(tail), from)
    expect(chunk.end).toBe(end)
    expect(chunk.records.map(({ seqNum }) => seqNum)).toEqual(
      Array.from({ length: end - from }, (_, index) => from + index),
    )
    expect(bodies(chunk)[0]).toBe(`${from}`)
  })

  test('is one read for all who ask at the same time and later', async () => {
    const { chunks, calls } = reader(await logOf(2500))
    const asked = await Promise.all(Array.from({ length: 50 }, () => chunks.read(source(2500), 0)))
    asked.push(await chunks.read(source(2500), 0))
    expect(new Set(asked).size).toBe(1)
    expect(calls).toEqual(['read'])
  })

  test('reads again what the tail cut short, once there is more', async () => {
    const { chunks, calls } = reader(await logOf(1500))
    expect(bodies(await chunks.read(source(5), 0))).toHaveLength(5)
    expect(bodies(await chunks.read(source(7), 0))).toHaveLength(7)
    expect(bodies(await chunks.read(source(1500), 0))).toHaveLength(1000)
    // A chunk that is complete serves those who know of more, and of no less.
    expect(bodies(await chunks.read(source(1200), 0))).toHaveLength(1000)
    expect(calls).toHaveLength(3)
    expect(bodies(await chunks.read(source(8), 0))).toHaveLength(8)
  })

  test('keeps a chunk that the tail meets exactly on the grid', async () => {
    const { chunks, calls } = reader(await logOf(1000))
    await chunks.read(source(1000), 0)
    await chunks.read(source(1000), 0)
    expect(calls).toHaveLength(1)
  })

  test('keeps the lives of a stream apart', async () => {
    const { chunks, calls } = reader(await logOf(1000))
    await chunks.read(source(1000, 'i1'), 0)
    await chunks.read(source(1000, 'i2'), 0)
    expect(calls).toHaveLength(2)
  })

  test('is no longer than a page of the log, and goes on from there', async () => {
    const { chunks } = reader(await logOf(1000, 2000))
    const first = await chunks.read(source(1000), 0)
    expect(first.end).toBeGreaterThan(100)
    expect(first.end).toBeLessThan(1000)
    const second = await chunks.read(source(1000), first.end)
    expect(second.records[0]?.seqNum).toBe(first.end)
  })

  test('keeps less where more is kept that was encoded of it', async () => {
    // Two chunks of 1,000 records of 100 bytes, and 256 for each.
    const { chunks, calls } = reader(await logOf(3000, 100), 756_000)
    const first = await chunks.read(source(3000), 0)
    await chunks.read(source(3000), 1000)
    chunks.weigh(first.records, 40_000)
    await chunks.read(source(3000), 1000)
    expect((await chunks.read(source(3000), 0)).records).toBe(first.records)
    expect(calls).toHaveLength(2)
    chunks.weigh(first.records, 40_000)
    expect((await chunks.read(source(3000), 0)).records).toBe(first.records)
    expect(calls).toHaveLength(2)
    await chunks.read(source(3000), 1000)
    expect(calls).toHaveLength(3)
    // Too much for the cache by itself, and nothing it has.
    chunks.weigh((await chunks.read(source(3000), 1000)).records, 600_000)
    chunks.weigh([], 600_000)
    await chunks.read(source(3000), 1000)
    expect(calls).toHaveLength(4)
  })

  test('holds data only, and may hold none', async () => {
    const log = await memoryLog()
    await log.createStream(STREAM)
    const touch: AppendRecord = encodeTouch({ checkpoint: 0 })
    await appendRaw(log, [touch, touch, foreign('a'), touch, foreign('b')], '')
    const { chunks } = reader(log)
    expect(await chunks.read(source(2), 0)).toEqual({ records: [], end: 2 })
    expect(bodies(await chunks.read(source(5), 0))).toEqual(['a', 'b'])
  })

  test('shows what S2 clients wrote into a JSON stream as JSON', async () => {
    const log = await memoryLog()
    await log.createStream(STREAM)
    await appendRaw(log, [foreign('no "json"')], '')
    const { chunks } = reader(log)
    const chunk = await chunks.read({ ...source(1), contentType: 'application/json' }, 0)
    expect(bodies(chunk)).toEqual(['"no \\"json\\""'])
  })

  test.each([
    ['what comes after the position', 3, 6, 5],
    ['the position itself', 4, 6, 5],
    ['everything up to the tail', 0, 5, 5],
  ])('says from where the stream is left when %s was trimmed', async (_name, from, tail, left) => {
    const log = await logOf(5)
    await appendRaw(log, [{ kind: 'trim', before: 5 }, foreign('x')], '')
    const { chunks } = reader(log)
    const error = await chunks.read(source(tail), from).catch((caught: unknown) => caught)
    expect(error).toEqual(new TrimmedError(left))
    expect((error as TrimmedError).earliest).toBe(left)
  })

  test.each([
    ['began anew', () => logOf(2)],
    ['is gone', () => memoryLog()],
  ])('counts all as trimmed when the log %s', async (_name, log) => {
    const { chunks } = reader(await log())
    await expect(chunks.read(source(9), 5)).rejects.toEqual(new TrimmedError(9))
  })

  test('forgets a read that failed', async () => {
    const inner = await logOf(5)
    let failures = 1
    const { log } = spied(inner, {
      read: (...args) => {
        failures -= 1
        return failures < 0 ? inner.read(...args) : Promise.reject(new LogUnavailableError())
      },
    })
    const chunks = new ChunkReader(log, CACHE_BYTES)
    const asked = [chunks.read(source(5), 0), chunks.read(source(5), 0)]
    expect(await Promise.allSettled(asked)).toMatchObject([
      { status: 'rejected' },
      { status: 'rejected' },
    ])
    expect(bodies(await chunks.read(source(5), 0))).toEqual(['0', '1', '2', '3', '4'])
  })

  test('keeps no more than its bound', async () => {
    // A chunk of 1000 small records counts some 130 KiB.
    const { chunks, calls } = reader(await logOf(3000), 300 * 1024)
    for (const from of [0, 1000, 2000]) await chunks.read(source(3000), from)
    expect(calls).toHaveLength(3)
    await chunks.read(source(3000), 2000)
    expect(calls).toHaveLength(3)
    await chunks.read(source(3000), 0)
    expect(calls).toHaveLength(4)
  })
})

describe('endsBefore', () => {
  test('is sure only when the grid ends before the tail', () => {
    expect([endsBefore(0, 1000), endsBefore(0, 1001), endsBefore(999, 1001)]).toEqual([
      false,
      true,
      true,
    ])
    expect(endsBefore(1000, 1999)).toBe(false)
  })
})

test('a body is what was written', async () => {
  const log = await memoryLog()
  await log.createStream(STREAM)
  const body = Uint8Array.from({ length: 256 }, (_, index) => index)
  await appendRaw(log, [{ kind: 'data', headers: [], body }, foreign('')], '')
  const { chunks } = reader(log)
  const { records } = await chunks.read(source(2), 0)
  expect(records.map((record) => Buffer.from(record.body))).toEqual([Buffer.from(body), bytes('')])
})

describe('ChunkReader over groups', () => {
  const part = (body: string, piece?: { index: number; count: number }): AppendRecord =>
    encodePart(bytes(body), piece)
  const json = (dataTail: number, more: Partial<ChunkSource> = {}): ChunkSource => {
    return { ...source(dataTail), contentType: 'application/json', ...more }
  }
  const logWith = async (records: readonly AppendRecord[]): Promise<DurableLog> => {
    const log = await memoryLog()
    await log.createStream(STREAM)
    for (let from = 0; from < records.length; from += 900) {
      await appendRaw(log, records.slice(from, from + 900), '')
    }
    return log
  }

  test('shows parts, but for those of aborted groups', async () => {
    const log = await logWith([part('"a"'), part('"b"'), foreign('1'), part('"c"'), part('"d"')])
    const { chunks } = reader(log)
    const chunk = await chunks.read(json(5, { aborted: [[1, 4]] }), 0)
    expect(bodies(chunk)).toEqual(['"a"', '1', '"d"'])
  })

  test('jumps over what an aborted group left, if there is nothing else in it', async () => {
    const tail = 4000
    const log = await logWith(Array.from({ length: tail }, (_, n) => part(`${n}`)))
    const empty = json(tail, { aborted: [[5, 7], [10, 3990]], voids: [10] }) // prettier-ignore
    const { chunks, calls } = reader(log)
    const before = await chunks.read(empty, 0)
    expect([before.end, bodies(before)]).toEqual([10, ['0', '1', '2', '3', '4', '7', '8', '9']])
    for (const from of [10, 2000, 3989]) {
      expect(await chunks.read(empty, from)).toEqual({ records: [], end: 3990, portions: [] })
    }
    expect(bodies(await chunks.read(empty, 3990))).toHaveLength(10)
    expect(calls).toHaveLength(2)
    // A fork that has left in the middle of it ends there.
    const left = await chunks.read({ ...empty, dataTail: 2500 }, 10)
    expect(left).toEqual({ records: [], end: 2500, portions: [] })
    // With anything else in it, all of it is read.
    const mixed = { ...empty, incarnation: 'other', voids: [] }
    expect(await chunks.read(mixed, 10)).toEqual({ records: [], end: 1000 })
  })

  test('ends before a message that the grid would cut, and then reads it to its end', async () => {
    const pieces = Array.from({ length: 8 }, (_, n) => part(`${n}`, { index: n + 1, count: 8 }))
    const small = (count: number) => Array.from({ length: count }, () => part('1'))
    const log = await logWith([...small(996), ...pieces, ...small(500)])
    const { chunks, calls } = reader(log)
    const first = await chunks.read(json(1504), 0)
    expect([first.end, first.records.length]).toEqual([996, 996])
    const second = await chunks.read(json(1504), 996)
    expect(second).toMatchObject({
      end: 1004,
      records: [{ seqNum: 1003, body: bytes('01234567') }],
    })
    expect(await chunks.read(json(1504), 996)).toBe(second)
    expect((await chunks.read(json(1504), 1004)).end).toBe(1504)
    // From inside of it, where no offset leads, none of it is shown.
    const inside = await chunks.read(json(1504), 999)
    expect(inside).toEqual({ end: 1004, records: [] })
    expect(calls).toHaveLength(4)
  })

  test('shows nothing of a message that a fork has left in its middle, and keeps that apart', async () => {
    const pieces = Array.from({ length: 4 }, (_, n) => part(`${n}`, { index: n + 1, count: 4 }))
    const log = await logWith([...Array.from({ length: 998 }, () => part('1')), ...pieces])
    const { chunks } = reader(log)
    const fork = json(1000, { isFinal: true })
    expect(await chunks.read(fork, 998)).toMatchObject({ end: 1000, records: [] })
    expect(bodies(await chunks.read(json(1002), 998))).toEqual(['0123'])
    expect(await chunks.read(fork, 998)).toMatchObject({ end: 1000, records: [] })
  })

  test('hides nothing behind a piece that an S2 client made up, and reads no more than a message', async () => {
    const log = await logWith([
      part('0', { index: 1, count: 500 }),
      ...Array.from({ length: 5000 }, (_, n) => foreign(`${n}`)),
    ])
    const { chunks, calls } = reader(log)
    const seen: string[] = []
    for (let next = 0; next < 5001;) {
      const chunk = await chunks.read(json(5001), next)
      seen.push(...bodies(chunk))
      expect(chunk.end).toBeGreaterThan(next)
      next = chunk.end
    }
    expect(seen).toEqual(Array.from({ length: 5000 }, (_, n) => `${n}`))
    expect(calls).toHaveLength(6)
  })

  test('does not wait for the end of a message that an S2 client made up', async () => {
    const log = await logWith([part('0', { index: 1, count: 900 }), part('1'), part('2')])
    const { chunks } = reader(log)
    expect(bodies(await chunks.read(json(3), 0))).toEqual(['1', '2'])
  })
})

describe('a message of several pieces, for readers of less and of more', () => {
  /** 998 messages, and one of four pieces behind them. */
  async function setUp() {
    const log = await memoryLog()
    await log.createStream(STREAM)
    const records = [
      ...Array.from({ length: 998 }, () => encodePart(bytes('1'))),
      ...Array.from({ length: 4 }, (_, n) => encodePart(bytes(`${n}`), { index: n + 1, count: 4 })),
    ]
    for (let from = 0; from < records.length; from += 900) {
      const batch = records.slice(from, from + 900)
      await log.append(STREAM, { records: batch, matchSeqNum: from, fencingToken: '' })
    }
    const upTo = (dataTail: number, more: Partial<ChunkSource> = {}): ChunkSource => ({
      name: STREAM,
      incarnation: 'i',
      contentType: 'application/json',
      start: 0,
      dataTail,
      aborted: [],
      ...more,
    })
    return { chunks: new ChunkReader(log, 1 << 20), upTo }
  }
  const texts = ({ records }: { readonly records: readonly { readonly body: Uint8Array }[] }) =>
    records.map(({ body }) => text(body))

  test('is whole for the next one, though one that ends inside it was first', async () => {
    const { chunks, upTo } = await setUp()
    await chunks.read(upTo(1000, { isFinal: true }), 998)
    expect(texts(await chunks.read(upTo(1002, { isFinal: true }), 998))).toEqual(['0123'])
  })

  test('is whole for one that comes while the other reads', async () => {
    const { chunks, upTo } = await setUp()
    const [, whole] = await Promise.all([
      chunks.read(upTo(1000), 998),
      chunks.read(upTo(1002), 998),
    ])
    expect(texts(whole)).toEqual(['0123'])
  })

  test('is not shown past the tail of one that joins a read of more', async () => {
    const { chunks, upTo } = await setUp()
    const [, cut] = await Promise.all([chunks.read(upTo(1002), 998), chunks.read(upTo(1000), 998)])
    expect([cut.end, texts(cut)]).toEqual([1000, []])
  })
})
