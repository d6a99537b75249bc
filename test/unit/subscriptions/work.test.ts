import { describe, expect, test } from 'vitest'
import { MAX_LINK_BYTES } from '../../../src/subscriptions/commands.ts'
import { linkSize } from '../../../src/subscriptions/subscription.ts'
import { doneCommand } from '../../../src/subscriptions/wakes.ts'
import { hasWorkIn, newsOf, workItems, workOf } from '../../../src/subscriptions/work.ts'
import {
  PULL,
  WEBHOOK,
  after,
  at,
  begun,
  happened,
  issue,
  lifeOf,
  linksOf,
  longNames,
  mapOf,
  take,
} from './builders.ts'
import type { Offsets } from './builders.ts'
import { advance, pendingOf, release, streams } from './in-flight.ts'

describe('newsOf', () => {
  const life = lifeOf(begun(WEBHOOK, { a: at(5), b: at(5) }))
  const news = (tails: Offsets, of = life) => newsOf(of, issue(tails))

  test('are tails beyond the noted ones, and streams that the pattern finds', () => {
    const tails = { a: at(6), b: at(5), 'events/c': at(2), 'events/d': '-1', 'other/e': at(2) }
    expect(news(tails)).toEqual(mapOf({ a: at(6), 'events/c': at(2) }))
  })

  test('are the growth of a stream that is named, even where the pattern finds no new one', () => {
    const named = lifeOf(begun({ ...PULL, pattern: '**' }, { a: at(5) }))
    expect(news({ a: at(6), 'wake/pool': at(6) }, named)).toEqual(mapOf({ a: at(6) }))
  })
})

describe('workOf', () => {
  test('is what is noted and not acked, with the news, each stream once', () => {
    const state = happened(begun(WEBHOOK, { a: at(1), b: at(1), c: at(1) }), [
      {
        kind: 'noted',
        tails: [
          ['a', at(5)],
          ['b', at(5)],
        ],
      },
    ])
    const work = workOf(lifeOf(state), mapOf({ b: at(9), 'events/d': at(2) }))
    expect(work).toEqual(mapOf({ a: at(5), b: at(9), 'events/d': at(2) }))
    expect([hasWorkIn(lifeOf(state), 'a'), hasWorkIn(lifeOf(state), 'c')]).toEqual([true, false])
    expect(hasWorkIn(lifeOf(state), 'unknown')).toBe(false)
  })
})

describe('a wake', () => {
  test('links no more streams than there may be', () => {
    const tails = { 'events/a': at(5), 'events/b': at(5), 'events/c': at(5) }
    const { state } = take(begun(WEBHOOK, { x: at(1) }), advance(tails, { maxStreams: 3 }))
    expect(Object.keys(linksOf(state)).sort()).toEqual(['events/a', 'events/b', 'x'])
    expect(take(state, advance({ 'events/c': at(5) }, { maxStreams: 3 })).wrote).toEqual([])
  })

  test('links no more names than fit', () => {
    const names = longNames('x', 1200)
    const tails = Object.fromEntries(names.map((name) => [name, at(5)]))
    const config = { ...WEBHOOK, pattern: '*' }
    const { state } = take(begun(config), advance(tails, { maxStreams: 10_000 }))
    const [name = ''] = names
    expect(lifeOf(state).links.size).toBe(Math.floor(MAX_LINK_BYTES / linkSize(name)))
    expect(lifeOf(state).linkBytes).toBeLessThanOrEqual(MAX_LINK_BYTES)
  })

  test('takes no time that grows beyond measure for thousands of streams at once', () => {
    const config = { ...WEBHOOK, pattern: '*' }
    const begin = performance.now()
    const { state } = take(begun(config), advance(streams(5000, at(5)), { maxStreams: 5000 }))
    expect(lifeOf(state).links.size).toBe(5000)
    expect(performance.now() - begin).toBeLessThan(1000)
  })

  test('names as many streams as one wake may, and the rest in the next ones', () => {
    const all = streams(1200, at(5))
    let state = after(begun(WEBHOOK, streams(1200, at(1))), [advance(all, { wakeId: 'w0' })])
    expect(pendingOf(state)).toHaveLength(1200)
    const named: string[][] = []
    for (let turn = 0; turn < 3; turn += 1) {
      named.push([...(lifeOf(state).wake?.tails.keys() ?? [])])
      const end = doneCommand('L1', `w${turn}`, issue({}, { wakeId: `w${turn + 1}` }))
      state = after(state, [end])
    }
    expect(named.map(({ length }) => length)).toEqual([500, 500, 200])
    expect(new Set(named.flat()).size).toBe(1200)
    expect([pendingOf(state), lifeOf(state).wake]).toEqual([[], undefined])
  })

  test('names no more bytes than one wake may, and at least one stream', () => {
    const tails = Object.fromEntries(longNames('中', 450).map((name) => [name, at(5)]))
    const state = after(begun({ ...WEBHOOK, pattern: '*' }), [advance(tails, { maxStreams: 450 })])
    const named = [...(lifeOf(state).wake?.tails ?? [])]
    expect(named.length).toBeGreaterThan(0)
    expect(Buffer.byteLength(JSON.stringify(named))).toBeLessThanOrEqual(256 * 1024)
  })

  // Names of things that every JavaScript object has are names of streams like any other.
  test.each(['constructor', 'hasOwnProperty', '__proto__'])(
    'wakes for a stream called %j, noted before or not',
    (path) => {
      const tails = Object.fromEntries([[path, at(5)]])
      const grown = take(begun(WEBHOOK, Object.fromEntries([[path, at(1)]])), advance(tails))
      const wake = { tails: new Map([[path, at(5)]]) }
      expect([grown.heard, lifeOf(grown.state).wake]).toMatchObject(['woken', wake])
      expect(lifeOf(after(grown.state, [release()])).wake).toMatchObject({ id: 'w2', ...wake })
    },
  )
})

describe('workItems', () => {
  test('are what a wake names, without what is not linked any more', () => {
    const state = after(begun(WEBHOOK, { a: at(1), b: at(1) }), [advance({ a: at(5), b: at(6) })])
    const unlinked = happened(state, [{ kind: 'unlinked', streams: ['b'] }])
    expect(workItems(lifeOf(unlinked), lifeOf(unlinked).wake?.tails ?? new Map())).toEqual([
      { path: 'a', link: { explicit: true, glob: false, acked: at(1), tail: at(5) }, tail: at(5) },
    ])
  })
})
