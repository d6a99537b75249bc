import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { InvariantError, OverloadedError } from '../../../src/errors.ts'
import { encodeRecord } from '../../../src/journal/envelope.ts'
import { EMPTY_STATE } from '../../../src/journal/state.ts'
import { LOG_LIMITS, meteredBytes } from '../../../src/log/log.ts'
import {
  MAX_ENTRY_BYTES,
  MAX_MARK_BYTES,
  adoptOrphansCommand,
  aliveCommand,
  leaveCommand,
  markCommand,
  subscribeCommand,
  takeOverCommand,
  unsubscribeCommand,
} from '../../../src/subscriptions/directory-commands.ts'
import { DIRECTORY_RULES, markSize } from '../../../src/subscriptions/directory-state.ts'
import type {
  DirectoryEvent,
  DirectoryState,
  Mark,
} from '../../../src/subscriptions/directory-state.ts'
import {
  DEAR_NAMES,
  code,
  directoryOf,
  entry,
  folded,
  longNames,
  takeIn,
  told,
} from './builders.ts'

const mark = (name: string): Mark => `stream:${name}`
const [A, B, C] = [mark('a'), mark('b'), mark('c')]

const begun = takeIn(EMPTY_STATE, aliveCommand('g1')).state
const marked = (
  gateway: string,
  add: readonly Mark[],
  drop: readonly Mark[] = [],
): DirectoryEvent => {
  return { kind: 'marked', gateway, add, drop }
}
const marksOf = (state: DirectoryState, gateway: string): readonly Mark[] | undefined => {
  const marks = directoryOf(state).gateways.get(gateway)?.marks
  return marks && [...marks].sort()
}
const orphansOf = (state: DirectoryState): readonly Mark[] => [...directoryOf(state).orphans].sort()
const seenOf = (state: DirectoryState, gateway: string): number | undefined =>
  directoryOf(state).gateways.get(gateway)?.seen
const known = (state: DirectoryState) => directoryOf(state).subscriptions.toObject()

describe('the directory', () => {
  test('begins with whoever writes first', () => {
    const { wrote, state } = takeIn(EMPTY_STATE, aliveCommand('g1'))
    expect(wrote).toEqual([
      { kind: 'fence', token: 'o:directory' },
      { kind: 'created', id: 'directory', fencingToken: 'o:directory' },
      { kind: 'alive', gateway: 'g1' },
    ])
    expect([state.fencingToken, state.checkpoint, seenOf(state, 'g1')]).toEqual([
      'o:directory',
      1,
      2,
    ])
    expect(takeIn(state, aliveCommand('g2')).wrote).toEqual([{ kind: 'alive', gateway: 'g2' }])
  })

  test('takes a record of a later version, or of an S2 client, for nothing', () => {
    const later = folded(DIRECTORY_RULES, begun, [
      encodeRecord('retired', Buffer.from('not ours to read')),
      encodeRecord('constructor', Buffer.from('{}')),
      { kind: 'data', headers: [['x', 'y']], body: Buffer.from('{}') },
    ])
    expect(later.incarnation).toEqual(begun.incarnation)
  })

  test.each([
    ['created', '{"id":"x"}'],
    ['checkpoint', '{"fencingToken":"t","directory":{}}'],
    ['alive', ''],
    ['marked', '{"gateway":"g1","add":[1],"drop":[]}'],
    ['marked', '{"gateway":"g1","add":["stream:a"]}'],
    ['left', '{}'],
    ['adopted', '{"gateway":1}'],
    ['subscribed', '{"gateway":"g1","life":"L1","entry":{"subscription":"s"}}'],
    ['subscribed', '{"gateway":"g1","entry":{"subscription":"s","streams":[]}}'],
    ['unsubscribed', '{"life":"L1"}'],
    ['unsubscribed', '[]'],
  ])('refuses to guess what a %s of %j means', (kind, body) => {
    const record = encodeRecord(kind, Buffer.from(body))
    expect(() => folded(DIRECTORY_RULES, begun, [record])).toThrow(InvariantError)
  })

  const gateway = fc.constantFrom('g1', 'g2', 'g3')
  const marks = fc.array(fc.constantFrom<Mark>(A, B, C, 'wake:"s"', 'stream:中'), { maxLength: 3 })
  const life = fc.constantFrom('L1', 'L2', 'constructor', '__proto__')
  const entries = fc.record({
    subscription: fc.string(),
    pattern: fc.option(fc.string(), { nil: undefined }),
    streams: fc.array(fc.string(), { maxLength: 2 }),
    wakeStream: fc.option(fc.string(), { nil: undefined }),
  })
  const kind = <Kind extends string>(name: Kind) => fc.constant(name)
  const event: fc.Arbitrary<DirectoryEvent> = fc.oneof(
    fc.record({ kind: kind('alive'), gateway }),
    fc.record({ kind: kind('marked'), gateway, add: marks, drop: marks }),
    fc.record({ kind: kind('left'), gateway }),
    fc.record({ kind: kind('adopted'), gateway }),
    fc.record({ kind: kind('subscribed'), gateway, life, entry: entries }),
    fc.record({ kind: kind('unsubscribed'), gateway, life }),
  )

  test('counts what marks take, however they came and went', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), (events) => {
        const { gateways, orphans, markBytes } = directoryOf(told(begun, events))
        const held = [...orphans, ...[...gateways.values()].flatMap(({ marks }) => [...marks])]
        expect(markBytes).toBe(held.reduce((sum, each) => sum + markSize(each), 0))
      }),
      { seed: 43, numRuns: 500 },
    )
  })

  test('is the same from a checkpoint, and what comes after it means the same', () => {
    fc.assert(
      fc.property(
        fc.array(event, { maxLength: 25 }),
        fc.array(event, { maxLength: 10 }),
        (before, later) => {
          const state = told(begun, before)
          const checkpoint = [DIRECTORY_RULES.checkpoint(state)]
          const direct = folded(DIRECTORY_RULES, state, checkpoint)
          const read = folded(
            DIRECTORY_RULES,
            { ...EMPTY_STATE, nextSeq: state.nextSeq },
            checkpoint,
          )
          expect(direct.incarnation).toEqual(state.incarnation)
          expect(read).toEqual(direct)
          expect(told(read, later)).toEqual(told(direct, later))
        },
      ),
      { seed: 42, numRuns: 500 },
    )
  })
})

