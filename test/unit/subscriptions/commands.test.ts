import { describe, expect, test } from 'vitest'
import type { Command } from '../../../src/journal/command.ts'
import { StreamNames } from '../../../src/protocol/names.ts'
import { composed } from '../journal/composed.ts'
import { EMPTY_STATE, huskState } from '../../../src/journal/state.ts'
import { LOG_LIMITS, meteredBytes } from '../../../src/log/log.ts'
import {
  MAX_LINK_BYTES,
  abandonCommand,
  createCommand,
  deleteCommand,
  forgetCommand,
  giveUpCommand,
  linkCommand,
  readyCommand,
  stillCreatingCommand,
  unlinkCommand,
} from '../../../src/subscriptions/commands.ts'
import type { Patience } from '../../../src/subscriptions/commands.ts'
import { ackCommand, claimCommand, releaseCommand } from '../../../src/subscriptions/leases.ts'
import { parseSubscription } from '../../../src/subscriptions/requests.ts'
import { SUBSCRIPTION_RULES, linkSize } from '../../../src/subscriptions/subscription.ts'
import type {
  Link,
  Subscription,
  SubscriptionState,
} from '../../../src/subscriptions/subscription.ts'
import {
  adoptCommand,
  advanceCommand,
  doneCommand,
  expireCommand,
  failedCommand,
  sentCommand,
} from '../../../src/subscriptions/wakes.ts'
import type { Issue } from '../../../src/subscriptions/work.ts'
import {
  DEAR_NAMES,
  NOW,
  WEBHOOK,
  after,
  at,
  begun,
  code,
  created,
  folded,
  halfMade,
  happened,
  issue,
  lifeOf,
  linksOf,
  longNames,
  mapOf,
  take,
} from './builders.ts'

const PATIENCE_MS = 1000
const NOT_FOUND = code('SUBSCRIPTION_NOT_FOUND')

/** What there is to know of creators: these are gone. */
const gone = (...gateways: readonly string[]): Patience => {
  return { isGone: (gateway) => gateways.includes(gateway), patienceMs: PATIENCE_MS }
}
const anew = (config = WEBHOOK) => createCommand({ id: 'L2', creator: 'g2', config }, gone())

describe('createCommand', () => {
  const create = (state: SubscriptionState, config = WEBHOOK) => take(state, anew(config))

  test.each([
    ['nothing', EMPTY_STATE],
    ['what a deletion left', huskState(40)],
    ['a deleted one', after(begun(), [deleteCommand])],
  ])('begins a subscription where there is %s', (_name, state) => {
    const { wrote, heard, state: next } = create(state)
    const event = { ...created(), id: 'L2', fencingToken: 'o:L2', creator: 'g2' }
    expect([wrote, heard]).toEqual([[{ kind: 'fence', token: 'o:L2' }, event], 'created'])
    expect([lifeOf(next).id, lifeOf(next).creator, next.fencingToken]).toEqual(['L2', 'g2', 'o:L2'])
  })

  test('confirms one of the same hash, and writes nothing', () => {
    expect(create(begun())).toMatchObject({ wrote: [], heard: 'confirmed' })
  })

  test('refuses one of another hash', () => {
    const { wrote, heard } = create(begun(), { ...WEBHOOK, hash: 'other' })
    expect([wrote, heard]).toEqual([[], code('SUBSCRIPTION_ALREADY_EXISTS')])
  })

  test('takes a subscription that is ready as it is, whoever has created it', () => {
    const create = createCommand({ id: 'L2', creator: 'g2', config: WEBHOOK }, gone('g1'))
    expect(take(begun(), create, NOW + 1e9)).toMatchObject({ wrote: [], heard: 'confirmed' })
  })

  describe('finds one that is not ready, and', () => {
    const half = halfMade({ ...WEBHOOK, hash: 'other' })
    const create = (now: number, patience = gone('g3'), state = half) =>
      take(state, createCommand({ id: 'L2', creator: 'g2', config: WEBHOOK }, patience), now)

    test('waits while its creator may go on with it', () => {
      expect(create(NOW + PATIENCE_MS - 1)).toMatchObject({ wrote: [], heard: 'pending' })
    })

    test.each([
      ['is gone', NOW, gone('g1')],
      ['takes too long', NOW + PATIENCE_MS, gone()],
    ])('begins anew once its creator %s', (_name, now, patience) => {
      const { heard, state } = create(now, patience)
      expect([heard, lifeOf(state).id, state.fencingToken]).toEqual(['created', 'L2', 'o:L2'])
    })

    test('counts from the last sign of its creator', () => {
      const later = after(half, [stillCreatingCommand('L1', 100)], NOW + 100)
      expect(create(NOW + 100 + PATIENCE_MS - 1, gone(), later).heard).toBe('pending')
      expect(create(NOW + 100 + PATIENCE_MS, gone(), later).heard).toBe('created')
    })
  })
})

