/** The log of projects over logs in memory. What it promises as any log is in the contract suite. */
import { describe, expect, onTestFinished, test } from 'vitest'
import { LogUnavailableError } from '../../../src/errors.ts'
import { LogStreamMissingError } from '../../../src/log/log.ts'
import type { ReadSessionHandlers } from '../../../src/log/log.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { openMemoryProjects } from '../../support/memory-projects.ts'
import type { MemoryProjectsOptions } from '../../support/memory-projects.ts'

const ALL = { maxRecords: 1000, maxBytes: 1024 * 1024 }
const NOBODY: ReadSessionHandlers = {
  onRecords: () => undefined,
  onCaughtUp: () => undefined,
  onEnd: () => undefined,
}
const batch = (text: string, matchSeqNum = 0) => ({
  records: [{ kind: 'data' as const, headers: [], body: Buffer.from(text) }],
  matchSeqNum,
  fencingToken: '',
})

function open(options?: MemoryProjectsOptions) {
  const projects = openMemoryProjects(options)
  onTestFinished(() => projects.log.close())
  return projects
}

async function listed(log: ReturnType<typeof open>['log'], prefix: string, from = '') {
  const names: string[] = []
  for (let after = from; ;) {
    const page = await log.listStreams(prefix, after)
    const last = page.at(-1)
    if (last === undefined) return names
    names.push(...page)
    after = last
  }
}

test('a stream is in the log of its project, by the rest of its name', async () => {
  const { log, opened } = open()
  for (const project of ['one', 'two']) {
    await log.createStream(`${project}/a/b`)
    await log.append(`${project}/a/b`, batch(project))
  }
  for (const project of ['one', 'two']) {
    const [record] = await log.read(`${project}/a/b`, { seqNum: 0 }, ALL)
    expect(record).toMatchObject({ body: new TextEncoder().encode(project) })
  }
  expect(opened).toEqual(['one', 'two'])
})

test('our own names are in no project', async () => {
  const { log, own, opened } = open()
  await log.createStream('__ds/keys')
  await log.append('__ds/keys', batch('key'))
  expect(await own.checkTail('__ds/keys')).toBe(1)
  expect(opened).toEqual([])
})

test.each(['a', 'A/b', '-a/b', 'a-/b', '_/b', '/b', '', `${'x'.repeat(48)}/b`])(
  'no project has the name %j',
  async (name) => {
    const { log, opened } = open()
    await expect(log.checkTail(name)).rejects.toThrow(LogStreamMissingError)
    await expect(log.append(name, batch('x'))).rejects.toThrow(LogStreamMissingError)
    await expect(log.createStream(name)).rejects.toThrow('no project')
    const ends: unknown[] = []
    log.openReadSession(name, 0, { ...NOBODY, onEnd: (cause) => ends.push(cause) })
    expect(ends).toEqual([])
    await expect.poll(() => ends).toEqual([expect.any(LogStreamMissingError)])
    const session = log.openAppendSession(name)
    expect(session.isOpen).toBe(true)
    await expect(session.append(batch('x'))).rejects.toThrow(LogStreamMissingError)
    expect(session.isOpen).toBe(false)
    expect(opened).toEqual([])
  },
)