describe('marks', () => {
  test('are taken in hand and let go of, each gateway its own', () => {
    const state = told(begun, [marked('g1', [A, B]), marked('g2', [B, C]), marked('g1', [C], [A])])
    expect([marksOf(state, 'g1'), marksOf(state, 'g2')]).toEqual([
      [B, C],
      [B, C],
    ])
  })

  test('are orphans when their gateway has left', () => {
    const state = told(begun, [marked('g1', [A, B]), { kind: 'left', gateway: 'g1' }])
    expect([marksOf(state, 'g1'), orphansOf(state)]).toEqual([undefined, [A, B]])
  })

  test('of all that have left are for whoever adopts them', () => {
    const state = told(begun, [
      marked('g1', [A, B]),
      marked('g2', [B, C]),
      marked('g3', [mark('d')]),
      { kind: 'left', gateway: 'g1' },
      { kind: 'left', gateway: 'g2' },
      { kind: 'adopted', gateway: 'g3' },
    ])
    expect([marksOf(state, 'g3'), orphansOf(state)]).toEqual([[A, B, C, mark('d')], []])
  })

  test('cost no more the more there are', () => {
    const many = told(begun, [
      marked(
        'g1',
        Array.from({ length: 20_000 }, (_, n) => mark(`s${n}`)),
      ),
    ])
    const begin = performance.now()
    told(
      many,
      Array.from({ length: 1000 }, (_, n) => marked('g1', [mark(`t${n}`)])),
    )
    expect(performance.now() - begin).toBeLessThan(1000)
  })

  test('of a gateway that was never there leave nothing behind', () => {
    const state = told(begun, [{ kind: 'left', gateway: 'g9' }])
    expect(directoryOf(state)).toEqual(directoryOf(begun))
  })
})

describe('markCommand', () => {
  test('takes marks and drops others in one record', () => {
    const { wrote } = takeIn(begun, markCommand('g1', { add: [A], drop: [B] }))
    expect(wrote).toEqual([{ kind: 'marked', gateway: 'g1', add: [A], drop: [B] }])
  })

  test('takes no more than there is room for, orphans counted, and drops even then', () => {
    const many = longNames('x', 2000).map(mark)
    const fits = many.slice(0, Math.floor(MAX_MARK_BYTES / 530))
    const full = told(begun, [
      marked('g1', fits.slice(0, 300)),
      marked('g2', fits.slice(300)),
      { kind: 'left', gateway: 'g1' },
    ])
    const more = takeIn(full, markCommand('g3', { add: many.slice(-20), drop: [] }))
    expect([more.wrote, more.heard]).toEqual([[], expect.any(OverloadedError)])
    const drop = takeIn(full, markCommand('g2', { add: [], drop: fits.slice(300, 330) }))
    expect(drop.heard).toBeUndefined()
    expect(takeIn(drop.state, markCommand('g3', { add: many.slice(-20), drop: [] })).heard).toBe(
      undefined,
    )
  })
})