describe('stillCreatingCommand', () => {
  const half = halfMade()
  const show = (state: SubscriptionState, now: number) =>
    take(state, stillCreatingCommand('L1', 100), now)

  test('writes a sign that changes nothing, when one is due', () => {
    expect(show(half, NOW + 99)).toMatchObject({ wrote: [], heard: undefined })
    const { wrote, state } = show(half, NOW + 100)
    expect(wrote).toEqual([{ kind: 'linked', type: 'glob', streams: [] }])
    expect(lifeOf(state)).toEqual(lifeOf(half))
  })

  test('counts from whatever was written last', () => {
    const linked = {
      kind: 'linked',
      type: 'explicit',
      streams: [{ path: 'a', tail: at(1) }],
    } as const
    const state = happened(half, [linked], NOW + 70)
    expect(show(state, NOW + 169).wrote).toEqual([])
    expect(show(state, NOW + 170).wrote).toHaveLength(1)
  })

  test('tells a creator that others have begun anew', () => {
    const { wrote, heard } = take(half, stillCreatingCommand('L0', 100), NOW + 100)
    expect([wrote, heard]).toEqual([[], NOT_FOUND])
  })
})

describe('giveUpCommand', () => {
  const giveUp = (state: SubscriptionState, patience = gone('g3'), now = NOW) =>
    take(state, giveUpCommand('L1', patience), now)

  test.each([
    ['is gone', gone('g1'), NOW],
    ['takes too long', gone(), NOW + PATIENCE_MS],
  ])('ends a life whose creator %s, as a deletion does', (_name, patience, now) => {
    const half = halfMade()
    const { wrote, heard, state } = giveUp(half, patience, now)
    expect([wrote, heard]).toEqual([take(half, deleteCommand).wrote, true])
    expect(state).toEqual(take(half, deleteCommand, now).state)
    expect(giveUpCommand('L1', patience)(half, now)).toMatchObject({ alone: true })
  })

  test.each<[string, SubscriptionState, Patience, number]>([
    ['whose creator may go on with it', halfMade(), gone('g3'), NOW + PATIENCE_MS - 1],
    ['that has become ready', begun(), gone('g1'), NOW + 1e9],
  ])('leaves a life %s', (_name, state, patience, now) => {
    expect(giveUp(state, patience, now)).toMatchObject({ wrote: [], heard: false })
  })

  test.each<[string, SubscriptionState]>([
    ['there is none', EMPTY_STATE],
    ['it was deleted', after(begun(), [deleteCommand])],
    ['another one has begun', after(begun(), [deleteCommand, anew()])],
  ])('finds a life over when %s', (_name, state) => {
    expect(giveUp(state, gone('g1', 'g2'), NOW + 1e9)).toMatchObject({ wrote: [], heard: true })
  })

  test('keeps a creator that was thought dead from becoming ready', () => {
    const { state } = giveUp(halfMade(), gone('g1'))
    expect(take(state, readyCommand('L1'))).toMatchObject({ wrote: [], heard: NOT_FOUND })
  })
})

