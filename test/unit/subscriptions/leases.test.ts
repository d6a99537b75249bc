import { describe, expect, test } from 'vitest'
import type { SubscriptionState } from '../../../src/subscriptions/subscription.ts'
import type { AckRequest } from '../../../src/subscriptions/leases.ts'
import {
  LEASE_MS,
  NOW,
  PULL,
  WEBHOOK,
  after,
  at,
  begun,
  code,
  halfMade,
  happened,
  lifeOf,
  linksOf,
  mapOf,
  take,
} from './builders.ts'
import type { Offsets } from './builders.ts'
import {
  FENCED,
  ack,
  advance,
  claim,
  claimed,
  done,
  expire,
  failed,
  pendingOf,
  phaseOf,
  pulled,
  release,
  sent,
  woken,
} from './in-flight.ts'

const NO_WORK = code('NO_PENDING_WORK')

describe('ackCommand', () => {
  const busy = after(begun(WEBHOOK, { a: at(1), b: at(1) }), [advance({ a: at(5) }), sent])

  test.each<[string, Partial<AckRequest>]>([
    ['another wake', { wakeId: 'w0' }],
    ['an earlier generation', { generation: 0 }],
    ['a later generation', { generation: 2 }],
  ])('is fenced off for %s', (_name, fence) => {
    expect(take(busy, ack({ a: at(5) }, fence))).toMatchObject({ wrote: [], heard: FENCED })
  })

  test.each<[string, SubscriptionState]>([
    ['it is done', after(busy, [done])],
    ['it has expired', after(busy, [expire()], NOW + 900)],
    ['the next one has begun', after(busy, [done, advance({ b: at(9) }, { wakeId: 'w2' })])],
  ])('is fenced off for a wake once %s', (_name, state) => {
    expect(take(state, ack({ a: at(5) }))).toMatchObject({ wrote: [], heard: FENCED })
  })

  test('moves the cursor, and extends the lease from the time of the record', () => {
    const { wrote, heard, state } = take(busy, ack({ a: at(3) }), NOW + 500)
    expect(heard).toEqual({ kind: 'acked', woken: false })
    expect(wrote).toEqual([{ kind: 'acked', acks: [['a', at(3)]], done: false, leaseMs: LEASE_MS }])
    expect(linksOf(state)['a']).toMatchObject({ acked: at(3), tail: at(5) })
    expect(phaseOf(state)).toEqual({ kind: 'leased', until: NOW + 500 + LEASE_MS })
  })

  test('extends the lease with nothing acked, and leaves it to the worker who has it', () => {
    expect(phaseOf(take(claimed, ack({}), NOW + 500).state)).toEqual({
      kind: 'leased',
      until: NOW + 500 + LEASE_MS,
      holder: 'bob',
    })
  })

  test('counts before the webhook has answered', () => {
    expect(phaseOf(after(woken, [ack({ a: at(3) })]))).toEqual({
      kind: 'leased',
      until: NOW + LEASE_MS,
    })
    expect(lifeOf(after(woken, [ack({ a: at(5) }, { done: true })])).wake).toBeUndefined()
  })

  test('ends the wake with what is done, and wakes for the rest', () => {
    const { wrote, heard, state } = take(busy, ack({ a: at(3) }, { done: true }))
    expect(heard).toEqual({ kind: 'acked', woken: true })
    expect(wrote).toEqual([
      { kind: 'acked', acks: [['a', at(3)]], done: true, leaseMs: LEASE_MS },
      { kind: 'wake', id: 'w2', generation: 2, runner: 'g1', tails: [['a', at(5)]] },
    ])
    expect(pendingOf(state)).toEqual(['a'])
    expect(lifeOf(state)).toMatchObject({ generation: 2, wake: { id: 'w2' } })
  })

  test('leaves the subscription idle when all is done', () => {
    const { wrote, heard, state } = take(busy, ack({ a: at(5) }, { done: true }))
    expect([wrote.length, heard]).toEqual([1, { kind: 'acked', woken: false }])
    expect([lifeOf(state).wake, pendingOf(state)]).toEqual([undefined, []])
  })

  test('ends the wake with nothing acked, and wakes again for all of it', () => {
    const { heard, state } = take(busy, ack({}, { done: true }))
    expect(heard).toEqual({ kind: 'acked', woken: true })
    expect(lifeOf(state).wake).toMatchObject({ id: 'w2', tails: mapOf({ a: at(5) }) })
  })

  test('ends the wake, and wakes for growth beyond what is acked that it learns of', () => {
    const { wrote, heard } = take(busy, ack({ a: at(7) }, { done: true }, { a: at(9) }))
    expect(heard).toEqual({ kind: 'acked', woken: true })
    expect(wrote).toMatchObject([
      { kind: 'noted', tails: [['a', at(9)]] },
      { kind: 'acked', acks: [['a', at(7)]], done: true },
      { kind: 'wake', id: 'w2', tails: [['a', at(9)]] },
    ])
  })

  test('issues no wake while its own goes on', () => {
    expect(take(busy, ack({ a: at(3) }, {}, { b: at(9) }))).toMatchObject({
      wrote: [{ kind: 'acked', done: false }],
      heard: { kind: 'acked', woken: false },
    })
  })

  test('takes the same offset twice', () => {
    expect(take(after(busy, [ack({ a: at(5) })]), ack({ a: at(5) })).heard).toEqual({
      kind: 'acked',
      woken: false,
    })
  })

  test.each<[string, Offsets, Offsets]>([
    ['before what is acked', { a: at(0) }, {}],
    ['of a stream that is not linked', { c: at(1) }, { c: at(9) }],
    ['beyond the tail that was seen', { a: at(7) }, { a: at(6) }],
    ['of a stream that is gone', { a: at(7) }, { a: '-1' }],
  ])('refuses an offset %s, and all that came with it', (_name, acks, tails) => {
    const { wrote, heard } = take(busy, ack({ b: at(1), ...acks }, { done: true }, tails))
    expect([wrote, heard]).toEqual([[], code('INVALID_OFFSET')])
  })

  test.each<[string, 'unlinked' | 'forgotten', string]>([
    ['unlinked', 'unlinked', 'b'],
    ['deleted', 'forgotten', 'events/c'],
  ])('skips a stream of the wake that was %s since, and takes the rest', (_name, kind, path) => {
    const all = after(begun(WEBHOOK, { a: at(1), b: at(1) }), [
      advance({ a: at(5), b: at(5), 'events/c': at(5) }),
    ])
    const since = happened(all, [{ kind, streams: [path] }])
    const { wrote, heard, state } = take(since, ack({ [path]: at(5), a: at(5) }))
    expect([wrote, heard]).toMatchObject([
      [{ kind: 'acked', acks: [['a', at(5)]] }],
      { kind: 'acked', woken: false },
    ])
    expect(linksOf(state)).not.toHaveProperty([path])
  })

  test('asks for the tails of streams that it has not seen that far', () => {
    const acks = { a: at(7), b: at(2) }
    expect(take(busy, ack(acks))).toMatchObject({
      wrote: [],
      heard: { kind: 'unseen', streams: ['a', 'b'] },
    })
    expect(take(busy, ack(acks, {}, { a: at(9) }))).toMatchObject({
      wrote: [],
      heard: { kind: 'unseen', streams: ['b'] },
    })
    const { state, heard } = take(busy, ack(acks, {}, { a: at(9), b: at(2) }))
    expect(heard).toEqual({ kind: 'acked', woken: false })
    expect(linksOf(state)).toMatchObject({ a: { acked: at(7) }, b: { acked: at(2) } })
  })

  test.each(['constructor', 'toString', '__proto__'])(
    'asks for the tail of a stream called %j as well',
    (path) => {
      const named = (offset: string) => Object.fromEntries([[path, offset]])
      const state = after(begun(WEBHOOK, named(at(1))), [advance({ 'events/a': at(5) })])
      expect(take(state, ack(named(at(9)))).heard).toEqual({ kind: 'unseen', streams: [path] })
    },
  )
})