describe('leaveCommand', () => {
  test('leaves once', () => {
    const { wrote, state } = takeIn(begun, leaveCommand('g1'))
    expect(wrote).toEqual([{ kind: 'left', gateway: 'g1' }])
    expect(takeIn(state, leaveCommand('g1')).wrote).toEqual([])
    expect(takeIn(EMPTY_STATE, leaveCommand('g1')).wrote).toEqual([])
  })
})

describe('takeOverCommand', () => {
  const state = told(begun, [
    marked('g9', [C]),
    { kind: 'left', gateway: 'g9' },
    marked('g2', [A, B]),
  ])
  const silent = { id: 'g2', seen: seenOf(state, 'g2') ?? -1 }

  test('takes what a silent gateway had in hand, and what others have left', () => {
    const { wrote, heard, state: next } = takeIn(state, takeOverCommand('g1', silent))
    expect(wrote).toEqual([
      { kind: 'left', gateway: 'g2' },
      { kind: 'adopted', gateway: 'g1' },
    ])
    expect([...(heard as readonly Mark[])].sort()).toEqual([A, B, C])
    expect([marksOf(next, 'g1'), marksOf(next, 'g2'), orphansOf(next)]).toEqual([
      [A, B, C],
      undefined,
      [],
    ])
  })

  test.each<[string, DirectoryState]>([
    ['has written since', told(state, [{ kind: 'alive', gateway: 'g2' }])],
    ['has left', told(state, [{ kind: 'left', gateway: 'g2' }])],
    ['was taken over', takeIn(state, takeOverCommand('g3', silent)).state],
    ['was never there', EMPTY_STATE],
  ])('takes nothing of one that %s', (_name, now) => {
    expect(takeIn(now, takeOverCommand('g1', silent))).toMatchObject({ wrote: [], heard: [] })
  })
})

describe('adoptOrphansCommand', () => {
  test('takes what was left behind, once', () => {
    const state = told(begun, [marked('g2', [A]), { kind: 'left', gateway: 'g2' }])
    const first = takeIn(state, adoptOrphansCommand('g1'))
    expect([first.wrote, first.heard]).toEqual([[{ kind: 'adopted', gateway: 'g1' }], [A]])
    expect(marksOf(first.state, 'g1')).toEqual([A])
    expect(takeIn(first.state, adoptOrphansCommand('g3'))).toMatchObject({ wrote: [], heard: [] })
  })
})

describe('subscriptions', () => {
  const subscribe = (state: DirectoryState, life: string) =>
    takeIn(
      state,
      subscribeCommand('g1', life, () => entry()),
    )

  test('are made known life by life: a later one of the same name leaves an earlier one alone', () => {
    const first = subscribe(begun, 'L1')
    const second = subscribe(first.state, 'L2')
    expect(first.wrote).toEqual([{ kind: 'subscribed', gateway: 'g1', life: 'L1', entry: entry() }])
    expect([known(first.state), known(second.state)]).toEqual([
      { L1: entry() },
      { L1: entry(), L2: entry() },
    ])
  })

  test('change by what is known of them when it is written', () => {
    const add = (path: string) =>
      subscribeCommand('g1', 'L1', (before) =>
        entry({ streams: [...(before?.streams ?? []), path] }),
      )
    const { state } = takeIn(takeIn(begun, add('a')).state, add('b'))
    expect(known(state)).toEqual({ L1: entry({ streams: ['a', 'b'] }) })
  })

  test('are not made known again when a change finds that they are over', () => {
    const change = subscribeCommand('g1', 'L2', (before) => before)
    const { wrote, heard } = takeIn(subscribe(begun, 'L1').state, change)
    expect([wrote, heard]).toEqual([[], code('SUBSCRIPTION_NOT_FOUND')])
  })

  test('are made unknown life by life', () => {
    const { state } = subscribe(subscribe(begun, 'L1').state, 'L2')
    expect(takeIn(state, unsubscribeCommand('g2', 'L3')).wrote).toEqual([])
    const { wrote, state: next } = takeIn(state, unsubscribeCommand('g2', 'L2'))
    expect([wrote, known(next)]).toEqual([
      [{ kind: 'unsubscribed', gateway: 'g2', life: 'L2' }],
      { L1: entry() },
    ])
    expect(takeIn(next, unsubscribeCommand('g2', 'L2')).wrote).toEqual([])
  })

  test('are no more than there is room for; one that is there may always become smaller', () => {
    const wide = (size: number) => () => entry({ streams: ['x'.repeat(size)] })
    const half = MAX_ENTRY_BYTES / 2
    const first = takeIn(begun, subscribeCommand('g1', 'L1', wide(half)))
    expect(first.heard).toBeUndefined()
    const second = takeIn(first.state, subscribeCommand('g1', 'L2', wide(half)))
    expect([second.wrote, second.heard]).toEqual([[], code('LIMIT_REACHED')])
    const smaller = takeIn(first.state, subscribeCommand('g1', 'L1', wide(10)))
    expect(takeIn(smaller.state, subscribeCommand('g1', 'L2', wide(half))).heard).toBe(undefined)
  })

  // Who has written after `newest` knows all subscriptions: for that the maker waits.
  test('are known to whoever has written since', () => {
    const both = told(begun, [{ kind: 'alive', gateway: 'g2' }])
    const { state } = subscribe(both, 'L1')
    const knows = (now: DirectoryState, id: string) =>
      (seenOf(now, id) ?? -1) >= directoryOf(now).newest
    expect([knows(state, 'g1'), knows(state, 'g2')]).toEqual([true, false])
    expect(knows(told(state, [{ kind: 'alive', gateway: 'g2' }]), 'g2')).toBe(true)
    expect(knows(told(state, [marked('g2', [])]), 'g2')).toBe(true)
    expect(knows(told(state, [{ kind: 'adopted', gateway: 'g2' }]), 'g2')).toBe(true)
    const gone = takeIn(state, unsubscribeCommand('g2', 'L1')).state
    expect(knows(gone, 'g2')).toBe(true)
    expect(directoryOf(gone).newest).toBe(directoryOf(state).newest)
  })
})

