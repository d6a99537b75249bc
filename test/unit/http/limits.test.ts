import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { RateLimitedError } from '../../../src/errors.ts'
import { Allowances } from '../../../src/http/buckets.ts'
import type { Cost } from '../../../src/http/buckets.ts'
import { Limits } from '../../../src/http/limits.ts'
import type { LimitsOptions, Principal } from '../../../src/http/limits.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const ANN: Principal = { subject: 'ann', project: 'acme', address: '192.0.2.1' }
const BOB: Principal = { subject: 'bob', project: 'acme', address: '192.0.2.2' }
const READ: Cost = { requests: 1 }
const APPEND: Cost = { requests: 1, appends: 1, bytes: 10 }

function limited(quotas: LimitsOptions['quotas']) {
  const clock = new ManualClock()
  const limits = new Limits({ clock, quotas })
  /** What refuses a request; undefined when it passes. */
  const refusal = (principal: Principal, cost: Cost = READ) => {
    try {
      limits.take(principal, cost)
      return undefined
    } catch (error) {
      if (!(error instanceof RateLimitedError)) throw error
      return error
    }
  }
  const passes = (principal: Principal, cost?: Cost) => refusal(principal, cost) === undefined
  /** How many pass now. */
  const count = (principal: Principal, cost?: Cost) => {
    let passed = 0
    while (passed < 100 && passes(principal, cost)) passed += 1
    return passed
  }
  return { clock, limits, refusal, passes, count }
}

describe('rates', () => {
  test.each([
    ['requests', READ],
    ['appends', { requests: 1, appends: 1 }],
    ['creates', { requests: 1, creates: 1 }],
    ['bytes', { requests: 1, bytes: 1 }],
  ] as const)('a second’s worth of %s may come at once, and as many each second', (unit, cost) => {
    const { clock, count } = limited({ subject: { [unit]: 4 } })
    expect(count(ANN, cost)).toBe(4)
    clock.advance(250)
    expect(count(ANN, cost)).toBe(1)
    clock.advance(1000)
    expect(count(ANN, cost)).toBe(4)
    clock.advance(60_000)
    expect(count(ANN, cost)).toBe(4)
  })

  test.each<[string, LimitsOptions['quotas'], Cost]>([
    ['other methods', { subject: { appends: 1, creates: 1 } }, READ],
    ['requests without a body', { subject: { bytes: 1 } }, READ],
  ])('leave %s alone', (_name, quotas, cost) => {
    const { count, passes } = limited(quotas)
    passes(ANN, { requests: 1, appends: 1, creates: 1, bytes: 100 })
    expect(count(ANN, cost)).toBe(100)
  })

  test('are of a caller, whoever else there is', () => {
    const { count } = limited({ subject: { requests: 2 }, address: { requests: 3 } })
    expect([ANN, BOB].map((principal) => count(principal))).toEqual([2, 2])
    // One more of the address: refused requests have cost nothing.
    expect(count({ address: '192.0.2.1' })).toBe(1)
  })

  test('of a project are for all its subjects together', () => {
    const { count } = limited({ project: { requests: 3 } })
    expect(count(ANN)).toBe(3)
    expect(count(BOB)).toBe(0)
    expect(count({ subject: 'ann', project: 'other' })).toBe(3)
  })

  test.each<[string, Principal, Principal]>([
    ['of another project', { subject: 'a', project: 'x' }, { subject: 'a', project: 'y' }],
    ['of no project', { subject: 'a', project: 'x' }, { subject: 'a' }],
    [
      'with a part of the project',
      { subject: 'bc', project: 'a' },
      { subject: 'c', project: 'ab' },
    ],
    ['named like both', { subject: 'a', project: 'x' }, { subject: '1:xa' }],
  ])('of a subject are not those of one %s', (_name, one, other) => {
    const { count } = limited({ subject: { requests: 2 } })
    expect(count(one)).toBe(2)
    expect(count(other)).toBe(2)
  })

  test('are not for what a caller is not', () => {
    const { count } = limited({ subject: { requests: 1 }, project: { requests: 1 } })
    expect(count({ address: '192.0.2.1' })).toBe(100)
  })

  test('are judged all before anything is taken', () => {
    const { clock, passes, count } = limited({
      subject: { requests: 5, appends: 1 },
      project: { requests: 5 },
      address: { requests: 5 },
    })
    expect(passes(ANN, APPEND)).toBe(true)
    for (let n = 0; n < 100; n += 1) expect(passes(ANN, APPEND)).toBe(false)
    expect(count(ANN)).toBe(4)
    clock.advance(1000)
    expect(passes(ANN, APPEND)).toBe(true)
  })

  test('say how long until all of them have room', () => {
    const { refusal, passes } = limited({ subject: { requests: 10 }, project: { appends: 2 } })
    expect([passes(ANN, APPEND), passes(ANN, APPEND)]).toEqual([true, true])
    expect(refusal(ANN, APPEND)?.waitMs).toBe(500)
    expect(refusal(ANN, APPEND)?.message).toBe('used up: project-appends')
  })

  test('heed no clock that is set', () => {
    const { clock, count } = limited({ subject: { requests: 2 } })
    expect(count(ANN)).toBe(2)
    clock.set(clock.now() + 3_600_000)
    expect(count(ANN)).toBe(0)
    clock.set(0)
    clock.advance(1000)
    expect(count(ANN)).toBe(2)
  })

  test('are kept: never more than two seconds’ worth in any second, and the wait is true', () => {
    const step = fc.record({ ms: fc.nat(700), cost: fc.constantFrom(READ, APPEND) })
    const quotas = fc.record({ requests: fc.integer({ min: 1, max: 7 }), appends: fc.constant(3) })
    fc.assert(
      fc.property(quotas, fc.array(step, { maxLength: 60 }), (subject, steps) => {
        const { clock, refusal, passes } = limited({ subject })
        const passed: number[] = []
        for (const { ms, cost } of steps) {
          clock.advance(ms)
          const error = refusal(ANN, cost)
          if (error !== undefined) {
            clock.advance(error.waitMs! - 1)
            expect(passes(ANN, cost)).toBe(error.waitMs! <= 0)
            clock.advance(1)
            expect(passes(ANN, cost)).toBe(true)
          }
          passed.push(clock.elapsed())
        }
        for (const end of passed) {
          const inSecond = passed.filter((at) => at <= end && at > end - 1000).length
          expect(inSecond).toBeLessThanOrEqual(2 * subject.requests)
        }
      }),
    )
  })
})

