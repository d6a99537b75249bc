import { describe, expect, test } from 'vitest'
import {
  AppendOutcomeUnknownError,
  InvariantError,
  LogUnavailableError,
  StreamClosedError,
  StreamConflictError,
  StreamNotFoundError,
} from '../../../src/errors.ts'
import type { AppendBatch, DurableLog } from '../../../src/log/log.ts'
import { formatOffset } from '../../../src/protocol/offset.ts'
import { appendCommand, touchCommand } from '../../../src/streams/append.ts'
import type { Command } from '../../../src/journal/command.ts'
import { Journal } from '../../../src/journal/journal.ts'
import { createCommand, deleteCommand } from '../../../src/streams/create.ts'
import { STREAM_RULES } from '../../../src/streams/state.ts'
import type { Incarnation } from '../../../src/streams/state.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import {
  JSON_MODE,
  NOW,
  STREAM,
  TEXT,
  appendRaw,
  appendRequest,
  bytes,
  foreign,
  memoryLog,
  spied,
} from '../streams/builders.ts'
import { TIMEOUT_MS, create, fresh, gateway, stored } from './gateways.ts'
import { say } from './stream-journal.ts'

const offsetAt = (seqNum: number) => formatOffset({ depth: 0, seqNum })
const close = appendCommand(appendRequest('', { close: true }))
const unknown = (): Error => new AppendOutcomeUnknownError(new Error('lost'))

/** A gate that holds up whatever passes it until it is opened. */
function gate() {
  let open = (): void => undefined
  let reached = (): void => undefined
  const opened = new Promise<void>((resolve) => (open = resolve))
  const arrival = new Promise<void>((resolve) => (reached = resolve))
  const pass = (): Promise<void> => {
    reached()
    return opened
  }
  return { pass, open, arrival }
}

describe('Journal', () => {
  test('creates the stream in the log when it is the first', async () => {
    const { log, calls } = spied(await memoryLog())
    expect(await gateway(log).execute(create)).toMatchObject({ kind: 'created', dataTail: 2 })
    expect(calls).toEqual(['read', 'append', 'createStream', 'append'])
  })

  test('takes no gateway id that would make its tokens too long', async () => {
    const log = await memoryLog()
    const withId = (gatewayId: string) => () =>
      new Journal(STREAM, STREAM_RULES, {
        log,
        clock: new ManualClock(),
        commandTimeoutMs: TIMEOUT_MS,
        gatewayId,
      })
    expect(withId('g'.repeat(22))).not.toThrow()
    expect(withId('g'.repeat(23))).toThrow(InvariantError)
  })

  test('writes what waits for an append in one batch behind it', async () => {
    const inner = await fresh()
    const batches: AppendBatch[] = []
    const { pass, open, arrival } = gate()
    const { log } = spied(inner, {
      append: async (name, batch) => {
        batches.push(batch)
        await pass()
        return inner.append(name, batch)
      },
    })
    const stream = gateway(log)
    const first = stream.execute(say('1'))
    await arrival
    const others = ['2', '3', '4'].map((body) => stream.execute(say(body)))
    open()
    expect((await Promise.all([first, ...others])).map(({ dataTail }) => dataTail)).toEqual([
      3, 4, 5, 6,
    ])
    expect(batches.map(({ records, matchSeqNum, fencingToken }) => {
      return [records.length, matchSeqNum, fencingToken]
    })).toEqual([[1, 2, 'o:i1'], [3, 3, 'o:i1']]) // prettier-ignore
  })

  test('answers a duplicate only when the append it repeats is durable', async () => {
    const inner = await fresh()
    const { pass, open, arrival } = gate()
    const { log } = spied(inner, {
      append: async (name, batch) => {
        const ack = await inner.append(name, batch)
        await pass()
        return ack
      },
    })
    const stream = gateway(log)
    const claim = say('x', { producer: { id: 'p', epoch: 0, seq: 0 } })
    const order: string[] = []
    const twice = Promise.all([
      stream.execute(claim).then(({ kind }) => order.push(kind)),
      stream.execute(claim).then(({ kind }) => order.push(kind)),
    ])
    await arrival
    expect(order).toEqual([])
    open()
    await twice
    expect(order).toEqual(['appended', 'duplicate'])
  })

  test.each<[string, Command<Incarnation, unknown>, Command<Incarnation, unknown>, unknown]>([
    ['a closure', close, say('x'), new StreamClosedError(offsetAt(2))],
    ['a deletion', deleteCommand, say('x'), new StreamNotFoundError()],
    ['a closure, when creating', close, create, new StreamConflictError('closure status')],
  ])('judges by what another gateway has done: %s', async (_name, theirs, ours, error) => {
    const log = await fresh()
    const clock = new ManualClock()
    const stream = gateway(log, clock)
    await stream.known()
    await gateway(log).execute(theirs)
    await expect(clock.runUntil(stream.execute(ours))).rejects.toEqual(error)
  })

  test('refuses nothing on old knowledge', async () => {
    const log = await memoryLog()
    const stream = gateway(log)
    await stream.known()
    await gateway(log).execute(create)
    expect(await stream.execute(say('x'))).toMatchObject({ kind: 'appended' })
    expect(await stream.execute(create)).toMatchObject({ kind: 'exists' })
  })

  test('refuses after one look, however busy other gateways are', async () => {
    const inner = await fresh()
    const { log, calls } = spied(inner, {
      checkTail: async (name) => {
        await appendRaw(inner, [foreign('busy')], 'o:i1')
        return inner.checkTail(name)
      },
    })
    const stream = gateway(log)
    await stream.known()
    calls.length = 0
    await expect(stream.execute(say('x', { contentType: 'a/b' }))).rejects.toThrow('content type')
    expect(calls).toEqual(['checkTail', 'read'])
  })

  test('fails a command that breaks and no other', async () => {
    const stream = gateway(await fresh())
    const bug: Command<Incarnation, unknown> = () => {
      throw new InvariantError('a bug')
    }
    const [broken, sound] = await Promise.allSettled([
      stream.execute(bug),
      stream.execute(say('x')),
    ])
    expect(broken).toEqual({ status: 'rejected', reason: new InvariantError('a bug') })
    expect(sound.status).toBe('fulfilled')
  })

  test('joins a task that is under way', async () => {
    const { log, calls } = spied(await memoryLog())
    const writer = gateway(log)
    const config = { ...TEXT, expiry: { kind: 'ttl', seconds: 1 } } as const
    await writer.execute(createCommand({ id: 'i1', config, body: bytes(''), close: false }))
    const stream = gateway(log, new ManualClock({ now: NOW + 500 }))
    await stream.known()
    calls.length = 0
    await Promise.all([1, 2, 3].map(() => stream.executeOnce('touch', touchCommand)))
    expect(calls).toEqual(['append'])
  })
})

