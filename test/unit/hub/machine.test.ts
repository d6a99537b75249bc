import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { begin, transition } from '../../../src/hub/machine.ts'
import type { HubEvent, HubState, StopReason } from '../../../src/hub/machine.ts'

const starting: HubState = { phase: 'starting', generation: 0 }
const live: HubState = { phase: 'live', generation: 3 }
const recovering: HubState = { phase: 'recovering', generation: 3, attempt: 2 }
const sealed: HubState = { phase: 'sealed', generation: 3 }
const stopped: HubState = { phase: 'stopped', reason: 'idle' }

const stop = (reason: StopReason) => [
  { phase: 'stopped', reason },
  [{ run: 'close_session' }, { run: 'release', reason }],
]
const reopen = (generation: number, attempt: number) => [
  { phase: 'recovering', generation, attempt },
  [{ run: 'close_session' }, { run: 'open_session', generation, attempt }],
]

describe('begin', () => {
  test('opens a session at once', () => {
    expect(begin(false)).toEqual([starting, [{ run: 'open_session', generation: 0, attempt: 0 }]])
  })

  test('follows nothing when the stream is closed', () => {
    expect(begin(true)).toEqual([{ phase: 'sealed', generation: 0 }, []])
  })
})

describe('transition', () => {
  test.each<[string, HubState, HubEvent, unknown]>([
    ['goes live', starting, { type: 'opened', generation: 0 }, [{ ...live, generation: 0 }, []]],
    ['stays live', live, { type: 'opened', generation: 3 }, [live, []]],
    ['is live again', recovering, { type: 'opened', generation: 3 }, [live, []]],
    ['reopens one that never opened', starting, { type: 'lost', generation: 0 }, reopen(1, 1)],
    ['reopens a lost session', live, { type: 'lost', generation: 3 }, reopen(4, 1)],
    ['counts failed attempts', recovering, { type: 'lost', generation: 3 }, reopen(4, 3)],
    [
      'seals a closed stream',
      live,
      { type: 'eof', generation: 3 },
      [{ phase: 'sealed', generation: 4 }, [{ run: 'close_session' }]],
    ],
    ['stops when idle', live, { type: 'linger_elapsed', subscribers: 0 }, stop('idle')],
    ['stops sealed when idle', sealed, { type: 'linger_elapsed', subscribers: 0 }, stop('idle')],
    ['stays for a new reader', live, { type: 'linger_elapsed', subscribers: 1 }, [live, []]],
    ['stops from starting', starting, { type: 'stop', reason: 'shutdown' }, stop('shutdown')],
    ['stops while recovering', recovering, { type: 'stop', reason: 'gap' }, stop('gap')],
    ['ignores a late opening', live, { type: 'opened', generation: 2 }, [live, []]],
    ['ignores a late loss', live, { type: 'lost', generation: 2 }, [live, []]],
    ['ignores a late end', sealed, { type: 'eof', generation: 2 }, [sealed, []]],
    ['stays sealed', sealed, { type: 'opened', generation: 3 }, [sealed, []]],
    ['stays stopped', stopped, { type: 'stop', reason: 'failed' }, [stopped, []]],
  ])('%s', (_name, state, event, expected) => {
    expect(transition(state, event)).toEqual(expected)
  })
})

const generation = fc.nat({ max: 6 })
const events: fc.Arbitrary<HubEvent> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ type: fc.constant('opened' as const), generation }) },
  { weight: 4, arbitrary: fc.record({ type: fc.constant('lost' as const), generation }) },
  fc.record({ type: fc.constant('eof' as const), generation }),
  fc.record({ type: fc.constant('linger_elapsed' as const), subscribers: fc.nat({ max: 2 }) }),
  fc.record({ type: fc.constant('stop' as const), reason: fc.constant('shutdown' as const) }),
)

describe('any run of events', () => {
  const isStale = (state: HubState, event: HubEvent) =>
    state.phase !== 'stopped' && 'generation' in event && event.generation !== state.generation

  test('stopped is final, release runs once, generations only grow, late callbacks are nothing', () => {
    fc.assert(
      fc.property(fc.array(events, { maxLength: 30 }), (run) => {
        let [state] = begin(false)
        let releases = 0
        let last = 0
        for (const event of run) {
          const [next, effects] = transition(state, event)
          if (state.phase === 'stopped' || isStale(state, event)) {
            expect([next, effects]).toEqual([state, []])
          }
          releases += effects.filter((effect) => effect.run === 'release').length
          if (next.phase !== 'stopped') {
            expect(next.generation).toBeGreaterThanOrEqual(last)
            last = next.generation
          }
          state = next
        }
        expect(releases).toBe(state.phase === 'stopped' ? 1 : 0)
      }),
    )
  })

  test('every session that is opened replaces one that was closed', () => {
    fc.assert(
      fc.property(fc.array(events, { maxLength: 30 }), (run) => {
        let [state, effects] = begin(false)
        let open = 0
        const count = () => {
          for (const effect of effects) {
            if (effect.run === 'close_session') open = 0
            if (effect.run === 'open_session') open += 1
          }
          expect(open).toBe(state.phase === 'stopped' || state.phase === 'sealed' ? 0 : 1)
        }
        count()
        for (const event of run) {
          ;[state, effects] = transition(state, event)
          count()
        }
      }),
    )
  })
})
