/**
 * The contract of `src/log/log.ts`, run over every adapter. A real s2-lite is the judge: what the
 * embedded log does differently from it is a bug in the embedded log.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { AppendOutcomeUnknownError, LogUnavailableError } from '../../src/errors.ts'
import { DataDirectoryError, openDiskStore } from '../../src/log/embedded-disk-store.ts'
import { FORMAT_KEY } from '../../src/log/embedded-format.ts'
import { EmbeddedLog, openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { EmbeddedStore, StreamWrite } from '../../src/log/embedded-store.ts'
import {
  AppendConflictError,
  BeyondTailError,
  InvalidAppendError,
  LogStreamMissingError,
  type AppendAck,
  type AppendRecord,
  type DurableLog,
  type LogRecord,
  type ReadLimits,
  type RecordHeader,
  type SeqNum,
} from '../../src/log/log.ts'
import { logAdapters, useLog, type LogBackend } from '../support/log-adapters.ts'

const ALL: ReadLimits = { maxRecords: 1000, maxBytes: 1024 * 1024 }
const MIB = 1024 * 1024
const encoder = new TextEncoder()

function data(body: string | Uint8Array, headers: readonly RecordHeader[] = []): AppendRecord {
  return { kind: 'data', headers, body: typeof body === 'string' ? encoder.encode(body) : body }
}

const fence = (token: string): AppendRecord => ({ kind: 'fence', token })
const trim = (before: SeqNum): AppendRecord => ({ kind: 'trim', before })

/** `data` records named by their place: `r0`, `r1`... */
const numbered = (count: number, from = 0): AppendRecord[] =>
  Array.from({ length: count }, (_, index) => data(`r${from + index}`))

const seqNums = (records: readonly LogRecord[]): SeqNum[] => records.map(({ seqNum }) => seqNum)
const range = (from: number, before: number): number[] =>
  Array.from({ length: before - from }, (_, index) => from + index)

/** What was appended, out of what was read. */
function withoutPlace(records: readonly LogRecord[]): AppendRecord[] {
  return records.map((record) => {
    switch (record.kind) {
      case 'data':
        return { kind: 'data', headers: record.headers, body: new Uint8Array(record.body) }
      case 'fence':
        return fence(record.token)
      case 'trim':
        return trim(record.before)
    }
  })
}

/** A read session that remembers all it was told. */
function follow(log: DurableLog, stream: string, from: SeqNum) {
  const seen = {
    records: [] as LogRecord[],
    caughtUp: [] as SeqNum[],
    /** The last records of what was said to end where the log does. */
    whole: [] as SeqNum[],
    ends: [] as unknown[],
    calls: [] as string[],
    cancel: () => {},
  }
  const session = log.openReadSession(stream, from, {
    onRecords: (records, upToTail) => {
      if (upToTail) seen.whole.push(records.at(-1)?.seqNum ?? NaN)
      seen.calls.push(`records ${seqNums(records).join(' ')}`)
      seen.records.push(...records)
    },
    onCaughtUp: (tail) => {
      seen.calls.push(`caught up ${tail}`)
      seen.caughtUp.push(tail)
    },
    onEnd: (cause) => {
      seen.calls.push('end')
      seen.ends.push(cause)
    },
  })
  seen.cancel = () => session.cancel()
  open.push(seen.cancel)
  return seen
}

/** Cancels for the sessions of one test. */
let open: (() => void)[] = []
afterEach(() => {
  for (const cancel of open) cancel()
  open = []
})

