import { describe, expect, test } from 'vitest'
import { AppendOutcomeUnknownError, LogUnavailableError } from '../../../src/errors.ts'
import {
  AppendConflictError,
  BeyondTailError,
  InvalidAppendError,
  LogStreamMissingError,
} from '../../../src/log/log.ts'
import type {
  AppendAck,
  AppendBatch,
  AppendConflict,
  AppendRecord,
  DurableLog,
  LogRecord,
} from '../../../src/log/log.ts'
import { withOperationId } from '../../../src/journal/envelope.ts'
import { encodeData, encodeDeleted } from '../../../src/streams/codec.ts'
import { appendSettled } from '../../../src/journal/settle.ts'
import type { Settled } from '../../../src/journal/settle.ts'
import { NOW, STREAM, bytes, placed } from '../streams/builders.ts'

const batch: AppendBatch = {
  records: [withOperationId(encodeData(bytes('x'), { checkpoint: 1 }), 'mine')],
  matchSeqNum: 5,
  fencingToken: 't',
}
const ours = placed(batch.records, { from: 5, timestamp: NOW + 7 })
const theirs = placed(
  [withOperationId(encodeData(bytes('x'), { checkpoint: 1 }), 'theirs')],
  { from: 5 }, // prettier-ignore
)
const later = placed(theirs, { from: 9 })
const tombstone: AppendBatch = {
  records: [
    { kind: 'fence', token: 'd:8' },
    withOperationId(encodeDeleted('d:8'), 'mine'),
    { kind: 'trim', before: 8 },
  ],
  matchSeqNum: 5,
  fencingToken: 't',
}

const ack: AppendAck = { start: 5, end: 6, timestamp: NOW }
const unknown = new AppendOutcomeUnknownError(new Error('connection lost'))
const unavailable = new LogUnavailableError(new Error('refused'))
const missing = new LogStreamMissingError(STREAM)
const conflict = (found: AppendConflict): AppendConflictError => new AppendConflictError(found)
const seqNum: AppendConflict = { kind: 'seq_num', nextSeqNum: 6 }
const token = (found: string): AppendConflict => ({ kind: 'fencing_token', token: found })
const applied = (timestamp: number | undefined): Settled => ({ kind: 'applied', timestamp })
const refused = (found: AppendConflict): Settled => ({ kind: 'conflict', conflict: found })

type Step =
  | { readonly append: AppendAck | Error }
  | { readonly read: readonly LogRecord[] | Error }
  | { readonly create: 'done' }

/** A log that answers what the script says, and fails the test when it is asked anything else. */
function scripted(steps: readonly Step[]) {
  const left = [...steps]
  const appends: AppendBatch[] = []
  const answer = <T>(given: T | Error): Promise<T> =>
    given instanceof Error ? Promise.reject(given) : Promise.resolve(given)
  const log: Pick<DurableLog, 'append' | 'read' | 'createStream'> = {
    createStream: () => {
      const step = left.shift()
      if (step === undefined || !('create' in step)) throw new Error('create is not in the script')
      return Promise.resolve()
    },
    append: (_stream, given) => {
      appends.push(given)
      const step = left.shift()
      if (step === undefined || !('append' in step)) throw new Error('append is not in the script')
      return answer(step.append)
    },
    read: (_stream, start, { maxRecords }) => {
      expect([start, maxRecords]).toEqual([{ seqNum: 5 }, 3])
      const step = left.shift()
      if (step === undefined || !('read' in step)) throw new Error('read is not in the script')
      return answer(step.read)
    },
  }
  return { log: log as DurableLog, left, appends }
}

async function settle(steps: readonly Step[], given = batch) {
  const { log, left, appends } = scripted(steps)
  const waits: number[] = []
  const outcome = await appendSettled(log, STREAM, given, {
    operation: 'mine',
    backoff: (attempt) => {
      waits.push(attempt)
      return Promise.resolve()
    },
    isWanted: () => true,
  }).catch((error: unknown) => error)
  expect(left).toEqual([])
  // Every attempt is the same batch under the same conditions.
  expect(appends).toEqual(appends.map(() => given))
  return { outcome, waits }
}

