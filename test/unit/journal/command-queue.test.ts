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
    item.phase = phase
    clock.advance(100)
    await expect(answer).rejects.toBeInstanceOf(kind)
    expect([item.phase, waiting.isEmpty]).toEqual(['answered', true])
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