describe('a checkpoint of the directory', () => {
  /** Does as many as there is room for. */
  function filled(
    state: DirectoryState,
    commands: readonly Parameters<typeof takeIn>[1][],
  ): DirectoryState {
    let next = state
    for (const command of commands) {
      const { state: later, heard } = takeIn(next, command)
      if (heard instanceof Error) return later
      next = later
    }
    throw new Error('there was room for all')
  }
  const checkpointOf = (state: DirectoryState): number =>
    meteredBytes(DIRECTORY_RULES.checkpoint(state))
  /** The gateways themselves take some as well. */
  const gateways = Array.from({ length: 50 }, (_, n): DirectoryEvent => {
    return { kind: 'alive', gateway: `gateway-${'x'.repeat(24)}-${n}` }
  })
  const full = (names: readonly string[]): DirectoryState => {
    const marks = names.map((name) => markCommand('g1', { add: [mark(name)], drop: [] }))
    const entries = names.map((name, index) =>
      subscribeCommand('g1', `${'x'.repeat(16)}${index}`, () =>
        entry({ subscription: 's'.repeat(400), streams: [name], wakeStream: name }),
      ),
    )
    return filled(filled(told(begun, gateways), marks), entries)
  }

  test.each(DEAR_NAMES)('fits in a batch with all there may be: %s', (_name, sign) => {
    const bytes = checkpointOf(full(longNames(sign, 2000)))
    expect({ bytes, fits: bytes < LOG_LIMITS.maxBatchBytes - 100 }).toEqual({ bytes, fits: true })
  })

  test('fits in a batch with patterns of characters that JSON writes in six', () => {
    const pattern = '\u0001'.repeat(512)
    const entries = Array.from({ length: 2000 }, (_, index) =>
      subscribeCommand('g1', `L${index}`, () => entry({ pattern })),
    )
    const bytes = checkpointOf(filled(begun, entries))
    expect({ bytes, fits: bytes < LOG_LIMITS.maxBatchBytes - 100 }).toEqual({ bytes, fits: true })
  })

  test('fits in a batch with thousands of short names', () => {
    const names = Array.from({ length: 40_000 }, (_, index) => index.toString(36))
    const fits = names.slice(0, Math.floor(MAX_MARK_BYTES / (mark('xxx').length + 4)))
    const marks = marked('g1', fits.map(mark))
    // Most of them at once: each command looks at all that are known.
    const most = Math.floor((0.95 * MAX_ENTRY_BYTES) / (JSON.stringify(entry()).length + 30))
    const known = names.slice(0, most).map((life): DirectoryEvent => {
      return { kind: 'subscribed', gateway: 'g1', life, entry: entry() }
    })
    const entries = names.slice(most).map((life) => subscribeCommand('g1', life, () => entry()))
    const state = filled(told(begun, [...gateways, marks, ...known]), entries)
    const bytes = checkpointOf(state)
    expect({ bytes, fits: bytes < LOG_LIMITS.maxBatchBytes - 100 }).toEqual({ bytes, fits: true })
  })
})