describe('appendSettled', () => {
  test.each<[string, Step[], unknown]>([
    ['an acknowledgement', [{ append: ack }], applied(NOW)],
    ['a conflict', [{ append: conflict(seqNum) }], refused(seqNum)],
    ['a missing stream', [{ append: missing }], { kind: 'missing' }],
    ['a broken batch', [{ append: new InvalidAppendError('x') }], new InvalidAppendError('x')],
  ])('takes %s at its word', async (_name, steps, outcome) => {
    expect(await settle(steps)).toEqual({ outcome, waits: [] })
  })

  const again = (...steps: Step[]): Step[] => [{ append: unknown }, ...steps]
  test.each<[string, Step[], unknown]>([
    ['the second attempt is acknowledged', again({ append: ack }), applied(NOW)],
    [
      'its own records are in its place',
      again({ append: conflict(seqNum) }, { read: ours }),
      applied(NOW + 7),
    ],
    [
      'its own records are in its place, and the stream has changed hands since',
      again({ append: conflict(token('other')) }, { read: ours }),
      applied(NOW + 7),
    ],
    [
      "another's records are in its place",
      again({ append: conflict(seqNum) }, { read: theirs }),
      refused(seqNum),
    ],
    [
      'the token was never its own and nothing is in its place',
      again({ append: conflict(token('other')) }, { read: new BeyondTailError(5) }),
      refused(token('other')),
    ],
  ])('is certain when %s', async (_name, steps, outcome) => {
    expect(await settle(steps)).toEqual({ outcome, waits: [0] })
  })

  test.each<[string, Step[], AppendBatch]>([
    ['its place was trimmed', again({ append: conflict(seqNum) }, { read: [] }), batch],
    [
      'its place was trimmed and others follow',
      again({ append: conflict(seqNum) }, { read: later }),
      batch,
    ],
    [
      'the stream was deleted and created again behind it',
      again({ append: conflict(token('o:next')) }, { read: later }),
      tombstone,
    ],
    [
      'the log began anew',
      again({ append: conflict(token('')) }, { read: new BeyondTailError(2) }),
      batch,
    ],
    [
      'the stream is gone when it looks',
      again({ append: conflict(token('')) }, { read: missing }),
      batch,
    ],
    ['the stream is gone when it tries again', again({ append: missing }), batch],
  ])('admits that it does not know when %s', async (_name, steps, given) => {
    const { outcome } = await settle(steps, given)
    expect(outcome).toBeInstanceOf(AppendOutcomeUnknownError)
  })

  test('goes on while nothing can be told', async () => {
    const steps = again(
      { append: unknown },
      { append: unavailable },
      { append: conflict(seqNum) },
      { read: unavailable },
      { append: conflict(seqNum) },
      { read: ours },
    )
    expect(await settle(steps)).toEqual({ outcome: applied(NOW + 7), waits: [0, 1, 2, 3] })
  })

  test('tries again for a while when the log was not reached', async () => {
    const steps = Array.from({ length: 6 }, (): Step => ({ append: unavailable }))
    const waits = [0, 1, 2, 3, 4, 5]
    const then = async (...last: Step[]) => settle([...steps, ...last])
    expect(await then({ append: ack })).toEqual({ outcome: applied(NOW), waits })
    expect(await then({ append: missing })).toEqual({ outcome: { kind: 'missing' }, waits })
    // It was refused, and yet it may have been reached: a proxy may say what it likes.
    const conflicted = { append: conflict(seqNum) }
    expect(await then(conflicted, { read: theirs })).toEqual({ outcome: refused(seqNum), waits })
    expect(await then(conflicted, { read: ours })).toEqual({ outcome: applied(NOW + 7), waits })
    // In an outage nobody must wait for nothing.
    expect(await then({ append: unavailable })).toEqual({ outcome: unavailable, waits })
  })

  test('begins with an attempt that was made already', async () => {
    const { log, appends } = scripted([{ append: conflict(seqNum) }, { read: theirs }])
    const options = {
      operation: 'mine',
      attempt: Promise.reject(unknown),
      backoff: () => Promise.resolve(),
      isWanted: () => true,
    }
    expect(await appendSettled(log, STREAM, batch, options)).toEqual(refused(seqNum))
    expect(appends).toEqual([batch])
  })

  test('knows a tombstone that trimmed itself by its token', async () => {
    const steps = again({ append: conflict(token('d:8')) }, { read: [] })
    expect(await settle(steps, tombstone)).toEqual({ outcome: applied(undefined), waits: [0] })
  })

  test('may find its tombstone still readable', async () => {
    const records: AppendRecord[] = [...tombstone.records]
    const found = placed(records, { from: 5 })
    const steps = again({ append: conflict(token('d:8')) }, { read: found })
    expect(await settle(steps, tombstone)).toEqual({ outcome: applied(NOW), waits: [0] })
  })

  test('stays with the first batch of a stream: a copy may come once that is created', async () => {
    const first = { ...batch, matchSeqNum: 0, fencingToken: '' }
    const steps = again({ append: missing }, { create: 'done' }, { append: ack })
    expect(await settle(steps, first)).toEqual({ outcome: applied(NOW), waits: [0, 1] })
  })

  test('does not take an error that says nothing about the first copy for its end', async () => {
    const broken = new InvalidAppendError('x')
    const { outcome } = await settle(again({ append: broken }))
    expect(outcome).toBeInstanceOf(AppendOutcomeUnknownError)
    const unread = await settle(again({ append: conflict(seqNum) }, { read: broken }))
    expect(unread.outcome).toBeInstanceOf(AppendOutcomeUnknownError)
  })

  test('tries again when its place is empty though the log was said to be longer', async () => {
    const empty = { read: new BeyondTailError(5) }
    const steps = again({ append: conflict(seqNum) }, empty, { append: ack })
    expect(await settle(steps)).toEqual({ outcome: applied(NOW), waits: [0, 1] })
  })

  test.each([
    [unknown, AppendOutcomeUnknownError],
    [unavailable, LogUnavailableError],
  ])('never writes what nobody waits for any more: %s', async (error, told) => {
    const { log, left } = scripted([{ append: error }])
    const outcome = appendSettled(log, STREAM, batch, {
      operation: 'mine',
      backoff: () => Promise.resolve(),
      isWanted: () => false,
    })
    await expect(outcome).rejects.toBeInstanceOf(told)
    expect(left).toEqual([])
  })
})
