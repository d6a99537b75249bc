import { describe, expect, test } from 'vitest'
import type { LogRecord } from '../../../src/log/log.ts'
import type { ReadSourceEvents } from '../../../src/log/s2-read-source.ts'
import { S2ReadSession } from '../../../src/log/s2-session.ts'

const record = (seqNum: number): LogRecord => ({
  kind: 'data',
  headers: [],
  body: new Uint8Array(1),
  seqNum,
  timestamp: seqNum,
})

/** A source whose batches and end the test decides. */
class FakeSource {
  events: ReadSourceEvents | undefined
  cancelled = 0

  give(...seqNums: number[]): void {
    this.events?.onBatch({ records: seqNums.map(record), tail: undefined })
  }
  /** A batch that S2 says ends at the tail; without records a heartbeat. */
  giveUpTo(tail: number, ...seqNums: number[]): void {
    this.events?.onBatch({ records: seqNums.map(record), tail })
  }
  finish(): void {
    this.events?.onEnd(undefined)
  }
  fail(error: unknown): void {
    this.events?.onEnd(error)
  }
  cancel(): void {
    this.cancelled += 1
  }
}

const turn = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)))

type OnRecords = (records: readonly LogRecord[], upToTail: boolean) => void

function start(from: number, onRecords: OnRecords = () => undefined) {
  const source = new FakeSource()
  const calls: unknown[] = []
  const closed: unknown[] = []
  const session = new S2ReadSession(
    from,
    {
      onRecords: (records, upToTail) => {
        calls.push(records.map((record) => record.seqNum))
        onRecords(records, upToTail)
      },
      onCaughtUp: (tail) => calls.push({ tail }),
      onEnd: (cause) => calls.push({ end: cause }),
    },
    {
      open: (events) => {
        source.events = events
        return Promise.resolve(source)
      },
      closed: (cause) => closed.push(cause),
      failure: (cause) => ['mapped', cause],
    },
  )
  return { source, calls, closed, session }
}

describe('a read session', () => {
  test('hands over what came in one turn as one batch', async () => {
    const { source, calls } = start(3)
    await turn()
    source.give(3)
    source.give(4, 5)
    await turn()
    source.give(6)
    await turn()
    expect(calls).toEqual([[3, 4, 5], [6]])
  })

  test('hands over before it says that it has caught up, and says so with no record too', async () => {
    const { source, calls } = start(3)
    await turn()
    source.giveUpTo(3)
    await turn()
    source.give(3, 4)
    source.giveUpTo(5)
    await turn()
    expect(calls).toEqual([{ tail: 3 }, [3, 4], { tail: 5 }])
  })

  test('says so after each batch that reaches the tail, and once for each tail', async () => {
    const { source, calls } = start(3)
    await turn()
    source.giveUpTo(5, 3, 4)
    await turn()
    source.giveUpTo(6, 5)
    await turn()
    source.giveUpTo(6)
    await turn()
    expect(calls).toEqual([[3, 4], { tail: 5 }, [5], { tail: 6 }])
  })

  test('has not caught up while records before the tail are missing', async () => {
    const { source, calls } = start(0)
    await turn()
    source.giveUpTo(9, 0, 1)
    await turn()
    source.giveUpTo(2)
    source.give(2)
    await turn()
    expect(calls).toEqual([[0, 1], [2]])
  })

  test('never calls a tail caught up that lies behind what it has read', async () => {
    const { source, calls } = start(0)
    await turn()
    source.give(0, 1, 2)
    await turn()
    source.giveUpTo(1)
    await turn()
    expect(calls).toEqual([[0, 1, 2]])
  })

  test('has caught up with a tail that no record reaches: the rest was trimmed', async () => {
    const { source, calls } = start(0)
    await turn()
    source.give(0)
    await turn()
    source.giveUpTo(9)
    await turn()
    source.give(9)
    await turn()
    expect(calls).toEqual([[0], { tail: 9 }, [9]])
  })

  test('cuts at 500 records, and says of the last part only that nothing is missing', async () => {
    const parts: [number, boolean][] = []
    const { source } = start(0, (records, upToTail) => parts.push([records.length, upToTail]))
    await turn()
    source.giveUpTo(1200, ...Array.from({ length: 1200 }, (_, n) => n))
    await turn()
    expect(parts).toEqual([
      [500, false],
      [500, false],
      [200, true],
    ])
  })

  test('takes what S2 sends without a tail for a part', async () => {
    const parts: boolean[] = []
    const { source } = start(0, (_records, upToTail) => parts.push(upToTail))
    await turn()
    source.give(0, 1)
    await turn()
    source.giveUpTo(1, 2)
    await turn()
    source.giveUpTo(4, 3)
    await turn()
    expect(parts).toEqual([false, false, true])
  })

  test('fails with its opening', async () => {
    const calls: unknown[] = []
    const note = (call: unknown): void => void calls.push(call)
    new S2ReadSession(
      0,
      { onRecords: note, onCaughtUp: note, onEnd: (cause) => note({ end: cause }) },
      {
        open: () => Promise.reject(new Error('refused')),
        closed: (cause) => note({ closed: cause }),
        failure: (cause) => ['mapped', cause],
      },
    )
    expect(calls).toEqual([])
    await turn()
    expect(calls).toEqual([
      { closed: new Error('refused') },
      { end: ['mapped', new Error('refused')] },
    ])
  })

  test('begins a new batch after a gap and keeps the order', async () => {
    const { source, calls } = start(0)
    await turn()
    source.give(0, 1, 7, 8)
    await turn()
    expect(calls).toEqual([
      [0, 1],
      [7, 8],
    ])
  })

  test('ends with what it has read, then with no cause when the source simply ends', async () => {
    const { source, calls, closed } = start(0)
    await turn()
    source.give(0)
    source.finish()
    await turn()
    expect(calls).toEqual([[0], { end: undefined }])
    expect(closed).toEqual([undefined])
  })

  test('ends with the failure as its owner is to know it', async () => {
    const { source, calls, closed } = start(0)
    await turn()
    source.fail('reset')
    await turn()
    expect(calls).toEqual([{ end: ['mapped', 'reset'] }])
    expect(closed).toEqual(['reset'])
  })

  test('calls nobody after it was cancelled', async () => {
    const { source, calls, closed, session } = start(0)
    await turn()
    source.give(0)
    await Promise.resolve()
    session.cancel()
    session.cancel()
    source.giveUpTo(1)
    await turn()
    expect(calls).toEqual([])
    expect(closed).toEqual([undefined])
    source.fail('late')
    await turn()
    expect(calls).toEqual([])
    expect(closed).toEqual([undefined])
    expect(source.cancelled).toBe(1)
  })

  test('cancelled while it opens, it lets go of what was opened', async () => {
    const { source, calls, closed, session } = start(0)
    session.cancel()
    await turn()
    expect(source.cancelled).toBe(1)
    expect(calls).toEqual([])
    expect(closed).toEqual([undefined])
  })

  test('cancelled by its own handler, it stops at once', async () => {
    const { source, calls, session } = start(0, () => session.cancel())
    await turn()
    source.give(0)
    source.giveUpTo(1)
    await turn()
    expect(calls).toEqual([[0]])
  })

  test('a handler that throws ends it', async () => {
    const bug = new Error('a bug')
    const { source, calls } = start(0, () => {
      throw bug
    })
    await turn()
    source.give(0)
    await turn()
    source.give(1)
    await turn()
    expect(calls).toEqual([[0], { end: bug }])
    expect(source.cancelled).toBe(1)
  })
})
