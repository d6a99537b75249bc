/** The checker of the chaos runs sees what readers suffer. */
import { describe, expect, test } from 'vitest'
import { check } from '../../chaos/checker/check.ts'
import {
  A,
  B,
  BIRTH,
  C,
  HistoryBuilder,
  REBIRTH,
  STREAM,
  UNKNOWN,
  at,
  begun,
  refused,
  rulesOf,
} from './history-builder.ts'

describe('a reader', () => {
  test('with a gap inside a read', () => {
    const history = begun().read([BIRTH, B], 3).end([BIRTH, A, B], 3)
    expect(rulesOf(history)).toContain('order')
  })

  test('with a gap between two reads', () => {
    const history = begun()
      .appended(C, 4)
      .read([BIRTH, A], 2, { upToDate: false })
      .read([C], 4, { from: at(2) })
      .end([BIRTH, A, B, C], 4)
    expect(rulesOf(history)).toContain('order')
  })

  test('that is sent past something without data', () => {
    const history = begun()
      .read([BIRTH, A], 2, { upToDate: false })
      .read([], 3, { from: at(2), mode: 'long-poll' })
      .end([BIRTH, A, B], 3)
    expect(rulesOf(history)).toEqual(['gap'])
  })

  test('that sees another order than the others', () => {
    const history = begun().read([BIRTH, B, A], 3).end([BIRTH, A, B], 3)
    expect(rulesOf(history)).toContain('order')
  })

  test('for whom an offset means another place', () => {
    const history = begun().read([BIRTH, A, B], 2, { upToDate: false }).end([BIRTH, A, B], 3)
    expect(rulesOf(history)).toContain('offset')
  })

  test('that does not begin at the beginning', () => {
    expect(rulesOf(begun().read([A, B], 3).end([BIRTH, A, B], 3))).toContain('gap')
  })

  test('that is told that there is nothing', () => {
    expect(rulesOf(begun().read([], 3).end([BIRTH, A, B], 3))).toEqual(['gap'])
  })

  test('that gets what nobody wrote', () => {
    expect(rulesOf(begun().end([BIRTH, A, B, C], 4))).toEqual(['invented'])
  })

  test('that never comes to the end', () => {
    const history = begun().read([BIRTH, A], 2, { mode: 'sse', client: 'follower' })
    history.liveReaders.push({ client: 'follower', stream: STREAM })
    expect(rulesOf(history.end([BIRTH, A, B], 3))).toEqual(['stuck'])
  })
})

describe('a stale look at the tail', () => {
  test('by HEAD', () => {
    expect(rulesOf(begun().head(2, { gateway: 1 }).end([BIRTH, A, B], 3))).toEqual(['stale'])
  })

  test('by a read that says it is up to date', () => {
    expect(rulesOf(begun().read([BIRTH, A], 2).end([BIRTH, A, B], 3))).toEqual(['stale'])
  })

  test('behind what another reader had got', () => {
    const history = new HistoryBuilder()
      .created(BIRTH, 1)
      .appended(A, UNKNOWN)
      .read([BIRTH, A], 2, { mode: 'sse' })
      .head(1, { gateway: 1 })
    expect(rulesOf(history.end([BIRTH, A], 2))).toEqual(['stale'])
  })

  test('is none while the append is under way', () => {
    const history = new HistoryBuilder()
      .created(BIRTH, 1)
      .appended(A, 2, { start: 10, end: 20 })
      .head(1, { start: 15, end: 25 })
    expect(check(history.end([BIRTH, A], 2))).toEqual([])
  })
})

describe('data after closure', () => {
  test('that readers see', () => {
    const history = begun()
      .appended(C, 4, { close: true })
      .appended('d:0:0:0', UNKNOWN)
      .end([BIRTH, A, B, C, 'd:0:0:0'], 5)
    expect(rulesOf(history)).toContain('closed')
  })

  test('after a reader was told of the end', () => {
    const history = begun()
      .appended('z:0:0:0', UNKNOWN, { close: true, count: 0 })
      .read([BIRTH, A, B], 3, { closed: true })
      .appended(C, 4)
      .end([BIRTH, A, B, C], 4)
    expect(rulesOf(history)).toContain('closed')
  })

  test('is possible again: the stream is open', () => {
    const history = begun()
      .appended('z:0:0:0', 3, { close: true, count: 0 })
      .head(3)
      .end([BIRTH, A, B], 3, { closed: true })
    expect(rulesOf(history)).toEqual(['closed'])
  })
})

describe('a deletion', () => {
  test('after which the old data is still read', () => {
    const history = begun()
      .read([BIRTH, A, B], 3)
      .deleted()
      .read([BIRTH, A, B], 3)
      .created(REBIRTH, 9)
      .end([REBIRTH], 9)
    expect(rulesOf(history)).toEqual(expect.arrayContaining(['survived', 'resurrected']))
  })

  test('after which a page before the tail still comes from a cache: nobody asks the log for it', () => {
    const history = begun()
      .read([BIRTH, A, B], 3)
      .deleted()
      .read([BIRTH, A], 2, { upToDate: false })
      .created(REBIRTH, 9)
      .end([REBIRTH], 9)
    expect(rulesOf(history)).toEqual([])
  })

  test('after which the old data comes back with a new creation', () => {
    const history = begun()
      .read([BIRTH, A, B], 3)
      .deleted()
      .created(REBIRTH, 9)
      .end([BIRTH, A, B, REBIRTH], 9)
    expect(rulesOf(history)).toEqual(expect.arrayContaining(['order', 'resurrected']))
  })

  test('that nobody asked for', () => {
    const history = begun().failedRead(refused(404, 'stream_not_found')).end([BIRTH, A, B], 3)
    expect(rulesOf(history)).toEqual(['vanished'])
  })
})

describe('gateways that differ at the end', () => {
  test.each([
    ['in the tail', { next: at(2) }],
    ['in the closure', { closed: true }],
    ['in the data', { messages: [`${BIRTH}:0/1`, `${B}:0/1`, `${A}:0/1`] }],
    ['in the amount of data', { messages: [] }],
  ])('%s', (_, second) => {
    expect(rulesOf(begun().end([BIRTH, A, B], 3, { second }))).toEqual(['final'])
  })

  test('in what they know of a producer', () => {
    const { final, ...history } = begun().end([BIRTH, A, B], 3)
    const [one, other] = final
    if (one === undefined || other === undefined) throw new Error('no views')
    const views = [
      { ...one, producers: { p: '204 seq 3' } },
      { ...other, producers: { p: 'producer_gap' } },
    ]
    expect(rulesOf({ ...history, final: views })).toEqual(['final'])
  })
})
