import { Map } from 'immutable'
import { describe, expect, test } from 'vitest'
import type { DirectoryEntry } from '../../../src/subscriptions/directory-state.ts'
import { Matcher } from '../../../src/subscriptions/matcher.ts'
import { entry } from './builders.ts'

type Known = Partial<DirectoryEntry> & { readonly life?: string }

const known = (entries: Readonly<Record<string, Known>>) => {
  const all = Object.entries(entries).map(([id, { life = `${id}1`, ...more }]) => {
    return [life, entry({ subscription: id, ...more })] as const
  })
  return { subscriptions: Map(all) }
}
const names = (matches: readonly { readonly subscription: string }[]) =>
  matches.map(({ subscription }) => subscription).sort()

describe('Matcher', () => {
  const directory = known({
    byPattern: { pattern: 'events/*' },
    byDepth: { pattern: '**' },
    byName: { pattern: undefined, streams: ['events/a', 'other'] },
    byBoth: { pattern: 'events/**', streams: ['events/a', 'far/away'] },
    pull: { pattern: '**', wakeStream: 'wake/pool' },
    selfish: { pattern: undefined, streams: ['wake/pool', 'x'], wakeStream: 'wake/pool' },
  })

  test.each([
    ['events/a', ['byBoth', 'byDepth', 'byName', 'byPattern', 'pull']],
    ['events/b', ['byBoth', 'byDepth', 'byPattern', 'pull']],
    ['events/b/c', ['byBoth', 'byDepth', 'pull']],
    ['events', ['byBoth', 'byDepth', 'pull']],
    ['other', ['byDepth', 'byName', 'pull']],
    ['far/away', ['byBoth', 'byDepth', 'pull']],
    ['x', ['byDepth', 'pull', 'selfish']],
    ['wake/pool', ['byDepth']],
    ['constructor', ['byDepth', 'pull']],
  ])('finds for %j each of its subscriptions once: %j', (name, expected) => {
    const matcher = new Matcher()
    expect(names(matcher.matching(directory, name))).toEqual(expected)
    expect(names(matcher.matching(directory, name))).toEqual(expected)
  })

  test('says which life of a subscription it found', () => {
    const one = known({ s: { pattern: 'a', streams: ['b'], life: 'L9' } })
    const match = { subscription: 's', life: 'L9' }
    const matcher = new Matcher()
    expect([matcher.matching(one, 'a'), matcher.matching(one, 'b')]).toEqual([[match], [match]])
  })

  // One is about to go, the other one to come: only their logs tell which is which.
  test('finds every life of a subscription', () => {
    const subscriptions = Map([
      ['L1', entry({ pattern: 'a' })],
      ['L2', entry({ pattern: undefined, streams: ['a'] })],
    ])
    const lives = new Matcher().matching({ subscriptions }, 'a').map(({ life }) => life)
    expect(lives.sort()).toEqual(['L1', 'L2'])
  })

  test('finds nothing in an empty directory', () => {
    expect(new Matcher().matching(known({}), 'a')).toEqual([])
  })

  test('looks at subscriptions that have come, changed and gone since', () => {
    const matcher = new Matcher()
    const found = (entries: Readonly<Record<string, Known>>) =>
      matcher.matching(known(entries), 'a')
    expect(found({})).toEqual([])
    expect(found({ s: { pattern: 'a' } })).toEqual([{ subscription: 's', life: 's1' }])
    expect(found({ s: { pattern: 'a', life: 'L2' } })).toEqual([{ subscription: 's', life: 'L2' }])
    expect(found({ s: { pattern: 'b' } })).toEqual([])
    expect(found({ s: { pattern: 'b', streams: ['a'] } })).toHaveLength(1)
    expect(found({})).toEqual([])
  })
})