describe.each(logAdapters)('$name', (adapter) => {
  describe.skipIf(adapter.isMissing)('keeps the contract', () => {
    let backend: LogBackend
    let log: DurableLog
    let stream: string

    useLog(adapter, 'contract', (place) => ({ backend, log, stream } = place))

    const append = (
      records: readonly AppendRecord[],
      matchSeqNum: SeqNum,
      fencingToken = '',
    ): Promise<AppendAck> => log.append(stream, { records, matchSeqNum, fencingToken })
    const readAll = (from = 0): Promise<readonly LogRecord[]> =>
      log.read(stream, { seqNum: from }, ALL)

    describe('streams', () => {
      it('creates a stream once and leaves it alone the second time', async () => {
        await append([fence('t'), data('kept')], 0)
        await log.createStream(stream)
        expect(await log.checkTail(stream)).toBe(2)
        await expect(append([data('x')], 2)).rejects.toMatchObject({
          conflict: { kind: 'fencing_token', token: 't' },
        })
      })

      it('lets many create the same stream at once', async () => {
        const name = `${stream}/many`
        await Promise.all(range(0, 8).map(() => log.createStream(name)))
        expect(await log.checkTail(name)).toBe(0)
        for (const round of range(0, 20)) {
          const crowd = range(0, 16).map(() => log.createStream(`${name}/${round}`))
          await expect(Promise.all(crowd)).resolves.toBeDefined()
        }
      })

      it('keeps streams with any names apart', async () => {
        const names = [
          'a',
          'a/b',
          'a/b/',
          'a%2Fb',
          'a b',
          ' a',
          'ä/ö/ü',
          '日本語',
          '🦊',
          'a\u0001',
          'x'.repeat(511),
          'x'.repeat(512),
          'é'.repeat(256),
        ].map((name) => adapter.nameOf?.(name) ?? name)
        for (const [index, name] of names.entries()) {
          await log.createStream(name)
          expect(await log.checkTail(name), name).toBe(0)
          const records = [data(name), ...numbered(index)]
          await log.append(name, { records, matchSeqNum: 0, fencingToken: '' })
        }
        for (const [index, name] of names.entries()) {
          const records = await log.read(name, { seqNum: 0 }, ALL)
          expect(withoutPlace(records), name).toEqual([data(name), ...numbered(index)])
        }
      })

      it('says for every call that a stream is missing', async () => {
        const missing = `${stream}/missing`
        const batch = { records: [data('x')], matchSeqNum: 0, fencingToken: '' }
        await expect(log.append(missing, batch)).rejects.toThrow(LogStreamMissingError)
        await expect(log.checkTail(missing)).rejects.toThrow(LogStreamMissingError)
        await expect(log.read(missing, { seqNum: 0 }, ALL)).rejects.toThrow(LogStreamMissingError)
        const session = follow(log, missing, 0)
        await expect.poll(() => session.ends).toEqual([expect.any(LogStreamMissingError)])
        expect(session.calls).toEqual(['end'])
      })
    })

    describe('names of streams', () => {
      /** Ends of names, among them some that UTF-16 would sort in another way, and odd ones. */
      const ENDS = [
        ...['z', 'é', 'Z', '🦊', '\uffee', '\ue000', '\ufeffbom', '日本', '日', '\u0001', '\u007f'],
        ...['a', 'a/', 'a/b', 'ab', 'a b', 'a+b', 'a%2Fb', 'a&prefix=z', 'a#', '..', '🦊🦊', '🦋'],
      ]
      const sorted = (names: readonly string[]): string[] =>
        names.toSorted((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)))
      const createMany = async (names: readonly string[]): Promise<void> => {
        const left = [...names]
        const createNext = async (): Promise<void> => {
          for (let name = left.pop(); name !== undefined; name = left.pop()) {
            await log.createStream(name)
          }
        }
        await Promise.all(range(0, 64).map(createNext))
      }
      /** All pages up to the empty one, which is left out. */
      const listPages = async (prefix: string): Promise<(readonly string[])[]> => {
        const pages: (readonly string[])[] = []
        for (;;) {
          const page = await log.listStreams(prefix, pages.at(-1)?.at(-1) ?? '')
          if (page.length === 0) return pages
          pages.push(page)
        }
      }

      it('come in the order of their UTF-8 bytes, by any prefix', async () => {
        const names = sorted(ENDS.map((end) => `${stream}/${end}`))
        expect(names).not.toEqual(names.toSorted())
        await createMany(names)
        expect(await log.listStreams(`${stream}/`, '')).toEqual(names)
        for (const prefix of names) {
          const expected = names.filter((name) => name.startsWith(prefix))
          expect(await log.listStreams(prefix, ''), prefix).toEqual(expected)
        }
        expect(await log.listStreams(`${stream}/none`, '')).toEqual([])
      })

      it('begin after a name, whether there is such a stream or not', async () => {
        const prefix = `${stream}/`
        const names = sorted(ENDS.map((end) => prefix + end))
        await createMany([...names, `${stream}-before`, `${stream}0-behind`])
        for (const [index, name] of names.entries()) {
          expect(await log.listStreams(prefix, name), name).toEqual(names.slice(index + 1))
          // There is no name that only adds this to another.
          const missing = `${name}\u0001`
          expect(await log.listStreams(prefix, missing), missing).toEqual(names.slice(index + 1))
        }
        for (const before of ['', '!', stream, `${stream}-before`, prefix]) {
          expect(await log.listStreams(prefix, before), before).toEqual(names)
        }
        for (const behind of [`${prefix}\u{10ffff}`, `${stream}0-behind`, '\u{10ffff}']) {
          expect(await log.listStreams(prefix, behind), behind).toEqual([])
        }
      })

      it('come in pages, of which only one with nothing beyond is empty', async () => {
        const names = range(0, 1005).map((index) => `${stream}/${String(index).padStart(4, '0')}`)
        await createMany(names)
        const pages = await listPages(`${stream}/`)
        expect(pages.map((page) => page.length)).toEqual([1000, 5])
        expect(pages.flat()).toEqual(names)

        const all = (await listPages('')).flat()
        expect(all).toEqual(sorted(all))
        expect(all.filter((name) => name.startsWith(`${stream}/`))).toEqual(names)
        expect(all).toContain(stream)
      })

      it('include streams that hold no records, once each', async () => {
        const [empty, full, trimmed] = sorted(
          ['empty', 'full', 'trimmed'].map((end) => `${stream}/${end}`),
        ) as [string, string, string]
        for (const name of [trimmed, empty, full, empty]) await log.createStream(name)
        await log.append(full, { records: numbered(3), matchSeqNum: 0, fencingToken: '' })
        await log.append(full, { records: [fence('t')], matchSeqNum: 3, fencingToken: '' })
        const records = [...numbered(3), trim(99)]
        await log.append(trimmed, { records, matchSeqNum: 0, fencingToken: '' })
        expect(await log.listStreams(`${stream}/`, '')).toEqual([empty, full, trimmed])
      })

      it('take prefixes and starts as long as the longest name', async () => {
        const name = `${stream}/`.padEnd(512, 'x')
        await log.createStream(name)
        expect(await log.listStreams(name, '')).toEqual([name])
        expect(await log.listStreams(name, name)).toEqual([])
      })

      it('are not waited for by a caller who gave up', async () => {
        const listed = log.listStreams(stream, '', AbortSignal.abort())
        await expect(listed).rejects.toThrow(LogUnavailableError)
      })
    })

    describe('appends', () => {
      it('acknowledges the seq nums taken, with a time', async () => {
        const before = Date.now()
        const first = await append(numbered(2), 0)
        const second = await append(numbered(3), 2)
        expect(first).toMatchObject({ start: 0, end: 2 })
        expect(second).toMatchObject({ start: 2, end: 5 })
        expect(first.timestamp).toBeGreaterThanOrEqual(before - 1)
        expect(second.timestamp).toBeLessThanOrEqual(Date.now() + 1)
        const times = (await readAll()).map(({ timestamp }) => timestamp)
        expect(times).toEqual([...times].sort((a, b) => a - b))
        expect(times.at(-1)).toBe(second.timestamp)
      })

      it.each([
        { match: 1, next: 2 },
        { match: 3, next: 2 },
        { match: 0, next: 2 },
      ])('refuses seq num $match when the next is $next', async ({ match, next }) => {
        await append(numbered(2), 0)
        const refused = append([data('x')], match)
        await expect(refused).rejects.toThrow(AppendConflictError)
        await expect(refused).rejects.toMatchObject({
          conflict: { kind: 'seq_num', nextSeqNum: next },
        })
        expect(await log.checkTail(stream)).toBe(2)
      })

      it.each(['', 'other', 'tt'])('refuses token "%s" when it is "t"', async (token) => {
        await append([fence('t')], 0)
        const refused = append([data('x')], 1, token)
        await expect(refused).rejects.toThrow(AppendConflictError)
        await expect(refused).rejects.toMatchObject({
          conflict: { kind: 'fencing_token', token: 't' },
        })
        expect(await log.checkTail(stream)).toBe(1)
      })

      it('judges the fencing token before the seq num', async () => {
        await append([fence('t')], 0)
        await expect(append([data('x')], 77, 'other')).rejects.toMatchObject({
          conflict: { kind: 'fencing_token', token: 't' },
        })
      })

      it('refuses any token but the empty one before the first fence', async () => {
        await expect(append([data('x')], 0, 'any')).rejects.toMatchObject({
          conflict: { kind: 'fencing_token', token: '' },
        })
        await expect(append([data('x')], 0, '')).resolves.toMatchObject({ start: 0 })
      })

      it('takes the empty token again after a fence to it', async () => {
        await append([fence('t')], 0)
        await append([fence('')], 1, 't')
        await expect(append([data('x')], 2, 't')).rejects.toMatchObject({
          conflict: { kind: 'fencing_token', token: '' },
        })
        await expect(append([data('x')], 2, '')).resolves.toMatchObject({ end: 3 })
      })

      it('writes nothing of a refused batch, commands included', async () => {
        await append(numbered(1), 0)
        await expect(append([fence('never'), data('x'), trim(9)], 0)).rejects.toThrow(
          AppendConflictError,
        )
        await append([data('after')], 1, '')
        expect(withoutPlace(await readAll())).toEqual([data('r0'), data('after')])
      })

      it('shows the state that refused an append at once', async () => {
        const refusals = await Promise.all(
          range(0, 6).map(async (index) => {
            try {
              await append([data(`${index}`), fence(`t${index}`)], 0)
              return 'won'
            } catch (error) {
              expect(error).toBeInstanceOf(AppendConflictError)
              const [first, second] = await readAll()
              return first?.kind === 'data' && second?.kind === 'fence' ? 'saw the winner' : 'blind'
            }
          }),
        )
        expect(refusals.sort()).toEqual([...range(0, 5).map(() => 'saw the winner'), 'won'])
      })

      it('makes data, fence and trim in one batch one thing', async () => {
        await append(numbered(2), 0)
        const batch = [data('a'), fence('t1'), data('b'), trim(2), data('c')]
        expect(await append(batch, 2)).toMatchObject({ start: 2, end: 7 })
        expect(withoutPlace(await readAll(2))).toEqual(batch)
        await expect(append([data('x')], 7)).rejects.toMatchObject({
          conflict: { kind: 'fencing_token', token: 't1' },
        })
        await expect.poll(async () => seqNums(await readAll())).toEqual(range(2, 7))
      })

      it('lets the last fence of a batch decide what the next append needs', async () => {
        await append([fence('t1'), fence('t2')], 0)
        await expect(append([data('x')], 2, 't1')).rejects.toMatchObject({
          conflict: { kind: 'fencing_token', token: 't2' },
        })
        await append([data('x')], 2, 't2')
      })

      it('lets exactly one of many writers take each seq num', async () => {
        for (const round of range(0, 5)) {
          const results = await Promise.allSettled(
            range(0, 8).map((writer) => append([data(`${round}/${writer}`)], round)),
          )
          expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
          for (const result of results) {
            if (result.status === 'fulfilled') continue
            expect(result.reason).toMatchObject({
              conflict: { kind: 'seq_num', nextSeqNum: round + 1 },
            })
          }
        }
        expect(await log.checkTail(stream)).toBe(5)
      })

      it('counts every append acknowledged before into the tail', async () => {
        expect(await log.checkTail(stream)).toBe(0)
        for (const next of range(0, 5)) {
          await append([data('x')], next)
          expect(await log.checkTail(stream)).toBe(next + 1)
        }
      })

      it('leaves the unknown open when an append is aborted', async () => {
        const controller = new AbortController()
        const batch = { records: [data('x')], matchSeqNum: 0, fencingToken: '' }
        const aborted = log.append(stream, batch, controller.signal)
        controller.abort()
        await expect(aborted).rejects.toThrow(AppendOutcomeUnknownError)
        await expect(log.append(stream, batch, controller.signal)).rejects.toThrow(
          AppendOutcomeUnknownError,
        )
      })
    })

    describe('limits', () => {
      it('takes 1000 records and refuses 1001', async () => {
        await append(numbered(1000), 0)
        expect(seqNums(await readAll())).toEqual(range(0, 1000))
        await expect(append(numbered(1001), 1000)).rejects.toThrow(InvalidAppendError)
        expect(await log.checkTail(stream)).toBe(1000)
      })

      it('refuses a batch without records', async () => {
        await expect(append([], 0)).rejects.toThrow(InvalidAppendError)
      })

      it('takes exactly 1 MiB of metered bytes and not one more', async () => {
        const headers: RecordHeader[] = [['name', 'välue']]
        const body = new Uint8Array(MIB - 8 - 2 - 4 - 6)
        crypto.getRandomValues(body.subarray(0, 65_536))
        await expect(append([data(new Uint8Array(body.length + 1), headers)], 0)).rejects.toThrow(
          InvalidAppendError,
        )
        await append([data(body, headers)], 0)
        const [record] = await readAll()
        if (record?.kind !== 'data') throw new Error('not a data record')
        expect(record.headers).toEqual(headers)
        // The matcher takes seconds for an array of this size.
        expect(Buffer.compare(record.body, body)).toBe(0)
      })

      it('takes a token of 36 bytes and refuses 37', async () => {
        const longest = 'ä'.repeat(18)
        await append([fence(longest)], 0)
        await expect(append([fence(`${longest}x`)], 1, longest)).rejects.toThrow(InvalidAppendError)
        await expect(append([data('x')], 1, `${longest}x`)).rejects.toThrow(InvalidAppendError)
        await append([data('x')], 1, longest)
      })

      it('refuses a header without a name', async () => {
        await expect(append([data('x', [['', 'fence']])], 0)).rejects.toThrow(InvalidAppendError)
        await expect(
          append([data('x', [['a', 'b'], ['', 'c']])], 0), // prettier-ignore
        ).rejects.toThrow(InvalidAppendError)
      })

      it('takes an empty header value', async () => {
        await append([data('x', [['a', '']])], 0)
        expect(withoutPlace(await readAll())).toEqual([data('x', [['a', '']])])
      })
    })

    describe('reads', () => {
      it('returns bodies and headers byte for byte', async () => {
        const records = [
          data(Uint8Array.from(range(0, 256))),
          data('', []),
          data('', [['only', 'headers']]),
          data('x', [
            ['dup', '1'],
            ['dup', '2'],
            ['dup', '1'],
          ]),
          data('y', [['ключ', 'значение 🦊 \u0000 \r\n']]),
          data('z', [['long', 'v'.repeat(70_000)]]),
          fence(''),
          trim(0),
          data('q', range(0, 300).map((index): RecordHeader => [`h${index}`, `${index}`])), // prettier-ignore
        ]
        await append(records, 0)
        expect(withoutPlace(await readAll())).toEqual(records)
      })

      it('keeps what was appended when the caller reuses its buffer afterwards', async () => {
        const session = follow(log, stream, 0)
        await expect.poll(() => session.caughtUp).toContain(0)
        const body = encoder.encode('before')
        await append([data(body)], 0)
        await expect.poll(() => session.caughtUp).toContain(1)
        body.fill(0)
        expect(withoutPlace(await readAll())).toEqual([data('before')])
        expect(withoutPlace(session.records)).toEqual([data('before')])
      })

      it.each([1, 2, 7, 10])('cuts a page at %i records', async (maxRecords) => {
        await append(numbered(4), 0)
        await append(numbered(5, 4), 4)
        const page = await log.read(stream, { seqNum: 1 }, { ...ALL, maxRecords })
        expect(seqNums(page)).toEqual(range(1, Math.min(1 + maxRecords, 9)))
      })

      it('cuts a page by metered bytes', async () => {
        const body = new Uint8Array(92)
        await append(range(0, 10).map(() => data(body)), 0) // prettier-ignore
        const read = async (maxBytes: number): Promise<SeqNum[]> =>
          seqNums(await log.read(stream, { seqNum: 2 }, { maxRecords: 1000, maxBytes }))
        expect(await read(300)).toEqual(range(2, 5))
        expect(await read(399)).toEqual(range(2, 5))
        expect(await read(400)).toEqual(range(2, 6))
      })

      it('never returns an empty page because of a limit', async () => {
        await append([data(new Uint8Array(5_000)), data('small')], 0)
        const page = await log.read(stream, { seqNum: 0 }, { maxRecords: 10, maxBytes: 1 })
        expect(seqNums(page)).toEqual([0])
      })

      it('never returns more than a full page', async () => {
        await append(numbered(800), 0)
        await append(numbered(800, 800), 800)
        const page = await log.read(stream, { seqNum: 0 }, { maxRecords: 5000, maxBytes: 9 * MIB })
        expect(seqNums(page)).toEqual(range(0, 1000))
      })

      it('begins a number of records before the tail', async () => {
        await append(numbered(5), 0)
        const read = async (tailOffset: number): Promise<SeqNum[]> =>
          seqNums(await log.read(stream, { tailOffset }, ALL))
        expect(await read(1)).toEqual([4])
        expect(await read(3)).toEqual([2, 3, 4])
        expect(await read(5)).toEqual(range(0, 5))
        expect(await read(50)).toEqual(range(0, 5))
        await expect(read(0)).rejects.toMatchObject({ tail: 5 })
      })

      it('throws with the tail when it begins at or past it', async () => {
        await append(numbered(3), 0)
        for (const seqNum of [3, 4, 1000]) {
          const read = log.read(stream, { seqNum }, ALL)
          await expect(read).rejects.toThrow(BeyondTailError)
          await expect(read).rejects.toMatchObject({ tail: 3 })
        }
      })

      it('throws on an empty stream wherever it begins', async () => {
        await expect(readAll()).rejects.toMatchObject({ tail: 0 })
        await expect(log.read(stream, { tailOffset: 1 }, ALL)).rejects.toMatchObject({ tail: 0 })
      })

      it('is unavailable when aborted', async () => {
        const signal = AbortSignal.abort()
        await expect(log.read(stream, { seqNum: 0 }, ALL, signal)).rejects.toThrow(
          LogUnavailableError,
        )
        await expect(log.checkTail(stream, signal)).rejects.toThrow(LogUnavailableError)
        await expect(log.createStream(stream, signal)).rejects.toThrow(LogUnavailableError)
        await expect(log.ping(signal)).rejects.toThrow(LogUnavailableError)
      })
    })

    describe('trims', () => {
      it('jumps to the first record left', async () => {
        await append(numbered(5), 0)
        await append([trim(3)], 5)
        await expect.poll(async () => seqNums(await readAll())).toEqual([3, 4, 5])
        expect(seqNums(await readAll(2))).toEqual([3, 4, 5])
        expect(seqNums(await readAll(4))).toEqual([4, 5])
        const [first] = await log.read(stream, { seqNum: 0 }, { maxRecords: 1, maxBytes: 1 })
        expect(first?.seqNum).toBe(3)
      })

      it('keeps tail and token when nothing is left', async () => {
        await append([fence('t'), ...numbered(3)], 0)
        await append([trim(1000)], 4, 't')
        await expect.poll(() => readAll()).toEqual([])
        expect(await readAll(4)).toEqual([])
        expect(await log.read(stream, { tailOffset: 2 }, ALL)).toEqual([])
        expect(await log.checkTail(stream)).toBe(5)
        await expect(readAll(5)).rejects.toMatchObject({ tail: 5 })
        await expect(append([data('x')], 5, '')).rejects.toMatchObject({
          conflict: { kind: 'fencing_token', token: 't' },
        })
        await append([data('after')], 5, 't')
        expect(seqNums(await readAll())).toEqual([5])
      })

      it('never trims past itself', async () => {
        await append([data('a'), trim(1000), data('b')], 0)
        await expect.poll(async () => seqNums(await readAll())).toEqual([2])
      })

      it('never trims backwards', async () => {
        await append(numbered(4), 0)
        await append([trim(3), trim(1), data('end')], 4)
        await expect.poll(async () => seqNums(await readAll())).toEqual(range(3, 7))
        await append([trim(0)], 7)
        expect(seqNums(await readAll())).toEqual(range(3, 8))
      })

      it('lets a session from the trimmed range begin at the first record left', async () => {
        await append(numbered(5), 0)
        await append([trim(4)], 5)
        await expect.poll(async () => seqNums(await readAll())).toEqual([4, 5])
        const session = follow(log, stream, 1)
        await expect.poll(() => session.caughtUp).toContain(6)
        expect(seqNums(session.records)).toEqual([4, 5])
      })

      it('lets a session on a stream with nothing left follow from the tail', async () => {
        await append([...numbered(5), trim(6)], 0)
        await expect.poll(() => readAll()).toEqual([])
        const session = follow(log, stream, 0)
        await expect.poll(() => session.caughtUp).toContain(6)
        await append([data('live')], 6)
        await expect.poll(() => seqNums(session.records)).toEqual([6])
      })
    })

    describe('read sessions', () => {
      it('calls nobody before it has returned', async () => {
        await append(numbered(2), 0)
        let isOpening = true
        const early: boolean[] = []
        const note = (): void => void early.push(isOpening)
        const handlers = { onRecords: note, onCaughtUp: note, onEnd: note }
        const session = log.openReadSession(stream, 0, handlers)
        isOpening = false
        await expect.poll(() => early.length).toBeGreaterThanOrEqual(2)
        session.cancel()
        expect(early).not.toContain(true)
      })

      it('says that it is caught up right after opening at the tail', async () => {
        await append(numbered(2), 0)
        const session = follow(log, stream, 2)
        await expect.poll(() => session.caughtUp).toContain(2)
        expect(session.records).toEqual([])
      })

      it('follows an empty stream', async () => {
        const session = follow(log, stream, 0)
        await expect.poll(() => session.caughtUp).toContain(0)
        await append(numbered(1), 0)
        await expect.poll(() => session.caughtUp).toContain(1)
        expect(seqNums(session.records)).toEqual([0])
      })

      it('says of each live batch that it is whole, and never of a part of one', async () => {
        await append(numbered(800), 0)
        await append(numbered(800), 800)
        const session = follow(log, stream, 0)
        await expect.poll(() => session.caughtUp).toContain(1600)
        for (const from of [1600, 2500]) await append(numbered(900), from)
        await expect.poll(() => session.records.length).toBe(3400)
        expect(session.whole.at(-1)).toBe(3399)
        expect([1599, 2499, 3399]).toEqual(expect.arrayContaining(session.whole))
      })

      it('delivers live batches in order, with the bytes that were appended', async () => {
        const session = follow(log, stream, 0)
        await expect.poll(() => session.caughtUp).toContain(0)
        const first = [data(Uint8Array.from(range(0, 256)), [['h', 'ü']]), fence('t')]
        const second = [data(''), trim(1), data('end')]
        const ack = await append(first, 0)
        await append(second, 2, 't')
        await expect.poll(() => session.caughtUp).toContain(5)
        expect(withoutPlace(session.records)).toEqual([...first, ...second])
        expect(seqNums(session.records)).toEqual(range(0, 5))
        expect(session.records[1]?.timestamp).toBe(ack.timestamp)
      })

      it('says that it is caught up after each live batch', async () => {
        const session = follow(log, stream, 0)
        await expect.poll(() => session.caughtUp).toContain(0)
        for (const next of [0, 2, 4]) {
          await append(numbered(2), next)
          await expect.poll(() => session.caughtUp).toContain(next + 2)
          const records = session.calls.indexOf(`records ${next} ${next + 1}`)
          expect(session.calls.indexOf(`caught up ${next + 2}`)).toBe(records + 1)
        }
      })

      it('delivers the past, then what comes, without a gap or a repeat', async () => {
        const total = 60
        const sessions = [follow(log, stream, 0)]
        for (let next = 0; next < total; next += 2) {
          await append(numbered(2, next), next)
          if (next % 10 === 0) sessions.push(follow(log, stream, next / 2))
        }
        for (const [index, session] of sessions.entries()) {
          await expect.poll(() => session.caughtUp).toContain(total)
          const from = index === 0 ? 0 : (index - 1) * 5
          expect(seqNums(session.records)).toEqual(range(from, total))
          expect(session.ends).toEqual([])
        }
      })

      it('delivers a past of many pages', async () => {
        const body = new Uint8Array(1_000)
        const batch = range(0, 900).map(() => data(body))
        for (const round of range(0, 4)) await append(batch, round * 900)
        const session = follow(log, stream, 10)
        await expect.poll(() => session.caughtUp, { timeout: 5_000 }).toContain(3600)
        expect(seqNums(session.records)).toEqual(range(10, 3600))
        expect(session.caughtUp).toEqual([3600])
      })

      it('feeds several sessions on one stream alike', async () => {
        await append(numbered(3), 0)
        const sessions = [0, 1, 2, 3].map((from) => follow(log, stream, from))
        for (const session of sessions) await expect.poll(() => session.caughtUp).toContain(3)
        await append(numbered(2, 3), 3)
        for (const [from, session] of sessions.entries()) {
          await expect.poll(() => seqNums(session.records)).toEqual(range(from, 5))
        }
      })

      it('hears nothing of other streams', async () => {
        const other = `${stream}/other`
        await log.createStream(other)
        const session = follow(log, stream, 0)
        await expect.poll(() => session.caughtUp).toContain(0)
        await log.append(other, { records: numbered(3), matchSeqNum: 0, fencingToken: '' })
        await append([data('own')], 0)
        await expect.poll(() => session.caughtUp).toContain(1)
        expect(withoutPlace(session.records)).toEqual([data('own')])
      })

      it('calls nobody after cancel', async () => {
        const cancelled = follow(log, stream, 0)
        const neverOpened = follow(log, stream, 0)
        neverOpened.cancel()
        const control = follow(log, stream, 0)
        await expect.poll(() => cancelled.caughtUp).toContain(0)
        await append(numbered(1), 0)
        await expect.poll(() => cancelled.caughtUp).toContain(1)
        cancelled.cancel()
        cancelled.cancel()
        const calls = [...cancelled.calls]
        await append(numbered(1), 1)
        await expect.poll(() => control.caughtUp).toContain(2)
        expect(cancelled.calls).toEqual(calls)
        expect(neverOpened.calls).toEqual([])
      })

      it('can be cancelled by what it calls', async () => {
        await append(numbered(2), 0)
        const calls: string[] = []
        const session = log.openReadSession(stream, 0, {
          onRecords: () => {
            calls.push('records')
            session.cancel()
          },
          onCaughtUp: () => calls.push('caught up'),
          onEnd: () => calls.push('end'),
        })
        const control = follow(log, stream, 0)
        await expect.poll(() => control.caughtUp).toContain(2)
        await append(numbered(1), 2)
        await expect.poll(() => control.caughtUp).toContain(3)
        await expect.poll(() => calls).toEqual(['records'])
      })

      it('resumes at the exact position it was cancelled at', async () => {
        const records: LogRecord[] = []
        for (let next = 0; next < 30; next += 3) {
          await append(numbered(3), next)
          const session = follow(log, stream, records.length)
          await expect.poll(() => session.records.length).toBeGreaterThan(0)
          session.cancel()
          records.push(...session.records)
        }
        expect(seqNums(records)).toEqual(range(0, records.length))
        expect(records.length).toBe(30)
      })

      it('ends when it is opened past the tail', async () => {
        await append(numbered(2), 0)
        const session = follow(log, stream, 3)
        await expect.poll(() => session.ends).toEqual([expect.any(BeyondTailError)])
        expect(session.ends).toMatchObject([{ tail: 2 }])
        expect(session.calls).toEqual(['end'])
      })

      it('ends for good when a handler throws, and the append still counts', async () => {
        const calls: unknown[] = []
        const session = log.openReadSession(stream, 0, {
          onRecords: () => {
            throw new Error('from the handler')
          },
          onCaughtUp: (tail) => calls.push(tail),
          onEnd: (cause) => calls.push(cause),
        })
        await expect.poll(() => calls).toEqual([0])
        await append(numbered(1), 0)
        await expect
          .poll(() => calls)
          .toEqual([0, expect.objectContaining({ message: 'from the handler' })])
        await append(numbered(1), 1)
        expect(calls).toHaveLength(2)
        session.cancel()
      })
    })

    describe('closing', () => {
      it('refuses every call, ends its sessions, and can be done twice', async () => {
        const closing = await backend.open()
        await closing.createStream(stream)
        await closing.ping()
        const session = follow(closing, stream, 0)
        await expect.poll(() => session.caughtUp).toContain(0)
        await Promise.all([closing.close(), closing.close()])
        await closing.close()
        await expect.poll(() => session.ends).toEqual([expect.any(LogUnavailableError)])

        const batch = { records: [data('x')], matchSeqNum: 0, fencingToken: '' }
        await expect(closing.createStream(stream)).rejects.toThrow(LogUnavailableError)
        await expect(closing.listStreams('', '')).rejects.toThrow(LogUnavailableError)
        await expect(closing.append(stream, batch)).rejects.toThrow(LogUnavailableError)
        await expect(closing.checkTail(stream)).rejects.toThrow(LogUnavailableError)
        await expect(closing.read(stream, { seqNum: 0 }, ALL)).rejects.toThrow(LogUnavailableError)
        await expect(closing.ping()).rejects.toThrow(LogUnavailableError)
        const late = follow(closing, stream, 0)
        await expect.poll(() => late.ends).toEqual([expect.any(LogUnavailableError)])
      })
    })

    it('answers a ping and says what it is', async () => {
      await log.ping()
      expect(log.description).not.toBe('')
    })
  })
})

