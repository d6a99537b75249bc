import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { InvariantError } from '../../../src/errors.ts'
import { encodeRecord } from '../../../src/journal/envelope.ts'
import { EMPTY_STATE } from '../../../src/journal/state.ts'
import type { SubscriptionEvent } from '../../../src/subscriptions/events.ts'
import {
  SUBSCRIPTION_RULES,
  encodeEvent,
  isPending,
  linkSize,
} from '../../../src/subscriptions/subscription.ts'
import type { SubscriptionState } from '../../../src/subscriptions/subscription.ts'
import {
  LEASE_MS,
  NOW,
  PULL,
  WEBHOOK,
  at,
  begun,
  created,
  folded,
  halfMade,
  happened,
  lifeOf,
  linksOf,
  pairsOf,
} from './builders.ts'
import type { Offsets } from './builders.ts'

const wake = (tails: Offsets = {}): SubscriptionEvent => {
  return { kind: 'wake', id: 'w1', generation: 1, runner: 'g1', tails: pairsOf(tails) }
}
/** The state that a gateway has which begins to read at a checkpoint. */
const restored = (state: SubscriptionState): SubscriptionState =>
  folded(SUBSCRIPTION_RULES, { ...EMPTY_STATE, nextSeq: state.nextSeq }, [
    SUBSCRIPTION_RULES.checkpoint(state),
  ])
/** What matters of a state: not its place, and not what it costs. */
const meaning = ({ incarnation, fencingToken }: SubscriptionState) => {
  return { incarnation, fencingToken }
}

