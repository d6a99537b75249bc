import { PassThrough } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { ByteBudget } from '../../../src/http/byte-budget.ts'
import { Pace } from '../../../src/http/pace.ts'
import { receiveBody } from '../../../src/http/receive-body.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const TIMEOUT_MS = 1000
/** What earns one second. */
const SECOND = 100

const MIB = 1024 * 1024

function receiving({ length = 0, limit = 10_000, budget: room = 10_000 } = {}) {
  const clock = new ManualClock()
  const stream = new PassThrough()
  const pace = new Pace({ clock, timeoutMs: TIMEOUT_MS, bytesPerSecond: SECOND })
  const budget = new ByteBudget(room)
  const share = budget.open()
  const body = new Promise<Buffer>((resolve, reject) => {
    receiveBody(stream, { share, length, limit, pace }, (error, bytes) => {
      if (bytes === undefined) reject(error ?? new Error('neither a body nor a reason'))
      else resolve(bytes)
    })
  })
  let outcome: unknown = 'receiving'
  body.then(
    (bytes) => (outcome = String(bytes)),
    (error: unknown) => (outcome = error),
  )
  const send = async (text: string): Promise<void> => {
    stream.write(text)
    await clock.advanceAsync(0)
  }
  return { clock, stream, send, outcome: () => outcome, body, budget }
}

const refusal = (code: string): unknown => expect.objectContaining({ code })

describe('receiveBody', () => {
  test('gives the bytes of all chunks, and leaves no timer after its time', async () => {
    const { clock, stream, send, body } = receiving({ length: 4 })
    await send('ab')
    stream.end('cd')
    expect(String(await body)).toBe('abcd')
    await clock.advanceAsync(TIMEOUT_MS)
    expect(clock.timers).toBe(0)
    expect(['data', 'end', 'error'].map((event) => stream.listenerCount(event))).toEqual([0, 0, 0])
  })

  test.each([
    ['larger than it may be, as it says', { length: 11, limit: 10 }, 'payload_too_large'],
    ['larger than it may be, as it shows', { limit: 1 }, 'payload_too_large'],
    ['more than there is room for, as it says', { length: 11, budget: 10 }, 'overloaded'],
    ['more than there is room for, as it shows', { budget: 1 }, 'overloaded'],
  ])('refuses what is %s', async (_name, options, code) => {
    const { clock, send, outcome } = receiving(options)
    await send('ab')
    expect(outcome()).toEqual(refusal(code))
    await clock.advanceAsync(TIMEOUT_MS)
    expect(clock.timers).toBe(0)
  })

  test('reserves no more than a step ahead for one that is announced and does not come', async () => {
    const all = { length: 16 * MIB, limit: 16 * MIB, budget: 16 * MIB }
    const { send, outcome, budget } = receiving(all)
    expect(budget.take(15 * MIB)).toBe(true)
    expect(budget.take(1)).toBe(false)
    await send('x')
    expect(outcome()).toEqual(refusal('overloaded'))
  })

  test('keeps what is announced reserved as it comes', async () => {
    const { send, budget } = receiving({ length: 3 * MIB, limit: 3 * MIB, budget: 3 * MIB })
    await send('x'.repeat(MIB))
    expect(budget.take(MIB + 1)).toBe(false)
    expect(budget.take(MIB)).toBe(true)
  })

  test('fails when the client leaves in the middle', async () => {
    const { clock, stream, send, body } = receiving()
    await send('ab')
    stream.destroy(new Error('aborted'))
    await expect(body).rejects.toEqual(refusal('bad_request'))
    await clock.advanceAsync(TIMEOUT_MS)
    expect(clock.timers).toBe(0)
  })

  test('ends one that stands still when its time is over', async () => {
    const { clock, outcome } = receiving()
    await clock.advanceAsync(TIMEOUT_MS - 1)
    expect(outcome()).toBe('receiving')
    await clock.advanceAsync(1)
    expect(outcome()).toEqual(refusal('request_timeout'))
  })

  test('gives a second for as many bytes, and no more than that', async () => {
    const { clock, send, outcome } = receiving()
    await send('x'.repeat(2 * SECOND))
    await clock.advanceAsync(TIMEOUT_MS + 500)
    await send('x'.repeat(SECOND))
    await clock.advanceAsync(TIMEOUT_MS + 1499)
    expect(outcome()).toBe('receiving')
    await clock.advanceAsync(1)
    expect(outcome()).toEqual(refusal('request_timeout'))
  })

  test('takes one of any length that keeps its pace', async () => {
    const { clock, stream, send, body } = receiving()
    for (let n = 0; n < 50; n += 1) {
      await send('x'.repeat(SECOND))
      await clock.advanceAsync(1000)
    }
    stream.end()
    expect((await body).length).toBe(50 * SECOND)
  })
})