describe('claimCommand', () => {
  const item = { path: 'a', link: { explicit: true, glob: false, acked: at(1), tail: at(5) } }

  test.each<[string, SubscriptionState]>([
    ['announced', pulled],
    ['not announced yet', after(begun(PULL, { a: at(1) }), [advance({ a: at(5) })])],
    ['to be announced again', after(begun(PULL, { a: at(1) }), [advance({ a: at(5) }), failed])],
  ])('gives out a wake that is %s', (_name, state) => {
    const {
      wrote,
      heard,
      state: next,
    } = take(state, claim('bob', {}, { runner: 'g2', wakeId: 'w9' }))
    expect(wrote).toEqual([{ kind: 'claimed', worker: 'bob', runner: 'g2', tails: [['a', at(5)]] }])
    expect(heard).toEqual({ wakeId: 'w1', generation: 1, work: [{ ...item, tail: at(5) }] })
    expect(lifeOf(next).wake).toMatchObject({
      runner: 'g2',
      phase: { kind: 'leased', until: NOW + LEASE_MS, holder: 'bob' },
    })
  })

  test('tells of growth that nobody has noted yet', () => {
    const { wrote, heard } = take(pulled, claim('bob', { a: at(9), 'events/b': at(2) }))
    const found = { explicit: false, glob: true, acked: '-1', tail: at(2) }
    expect(wrote).toMatchObject([{ kind: 'noted' }, { kind: 'claimed' }])
    expect(heard).toMatchObject({
      work: [
        { path: 'a', tail: at(9), link: { acked: at(1) } },
        { path: 'events/b', tail: at(2), link: found },
      ],
    })
  })

  test('wakes first when there is work and no wake', () => {
    const { wrote, heard, state } = take(begun(PULL, { a: at(1) }), claim('bob', { a: at(5) }))
    expect(wrote).toMatchObject([
      { kind: 'noted' },
      { kind: 'wake', generation: 1 },
      { kind: 'claimed' },
    ])
    expect(heard).toMatchObject({ wakeId: 'w1', generation: 1, work: [{ path: 'a', tail: at(5) }] })
    expect(phaseOf(state)).toMatchObject({ kind: 'leased', holder: 'bob' })
  })

  test('refuses when there is nothing to do', () => {
    expect(take(begun(PULL, { a: at(1) }), claim('bob'))).toMatchObject({
      wrote: [],
      heard: NO_WORK,
    })
  })

  test('refuses one that is not ready', () => {
    expect(take(halfMade(PULL), claim('bob', { 'events/a': at(5) }))).toMatchObject({
      wrote: [],
      heard: NO_WORK,
    })
  })

  // PROTOCOL §7.2.
  test.each(['alice', 'bob'])('tells %j who holds the lease', (worker) => {
    const { wrote, heard } = take(claimed, claim(worker), NOW + LEASE_MS - 1)
    expect(wrote).toEqual([])
    expect(heard).toMatchObject({
      code: 'ALREADY_CLAIMED',
      details: { current_holder: 'bob', generation: 1 },
    })
  })

  test('gives out another generation once the lease is over', () => {
    const next = claim('alice', {}, { wakeId: 'w2', runner: 'g2' })
    const { wrote, heard, state } = take(claimed, next, NOW + LEASE_MS)
    expect(wrote).toEqual([
      { kind: 'ended', reason: 'expired' },
      { kind: 'wake', id: 'w2', generation: 2, runner: 'g2', tails: [['a', at(5)]] },
      { kind: 'claimed', worker: 'alice', runner: 'g2', tails: [['a', at(5)]] },
    ])
    expect(heard).toMatchObject({ wakeId: 'w2', generation: 2 })
    expect(phaseOf(state)).toMatchObject({ holder: 'alice', until: NOW + 2 * LEASE_MS })
    expect(take(state, ack({ a: at(5) })).heard).toEqual(FENCED)
  })
})