describe('SUBSCRIPTION_RULES', () => {
  test('begin a subscription that is not ready', () => {
    const state = halfMade()
    const { links, ...rest } = lifeOf(state)
    expect([links.size, rest]).toEqual([
      0,
      {
        id: 'L1',
        creator: 'g1',
        config: WEBHOOK,
        createdAt: NOW,
        ready: false,
        linkBytes: 0,
        generation: 0,
        wake: undefined,
      },
    ])
    expect([state.fencingToken, state.checkpoint]).toEqual(['o:L1', 0])
  })

  test('begin anew what was there before', () => {
    const old = happened(begun(WEBHOOK, { a: at(1) }), [wake()])
    const next = { ...created(PULL), id: 'L2', fencingToken: 'o:L2', creator: 'g2' }
    const state = happened(old, [next])
    const none = { generation: 0, linkBytes: 0 }
    expect(lifeOf(state)).toMatchObject({ id: 'L2', creator: 'g2', config: PULL, ...none })
    expect([lifeOf(state).links.size, lifeOf(state).wake]).toEqual([0, undefined])
  })

  test('end a subscription, and take no event after that', () => {
    const gone = happened(begun(), [{ kind: 'deleted', fencingToken: 'd:9' }])
    const later = happened(gone, [wake(), { kind: 'noted', tails: [['a', at(1)]] }])
    expect([gone.incarnation, gone.fencingToken]).toEqual([undefined, 'd:9'])
    expect(meaning(later)).toEqual(meaning(gone))
  })

  test('link a stream where it is, so that nothing is pending', () => {
    const state = begun(WEBHOOK, { a: at(7) })
    expect(linksOf(state)).toEqual({
      a: { explicit: true, glob: false, acked: at(7), tail: at(7) },
    })
    expect(lifeOf(state).links.some(isPending)).toBe(false)
  })

  test('leave the cursor of a link as it is when the stream is linked again', () => {
    const state = happened(begun(WEBHOOK, { a: at(1) }), [
      { kind: 'noted', tails: [['a', at(3)]] },
      { kind: 'linked', type: 'glob', streams: [{ path: 'a', tail: at(9) }] },
    ])
    expect(linksOf(state)).toEqual({ a: { explicit: true, glob: true, acked: at(1), tail: at(3) } })
  })

  // PROTOCOL §6.1, §6.4.
  test.each<[string, string, SubscriptionEvent[], object | undefined]>([
    ['ends an explicit link', 'other', [], undefined],
    ['leaves one of the pattern', 'other', [{ kind: 'unlinked', streams: ['x'] }], undefined],
    ['leaves a stream that the pattern finds too', 'events/a', [], { explicit: false, glob: true }],
  ])('unlink: %s', (_name, path, events, expected) => {
    const state = happened(begun(WEBHOOK, { [path]: at(1) }), [
      ...events,
      { kind: 'unlinked', streams: [path] },
    ])
    const link = linksOf(state)[path]
    expect(link && { explicit: link.explicit, glob: link.glob }).toEqual(expected)
  })

  test('forget a stream that the pattern found, and begin one of the client’s before its first message', () => {
    const state = happened(begun(WEBHOOK, { a: at(3) }), [
      { kind: 'linked', type: 'glob', streams: [{ path: 'events/b', tail: at(3) }] },
      { kind: 'forgotten', streams: ['a', 'events/b', 'unknown'] },
    ])
    expect(linksOf(state)).toEqual({ a: { explicit: true, glob: false, acked: '-1', tail: '-1' } })
    expect(lifeOf(state).linkBytes).toBe(linkSize('a'))
  })

  test('note no tail that lies before the one that is known', () => {
    const state = happened(begun(WEBHOOK, { a: at(5) }), [{ kind: 'noted', tails: [['a', at(4)]] }])
    expect(linksOf(state)['a']?.tail).toBe(at(5))
  })

  test('link a stream that is noted first before its first message', () => {
    const state = happened(begun(), [{ kind: 'noted', tails: [['events/a', at(4)]] }])
    expect(linksOf(state)).toEqual({
      'events/a': { explicit: false, glob: true, acked: '-1', tail: at(4) },
    })
  })

  test('take an ack of what was never noted for the tail', () => {
    const acked = {
      kind: 'acked',
      acks: pairsOf({ a: at(8), gone: at(9) }),
      done: true,
      leaseMs: 0,
    } as const
    const state = happened(begun(WEBHOOK, { a: at(5) }), [wake(), acked])
    expect(linksOf(state)).toEqual({
      a: { explicit: true, glob: false, acked: at(8), tail: at(8) },
    })
  })

  describe('move a wake on', () => {
    const sent = { kind: 'sent', leaseMs: 900 } as const
    const failed = { kind: 'failed', attempt: 1, delayMs: 50, reason: 'r' } as const
    const claimed = { kind: 'claimed', worker: 'bob', runner: 'g2', tails: [] } as const
    const heartbeat = { kind: 'acked', acks: [], done: false, leaseMs: 700 } as const
    const leased = (until: number, holder?: string) => {
      return { kind: 'leased', until: NOW + until, holder }
    }

    test.each<[string, typeof WEBHOOK, SubscriptionEvent[], object | undefined]>([
      ['is about to be sent first', WEBHOOK, [], { kind: 'sending', attempt: 1 }],
      ['a webhook is accepted', WEBHOOK, [sent], leased(900)],
      ['an event is written', PULL, [sent], { kind: 'announced' }],
      ['an attempt fails', WEBHOOK, [failed], { kind: 'waiting', attempt: 1, until: NOW + 50 }],
      ['a later attempt is accepted', WEBHOOK, [failed, sent], leased(900)],
      ['a worker claims', PULL, [sent, claimed], leased(LEASE_MS, 'bob')],
      [
        'a worker claims before its event is written',
        PULL,
        [claimed, sent],
        leased(LEASE_MS, 'bob'),
      ],
      ['a worker shows that it lives', PULL, [sent, claimed, heartbeat], leased(700, 'bob')],
      ['a callback comes before the response', WEBHOOK, [heartbeat, sent], leased(700)],
      ['a callback comes before the failure', WEBHOOK, [heartbeat, failed], leased(700)],
      ['an event is written twice', PULL, [sent, failed], { kind: 'announced' }],
      ['all is done', PULL, [claimed, { ...heartbeat, done: true }], undefined],
      ['it is over', PULL, [claimed, { kind: 'ended', reason: 'released' }], undefined],
      ['news come late', WEBHOOK, [{ kind: 'ended', reason: 'expired' }, sent, failed], undefined],
    ])('when %s', (_name, config, events, phase) => {
      const state = happened(begun(config), [wake(), ...events])
      expect(lifeOf(state).wake?.phase).toEqual(phase)
    })

    test.each<[string, SubscriptionEvent, string]>([
      ['is adopted by', { kind: 'adopted', runner: 'g2' }, 'g2'],
      ['is claimed through', claimed, 'g2'],
      ['is sent by', sent, 'g1'],
    ])('whose runner is who it %s', (_name, event, runner) => {
      expect(lifeOf(happened(begun(PULL), [wake(), event])).wake?.runner).toBe(runner)
    })
  })

  test('let time run from the record, whenever it is read', () => {
    const woken = happened(begun(), [wake()], NOW)
    const state = happened(woken, [{ kind: 'sent', leaseMs: 10 }], NOW + 5000)
    expect(lifeOf(state).wake?.phase).toMatchObject({ until: NOW + 5010 })
  })

  test('take a record of a later version, or of an S2 client, for nothing', () => {
    const state = happened(begun(WEBHOOK, { a: at(1) }), [wake({ a: at(1) })])
    const later = folded(SUBSCRIPTION_RULES, state, [
      encodeRecord('paused', Buffer.from('not ours to read')),
      encodeRecord('toString', Buffer.from('{}')),
      { kind: 'data', headers: [['x', 'y']], body: Buffer.from('{}') },
      { kind: 'data', headers: [], body: Buffer.from('{}') },
      { kind: 'trim', before: 1 },
    ])
    expect(meaning(later)).toEqual(meaning(state))
    expect(later.nextSeq).toBe(state.nextSeq + 5)
  })

  test('take the token of a fence', () => {
    const state = folded(SUBSCRIPTION_RULES, begun(), [{ kind: 'fence', token: 'other' }])
    expect(state.fencingToken).toBe('other')
  })

  test.each([
    ['created', ''],
    ['created', '{"id":"L1","fencingToken":"o:L1","creator":"g1"}'],
    ['created', JSON.stringify({ id: 'L1', fencingToken: 'o:L1', config: WEBHOOK })],
    ['deleted', '{}'],
    ['checkpoint', '[]'],
    ['checkpoint', '{"fencingToken":"t","life":{"id":"L1"}}'],
    ['ready', 'null'],
    ['linked', '{"type":"both","streams":[]}'],
    ['linked', '{"type":"glob","streams":["a"]}'],
    ['unlinked', '{"streams":"a"}'],
    ['forgotten', '{}'],
    ['noted', '{"tails":["a"]}'],
    ['noted', '{"tails":{"a":"1"}}'],
    ['noted', '{"tails":[["a",1]]}'],
    ['wake', '{"id":"w1","generation":-1,"runner":"g","tails":[]}'],
    ['wake', '{"id":"w1","generation":1,"runner":"g","tails":{}}'],
    ['sent', '{"leaseMs":"1"}'],
    ['failed', '{"attempt":1,"delayMs":1}'],
    ['claimed', '{"worker":"bob","runner":"g2"}'],
    ['acked', '{"acks":[],"done":1,"leaseMs":1}'],
    ['acked', '{"acks":{},"done":true,"leaseMs":1}'],
    ['ended', '{"reason":"bored"}'],
    ['adopted', '{}'],
  ])('refuse to guess what a %s of %j means', (kind, body) => {
    const record = encodeRecord(kind, Buffer.from(body))
    expect(() => folded(SUBSCRIPTION_RULES, begun(), [record])).toThrow(InvariantError)
  })

  test('have the context in every record but one that carries the whole state', () => {
    const headers = (event: SubscriptionEvent) => {
      const record = encodeEvent(event, { checkpoint: 7 })
      return record.kind === 'data' ? record.headers : []
    }
    expect([headers(created()), headers(wake())]).toEqual([
      [['ds', 'created']],
      [
        ['ds', 'wake'],
        ['cp', '7'],
      ],
    ])
  })

  // Names of things that every JavaScript object has are names of streams like any other.
  test.each(['constructor', 'toString', '__proto__'])('know a stream called %j', (path) => {
    const state = happened(begun(), [
      { kind: 'linked', type: 'explicit', streams: [{ path, tail: at(1) }] },
      { kind: 'noted', tails: [[path, at(5)]] },
      wake(Object.fromEntries([[path, at(5)]])),
      { kind: 'acked', acks: [[path, at(3)]], done: false, leaseMs: 1 },
    ])
    expect(lifeOf(state).links.get(path)).toEqual({
      explicit: true,
      glob: false,
      acked: at(3),
      tail: at(5),
    })
    expect(lifeOf(state).wake?.tails).toEqual(new Map([[path, at(5)]]))
  })
})