describe('bytes', () => {
  const upload = (bytes: number): Cost => ({ requests: 1, appends: 1, bytes })

  test('of one body may be more than a second’s worth; the next waits until it is paid', () => {
    const { clock, refusal, passes } = limited({ subject: { bytes: 100 } })
    expect(passes(ANN, upload(1000))).toBe(true)
    // 900 are owed, and one must be there.
    expect(refusal(ANN, upload(1))?.waitMs).toBe(9010)
    clock.advance(9000)
    expect(passes(ANN, upload(1))).toBe(false)
    clock.advance(10)
    expect(passes(ANN, upload(1))).toBe(true)
  })

  test('of small bodies do not keep a large one out', () => {
    const { clock, passes, count } = limited({ subject: { bytes: 100 } })
    expect(count(ANN, upload(10))).toBe(10)
    clock.advance(10)
    expect(passes(ANN, upload(1000))).toBe(true)
  })

  test('that were not announced are taken as they come', () => {
    const { clock, limits, refusal } = limited({
      subject: { bytes: 100 },
      project: { bytes: 1000 },
    })
    expect(refusal(ANN, upload(0))).toBeUndefined()
    for (let n = 0; n < 6; n += 1) limits.receive(ANN, 50)
    expect(refusal(ANN, upload(0))?.waitMs).toBe(2010)
    expect(refusal(ANN)).toBeUndefined()
    clock.advance(2010)
    expect(refusal(ANN, upload(0))).toBeUndefined()
  })
})

