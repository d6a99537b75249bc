import type { ReadRecord } from '@s2-dev/streamstore'
import { describe, expect, test } from 'vitest'
import type { LogRecord } from '../../../src/log/log.ts'
import { S2ReadSession, type RecordSource } from '../../../src/log/s2-session.ts'

type Delivery = { done: false; value: ReadRecord<'bytes'> } | { done: true }

/** A source whose records, tails and end the test decides. */
class FakeSource implements RecordSource {
  readonly #ready: Delivery[] = []
  #reading: { resolve: (delivery: Delivery) => void; reject: (error: unknown) => void } | undefined
  #tailWaiters: ((tail: { seqNum: number }) => void)[] = []
  #tail: number | undefined
  cancelled = 0

  readonly reader = {
    read: () =>
      new Promise<Delivery>((resolve, reject) => {
        const next = this.#ready.shift()
        if (next === undefined) this.#reading = { resolve, reject }
        else resolve(next)
        this.#markTail()
      }),
    cancel: () => {
      this.cancelled += 1
      this.finish()
      return Promise.resolve()
    },
  }

  isCaughtUp(): boolean {
    return this.#tail !== undefined && this.#ready.length === 0
  }

  // Like the SDK's it may resolve before the last record's promise is looked at.
  caughtUp(): Promise<{ seqNum: number }> {
    return new Promise((resolve) => {
      this.#tailWaiters.push(resolve)
      this.#markTail()
    })
  }

  give(...seqNums: number[]): void {
    this.#tail = undefined
    for (const seqNum of seqNums) {
      const value = { seqNum, timestamp: new Date(seqNum), headers: [], body: new Uint8Array(1) }
      this.#put({ done: false, value })
    }
  }
  /** Is caught up at this tail from when all that was given is read, until more is given. */
  reachTail(seqNum: number): void {
    this.#tail = seqNum
    this.#markTail()
  }
  finish(): void {
    this.#put({ done: true })
  }
  fail(error: unknown): void {
    this.#reading?.reject(error)
  }

  #markTail(): void {
    if (this.#tail === undefined || !this.isCaughtUp()) return
    for (const resolve of this.#tailWaiters.splice(0)) resolve({ seqNum: this.#tail })
  }

  #put(delivery: Delivery): void {
    if (this.#reading === undefined) this.#ready.push(delivery)
    else this.#reading.resolve(delivery)
    this.#reading = undefined
  }
}

const turn = () => new Promise((resolve) => setImmediate(() => setImmediate(resolve)))

function start(from: number, onRecords: (records: readonly LogRecord[]) => void = () => undefined) {
  const source = new FakeSource()
  const calls: unknown[] = []
  const closed: unknown[] = []
  const session = new S2ReadSession(
    from,
    {
      onRecords: (records) => {
        calls.push(records.map((record) => record.seqNum))
        onRecords(records)
      },
      onCaughtUp: (tail) => calls.push({ tail }),
      onEnd: (cause) => calls.push({ end: cause }),
    },
    {
      open: () => Promise.resolve(source),
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
    source.give(3, 4, 5)
    await turn()
    source.give(6)
    await turn()
    expect(calls).toEqual([[3, 4, 5], [6]])
  })

  test('hands over before it says that it has caught up, and says so with no record too', async () => {
    const { source, calls } = start(3)
    await turn()
    source.reachTail(3)
    await turn()
    source.give(3, 4)
    source.reachTail(5)
    await turn()
    expect(calls).toEqual([{ tail: 3 }, [3, 4], { tail: 5 }])
  })

  test('never calls a tail caught up that lies behind what it has read', async () => {
    const { source, calls } = start(0)
    await turn()
    source.give(0, 1, 2)
    await turn()
    source.reachTail(1)
    await turn()
    expect(calls).toEqual([[0, 1, 2]])
  })

  test('has caught up with a tail that no record reaches: the rest was trimmed', async () => {
    const { source, calls } = start(0)
    await turn()
    source.give(0)
    await turn()
    source.reachTail(9)
    await turn()
    source.give(9)
    await turn()
    expect(calls).toEqual([[0], { tail: 9 }, [9]])
  })

  test('cuts at 500 records', async () => {
    const { source, calls } = start(0)
    await turn()
    source.give(...Array.from({ length: 1200 }, (_, n) => n))
    await turn()
    expect(calls.map((call) => (call as number[]).length)).toEqual([500, 500, 200])
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
    source.reachTail(1)
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
    source.reachTail(1)
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