describe('abandonCommand', () => {
  test('ends its life as a deletion does', () => {
    const half = halfMade()
    const { wrote, heard, state } = take(half, abandonCommand('L1'))
    expect([wrote, heard]).toEqual([take(half, deleteCommand).wrote, true])
    expect(state.incarnation).toBeUndefined()
    expect(abandonCommand('L1')(half, NOW)).toMatchObject({ alone: true })
  })

  test.each<[string, SubscriptionState]>([
    ['nothing', EMPTY_STATE],
    ['a later life', after(begun(), [deleteCommand, anew()])],
  ])('leaves %s alone', (_name, state) => {
    expect(take(state, abandonCommand('L1'))).toMatchObject({ wrote: [], heard: true })
  })

  test('leaves one alone that is ready: somebody may have been told so', () => {
    expect(take(begun(), abandonCommand('L1'))).toMatchObject({ wrote: [], heard: false })
  })
})

describe('linkCommand', () => {
  const link = (state: SubscriptionState, paths: readonly string[], maxStreams = 100) => {
    const streams = paths.map((path) => ({ path, tail: at(5) }))
    return take(state, linkCommand('L1', { type: 'explicit', streams, maxStreams }))
  }

  test('links what is not linked yet', () => {
    const { wrote, state } = link(begun(WEBHOOK, { a: at(1) }), ['a', 'b'])
    expect(wrote).toEqual([
      { kind: 'linked', type: 'explicit', streams: [{ path: 'b', tail: at(5) }] },
    ])
    expect(linksOf(state)).toMatchObject({ a: { acked: at(1) }, b: { acked: at(5) } })
  })

  test('writes nothing for what is linked already', () => {
    expect(link(begun(WEBHOOK, { a: at(1) }), ['a'])).toMatchObject({ wrote: [], heard: undefined })
  })

  test('keeps the cursor of what the pattern has found', () => {
    const found = happened(begun(), [{ kind: 'noted', tails: [['events/a', at(3)]] }])
    expect(linksOf(link(found, ['events/a']).state)).toEqual({
      'events/a': { explicit: true, glob: true, acked: '-1', tail: at(3) },
    })
  })

  test('links as many streams as there may be, and all of a request or none', () => {
    const full = link(begun(WEBHOOK, { a: at(1) }), ['b', 'c'], 3).state
    expect(lifeOf(full).links.size).toBe(3)
    expect(link(full, ['d'], 3)).toMatchObject({ wrote: [], heard: code('LIMIT_REACHED') })
    expect(link(full, ['a', 'b'], 3)).toMatchObject({ wrote: [], heard: undefined })
    expect(link(begun(WEBHOOK, { a: at(1) }), ['b', 'c', 'd'], 3).wrote).toEqual([])
  })

  test('links no more names than fit', () => {
    const name = 'x'.repeat(512)
    const names = longNames('x', Math.floor(MAX_LINK_BYTES / linkSize(name)))
    const full = link(begun(), names, 10_000).state
    expect(lifeOf(full).links.size).toBe(names.length)
    expect(link(full, [name], 10_000)).toMatchObject({ wrote: [], heard: code('LIMIT_REACHED') })
  })
})

describe('readyCommand', () => {
  test('says once that a subscription is ready', () => {
    const first = take(halfMade(), readyCommand('L1'))
    expect([first.wrote, lifeOf(first.state).ready]).toEqual([
      [{ kind: 'ready', streams: 0 }],
      true,
    ])
    expect(take(first.state, readyCommand('L1')).wrote).toEqual([])
  })
})

describe('unlinkCommand', () => {
  const found = happened(begun(WEBHOOK, { a: at(1), 'events/b': at(1) }), [
    { kind: 'noted', tails: [['events/c', at(1)]] },
  ])

  test('ends links of the client’s only, and leaves those of the pattern', () => {
    const { wrote, state } = take(
      found,
      unlinkCommand('L1', ['a', 'events/b', 'events/c', 'unknown']),
    )
    expect(wrote).toEqual([{ kind: 'unlinked', streams: ['a', 'events/b'] }])
    expect(linksOf(state)).toMatchObject({
      'events/b': { explicit: false, glob: true },
      'events/c': { explicit: false, glob: true },
    })
    expect(linksOf(state)).not.toHaveProperty('a')
  })

  test('writes nothing for what is not linked', () => {
    expect(take(found, unlinkCommand('L1', ['events/c', 'unknown'])).wrote).toEqual([])
  })
})

