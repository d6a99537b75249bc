import { describe, expect, test } from 'vitest'
import type { Command } from '../../../src/journal/command.ts'
import type { Subscription, SubscriptionState } from '../../../src/subscriptions/subscription.ts'
import { adoptCommand, ending, failedCommand } from '../../../src/subscriptions/wakes.ts'
import {
  LEASE_MS,
  NOW,
  PULL,
  WEBHOOK,
  after,
  at,
  begun,
  halfMade,
  happened,
  lifeOf,
  linksOf,
  mapOf,
  pairsOf,
  take,
} from './builders.ts'
import type { Offsets } from './builders.ts'
import {
  ack,
  advance,
  claimed,
  done,
  expire,
  failed,
  next,
  pendingOf,
  phaseOf,
  pulled,
  sent,
  woken,
} from './in-flight.ts'

describe('advanceCommand', () => {
  test('wakes for work, with the next generation', () => {
    const { wrote, heard } = take(begun(WEBHOOK, { a: at(1), b: at(1) }), advance({ a: at(5) }))
    expect(heard).toBe('woken')
    expect(wrote).toEqual([
      { kind: 'noted', tails: [['a', at(5)]] },
      { kind: 'wake', id: 'w1', generation: 1, runner: 'g1', tails: [['a', at(5)]] },
    ])
  })

  test('counts generations up, wake by wake', () => {
    const again = after(woken, [done, advance({ a: at(9) }, { wakeId: 'w2' })])
    expect(lifeOf(again)).toMatchObject({ generation: 2, wake: { id: 'w2' } })
  })

  test('wakes for work that was noted before', () => {
    const state = happened(begun(WEBHOOK, { a: at(1) }), [{ kind: 'noted', tails: [['a', at(3)]] }])
    expect(take(state, advance({})).wrote).toEqual([
      { kind: 'wake', id: 'w1', generation: 1, runner: 'g1', tails: [['a', at(3)]] },
    ])
  })

  test('wakes once when two gateways want to', () => {
    const second = take(woken, advance({ a: at(5) }, { runner: 'g2', wakeId: 'w2' }))
    expect(second).toMatchObject({ wrote: [], heard: 'busy' })
  })

  test.each<[string, SubscriptionState, Offsets]>([
    ['nothing has grown', begun(WEBHOOK, { a: at(5) }), {}],
    ['a tail is known', begun(WEBHOOK, { a: at(5) }), { a: at(5) }],
    ['a tail is old', begun(WEBHOOK, { a: at(5) }), { a: at(4) }],
    ['a stream is empty', begun(WEBHOOK), { 'events/a': '-1' }],
    ['a stream is none of its own', begun(WEBHOOK), { 'other/a': at(5), events: at(5) }],
    ['its wake stream has grown', begun({ ...PULL, pattern: '**' }), { 'wake/pool': at(5) }],
    ['there is no pattern', begun({ ...WEBHOOK, pattern: undefined }), { 'events/a': at(5) }],
  ])('writes nothing when %s', (_name, state, tails) => {
    expect(take(state, advance(tails, { thorough: true }))).toMatchObject({
      wrote: [],
      heard: 'idle',
    })
  })

  test('leaves one alone that is not ready', () => {
    expect(take(halfMade(), advance({ 'events/a': at(5) }))).toMatchObject({
      wrote: [],
      heard: 'unready',
    })
  })

  // PROTOCOL §6.2: linked before the append that it was discovered by.
  test('links a stream that its pattern finds before the first message', () => {
    const { state } = take(begun(), advance({ 'events/a': at(5) }))
    expect(linksOf(state)).toEqual({
      'events/a': { explicit: false, glob: true, acked: '-1', tail: at(5) },
    })
    expect(lifeOf(state).wake?.tails).toEqual(mapOf({ 'events/a': at(5) }))
  })

  describe('while a wake is in flight', () => {
    const busy = after(begun(WEBHOOK, { a: at(1), b: at(1) }), [advance({ a: at(5) })])

    test.each<[string, Offsets, boolean, Offsets | undefined]>([
      ['growth of a stream with nothing pending', { b: at(3) }, false, { b: at(3) }],
      ['a stream that its pattern finds', { 'events/c': at(3) }, false, { 'events/c': at(3) }],
      ['no further growth of a pending one', { a: at(9) }, false, undefined],
      [
        'all growth, when it is to be thorough',
        { a: at(9), b: at(3) },
        true,
        { a: at(9), b: at(3) },
      ],
      ['no old tail, even so', { a: at(5), b: at(1) }, true, undefined],
      ['nothing of strangers', { 'other/a': at(5) }, true, undefined],
    ])('notes %s', (_name, tails, thorough, noted) => {
      const { wrote, heard } = take(busy, advance(tails, { thorough }))
      expect([wrote, heard]).toEqual([
        noted === undefined ? [] : [{ kind: 'noted', tails: pairsOf(noted) }],
        'busy',
      ])
    })
  })
})

