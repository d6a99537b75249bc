import { expect, test, vi } from 'vitest'
import { Flight } from '../../../src/journal/flight.ts'
import type { AppendAck, AppendBatch, AppendSession, DurableLog } from '../../../src/log/log.ts'
import { ManualClock } from '../../support/manual-clock.ts'

/** A log that notes how batches come to it, by their seq num, and answers when it is told to. */
function held() {
  const came: string[] = []
  const answers: (() => void)[] = []
  const take = (how: string, { matchSeqNum: start }: AppendBatch): Promise<AppendAck> => {
    came.push(`${how} ${start}`)
    return new Promise((resolve) => {
      answers.push(() => resolve({ start, end: start + 1, timestamp: 0 }))
    })
  }
  const session: AppendSession = {
    isOpen: true,
    append: (batch) => take('session', batch),
    close: () => undefined,
  }
  const log = {
    append: (_stream: string, batch: AppendBatch) => take('unary', batch),
    openAppendSession: () => session,
  } as unknown as DurableLog
  const answerAll = (): void => answers.splice(0).forEach((answer) => answer())
  return { log, came, answerAll }
}

test('nothing is sent behind a batch that went alone, though a session is open', async () => {
  const { log, came, answerAll } = held()
  const flight = new Flight<never>({
    log,
    stream: 's',
    clock: new ManualClock(),
    onApplied: () => Promise.resolve(),
    onLost: () => Promise.resolve(),
  })
  const load = (matchSeqNum: number) => {
    const batch = { records: [], matchSeqNum, fencingToken: '', operation: `g-${matchSeqNum}` }
    return { batch, items: [], decisions: [], blocked: [] }
  }
  flight.send([load(0), load(1)], { more: false })
  expect(came).toEqual(['session 0', 'session 1'])
  answerAll()
  await flight.drained()
  flight.send([load(2)], { more: false })
  flight.send([load(3)], { more: true })
  expect(came.slice(2)).toEqual(['unary 2'])
  answerAll()
  await vi.waitFor(() => expect(came.slice(3)).toEqual(['unary 3']))
  answerAll()
  await flight.drained()
})