describe('releaseCommand', () => {
  // PROTOCOL §7.2.
  test('ends the wake, acks nothing, and wakes again', () => {
    const { wrote, heard, state } = take(claimed, release())
    expect([wrote, heard]).toEqual([
      [
        { kind: 'ended', reason: 'released' },
        { kind: 'wake', id: 'w2', generation: 2, runner: 'g1', tails: [['a', at(5)]] },
      ],
      undefined,
    ])
    expect([pendingOf(state), phaseOf(state)]).toEqual([['a'], { kind: 'sending', attempt: 1 }])
    expect(take(state, release())).toMatchObject({ wrote: [], heard: FENCED })
  })

  test('leaves the subscription idle when there is no work', () => {
    const { wrote, state } = take(after(claimed, [ack({ a: at(5) })]), release())
    expect(wrote).toEqual([{ kind: 'ended', reason: 'released' }])
    expect(lifeOf(state).wake).toBeUndefined()
    expect(take(state, release())).toMatchObject({ wrote: [], heard: FENCED })
  })

  test.each([
    ['another wake', { wakeId: 'w0', generation: 1 }],
    ['another generation', { wakeId: 'w1', generation: 2 }],
  ])('is fenced off for %s', (_name, fence) => {
    expect(take(claimed, release(fence))).toMatchObject({ wrote: [], heard: FENCED })
  })
})
