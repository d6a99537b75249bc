import { describe, expect, test, vi } from 'vitest'
import { systemClock } from '../../../src/clock.ts'
import { Flight } from '../../../src/journal/flight.ts'
import { AppendConflictError } from '../../../src/log/log.ts'
import type { AppendAck, AppendBatch, AppendSession, DurableLog } from '../../../src/log/log.ts'
import { ManualClock } from '../../support/manual-clock.ts'

/** A log that notes how batches come to it, by their seq num, and answers when it is told to. */
function held() {
  const came: string[] = []
  const answers: ((refusal?: Error) => void)[] = []
  const take = (how: string, { matchSeqNum: start }: AppendBatch): Promise<AppendAck> => {
    came.push(`${how} ${start}`)
    return new Promise((resolve, reject) => {
      answers.push((refusal) => {
        if (refusal === undefined) resolve({ start, end: start + 1, timestamp: 0 })
        else reject(refusal)
      })
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
  const answerFirst = (refusal?: Error): void => answers.shift()?.(refusal)
  return { log, came, answerAll, answerFirst }
}

const load = (matchSeqNum: number) => {
  const batch = { records: [], matchSeqNum, fencingToken: '', operation: `g-${matchSeqNum}` }
  return { batch, items: [], decisions: [], blocked: [] }
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

describe('batches that are made one by one', () => {
  function making(count: number) {
    const network = held()
    const settled: number[] = []
    const lost: number[] = []
    const flight = new Flight<never>({
      log: network.log,
      stream: 's',
      clock: systemClock,
      onApplied: ({ batch }) => Promise.resolve(void settled.push(batch.matchSeqNum)),
      onLost: (loads) => Promise.resolve(void lost.push(...loads.map((l) => l.batch.matchSeqNum))),
    })
    const made: number[] = []
    const end = vi.fn()
    function* source() {
      try {
        for (let n = 0; n < count; n += 1) {
          made.push(n)
          yield load(n)
        }
      } finally {
        end()
      }
    }
    flight.sendAll(source())
    return { ...network, flight, made, settled, lost, end }
  }
  const turn = () =>
    new Promise<void>((resolve) => {
      setImmediate(resolve)
    })
  const drained = async (flight: Flight<never>, answer: () => void): Promise<void> => {
    const progress = { isOver: false }
    void flight.drained().then(() => {
      progress.isOver = true
    })
    while (!progress.isOver) {
      answer()
      await turn()
    }
  }

  test('are made as there is room in flight, and others have a turn before each', async () => {
    const { flight, made, settled, end, answerFirst } = making(20)
    let turns = 0
    for (; made.length < 8; turns += 1) await turn()
    expect(turns).toBeGreaterThanOrEqual(8)
    for (let n = 0; n < 5; n += 1) await turn()
    expect(made).toHaveLength(8)
    answerFirst()
    await vi.waitFor(() => expect(made).toHaveLength(9))
    expect([settled, flight.isEmpty]).toEqual([[0], false])
    await drained(flight, answerFirst)
    expect([made.length, settled.length, end.mock.calls.length]).toEqual([20, 20, 1])
  })

  test('keep the flight busy when all before them are settled', async () => {
    const { flight, made, answerAll } = making(3)
    while (made.length < 1) await turn()
    answerAll()
    expect(flight.isEmpty).toBe(false)
    await drained(flight, answerAll)
    expect(made).toHaveLength(3)
  })

  test('are made no more once one of them is lost', async () => {
    const { flight, made, lost, end, answerFirst } = making(20)
    await vi.waitFor(() => expect(made).toHaveLength(8))
    answerFirst()
    await vi.waitFor(() => expect(made).toHaveLength(9))
    answerFirst(new AppendConflictError({ kind: 'seq_num', nextSeqNum: 50 }))
    await flight.drained()
    expect(lost).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    for (let n = 0; n < 5; n += 1) await turn()
    expect([made.length, end.mock.calls.length]).toEqual([9, 1])
  })
})