describe('embedded (disk) alone', () => {
  let path: string
  let logs: DurableLog[]

  beforeEach(async () => {
    path = await mkdtemp(join(tmpdir(), 'embedded-log-'))
    logs = []
  })
  afterEach(async () => {
    for (const log of logs) await log.close()
    await rm(path, { recursive: true })
  })

  const openLog = async (options: { maxIdleStreams?: number; now?: () => number } = {}) => {
    const log = await openEmbeddedLog({ location: { kind: 'directory', path }, ...options })
    logs.push(log)
    return log
  }
  const openOver = async (change: (store: EmbeddedStore) => Partial<EmbeddedStore>) => {
    const store = await openDiskStore(path)
    const changed: EmbeddedStore = {
      loadStream: (name) => store.loadStream(name),
      listStreams: (...given) => store.listStreams(...given),
      newStreamId: () => store.newStreamId(),
      write: (writes) => store.write(writes),
      readRecords: (id, records, limits) => store.readRecords(id, records, limits),
      removeRecords: (id, records) => store.removeRecords(id, records),
      close: () => store.close(),
      ...change(store),
    }
    const log = new EmbeddedLog(changed, 'under test')
    logs.push(log)
    return log
  }
  const one = (matchSeqNum: SeqNum, fencingToken = '') => ({
    records: [data(`r${matchSeqNum}`)],
    matchSeqNum,
    fencingToken,
  })

  it('has everything after it was closed and opened again', async () => {
    const records = [data(Uint8Array.from(range(0, 256)), [['ä', 'ö']]), data(''), fence('t')]
    const first = await openLog()
    await first.createStream('kept')
    await first.createStream('trimmed')
    await first.createStream('empty')
    const ack = await first.append('kept', { records, matchSeqNum: 0, fencingToken: '' })
    await first.append('trimmed', {
      records: [...numbered(5), fence('u'), trim(99)],
      matchSeqNum: 0,
      fencingToken: '',
    })
    await first.close()

    const again = await openLog()
    const kept = await again.read('kept', { seqNum: 0 }, ALL)
    expect(withoutPlace(kept)).toEqual(records)
    expect(kept.at(-1)?.timestamp).toBe(ack.timestamp)
    expect(await again.read('trimmed', { seqNum: 0 }, ALL)).toEqual([])
    expect(await again.append('trimmed', one(7, 'u'))).toMatchObject({ start: 7 })
    expect(await again.checkTail('empty')).toBe(0)
    expect(await again.listStreams('', '')).toEqual(['empty', 'kept', 'trimmed'])
    await again.createStream('new')
    await again.append('new', one(0))
    expect(withoutPlace(await again.read('kept', { seqNum: 0 }, ALL))).toEqual(records)
    expect(await again.checkTail('empty')).toBe(0)
  })

  it('names the directory and that it is for one process', async () => {
    const log = await openLog()
    expect(log.description).toBe(`embedded log in ${path} (one process only)`)
  })

  it('says that the directory is in use when it is opened twice', async () => {
    await openLog()
    const second = openEmbeddedLog({ location: { kind: 'directory', path } })
    await expect(second).rejects.toThrow(DataDirectoryError)
    await expect(second).rejects.toThrow(`${path} is in use by another process`)
  })

  it.each([
    { key: FORMAT_KEY, value: '99', message: 'has format version 99' },
    { key: Buffer.from('something'), value: 'else', message: 'holds something else' },
  ])('refuses a directory that $message', async ({ key, value, message }) => {
    const level = new ClassicLevel<Buffer, string>(path, { keyEncoding: 'buffer' })
    await level.put(key, value)
    await level.close()
    const opening = openEmbeddedLog({ location: { kind: 'directory', path } })
    await expect(opening).rejects.toThrow(message)
    await expect(openEmbeddedLog({ location: { kind: 'directory', path } })).rejects.toThrow(
      DataDirectoryError,
    )
  })

  it('shares syncs between appends to all streams', async () => {
    const writes: (readonly StreamWrite[])[] = []
    const log = await openOver((store) => ({
      write: (group) => {
        writes.push(group)
        return store.write(group)
      },
    }))
    const names = range(0, 50).map((index) => `s${index}`)
    await Promise.all(names.map((name) => log.createStream(name)))
    writes.length = 0
    await Promise.all(
      names.flatMap((name) => range(0, 10).map((next) => log.append(name, one(next)))),
    )
    expect(writes.flat()).toHaveLength(500)
    expect(writes.length).toBeLessThanOrEqual(3)
    for (const name of names) expect(await log.checkTail(name)).toBe(10)
  })

  /** A log whose writes wait until they are let go, or told to fail. */
  const openHeld = async () => {
    const held: { resolve: () => void; reject: (error: Error) => void }[] = []
    let isHolding = false
    const log = await openOver((store) => ({
      write: async (group) => {
        if (isHolding) {
          await new Promise<void>((resolve, reject) => held.push({ resolve, reject }))
        }
        await store.write(group)
      },
    }))
    await log.createStream('a')
    await log.createStream('b')
    isHolding = true
    return { log, held }
  }

  it('shows nothing, and refuses nobody, before it is durable', async () => {
    const { log, held } = await openHeld()
    const session = follow(log, 'a', 0)
    await expect.poll(() => session.caughtUp).toContain(0)
    const events: string[] = []
    const append = log.append('a', one(0)).then(() => events.push('acknowledged'))
    const refused = log.append('a', one(0)).catch(() => events.push('refused'))
    const next = log.append('a', one(1)).then(() => events.push('next acknowledged'))
    await expect.poll(() => held.length).toBe(1)
    const created = log.createStream('c').then(() => events.push('created'))
    expect(await log.checkTail('a')).toBe(0)
    await expect(log.read('a', { seqNum: 0 }, ALL)).rejects.toMatchObject({ tail: 0 })
    expect(await log.listStreams('', '')).toEqual(['a', 'b'])
    await log.ping()
    expect(events).toEqual([])
    expect(session.records).toEqual([])

    held[0]?.resolve()
    await expect.poll(() => held.length).toBe(2)
    held[1]?.resolve()
    await Promise.all([append, refused, next, created])
    expect(events.sort()).toEqual(['acknowledged', 'created', 'next acknowledged', 'refused'])
    expect(await log.listStreams('', '')).toEqual(['a', 'b', 'c'])
    expect(seqNums(session.records)).toEqual([0, 1])
  })

  it('acknowledges nothing of a failed write, and writes no more', async () => {
    const { log, held } = await openHeld()
    const inFlight = [log.append('a', one(0)), log.append('b', one(0))]
    await expect.poll(() => held.length).toBe(1)
    const refused = log.append('a', one(0))
    const queued = [log.append('a', one(1)), log.append('b', one(1)), log.createStream('c')]
    const results = Promise.allSettled([...inFlight, refused, ...queued])
    await log.ping()
    held[0]?.reject(new Error('ENOSPC'))

    const reasons = (await results).map((result) =>
      result.status === 'rejected' ? (result.reason as Error).constructor : 'acknowledged',
    )
    expect(reasons).toEqual([
      ...[AppendOutcomeUnknownError, AppendOutcomeUnknownError],
      ...[LogUnavailableError, LogUnavailableError, LogUnavailableError, LogUnavailableError],
    ])
    await expect(log.append('a', one(0))).rejects.toThrow(LogUnavailableError)
    await expect(log.createStream('d')).rejects.toThrow(LogUnavailableError)
    await expect(log.ping()).rejects.toThrow(LogUnavailableError)
    expect(held).toHaveLength(1)
    expect(await log.checkTail('a')).toBe(0)

    await log.close()
    const again = await openLog()
    await again.append('a', one(0))
    expect(await again.checkTail('b')).toBe(0)
  })

  it('is unavailable when the disk can not be read', async () => {
    const broken = () => Promise.reject(new Error('EIO'))
    const log = await openOver(() => ({ readRecords: broken, listStreams: broken }))
    await log.createStream('a')
    await expect(log.listStreams('', '')).rejects.toThrow(LogUnavailableError)
    await log.append('a', one(0))
    await expect(log.read('a', { seqNum: 0 }, ALL)).rejects.toThrow(LogUnavailableError)
    const session = follow(log, 'a', 0)
    await expect.poll(() => session.ends).toEqual([expect.any(LogUnavailableError)])
  })

  it('settles appends that are on their way when it is closed', async () => {
    const log = await openLog()
    await log.createStream('a')
    const appends = range(0, 20).map((next) => log.append('a', one(next)))
    await log.checkTail('a')
    await log.close()
    const results = await Promise.allSettled(appends)
    const acknowledged = results.filter(({ status }) => status === 'fulfilled').length
    expect(await (await openLog()).checkTail('a')).toBe(acknowledged)
    expect(acknowledged).toBe(20)
  })

  it('works with more streams than it remembers', async () => {
    const log = await openLog({ maxIdleStreams: 2 })
    const names = range(0, 10).map((index) => `s${index}`)
    for (const name of names) await log.createStream(name)
    for (const next of range(0, 3)) {
      for (const name of names) await log.append(name, one(next))
    }
    const session = follow(log, 's0', 0)
    await expect.poll(() => session.caughtUp).toContain(3)
    for (const name of names) expect(await log.checkTail(name)).toBe(3)
    await log.append('s0', one(3))
    await expect.poll(() => seqNums(session.records)).toEqual(range(0, 4))
  })

  it('never lets timestamps run backwards', async () => {
    const clock = [1000, 900, 1100]
    const log = await openLog({ now: () => clock.shift() ?? 0 })
    await log.createStream('a')
    for (const next of range(0, 4)) await log.append('a', one(next))
    const times = (await log.read('a', { seqNum: 0 }, ALL)).map(({ timestamp }) => timestamp)
    expect(times).toEqual([1000, 1000, 1100, 1100])
  })

  it('takes trimmed records off the disk, also when it stopped before', async () => {
    let isRemoving = false
    let left: () => Promise<readonly LogRecord[]> = () => Promise.resolve([])
    const openRemoving = () =>
      openOver((store) => {
        left = () => store.readRecords(0, { from: 0, before: 100 }, ALL)
        return isRemoving ? {} : { removeRecords: () => Promise.resolve() }
      })
    const first = await openRemoving()
    await first.createStream('a')
    const records = [...numbered(5), trim(3)]
    await first.append('a', { records, matchSeqNum: 0, fencingToken: '' })
    expect(seqNums(await left())).toEqual(range(0, 6))
    expect(seqNums(await first.read('a', { seqNum: 0 }, ALL))).toEqual(range(3, 6))
    await first.close()

    isRemoving = true
    const again = await openRemoving()
    await again.checkTail('a')
    await expect.poll(async () => seqNums(await left())).toEqual(range(3, 6))
    await again.append('a', { records: [trim(5)], matchSeqNum: 6, fencingToken: '' })
    await expect.poll(async () => seqNums(await left())).toEqual(range(5, 7))
  })

  it('refuses a name that S2 would refuse', async () => {
    const log = await openLog()
    for (const name of ['', '.', '..', 'a\0b', 'x'.repeat(513), '\ud800']) {
      await expect(log.createStream(name), JSON.stringify(name)).rejects.toThrow('stream name')
    }
  })
})

describe('embedded, idle', () => {
  it('tells a quiet session again and again that it is caught up', async () => {
    const log = await openEmbeddedLog({ location: { kind: 'memory' }, heartbeatMs: 20 })
    await log.createStream('a')
    const session = follow(log, 'a', 0)
    await expect.poll(() => session.caughtUp.length).toBeGreaterThanOrEqual(4)
    expect(new Set(session.caughtUp)).toEqual(new Set([0]))
    session.cancel()
    await log.close()
  })
})
