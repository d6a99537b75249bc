/** Readers who begin anywhere share chunks, and none of them sees a difference. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { LogUnavailableError } from '../../../src/errors.ts'
import { Frames } from '../../../src/hub/frames.ts'
import type { AppendRecord, DurableLog } from '../../../src/log/log.ts'
import { ChunkReader } from '../../../src/streams/chunks.ts'
import { encodePart, encodeTouch } from '../../../src/streams/codec.ts'
import type { ChunkSource } from '../../../src/streams/read-chunk.ts'
import type { Chunk } from '../../../src/streams/shared-chunk.ts'
import type { SeqRange } from '../../../src/streams/visible.ts'
import { STREAM as HUB_STREAM } from '../hub/fakes.ts'
import { STREAM, appendRaw, bytes, foreign, memoryLog, spied, text } from './builders.ts'

const MIB = 1024 * 1024
const PORTION_BYTES = 64 * 1024
const MUCH = 64 * MIB

/** What a reader finds: where a message is, and a part of it that tells it from all others. */
type Seen = readonly [seqNum: number, text: string]

/** A log, and what is in it; `begin` is where the first piece of a message is. */
type Scene = {
  readonly records: readonly AppendRecord[]
  readonly messages: readonly { readonly begin: number; readonly seqNum: number; text: string }[]
  readonly aborted: readonly SeqRange[]
  readonly voids: readonly number[]
}

type Item =
  | { readonly kind: 'data' | 'control' | 'void'; readonly count: number; readonly size: number }
  | { readonly kind: 'pieces' | 'aborted'; readonly count: number; readonly size: number }

function sceneOf(items: readonly Item[]): Scene {
  const records: AppendRecord[] = []
  const messages: { begin: number; seqNum: number; text: string }[] = []
  const aborted: SeqRange[] = []
  const voids: number[] = []
  const part = (size: number, piece?: { index: number; count: number }) =>
    encodePart(bytes(`${records.length}|`.padEnd(size, '.')), piece)
  for (const { kind, count, size } of items) {
    const begin = records.length
    for (let index = 0; index < count; index += 1) {
      const piece = { index: index + 1, count }
      const seqNum = records.length
      if (kind === 'control') records.push(encodeTouch({ checkpoint: 0 }))
      else if (kind === 'pieces') records.push(part(size, piece))
      else if (kind === 'aborted' && index % 3 === 1) records.push(foreign(`${seqNum}|`))
      else if (kind === 'data') records.push(foreign(`${seqNum}|`.padEnd(size, '.')))
      else records.push(part(size))
      const isData = kind === 'data' || (kind === 'aborted' && index % 3 === 1)
      if (isData) messages.push({ begin: seqNum, seqNum, text: `${seqNum}|` })
    }
    const end = records.length
    if (kind === 'pieces') messages.push({ begin, seqNum: end - 1, text: `${begin}|` })
    if (kind === 'aborted' || kind === 'void') aborted.push([begin, end])
    if (kind === 'void') voids.push(begin)
  }
  return { records, messages, aborted, voids }
}

async function logOf({ records }: Scene): Promise<DurableLog> {
  const log = await memoryLog()
  await log.createStream(STREAM)
  let batch: AppendRecord[] = []
  let size = 0
  for (const record of records) {
    const length = record.kind === 'data' ? record.body.length + 100 : 100
    if (batch.length === 900 || size + length > MIB) {
      await appendRaw(log, batch, '')
      batch = []
      size = 0
    }
    batch.push(record)
    size += length
  }
  if (batch.length > 0) await appendRaw(log, batch, '')
  return log
}

function sourceOf({ aborted, voids }: Scene, dataTail: number, isFinal = false): ChunkSource {
  const stream = { name: STREAM, incarnation: 'i1', contentType: 'text/plain', start: 0 }
  return { ...stream, dataTail, aborted, voids, isFinal }
}

const seenIn = ({ records }: Pick<Chunk, 'records'>): Seen[] =>
  records.map(({ seqNum, body }) => [seqNum, /^\d+\|/.exec(text(body.subarray(0, 12)))![0]])

/** Reads on to the tail, as a client does; the portions are the same data. */
async function readAll(chunks: ChunkReader, view: ChunkSource, from: number): Promise<Seen[]> {
  const seen: Seen[] = []
  for (let next = from; next < view.dataTail;) {
    const chunk = await chunks.read(view, next)
    expect(chunk.end).toBeGreaterThan(next)
    expect(chunk.end).toBeLessThanOrEqual(view.dataTail)
    const found = seenIn(chunk)
    expect(chunk.portions.flatMap(seenIn)).toEqual(found)
    checkPortions(chunk, next)
    seen.push(...found)
    next = chunk.end
  }
  return seen
}