describe('Journal out of time', () => {
  test('writes nothing for a command it has told so', async () => {
    const inner = await fresh()
    const { pass, open, arrival } = gate()
    const { log } = spied(inner, {
      read: async (...args) => {
        await pass()
        return inner.read(...args)
      },
    })
    const clock = new ManualClock()
    const stream = gateway(log, clock)
    const late = stream.execute(say('late'))
    await arrival
    clock.advance(TIMEOUT_MS)
    await expect(late).rejects.toBeInstanceOf(LogUnavailableError)
    const next = stream.execute(say('next'))
    open()
    await next
    expect(await stored(inner)).toEqual(['next'])
  })

  test('refuses nothing on a look that it had no time to wait for', async () => {
    const inner = await fresh()
    const { pass, open, arrival } = gate()
    const { log } = spied(inner, {
      checkTail: async (name) => {
        await pass()
        return inner.checkTail(name)
      },
    })
    const clock = new ManualClock()
    const stream = gateway(log, clock)
    await stream.known()
    const refused = stream.execute(say('x', { contentType: 'a/b' }))
    await arrival
    clock.advance(TIMEOUT_MS)
    await expect(refused).rejects.toBeInstanceOf(LogUnavailableError)
    open()
    expect(await stream.execute(say('y'))).toMatchObject({ kind: 'appended' })
  })

  test('says that it does not know, and tries no more for a client that has gone', async () => {
    const inner = await fresh()
    let lost = 0
    const { log } = spied(inner, {
      append: (name, batch) => {
        if (lost < 0) return inner.append(name, batch)
        lost += 1
        return Promise.reject(unknown())
      },
    })
    const clock = new ManualClock()
    const stream = gateway(log, clock)
    const answer = stream.execute(say('x')).catch((error: unknown) => error)
    expect(await clock.runUntil(answer)).toBeInstanceOf(AppendOutcomeUnknownError)
    // Its last wait ends, and nothing is left to wait for.
    await clock.advanceAsync(TIMEOUT_MS)
    expect([lost > 2, clock.timers]).toEqual([true, 0])
    lost = -1
    await stream.execute(say('y'))
    expect(await stored(inner)).toEqual(['y'])
  })

  test('finds what became of it when the stream is used again', async () => {
    const inner = await fresh()
    let isLost = true
    const { log } = spied(inner, {
      append: async (name, batch) => {
        if (!isLost) return inner.append(name, batch)
        await inner.append(name, batch).catch(() => undefined)
        throw unknown()
      },
      read: (...args) => (isLost ? Promise.reject(new LogUnavailableError()) : inner.read(...args)),
    })
    const clock = new ManualClock()
    await gateway(inner).known()
    const stream = gateway(log, clock)
    isLost = false
    await stream.known()
    isLost = true
    const claim = say('x', { producer: { id: 'p', epoch: 0, seq: 0 } })
    const answer = stream.execute(claim).catch((error: unknown) => error)
    expect(await clock.runUntil(answer)).toBeInstanceOf(AppendOutcomeUnknownError)
    isLost = false
    const retry = await clock.runUntil(stream.execute(claim))
    expect(retry).toMatchObject({ kind: 'duplicate' })
    expect(await stored(inner)).toEqual(['x'])
  })
})

