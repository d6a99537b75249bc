import { describe, expect, test } from 'vitest'
import {
  AppendOutcomeUnknownError,
  LogUnavailableError,
  StreamNotFoundError,
} from '../../../src/errors.ts'
import { CommandQueue } from '../../../src/journal/command-queue.ts'
import { refuse } from '../../../src/journal/command.ts'
import type { Command } from '../../../src/journal/command.ts'
import { ManualClock } from '../../support/manual-clock.ts'

const command: Command<never, string> = () => ({ kind: 'answer', answer: 'unused' })

function queue() {
  const clock = new ManualClock()
  return { clock, queue: new CommandQueue<never>(clock, 100) }
}

describe('CommandQueue', () => {
  test('hands out the first ones, in the order in which they came', () => {
    const { queue: waiting } = queue()
    for (let n = 0; n < 5; n += 1) void waiting.push(command)
    expect(waiting.first(10)).toHaveLength(5)
    expect(waiting.first(2)).toEqual(waiting.first(10).slice(0, 2))
  })

  test('hands out no more than is to be gone through at a time, but for the first', () => {
    const { queue: waiting } = queue()
    for (const bytes of [500, 60, 0, 40, 1]) void waiting.push(command, bytes)
    const all = waiting.first(10)
    expect(waiting.first(10, 100)).toEqual(all.slice(0, 1))
    waiting.send(1)
    expect(waiting.first(10, 100)).toEqual(all.slice(1, 4))
    expect(waiting.first(2, 100)).toEqual(all.slice(1, 3))
  })

  test('keeps each promise with its own answer and forgets the command', async () => {
    const { clock, queue: waiting } = queue()
    const answers = [waiting.push(command), waiting.push(command)]
    waiting.first(2).forEach((item, n) => item.settle({ kind: 'answer', answer: `answer ${n}` }))
    expect(await Promise.all(answers)).toEqual(['answer 0', 'answer 1'])
    expect([waiting.isEmpty, clock.timers]).toEqual([true, 0])
  })

  test('rejects with a refusal', async () => {
    const { queue: waiting } = queue()
    const answer = waiting.push(command)
    waiting.first(1)[0]!.settle(refuse(new StreamNotFoundError()))
    await expect(answer).rejects.toEqual(new StreamNotFoundError())
  })

  test.each([
    ['waiting', LogUnavailableError],
    ['writing', AppendOutcomeUnknownError],
  ] as const)('tells one that is %s when its time is over what that means', async (phase, kind) => {
    const { clock, queue: waiting } = queue()
    const answer = waiting.push(command)
    const item = waiting.first(1)[0]!
    if (phase === 'writing') waiting.send(1)
    clock.advance(100)
    await expect(answer).rejects.toBeInstanceOf(kind)
    expect([item.phase, waiting.isEmpty]).toEqual(['answered', true])
  })

  test('hands out those that are sent to nobody else, until they are taken back', () => {
    const { queue: waiting } = queue()
    for (let n = 0; n < 5; n += 1) void waiting.push(command)
    const all = waiting.first(5)
    const [first, second] = [waiting.send(2), waiting.send(1)]
    expect([first, second]).toEqual([all.slice(0, 2), all.slice(2, 3)])
    expect(waiting.first(5)).toEqual(all.slice(3))
    waiting.takeBack([...first, ...second])
    expect(waiting.first(5)).toEqual(all)
  })

  test('takes back none that is answered meanwhile', () => {
    const { queue: waiting } = queue()
    for (let n = 0; n < 3; n += 1) void waiting.push(command)
    const sent = waiting.send(2)
    sent[0]!.settle({ kind: 'answer', answer: 'meanwhile' })
    const last = waiting.first(1)[0]!
    waiting.takeBack(sent)
    expect(waiting.first(5)).toEqual([sent[1], last])
  })

  test('times out each at its own time, with one timer', async () => {
    const { clock, queue: waiting } = queue()
    const outcomes: number[] = []
    const late = () => outcomes.push(clock.now())
    const begun = clock.now()
    void waiting.push(command).catch(late)
    clock.advance(30)
    void waiting.push(command).catch(late)
    expect(clock.timers).toBe(1)
    await clock.advanceAsync(1000)
    expect(outcomes).toEqual([begun + 100, begun + 130])
    expect(clock.timers).toBe(0)
  })

  test('answers once: what comes after is nothing', async () => {
    const { clock, queue: waiting } = queue()
    const answer = waiting.push(command)
    const item = waiting.first(1)[0]!
    item.settle({ kind: 'answer', answer: 'first' })
    item.fail(new Error('second'))
    clock.advance(100)
    expect(await answer).toBe('first')
  })
})