describe('forgetCommand', () => {
  const state = happened(begun(WEBHOOK, { a: at(1) }), [
    { kind: 'noted', tails: [['events/b', at(4)]] },
  ])
  const seen = new Map<string, Link>(Object.entries(linksOf(state)))
  const forget = (now: SubscriptionState) => take(now, forgetCommand('L1', seen))

  test('drops what the pattern found, and keeps the client’s link for the stream’s next life', () => {
    const { wrote, state: next } = forget(state)
    expect(wrote).toEqual([{ kind: 'forgotten', streams: ['a', 'events/b'] }])
    expect(linksOf(next)).toEqual({ a: { explicit: true, glob: false, acked: '-1', tail: '-1' } })
  })

  test('leaves what has moved since it was looked at', () => {
    const moved = happened(state, [
      { kind: 'noted', tails: [['a', at(2)]] },
      { kind: 'acked', acks: [['events/b', at(2)]], done: true, leaseMs: 0 },
    ])
    expect(forget(moved).wrote).toEqual([])
  })

  test('leaves what is not linked any more', () => {
    const gone = happened(state, [{ kind: 'forgotten', streams: ['events/b'] }])
    expect(forget(gone).wrote).toEqual([{ kind: 'forgotten', streams: ['a'] }])
  })
})

describe('deleteCommand', () => {
  test('writes a tombstone under a token of its own and trims everything, itself too', () => {
    const state = begun()
    const tail = state.nextSeq + 3
    expect(deleteCommand(state, NOW)).toMatchObject({ kind: 'write', answer: 'L1', alone: true })
    expect(take(state, deleteCommand).wrote).toEqual([
      { kind: 'fence', token: `d:${tail}` },
      { kind: 'deleted', fencingToken: `d:${tail}` },
      { kind: 'trim', before: tail },
    ])
  })

  test('leaves what a gateway that finds nothing takes for granted', () => {
    const { fencingToken, nextSeq, incarnation } = after(begun(), [deleteCommand])
    const husk = huskState(nextSeq)
    expect({ fencingToken, incarnation }).toEqual({
      fencingToken: husk.fencingToken,
      incarnation: undefined,
    })
  })

  test('finds nothing to delete twice', () => {
    expect(take(after(begun(), [deleteCommand]), deleteCommand)).toMatchObject({
      wrote: [],
      heard: undefined,
    })
  })
})

// PROTOCOL §6.3: what is in flight for a deleted subscription fails, and moves no cursor.
describe('after a deletion', () => {
  const woken = after(begun(WEBHOOK, { a: at(1) }), [advanceCommand('L1', issue({ a: at(5) }))])
  const deleted = after(woken, [deleteCommand])
  const later = after(deleted, [anew(), readyCommand('L2')])
  const fence = { wakeId: 'w1', generation: 1 }
  const ack = { ...fence, acks: mapOf({ a: at(5) }), done: true }
  const failure = { attempt: 1, delayMs: 5, reason: 'r' }
  const seen = new Map<string, Link>(Object.entries(linksOf(woken)))
  const linking = {
    type: 'explicit',
    streams: [{ path: 'b', tail: at(1) }],
    maxStreams: 9,
  } as const

  test.each<[string, Command<Subscription, unknown>, unknown]>([
    ['an ack', ackCommand('L1', ack, issue()), NOT_FOUND],
    ['a release', releaseCommand('L1', fence, issue()), NOT_FOUND],
    ['a claim', claimCommand('L1', 'bob', issue({ a: at(9) })), NOT_FOUND],
    ['a link', linkCommand('L1', linking), NOT_FOUND],
    ['an unlink', unlinkCommand('L1', ['a']), NOT_FOUND],
    ['readiness', readyCommand('L1'), NOT_FOUND],
    ['a sign of its creator', stillCreatingCommand('L1', 0), NOT_FOUND],
    ['a stream that is gone', forgetCommand('L1', seen), 'absent'],
    ['growth', advanceCommand('L1', issue({ a: at(9) })), 'absent'],
    ['a response', doneCommand('L1', 'w1', issue()), undefined],
    ['an acceptance', sentCommand('L1', 'w1', 5), undefined],
    ['a failure', failedCommand('L1', 'w1', failure), undefined],
    ['a takeover', adoptCommand('L1', 'g3', () => true), undefined],
    ['the end of a lease', expireCommand('L1', 'w1', issue()), undefined],
  ])('%s finds nothing, and no later life either', (_name, command, heard) => {
    expect(take(deleted, command)).toMatchObject({ wrote: [], heard })
    expect(take(later, command)).toMatchObject({ wrote: [], heard })
  })
})