function checkPortions({ portions, end }: Chunk, from: number): void {
  let next = from
  for (const portion of portions) {
    const size = portion.records.reduce((sum, { body }) => sum + body.length, 0)
    expect(portion.records.length === 1 || size <= PORTION_BYTES).toBe(true)
    expect(portion.records.length).toBeGreaterThan(0)
    const first = portion.records[0]!
    expect(first.begin ?? first.seqNum).toBeGreaterThanOrEqual(next)
    expect(portion.records.at(-1)!.seqNum).toBeLessThan(portion.end)
    next = portion.end
  }
  expect(next).toBeLessThanOrEqual(end)
}

function expected({ messages }: Scene, from: number, tail: number): Seen[] {
  return messages
    .filter(({ begin, seqNum }) => begin >= from && seqNum < tail)
    .map((message): Seen => [message.seqNum, message.text])
}

/** A log whose answers come in another order than they were asked for. */
function late(inner: DurableLog, waits: readonly number[]): { log: DurableLog; calls: string[] } {
  let call = 0
  return spied(inner, {
    read: async (...args) => {
      const turns = waits[call++ % waits.length] ?? 0
      for (let turn = 0; turn < turns; turn += 1) await new Promise(setImmediate)
      return inner.read(...args)
    },
  })
}

const item: fc.Arbitrary<Item> = fc.oneof(
  { weight: 4, arbitrary: small('data', 1, 700, 200) },
  { weight: 2, arbitrary: small('data', 1, 60, 40_000) },
  { weight: 2, arbitrary: small('pieces', 2, 12, 100_000) },
  { weight: 1, arbitrary: small('control', 1, 300, 1) },
  { weight: 1, arbitrary: small('aborted', 3, 400, 50) },
  { weight: 1, arbitrary: small('void', 1, 1500, 50) },
)

function small(kind: Item['kind'], least: number, most: number, size: number): fc.Arbitrary<Item> {
  return fc.record({
    kind: fc.constant(kind),
    count: fc.integer({ min: least, max: most }),
    size: fc.integer({ min: 12, max: Math.max(12, size) }),
  })
}

describe('whoever reads, from wherever', () => {
  test('gets everything from there on once, with any cache and in any order', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(item, { minLength: 2, maxLength: 12 }),
        fc.array(fc.tuple(fc.nat(), fc.nat(), fc.boolean(), fc.nat({ max: 4 })), { minLength: 40, maxLength: 40 }), // prettier-ignore
        fc.constantFrom(1, 400_000, 3 * MIB, MUCH),
        fc.array(fc.nat({ max: 5 }), { minLength: 1, maxLength: 8 }),
        async (items, readers, cacheBytes, waits) => {
          const scene = sceneOf(items)
          const { length } = scene.records
          const { log } = late(await logOf(scene), waits)
          const chunks = new ChunkReader(log, cacheBytes)
          const found = readers.map(async ([at, until, isFinal, wait]) => {
            for (let turn = 0; turn < wait; turn += 1) await new Promise(setImmediate)
            const from = at % length
            const tail = until % 3 === 0 ? from + 1 + (until % (length - from)) : length
            const seen = await readAll(chunks, sourceOf(scene, tail, isFinal), from)
            expect(seen).toEqual(expected(scene, from, tail))
          })
          await Promise.all(found)
        },
      ),
      { numRuns: 20 },
    )
  }, 30_000)

  test('gets it from every position, inside of whatever it is', async () => {
    const scene = sceneOf([
      { kind: 'data', count: 400, size: 500 },
      { kind: 'pieces', count: 9, size: 120_000 },
      { kind: 'aborted', count: 60, size: 20 },
      { kind: 'data', count: 20, size: 70_000 },
      { kind: 'void', count: 100, size: 20 },
      { kind: 'data', count: 407, size: 20 },
      { kind: 'pieces', count: 9, size: 100 },
      { kind: 'control', count: 3, size: 1 },
      { kind: 'data', count: 100, size: 20 },
    ])
    const { length } = scene.records
    const chunks = new ChunkReader(await logOf(scene), MUCH)
    const alone = new ChunkReader(await logOf(scene), 1)
    // Against the grain first, so that most begin where nobody was.
    for (let from = length - 1; from >= 300; from -= 1) {
      const seen = await readAll(chunks, sourceOf(scene, length), from)
      expect(seen).toEqual(expected(scene, from, length))
      if (from % 97 === 0) expect(await readAll(alone, sourceOf(scene, length), from)).toEqual(seen)
    }
  }, 30_000)
})

