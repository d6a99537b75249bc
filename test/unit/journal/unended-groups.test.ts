/** Appends larger than a batch: what becomes of a group that does not come to its end. */
import { describe, expect, test } from 'vitest'
import { AppendInterruptedError, InvariantError, LogUnavailableError } from '../../../src/errors.ts'
import type { Command } from '../../../src/journal/command.ts'
import type { Journal } from '../../../src/journal/journal.ts'
import { Slots } from '../../../src/journal/slots.ts'
import { AppendConflictError } from '../../../src/log/log.ts'
import type { AppendBatch, DurableLog } from '../../../src/log/log.ts'
import { encodePart } from '../../../src/streams/codec.ts'
import type { Incarnation } from '../../../src/streams/state.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { appendRaw, bytes, foreign, spied } from '../streams/builders.ts'
import { TIMEOUT_MS, fresh, gateway, stored } from './gateways.ts'
import { say } from './stream-journal.ts'

const LEASE_MS = 500
const LARGE = 'x'.repeat(3_000_000)

function over(log: DurableLog, clock: ManualClock, gatewayId: string): Journal<Incarnation> {
  return gateway(log, clock, { commandTimeoutMs: 10_000, gatewayId, lockLeaseMs: LEASE_MS })
}

/** The fencing token, which an S2 client need not know. */
async function tokenOf(log: DurableLog): Promise<string> {
  const refusal: unknown = await appendRaw(log, [foreign('z')], '?').catch((e: unknown) => e)
  const isRefused = refusal instanceof AppendConflictError
  return isRefused && refusal.conflict.kind === 'fencing_token' ? refusal.conflict.token : ''
}

/** A log that can't be reached any more after the first batch of a session. */
function breaking(inner: DurableLog) {
  const network = { isDown: false }
  const down = () => Promise.reject(new LogUnavailableError(new Error('down')))
  const { log } = spied(inner, {
    openAppendSession: (stream) => {
      const session = inner.openAppendSession(stream)
      return {
        get isOpen() {
          return !network.isDown
        },
        append: (batch) => {
          if (network.isDown) return down()
          network.isDown = true
          return session.append(batch)
        },
        close: () => session.close(),
      }
    },
    append: (...given) => (network.isDown ? down() : inner.append(...given)),
    checkTail: (...given) => (network.isDown ? down() : inner.checkTail(...given)),
  })
  return { log, network }
}

/** A log into which an S2 client writes behind the first batch of each group. */
function disturbed(inner: DurableLog, times = Infinity) {
  const tokens = new Set<string>()
  const { log } = spied(inner, {
    openAppendSession: (stream) => {
      const session = inner.openAppendSession(stream)
      let before: Promise<unknown> = Promise.resolve()
      const disturb = async (batch: AppendBatch) => {
        const { fencingToken } = batch
        await before
        const isSecond = fencingToken.startsWith('l:') && !tokens.has(fencingToken)
        if (isSecond && tokens.size < times) {
          tokens.add(fencingToken)
          await appendRaw(inner, [foreign('direct')], fencingToken)
        }
        return session.append(batch)
      }
      return {
        get isOpen() {
          return session.isOpen
        },
        append: (batch) => {
          const ack = disturb(batch)
          before = ack.catch(() => undefined)
          return ack
        },
        close: () => session.close(),
      }
    },
  })
  return { log, tokens }
}

/** A log in which gateway `a` has begun a group that it could not go on with. */
async function lost() {
  const clock = new ManualClock()
  const inner = await fresh()
  const { log, network } = breaking(inner)
  const failed = over(log, clock, 'a').execute(say(LARGE))
  await expect(clock.runUntil(failed)).rejects.toBeInstanceOf(LogUnavailableError)
  return { clock, inner, network }
}