describe('ending', () => {
  const over = { kind: 'ended', reason: 'released' } as const
  const wake = (tails: Offsets) => {
    return { kind: 'wake', id: 'w2', generation: 2, runner: 'g1', tails: pairsOf(tails) }
  }
  const noted = (tails: Offsets) => {
    return { kind: 'noted', tails: pairsOf(tails) }
  }
  const acked = (acks: Offsets) =>
    ({ kind: 'acked', acks: [...pairsOf(acks)], done: true, leaseMs: 0 }) as const
  const busy = after(begun(WEBHOOK, { a: at(1), b: at(1) }), [advance({ a: at(5) })])
  const end = (event: Parameters<typeof ending>[1], tails: Offsets, maxStreams = 100) =>
    ending(lifeOf(busy), event, next(tails, { maxStreams }))

  test.each<[string, Parameters<typeof ending>[1], Offsets, readonly object[]]>([
    ['work is left', over, {}, [over, wake({ a: at(5) })]],
    ['all work is done', acked({ a: at(5) }), {}, [acked({ a: at(5) })]],
    ['a part is done', acked({ a: at(3) }), {}, [acked({ a: at(3) }), wake({ a: at(5) })]],
    [
      'the stream has grown',
      acked({ a: at(5) }),
      { a: at(9) },
      [noted({ a: at(9) }), acked({ a: at(5) }), wake({ a: at(9) })],
    ],
    [
      'another stream has grown',
      acked({ a: at(5) }),
      { b: at(9) },
      [noted({ b: at(9) }), acked({ a: at(5) }), wake({ b: at(9) })],
    ],
    [
      'growth is done as well',
      acked({ a: at(9) }),
      { a: at(9) },
      [noted({ a: at(9) }), acked({ a: at(9) })],
    ],
    [
      'its pattern finds a stream',
      acked({ a: at(5) }),
      { 'events/c': at(2) },
      [noted({ 'events/c': at(2) }), acked({ a: at(5) }), wake({ 'events/c': at(2) })],
    ],
    ['tails are old', acked({ a: at(5) }), { a: at(4), b: at(1) }, [acked({ a: at(5) })]],
    ['strangers have grown', acked({ a: at(5) }), { 'other/a': at(9) }, [acked({ a: at(5) })]],
  ])('writes all that follows at once when %s', (_name, event, tails, expected) => {
    expect(end(event, tails)).toEqual(expected)
  })

  test('links no more streams than there may be', () => {
    expect(end(acked({ a: at(5) }), { 'events/c': at(2) }, 2)).toEqual([acked({ a: at(5) })])
  })

  test('has the gateway that ends a wake run the next one', () => {
    const events = ending(lifeOf(claimed), over, next({}, { runner: 'g2' }))
    expect(lifeOf(happened(claimed, events)).wake).toEqual({
      id: 'w2',
      runner: 'g2',
      tails: mapOf({ a: at(5) }),
      phase: { kind: 'sending', attempt: 1 },
    })
  })
})

describe('doneCommand', () => {
  // PROTOCOL §7.1: the tails of the snapshot are acked, and not what came after it.
  test('acks what the wake named, and leaves what came since', () => {
    const grown = after(woken, [advance({ a: at(9) }, { thorough: true })])
    const { wrote, state } = take(grown, done)
    expect(wrote).toEqual([
      { kind: 'acked', acks: [['a', at(5)]], done: true, leaseMs: 0 },
      { kind: 'wake', id: 'w2', generation: 2, runner: 'g1', tails: [['a', at(9)]] },
    ])
    expect(linksOf(state)['a']).toMatchObject({ acked: at(5), tail: at(9) })
    expect(lifeOf(state)).toMatchObject({ generation: 2, wake: { id: 'w2' } })
  })

  test('acks nothing again, and nothing that is not linked any more', () => {
    const both = after(begun(WEBHOOK, { a: at(1), b: at(1), c: at(1) }), [
      advance({ a: at(5), b: at(5), c: at(5) }),
      ack({ a: at(7) }, {}, { a: at(9) }),
    ])
    const unlinked = happened(both, [{ kind: 'unlinked', streams: ['b'] }])
    expect(take(unlinked, done).wrote).toMatchObject([{ acks: [['c', at(5)]], done: true }])
  })

  test('ends the wake and no more when all is done', () => {
    const { wrote, state } = take(woken, done)
    expect(wrote).toEqual([{ kind: 'acked', acks: [['a', at(5)]], done: true, leaseMs: 0 }])
    expect([lifeOf(state).wake, pendingOf(state)]).toEqual([undefined, []])
  })

  // A new life of the stream may have lower offsets: see `forgetCommand`.
  test('acks nothing of a stream that was deleted since', () => {
    const deleted = happened(woken, [{ kind: 'forgotten', streams: ['a'] }])
    const link = linksOf(deleted)['a']
    expect(link).toMatchObject({ acked: '-1', tail: '-1' })
    expect(linksOf(after(deleted, [done]))['a']).toEqual(link)
  })

  test('ends the wake after a callback that did not', () => {
    expect(take(after(woken, [ack({})]), done).heard).toBeUndefined()
    expect(lifeOf(after(woken, [ack({}), done])).wake).toBeUndefined()
  })

  test('changes nothing once the wake is over', () => {
    const over = after(woken, [done, advance({ a: at(9) }, { wakeId: 'w2' })])
    expect(take(over, done).wrote).toEqual([])
  })
})