describe('listings', () => {
  const NAMES = ['0/z', '1-a/x', '1/x', 'a-b-c/x', 'a-b/x', 'a/x', 'a/y', 'a0/x', 'b/x']
  // Digits are before `_`, and letters behind it.
  const IN_ORDER = [...NAMES.slice(0, 3), '__ds/one', '__ds/two', ...NAMES.slice(3)]

  const fill = async (options?: MemoryProjectsOptions) => {
    const projects = open(options)
    for (const name of IN_ORDER.toReversed()) await projects.log.createStream(name)
    return projects
  }

  test.each([1, 2, 1000])('span projects in the order of whole names (pages of %i)', async (n) => {
    const { log } = await fill({ pageSize: n, maxOpen: 2 })
    const bytes = IN_ORDER.toSorted((one, other) =>
      Buffer.compare(Buffer.from(one), Buffer.from(other)),
    )
    expect(bytes).toEqual(IN_ORDER)
    for (const prefix of [
      '',
      'a',
      'a-',
      'a-b',
      '1',
      '_',
      '__ds',
      'b',
      'zz',
      'A',
      '-',
      '\u{10ffff}',
    ]) {
      const expected = IN_ORDER.filter((name) => name.startsWith(prefix))
      expect(await listed(log, prefix), prefix).toEqual(expected)
    }
  })

  test.each([
    ...IN_ORDER,
    '',
    '!',
    'a',
    'a-',
    'a-b/',
    'a-b/w',
    'a.',
    'aa/x',
    '_',
    '__ds',
    '\u{10ffff}',
  ])('begin after %j, whether there is such a stream or not', async (start) => {
    const { log } = await fill({ pageSize: 2 })
    const isAfter = (name: string) => Buffer.compare(Buffer.from(name), Buffer.from(start)) > 0
    expect(await listed(log, '', start)).toEqual(IN_ORDER.filter(isAfter))
    expect(await listed(log, 'a', start)).toEqual(
      IN_ORDER.filter((name) => name.startsWith('a') && isAfter(name)),
    )
  })

  test('within a project ask nobody else', async () => {
    const { log, listed: asked, opened } = await fill()
    opened.length = 0
    asked.length = 0
    expect(await listed(log, 'a/')).toEqual(['a/x', 'a/y'])
    expect(await listed(log, 'a/y')).toEqual(['a/y'])
    expect(await listed(log, '__ds/t')).toEqual(['__ds/two'])
    expect(await listed(log, 'A/')).toEqual([])
    expect(await listed(log, 'nobody/')).toEqual([])
    expect(asked).toEqual([])
    expect(opened).toEqual(['nobody'])
  })

  test('show nothing of our own log that is not under our own names', async () => {
    const { log, own } = await fill()
    await own.createStream('__dsx')
    await own.createStream('a/secret')
    expect(await listed(log, '')).toEqual(IN_ORDER)
  })
})

describe('logs of projects', () => {
  test('are closed when nobody has used them for a while', async () => {
    const clock = new ManualClock()
    const { log, open: left } = open({ clock, idleMs: 1000 })
    await log.createStream('one/a')
    clock.advance(600)
    await log.createStream('two/a')
    clock.advance(600)
    expect([...left]).toEqual(['two'])
    clock.advance(600)
    expect([...left]).toEqual([])
    expect(await log.checkTail('one/a')).toBe(0)
  })

  test('stay open while they have a session', async () => {
    const clock = new ManualClock()
    const { log, open: left } = open({ clock, idleMs: 1000 })
    for (const project of ['one', 'two']) await log.createStream(`${project}/a`)
    const reads = log.openReadSession('one/a', 0, NOBODY)
    const appends = log.openAppendSession('two/a')
    await appends.append(batch('x'))
    clock.advance(5000)
    expect([...left].sort()).toEqual(['one', 'two'])
    reads.cancel()
    reads.cancel()
    appends.close()
    clock.advance(1500)
    expect([...left]).toEqual([])
  })

  test('are let go by sessions that end by themselves', async () => {
    const clock = new ManualClock()
    const { log, open: left } = open({ clock, idleMs: 1000 })
    for (const project of ['one', 'two']) await log.createStream(`${project}/a`)
    const ended = new Promise((onEnd) => log.openReadSession('one/a', 7, { ...NOBODY, onEnd }))
    const appends = log.openAppendSession('two/a')
    await expect(appends.append(batch('x', 7))).rejects.toThrow('condition')
    await ended
    clock.advance(1500)
    expect([...left]).toEqual([])
  })

  test('are no more than may be: the longest unused goes first', async () => {
    const { log, open: left } = open({ maxOpen: 2 })
    for (const project of ['one', 'two', 'one', 'three']) await log.createStream(`${project}/a`)
    expect([...left].sort()).toEqual(['one', 'three'])
  })

  test('in use are never closed: one more is refused until there is room', async () => {
    const { log } = open({ maxOpen: 2 })
    for (const project of ['one', 'two', 'three']) await log.createStream(`${project}/a`)
    const sessions = ['one/a', 'two/a'].map((name) => log.openReadSession(name, 0, NOBODY))
    await expect(log.checkTail('three/a')).rejects.toThrow(LogUnavailableError)
    await expect(log.openAppendSession('three/a').append(batch('x'))).rejects.toThrow(
      LogUnavailableError,
    )
    expect(await log.checkTail('one/a')).toBe(0)
    sessions[0]?.cancel()
    expect(await log.checkTail('three/a')).toBe(0)
  })
})