describe('Journal with a group that is not ended', () => {
  test('starts it over after a disturbance, but not for ever', async () => {
    const clock = new ManualClock()
    const inner = await fresh()
    const { log, tokens } = disturbed(inner)
    const stream = over(log, clock, 'a')
    const started = clock.now()
    const [large, small] = await clock.runUntil(
      Promise.allSettled([stream.execute(say(LARGE)), stream.execute(say('y'))]),
    )
    expect(large).toMatchObject({ status: 'rejected', reason: { code: 'append_interrupted' } })
    expect(large).toMatchObject({ reason: expect.any(AppendInterruptedError) as Error })
    // Well before the time-out, and those behind it go on.
    expect(clock.now() - started).toBeLessThan(5000)
    expect(tokens.size).toBe(4)
    expect(small).toMatchObject({ status: 'fulfilled', value: { kind: 'appended' } })
    const state = await over(inner, clock, 'b').refresh()
    expect(state).toMatchObject({ lock: undefined, fencingToken: 'o:i1' })
  })

  test('stores it once when the disturbances stop in time', async () => {
    const clock = new ManualClock()
    const inner = await fresh()
    const { log } = disturbed(inner, 3)
    const answer = await clock.runUntil(over(log, clock, 'a').execute(say(LARGE)))
    expect(answer).toMatchObject({ kind: 'appended' })
    const { incarnation, nextSeq } = await over(inner, clock, 'b').refresh()
    expect(incarnation).toMatchObject({ dataTail: nextSeq })
  })

  test('of its own ends it as soon as the log can be reached: others need not wait', async () => {
    const { clock, inner, network } = await lost()
    network.isDown = false
    await clock.advanceAsync(5000)
    const begun = clock.now()
    await clock.runUntil(over(inner, clock, 'b').execute(say('y')))
    expect(clock.now() - begun).toBe(0)
    expect(await stored(inner)).toEqual(['y'])
  })

  test('of a process that is gone ends it at once, where no other could have it', async () => {
    const { clock, inner } = await lost()
    const begun = clock.now()
    const { log } = spied(inner, { isShared: false })
    await clock.runUntil(over(log, clock, 'b').execute(say('y')))
    expect(clock.now() - begun).toBe(0)
    const state = await over(inner, clock, 'c').refresh()
    expect(state).toMatchObject({ lock: undefined, fencingToken: 'o:i1' })
  })

  test('of its own process is waited for also where no other could have it', async () => {
    const { clock, inner } = await lost()
    const begun = clock.now()
    // One that was forgotten and opened anew while the first still writes.
    const { log } = spied(inner, { isShared: false })
    await clock.runUntil(over(log, clock, 'a').execute(say('y')))
    expect(clock.now() - begun).toBeGreaterThanOrEqual(LEASE_MS)
  })

  test('gives way to others that want to write much: one at a time has a slot', async () => {
    const clock = new ManualClock()
    const inner = await fresh()
    const groupSlots = new Slots(1)
    const leave = await groupSlots.take()
    const stream = gateway(inner, clock, { groupSlots })
    const late = stream.execute(say(LARGE))
    late.catch(() => undefined)
    await clock.advanceAsync(TIMEOUT_MS)
    // It is certain that nothing of it was written.
    await expect(late).rejects.toBeInstanceOf(LogUnavailableError)
    const patient = stream.execute(say(LARGE))
    leave()
    expect(await clock.runUntil(patient)).toMatchObject({ kind: 'appended' })
    const next = await clock.runUntil(groupSlots.take())
    next()
  })

  test('is not overtaken while it waits for a slot: its producer may have gone on', async () => {
    const clock = new ManualClock()
    const groupSlots = new Slots(1)
    const leave = await groupSlots.take()
    const stream = gateway(await fresh(), clock, { groupSlots })
    const send = (body: string, seq: number) =>
      stream.execute(say(body, { producer: { id: 'p', epoch: 0, seq } }))
    const answers = Promise.all([send(LARGE, 0), send('x', 1), stream.execute(say('y'))])
    await clock.advanceAsync(TIMEOUT_MS / 2)
    leave()
    const [large, small, other] = await clock.runUntil(answers)
    expect([large.kind, small.kind, other.kind]).toEqual(['appended', 'appended', 'appended'])
    expect(large.dataTail).toBeLessThan(small.dataTail)
  })

  test('ends when it can not be made to its end: its command fails, and others go on', async () => {
    const clock = new ManualClock()
    const inner = await fresh()
    const broken: Command<Incarnation, number> = () => ({
      kind: 'group',
      *records() {
        for (let n = 0; n < 2500; n += 1) yield encodePart(bytes('1'))
        throw new InvariantError('a bug')
      },
      answerAt: (last) => last,
    })
    const stream = over(inner, clock, 'a')
    const failed = stream.execute(broken)
    const next = stream.execute(say('y'))
    await expect(clock.runUntil(failed)).rejects.toBeInstanceOf(InvariantError)
    const begun = clock.now()
    await clock.runUntil(next)
    expect(clock.now() - begun).toBeLessThan(LEASE_MS)
    expect((await stream.refresh()).lock).toBeUndefined()
    expect((await stream.refresh()).incarnation?.aborted).toHaveLength(1)
  })

  test("of another's waits for its lease, whatever S2 clients write meanwhile", async () => {
    const clock = new ManualClock()
    const inner = await fresh()
    const { log } = breaking(inner)
    over(log, clock, 'a')
      .execute(say(LARGE))
      .catch(() => undefined)
    await clock.advanceAsync(1)
    const writing = { isOver: false }
    const client = async (): Promise<void> => {
      while (!writing.isOver) {
        await appendRaw(inner, [foreign('z')], await tokenOf(inner)).catch(() => undefined)
        await new Promise<void>((resolve) => void clock.after(100, resolve))
      }
    }
    const begun = clock.now()
    const done = over(inner, clock, 'b').execute(say('y'))
    done.then(
      () => (writing.isOver = true),
      () => (writing.isOver = true),
    )
    await clock.runUntil(Promise.all([done, client()]))
    expect(clock.now() - begun).toBeLessThan(3 * LEASE_MS)
    expect(clock.now() - begun).toBeGreaterThanOrEqual(LEASE_MS)
    expect(await stored(inner)).toEqual(['y'])
  })
})