describe('sentCommand and failedCommand', () => {
  test('start the lease of a webhook, when it was accepted', () => {
    expect(phaseOf(after(woken, [sent]))).toEqual({ kind: 'leased', until: NOW + 900 })
  })

  test('announce a pull-wake, which has no lease before it is claimed', () => {
    expect(phaseOf(pulled)).toEqual({ kind: 'announced' })
  })

  test('keep when the next attempt is due', () => {
    expect(phaseOf(after(woken, [failed]))).toEqual({
      kind: 'waiting',
      attempt: 1,
      until: NOW + 50,
    })
    const again = failedCommand('L1', 'w1', { attempt: 2, delayMs: 70, reason: 'r' })
    expect(phaseOf(after(woken, [failed, again]))).toEqual({
      kind: 'waiting',
      attempt: 2,
      until: NOW + 70,
    })
    expect(phaseOf(after(woken, [failed, sent]))).toMatchObject({ kind: 'leased' })
  })

  test.each<[string, SubscriptionState]>([
    ['a callback has come first', after(woken, [ack({})])],
    ['a worker has claimed', claimed],
    ['the wake is over', after(woken, [done])],
    ['another wake is in flight', after(woken, [done, advance({ a: at(9) }, { wakeId: 'w2' })])],
  ])('change nothing when %s', (_name, state) => {
    expect([take(state, sent).wrote, take(state, failed).wrote]).toEqual([[], []])
  })
})

describe('expireCommand', () => {
  const leased = after(woken, [sent])

  // PROTOCOL §7.3.
  test('ends a lease when it is due, and wakes for the work that is left', () => {
    const { wrote, state } = take(leased, expire(), NOW + 900)
    expect(wrote).toEqual([
      { kind: 'ended', reason: 'expired' },
      { kind: 'wake', id: 'w2', generation: 2, runner: 'g1', tails: [['a', at(5)]] },
    ])
    expect(pendingOf(state)).toEqual(['a'])
    expect(phaseOf(state)).toEqual({ kind: 'sending', attempt: 1 })
  })

  test('leaves the subscription idle when there is no work', () => {
    const { wrote, state } = take(after(leased, [ack({ a: at(5) })]), expire(), NOW + LEASE_MS)
    expect(wrote).toEqual([{ kind: 'ended', reason: 'expired' }])
    expect(lifeOf(state).wake).toBeUndefined()
  })

  test('writes down growth that nobody has noted yet', () => {
    const idle = after(leased, [ack({ a: at(5) })])
    expect(take(idle, expire('w1', { a: at(9) }), NOW + LEASE_MS).wrote).toMatchObject([
      { kind: 'noted', tails: [['a', at(9)]] },
      { kind: 'ended', reason: 'expired' },
      { kind: 'wake', id: 'w2', tails: [['a', at(9)]] },
    ])
  })

  test.each<[string, SubscriptionState, number, string]>([
    ['before it is due', leased, NOW + 899, 'w1'],
    ['that was renewed', after(leased, [ack({})], NOW + 800), NOW + 900, 'w1'],
    ['of another wake', leased, NOW + 900, 'w0'],
    ['of a wake that is over', after(leased, [done]), NOW + 900, 'w1'],
    ['that has not begun', woken, NOW + 1e9, 'w1'],
    ['of a retry', after(woken, [failed]), NOW + 1e9, 'w1'],
    ['that nobody has claimed', pulled, NOW + 1e9, 'w1'],
  ])('does not end a lease %s', (_name, state, now, wakeId) => {
    expect(take(state, expire(wakeId), now).wrote).toEqual([])
  })
})

describe('adoptCommand', () => {
  const adopt = (gone: readonly string[], runner = 'g2') =>
    adoptCommand('L1', runner, (gateway) => gone.includes(gateway))

  test('takes over a wake whose runner is gone, as it is', () => {
    const waiting = after(woken, [failed])
    const { wrote, state } = take(waiting, adopt(['g1']))
    expect(wrote).toEqual([{ kind: 'adopted', runner: 'g2' }])
    expect(lifeOf(state).wake).toEqual({ ...lifeOf(waiting).wake, runner: 'g2' })
  })

  test.each<[string, SubscriptionState, Command<Subscription, unknown>]>([
    ['whose runner is there', woken, adopt(['g3'])],
    ['that it runs itself', woken, adopt(['g1'], 'g1')],
    ['that another one has taken over', after(woken, [adopt(['g1'], 'g3')]), adopt(['g1'])],
    ['that is over', after(woken, [done]), adopt(['g1'])],
  ])('leaves a wake %s', (_name, state, command) => {
    expect(take(state, command).wrote).toEqual([])
  })
})