/** A thousand messages of a thousand bytes: a cell of the grid, and a page of the log. */
const CELL = sceneOf([{ kind: 'data', count: 1300, size: 1000 }])
const POSITIONS = Array.from({ length: 50 }, (_, index) => (index * 607 + 13) % 1000)

describe('many positions in one cell', () => {
  test.each([
    ['in any order', POSITIONS],
    ['against the grain', POSITIONS.toSorted((one, other) => other - one)],
    ['along the grain', POSITIONS.toSorted((one, other) => one - other)],
  ])('cost two reads, %s', async (_name, positions) => {
    for (const isTogether of [true, false]) {
      const { log, calls } = spied(await logOf(CELL))
      const chunks = new ChunkReader(log, MUCH)
      const read = (from: number) => chunks.read(sourceOf(CELL, 1300), from)
      if (isTogether) await Promise.all(positions.map(read))
      else for (const from of positions) await read(from)
      expect(calls.length).toBeLessThanOrEqual(2)
    }
  })

  test('cost as many where the tail lies in it and is the same for all', async () => {
    const { log, calls } = spied(await logOf(CELL))
    const chunks = new ChunkReader(log, MUCH)
    for (const from of POSITIONS) await chunks.read(sourceOf(CELL, 999, true), from)
    expect(calls).toHaveLength(2)
  })

  test('are not cut short by a tail that is not theirs', async () => {
    const { log, calls } = spied(await logOf(CELL))
    const chunks = new ChunkReader(log, MUCH)
    expect((await chunks.read(sourceOf(CELL, 500, true), 0)).end).toBe(500)
    expect((await chunks.read(sourceOf(CELL, 600, true), 0)).end).toBe(600)
    expect((await chunks.read(sourceOf(CELL, 500, true), 10)).end).toBe(500)
    expect(calls).toHaveLength(2)
    expect((await chunks.read(sourceOf(CELL, 1300), 0)).end).toBe(1000)
    expect((await chunks.read(sourceOf(CELL, 600, true), 20)).end).toBe(600)
    expect(calls).toHaveLength(3)
  })

  test('behind a range without data cost as many', async () => {
    const scene = sceneOf([
      { kind: 'void', count: 500, size: 50 },
      { kind: 'data', count: 600, size: 50 },
    ])
    const { log, calls } = spied(await logOf(scene))
    const chunks = new ChunkReader(log, MUCH)
    for (const from of [900, 800, 700, 500]) await chunks.read(sourceOf(scene, 1100), from)
    expect(calls).toHaveLength(2)
  })

  test('are encoded once, but for what lies before the next portion', async () => {
    const chunks = new ChunkReader(await logOf(CELL), MUCH)
    let encoded = 0
    const frames = new Frames({ ...HUB_STREAM, contentType: 'text/plain' }, (records, size) => {
      encoded += size
      chunks.weigh(records, size)
    })
    let events = 0
    const follow = async (from: number): Promise<void> => {
      for (let next = from; next < 1000;) {
        const chunk = await chunks.read(sourceOf(CELL, 1300), next)
        for (const portion of chunk.portions) {
          frames.event(portion, { end: portion.end, upToDate: false, closed: false })
          events += 1
        }
        next = chunk.end
      }
    }
    await Promise.all(POSITIONS.map(follow))
    const [dataBytes, eventBytes] = [1_000_000, 300]
    const most = dataBytes + POSITIONS.length * PORTION_BYTES + events * eventBytes
    expect(encoded).toBeLessThanOrEqual(most)
    expect(encoded).toBeGreaterThan(dataBytes - 1000 * Math.min(...POSITIONS))
  })

  test('get the very same portions after the first', async () => {
    const chunks = new ChunkReader(await logOf(CELL), MUCH)
    const [first, ...others] = await Promise.all(
      [0, 100, 101].map((from) => chunks.read(sourceOf(CELL, 1300), from)),
    )
    expect(first!.portions).toHaveLength(16)
    for (const { portions } of others) {
      expect(portions[0]!.records).not.toBe(first!.portions[1]!.records)
      expect(portions.slice(1)).toEqual(first!.portions.slice(-portions.length + 1))
      expect(portions.at(-1)).toBe(first!.portions.at(-1))
    }
    // And those at the same position share that one, too.
    expect(await chunks.read(sourceOf(CELL, 1300), 100)).toBe(others[0])
  })
})