describe('what is left', () => {
  test('is said of all limits that a request was judged by', () => {
    const { limits } = limited({
      subject: { requests: 3, appends: 2, bytes: 100 },
      project: { requests: 9 },
    })
    expect(limits.take(ANN, READ)).toEqual([
      { policy: 'subject-requests', quota: 3, counts: 'requests', left: 2, waitMs: 0 },
      { policy: 'project-requests', quota: 9, counts: 'requests', left: 8, waitMs: 0 },
    ])
    expect(limits.take(ANN, { requests: 1, appends: 1, bytes: 350 })).toEqual([
      { policy: 'subject-requests', quota: 3, counts: 'requests', left: 1, waitMs: 0 },
      { policy: 'subject-appends', quota: 2, counts: 'appends', left: 1, waitMs: 0 },
      { policy: 'subject-bytes', quota: 100, counts: 'bytes', left: 0, waitMs: 2510 },
      { policy: 'project-requests', quota: 9, counts: 'requests', left: 7, waitMs: 0 },
    ])
  })

  test('is not said where nothing is limited', () => {
    const { limits } = limited({ address: { appends: 3 } })
    expect(limits.take({ subject: 'ann' }, READ)).toBeUndefined()
    expect(new Limits({ clock: new ManualClock(), quotas: {} }).take(ANN, READ)).toBeUndefined()
  })
})

describe('live reads', () => {
  const entering = (limits: Limits, principal: Principal) => {
    const leave: (() => void)[] = []
    try {
      while (leave.length < 100) leave.push(limits.enter(principal))
    } catch (error) {
      if (!(error instanceof RateLimitedError)) throw error
    }
    return leave
  }

  test('are as many as may be at the same time, for each kind of caller', () => {
    for (const kind of ['subject', 'project', 'address'] as const) {
      const { limits } = limited({ [kind]: { connections: 3 } })
      const leave = entering(limits, ANN)
      expect([kind, leave.length]).toEqual([kind, 3])
      expect(entering(limits, BOB).length).toBe(kind === 'project' ? 0 : 3)
      for (const one of leave) one()
      expect(entering(limits, ANN).length).toBe(3)
    }
  })

  test('are counted once, however often one is said to be over', () => {
    const { limits } = limited({ subject: { connections: 2 } })
    const [first, second] = entering(limits, ANN)
    first!()
    first!()
    expect(entering(limits, ANN).length).toBe(1)
    second!()
    expect(entering(limits, ANN).length).toBe(1)
  })

  test('are counted for nobody when one limit refuses', () => {
    const { limits } = limited({ subject: { connections: 5 }, project: { connections: 2 } })
    const leave = entering(limits, BOB)
    expect(leave.length).toBe(2)
    for (let n = 0; n < 20; n += 1) expect(() => limits.enter(ANN)).toThrow(RateLimitedError)
    for (const one of leave) one()
    expect(entering(limits, ANN).length).toBe(2)
  })

  test('are refused without a time, which nobody knows', () => {
    const { limits } = limited({ subject: { connections: 1 }, project: { connections: 1 } })
    limits.enter(ANN)
    try {
      limits.enter(ANN)
      expect.unreachable()
    } catch (error) {
      const policy = { quota: 1, counts: 'connections', left: 0 }
      expect(error).toMatchObject({
        waitMs: undefined,
        standing: [
          { policy: 'subject-connections', ...policy },
          { policy: 'project-connections', ...policy },
        ],
      })
    }
  })

  test('take no request, and no memory, where nothing limits them', () => {
    const { limits } = limited({ subject: { requests: 1 } })
    const [one, other] = [limits.enter(ANN), limits.enter(BOB)]
    expect(one).toBe(other)
    one()
  })
})

describe('who has to be known', () => {
  test.each<[LimitsOptions['quotas'], boolean]>([
    [{}, false],
    [{ address: {} }, false],
    [{ subject: { requests: 1 } }, false],
    [{ address: { requests: 1 } }, true],
    [{ address: { connections: 1 } }, true],
  ])('of %j: the address %s', (quotas, isNeeded) => {
    expect(limited(quotas).limits.limits('address')).toBe(isNeeded)
  })
})

describe('buckets', () => {
  test('are of the latest callers only; one that was dropped is full again', () => {
    const allowances = new Allowances({ requests: 2 }, 3)
    const left = (caller: string) => {
      const allowance = allowances.of(caller, 0)
      allowance.take(READ)
      return allowance.leftOf('requests')
    }
    expect([left('a'), left('b'), left('c'), left('a')]).toEqual([1, 1, 1, 0])
    expect([left('d'), left('b')]).toEqual([1, 1])
    expect(left('a')).toBe(0)
  })
})