describe('the checkpoint of SUBSCRIPTION_RULES', () => {
  const path = fc.constantFrom(
    'a',
    'events/b',
    'events/"c"',
    'events/中',
    'wake/pool',
    'constructor',
    '__proto__',
  )
  const offset = fc.oneof(fc.constant('-1'), fc.nat(30).map(at))
  const tails = fc.array(fc.tuple(path, offset), { maxLength: 5 })
  const paths = fc.array(path, { maxLength: 3 })
  const id = fc.constantFrom('w1', 'w2')
  const runner = fc.constantFrom('g1', 'g2')
  const config = fc.constantFrom(WEBHOOK, PULL, {
    type: 'webhook' as const,
    description: '',
    leaseTtlMs: 1000,
    hash: '',
    root: '',
  })
  const kind = <Kind extends string>(name: Kind) => fc.constant(name)
  const event: fc.Arbitrary<SubscriptionEvent> = fc.oneof(
    { weight: 1, arbitrary: fc.record({ kind: kind('deleted'), fencingToken: fc.string() }) },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: kind('created'),
        id,
        fencingToken: fc.string(),
        creator: runner,
        config,
      }),
    },
    { weight: 2, arbitrary: fc.record({ kind: kind('ready'), streams: fc.nat() }) },
    {
      weight: 8,
      arbitrary: fc.record({
        kind: kind('linked'),
        type: fc.constantFrom('explicit' as const, 'glob' as const),
        streams: fc.array(fc.record({ path, tail: offset }), { maxLength: 3 }),
      }),
    },
    { weight: 2, arbitrary: fc.record({ kind: kind('unlinked'), streams: paths }) },
    { weight: 2, arbitrary: fc.record({ kind: kind('forgotten'), streams: paths }) },
    { weight: 8, arbitrary: fc.record({ kind: kind('noted'), tails }) },
    {
      weight: 8,
      arbitrary: fc.record({ kind: kind('wake'), id, generation: fc.nat(), runner, tails }),
    },
    { weight: 4, arbitrary: fc.record({ kind: kind('sent'), leaseMs: fc.nat() }) },
    {
      weight: 4,
      arbitrary: fc.record({
        kind: kind('failed'),
        attempt: fc.nat(9),
        delayMs: fc.nat(),
        reason: fc.string(),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({ kind: kind('claimed'), worker: fc.string(), runner, tails }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        kind: kind('acked'),
        acks: tails,
        done: fc.boolean(),
        leaseMs: fc.nat(),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: kind('ended'), reason: kind('expired') }) },
    { weight: 2, arbitrary: fc.record({ kind: kind('adopted'), runner }) },
  )

  test('restores just what was there, and what comes after it means the same', () => {
    fc.assert(
      fc.property(
        fc.array(event, { maxLength: 25 }),
        fc.array(event, { maxLength: 10 }),
        (before, later) => {
          const direct = happened(begun(PULL, { a: at(2) }), before)
          const read = restored(direct)
          expect(meaning(read)).toEqual(meaning(direct))
          expect(meaning(happened(read, later))).toEqual(meaning(happened(direct, later)))
        },
      ),
      { seed: 42, numRuns: 500 },
    )
  })

  test('counts what links take, however they came and went', () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), (events) => {
        const life = happened(begun(), events).incarnation
        if (life === undefined) return
        const total = [...life.links.keys()].reduce((sum, name) => sum + linkSize(name), 0)
        expect(life.linkBytes).toBe(total)
      }),
      { seed: 43, numRuns: 500 },
    )
  })

  test('is the place from which to read', () => {
    const state = begun()
    const { checkpoint, sinceCheckpoint } = folded(SUBSCRIPTION_RULES, state, [
      SUBSCRIPTION_RULES.checkpoint(state),
    ])
    expect([checkpoint, sinceCheckpoint.records]).toEqual([state.nextSeq, 1])
  })
})

describe('linkSize', () => {
  test.each(['a', '中'.repeat(170), '"'.repeat(512), '\u{1f600}'.repeat(128)])(
    'is no less than what the checkpoint takes for %j',
    (path) => {
      const size = (state: SubscriptionState) => {
        const record = SUBSCRIPTION_RULES.checkpoint(state)
        return record.kind === 'data' ? record.body.length : 0
      }
      const none = begun(WEBHOOK, { x: at(1) })
      const one = begun(WEBHOOK, { x: at(1), [path]: at(Number.MAX_SAFE_INTEGER) })
      expect(linkSize(path)).toBeGreaterThanOrEqual(size(one) - size(none))
    },
  )
})