describe('a reader by itself', () => {
  test('reads no more than it needs', async () => {
    const inner = await logOf(CELL)
    const asked: [number, number][] = []
    const { log } = spied(inner, {
      read: (stream, start, limits) => {
        asked.push([(start as { seqNum: number }).seqNum, limits.maxRecords])
        return inner.read(stream, start, limits)
      },
    })
    const chunks = new ChunkReader(log, MUCH)
    await readAll(chunks, sourceOf(CELL, 1300), 990)
    // At a tail that moves, everybody does.
    await readAll(chunks, sourceOf(CELL, 1280), 1250)
    await readAll(chunks, sourceOf(CELL, 1285), 1280)
    expect(asked).toEqual([[990, 10], [1000, 300], [1250, 30], [1280, 5]]) // prettier-ignore
  })

  test('of large messages reads as many pages as there are, though others are there', async () => {
    const scene = sceneOf([{ kind: 'data', count: 400, size: 100_000 }])
    const { log, calls } = spied(await logOf(scene))
    const chunks = new ChunkReader(log, MUCH)
    await readAll(chunks, sourceOf(scene, 400, true), 0)
    expect(calls).toHaveLength(40)
    const others = new ChunkReader(log, MUCH)
    for (const from of [395, 203, 5]) await others.read(sourceOf(scene, 400, true), from)
    expect(calls).toHaveLength(43)
  })
})

describe('what is read for others', () => {
  const trimmed = async (before: number) => {
    const inner = await logOf(CELL)
    await appendRaw(inner, [{ kind: 'trim', before }], '')
    return spied(inner)
  }

  test('may be gone, and costs nobody who comes after it anything but a read', async () => {
    const { log, calls } = await trimmed(300)
    const chunks = new ChunkReader(log, MUCH)
    const found = await Promise.all([700, 500, 300, 600].map((from) => chunks.read(sourceOf(CELL, 1300), from))) // prettier-ignore
    expect(found.map((chunk) => seenIn(chunk)[0]![0])).toEqual([700, 500, 300, 600])
    calls.splice(0)
    const fresh = new ChunkReader(log, MUCH)
    for (const from of [700, 500, 300, 600]) await fresh.read(sourceOf(CELL, 1300), from)
    expect(calls).toHaveLength(3)
    await expect(fresh.read(sourceOf(CELL, 1300), 299)).rejects.toMatchObject({ earliest: 300 })
  })

  test('begins in the same life of the stream', async () => {
    const starts: number[] = []
    const { log } = spied(await logOf(CELL), {
      read: (_stream, start) => {
        starts.push((start as { seqNum: number }).seqNum)
        return Promise.reject(new LogUnavailableError())
      },
    })
    const chunks = new ChunkReader(log, MUCH)
    const view = { ...sourceOf(CELL, 1300), start: 400 }
    const found = await Promise.allSettled([700, 500, 450].map((from) => chunks.read(view, from)))
    expect(found.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
    expect(Math.min(...starts)).toBe(400)
  })

  test('is nothing where the position is one of an earlier life, or was lost since', async () => {
    const { log, calls } = spied(await logOf(CELL))
    const chunks = new ChunkReader(log, MUCH)
    const view = { ...sourceOf(CELL, 1300), start: 400 }
    for (const from of [700, 300]) expect(seenIn(await chunks.read(view, from))[0]![0]).toBe(from)
    expect(calls).toHaveLength(2)
  })
})

test('what is encoded of slices and portions counts, and is let go of with their chunk', async () => {
  const { log, calls } = spied(await logOf(CELL))
  const chunks = new ChunkReader(log, 3 * MIB)
  const view = sourceOf(CELL, 1300)
  const whole = await chunks.read(view, 0)
  const slice = await chunks.read(view, 500)
  chunks.weigh(whole.portions[0]!.records, MIB / 2)
  chunks.weigh(slice.portions[0]!.records, MIB / 2)
  expect(await chunks.read(view, 0)).toBe(whole)
  expect(calls).toHaveLength(1)
  chunks.weigh(slice.records, MIB)
  expect((await chunks.read(view, 0)) === whole).toBe(false)
  expect(calls).toHaveLength(2)
  // What is still sent of it weighs on nothing any more.
  chunks.weigh(slice.records, 3 * MIB)
  await chunks.read(view, 0)
  expect(calls).toHaveLength(2)
})

test('slices that are no longer shared weigh nothing', async () => {
  const { log, calls } = spied(await logOf(CELL))
  const chunks = new ChunkReader(log, 4 * MIB)
  const view = sourceOf(CELL, 1300)
  await chunks.read(view, 0)
  for (let from = 1; from < 500; from += 1) {
    chunks.weigh((await chunks.read(view, from)).portions[0]!.records, PORTION_BYTES)
  }
  expect(calls).toHaveLength(1)
})
