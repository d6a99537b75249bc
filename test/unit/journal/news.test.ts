import { expect, test } from 'vitest'
import { sleep } from '../../../src/clock.ts'
import { Journal } from '../../../src/journal/journal.ts'
import type { DurableLog } from '../../../src/log/log.ts'
import { createCommand } from '../../../src/streams/create.ts'
import { STREAM_RULES } from '../../../src/streams/state.ts'
import type { Incarnation } from '../../../src/streams/state.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { STREAM, TEXT, bytes, memoryLog, spied } from '../streams/builders.ts'
import { say } from './stream-journal.ts'

const create = createCommand({ id: 'i1', config: TEXT, body: bytes(''), close: false })

/** A log that counts the read sessions that are open. */
function counting(inner: DurableLog): { readonly log: DurableLog; readonly open: Set<object> } {
  const open = new Set<object>()
  const openReadSession: DurableLog['openReadSession'] = (...args) => {
    const session = inner.openReadSession(...args)
    open.add(session)
    const cancel = (): void => {
      open.delete(session)
      session.cancel()
    }
    return { cancel }
  }
  return { log: spied(inner, { openReadSession }).log, open }
}

test('a gateway that writes no more follows the log no longer, whatever others write', async () => {
  const clock = new ManualClock()
  const inner = await memoryLog(() => clock.now())
  const over = (log: DurableLog, gatewayId: string): Journal<Incarnation> =>
    new Journal(STREAM, STREAM_RULES, { log, clock, commandTimeoutMs: 1000, gatewayId })
  const { log, open } = counting(inner)
  const [rival, own] = [over(inner, 'a'), over(log, 'b')]
  await clock.runUntil(rival.execute(create))
  await clock.runUntil(own.execute(say('x')))
  await clock.runUntil(rival.execute(say('y')))
  // In vain: the other one was first.
  await clock.runUntil(own.execute(say('z')))
  const writing = async (ms: number): Promise<void> => {
    for (const end = clock.now() + ms; clock.now() < end;) {
      await rival.execute(say('y'))
      await sleep(clock, 100)
    }
  }
  await clock.runUntil(writing(500))
  expect(open.size).toBe(1)
  await clock.runUntil(writing(5000))
  expect(open.size).toBe(0)
})