describe('a checkpoint', () => {
  /** As long as a request may make it, of characters that JSON escapes. */
  const dearest = parseSubscription(
    Buffer.from(
      JSON.stringify({
        type: 'webhook',
        pattern: `${'"'.repeat(509)}/**`,
        webhook: { url: `https://w.example/${'x'.repeat(2030)}` },
        description: '\u0001'.repeat(1000),
      }),
    ),
    new StreamNames(),
  )
  const { streams: _named, ...config } = dearest

  /** Links as many as there may be. */
  function filled(state: SubscriptionState, names: readonly string[]): SubscriptionState {
    let next = state
    for (const size of [100, 1]) {
      for (let begin = lifeOf(next).links.size; begin < names.length; begin += size) {
        const streams = names.slice(begin, begin + size).map((path) => ({ path, tail: at(1) }))
        const link = linkCommand('L1', { type: 'explicit', streams, maxStreams: 10_000 })
        const { state: linked, heard } = take(next, link)
        if (heard instanceof Error) break
        next = linked
      }
    }
    return next
  }

  /** All streams have grown. */
  const grown = (state: SubscriptionState, tail: number): Issue => {
    const offsets = [...lifeOf(state).links.keys()].map((path) => [path, at(tail)] as const)
    return issue(Object.fromEntries(offsets), { maxStreams: 10_000, thorough: true })
  }

  const names = DEAR_NAMES.map(([title, sign]) => [title, longNames(sign, 10_000)] as const)
  const short = Array.from({ length: 10_000 }, (_, index) => index.toString(36))

  test.each([...names, ['short names', short] as const])(
    'fits in a batch with all links and a wake there may be: %s',
    (_title, names) => {
      const full = filled(begun({ ...WEBHOOK, ...config }), names)
      const woken = after(full, [advanceCommand('L1', grown(full, 9))])
      expect(lifeOf(woken).wake).toBeDefined()
      const bytes = meteredBytes(SUBSCRIPTION_RULES.checkpoint(woken))
      expect({ bytes, fits: bytes < LOG_LIMITS.maxBatchBytes - 100 }).toEqual({ bytes, fits: true })
    },
  )

  test.each([...names, ['short names', short] as const])(
    'leaves room in the next batch for the largest end of a wake: %s',
    (_title, names) => {
      const full = filled(begun(WEBHOOK), names)
      const issued = after(full, [advanceCommand('L1', grown(full, 2 ** 40))])
      const woken = folded(SUBSCRIPTION_RULES, issued, [SUBSCRIPTION_RULES.checkpoint(issued)])
      const rested = { ...woken, sinceCheckpoint: { records: 1, bytes: 0 } }
      const end = doneCommand('L1', 'w1', grown(woken, 2 ** 50))
      const {
        batches: [batch],
      } = composed(SUBSCRIPTION_RULES, rested, [end], { now: NOW, operation: 'op', owner: 'g' })
      const kinds = batch?.records.map((record) =>
        record.kind === 'data' ? record.headers[0]?.[1] : record,
      )
      expect(kinds).toEqual(['noted', 'acked', 'wake'])
    },
  )

  test('is written with the next command once a page is full', () => {
    const state = { ...begun(WEBHOOK, { a: at(1) }), sinceCheckpoint: { records: 1000, bytes: 0 } }
    const command = advanceCommand('L1', issue({ a: at(2) }))
    const {
      batches: [batch],
    } = composed(SUBSCRIPTION_RULES, state, [command], { now: NOW, operation: 'op', owner: 'g' })
    const kinds = batch?.records.map((record) =>
      record.kind === 'data' ? record.headers[0]?.[1] : record,
    )
    expect(kinds).toEqual(['checkpoint', { kind: 'trim', before: state.nextSeq }, 'noted', 'wake'])
  })
})