describe('Journal after a conflict', () => {
  test('knows that nothing was written, also while it can not learn why', async () => {
    const clock = new ManualClock()
    const inner = await fresh()
    const { pass, open, arrival } = gate()
    const network = { isUp: true }
    const read: DurableLog['read'] = async (...args) => {
      if (!network.isUp) await pass()
      return inner.read(...args)
    }
    const stream = gateway(spied(inner, { read }).log, clock)
    await stream.refresh()
    await appendRaw(inner, [foreign('direct')], 'o:i1')
    network.isUp = false
    const late = stream.execute(say('x'))
    late.catch(() => undefined)
    await clock.advanceAsync(TIMEOUT_MS / 2)
    await arrival
    await clock.advanceAsync(TIMEOUT_MS / 2)
    await expect(late).rejects.toBeInstanceOf(LogUnavailableError)
    open()
    expect(await clock.runUntil(stream.execute(say('y')))).toMatchObject({ kind: 'appended' })
    expect(await stored(inner)).toEqual(['y'])
  })
})

describe('Journal whose fold fails', () => {
  test('tells the commands of a durable batch that they are stored', async () => {
    const inner = await fresh()
    const state = { isBroken: false }
    const rules: typeof STREAM_RULES = {
      ...STREAM_RULES,
      apply: (before, record) => {
        if (!state.isBroken) return STREAM_RULES.apply(before, record)
        state.isBroken = false
        throw new InvariantError('a record that nobody can read')
      },
    }
    const { log } = spied(inner, {
      append: async (stream, batch) => {
        const ack = await inner.append(stream, batch)
        state.isBroken = true
        return ack
      },
    })
    const clock = new ManualClock()
    const options = { log, clock, commandTimeoutMs: TIMEOUT_MS, gatewayId: 'g' }
    const stream = new Journal(STREAM, rules, options)
    await stream.known()
    const begun = clock.now()
    expect(await clock.runUntil(stream.execute(say('x')))).toMatchObject({ kind: 'appended' })
    expect(clock.now()).toBe(begun)
    expect(await clock.runUntil(stream.execute(say('y')))).toMatchObject({ kind: 'appended' })
    expect(await stored(inner)).toEqual(['x', 'y'])
  })
})

describe('Journal over a log that began anew', () => {
  /** A log that is replaced by another one under the gateway's hands. */
  async function replaced(
    next: DurableLog,
  ): Promise<{ stream: Journal<Incarnation>; clock: ManualClock }> {
    let current = await fresh()
    const proxy = new Proxy(current, {
      get: (_target, key) => {
        const value: unknown = current[key as keyof DurableLog]
        return typeof value === 'function' ? (value.bind(current) as unknown) : value
      },
    })
    const clock = new ManualClock()
    const stream = gateway(proxy, clock)
    await stream.execute(say('old'))
    current = next
    return { stream, clock }
  }
  const another = createCommand({ id: 'i2', config: JSON_MODE, body: bytes('[1]'), close: true })

  test('judges by the new one, even when it is as long', async () => {
    const next = await memoryLog(() => NOW + 1)
    await gateway(next).execute(another)
    const { stream, clock } = await replaced(next)
    await expect(clock.runUntil(stream.execute(say('x')))).rejects.toEqual(
      new StreamClosedError(offsetAt(3)),
    )
  })

  test('shows the new one, when it is longer', async () => {
    const next = await memoryLog(() => NOW + 1)
    await gateway(next).execute(another)
    await appendRaw(next, [foreign('x')], 'o:i2')
    const { stream } = await replaced(next)
    expect((await stream.refresh()).incarnation).toMatchObject({ id: 'i2', closed: true })
  })

  test('shows the new one, when it is shorter', async () => {
    const next = await memoryLog()
    await next.createStream(STREAM)
    const { stream, clock } = await replaced(next)
    expect((await stream.refresh()).incarnation).toBeUndefined()
    expect(await clock.runUntil(stream.execute(create))).toMatchObject({
      kind: 'created',
      dataTail: 2,
    })
  })

  test('creates the stream where the log has none', async () => {
    const { stream, clock } = await replaced(await memoryLog())
    await expect(clock.runUntil(stream.execute(say('x')))).rejects.toEqual(
      new StreamNotFoundError(),
    )
    expect(await clock.runUntil(stream.execute(create))).toMatchObject({
      kind: 'created',
      dataTail: 2,
    })
  })

  test('learns a token that no record explains', async () => {
    const log = await memoryLog()
    await log.createStream(STREAM)
    await appendRaw(log, [{ kind: 'fence', token: 'whose?' }], '')
    await appendRaw(log, [{ kind: 'trim', before: 1 }, foreign('x')], 'whose?')
    const clock = new ManualClock()
    expect(await clock.runUntil(gateway(log, clock).execute(create))).toMatchObject({
      kind: 'created',
      dataTail: 5,
    })
  })
})
