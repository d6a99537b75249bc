/**
 * What readers may see of a stream, as its records arrive. PURE.
 *
 * Data is seen when the data tail has passed it. Inside an open group it stays behind the tail,
 * whoever wrote it; when the group ends, all of it is seen, or what others wrote in between.
 */
import { aborts, commits, foldLock } from '../journal/lock.ts'
import type { Lock } from '../journal/lock.ts'
import type { LogRecord, SeqNum } from '../log/log.ts'
import type { Entry } from './codec.ts'

/** Seq nums from the first up to, not including, the second. */
export type SeqRange = readonly [begin: SeqNum, end: SeqNum]

export type Visible = {
  /** The position after the last data record; control records never move it. */
  readonly dataTail: SeqNum
  /** Timestamp of the last data record, or of the creation, in ms. */
  readonly lastDataAt: number
  /** Where groups were aborted: the parts in these ranges are no data, in order. */
  readonly aborted: readonly SeqRange[]
  /** The ranges, by where they begin, that hold no data at all: readers jump over them. */
  readonly voids: readonly SeqNum[]
  /** Data that an S2 client wrote into the open group: it is seen when that ends. */
  readonly held: { readonly end: SeqNum; readonly at: number } | undefined
}

/** What is visible at one place of the log, and the group that is open there. */
export type Sight = Visible & { readonly lock: Lock | undefined }

/** Whether a part is none of the stream's data because its group was aborted. */
export function isAborted(aborted: readonly SeqRange[], seqNum: SeqNum): boolean {
  // There are none, nearly always.
  return aborted.some(([begin, end]) => seqNum >= begin && seqNum < end)
}

/** The first range from a position on, or around it, that holds no data at all. */
export function nextVoid(
  {
    aborted,
    voids = [],
  }: Pick<Visible, 'aborted'> & { readonly voids?: Visible['voids'] | undefined },
  position: SeqNum,
): SeqRange | undefined {
  return aborted.find(([begin, end]) => end > position && voids.includes(begin))
}

/** The ranges that lie in a part of the log, at least in part. */
export function abortedWithin(
  aborted: readonly SeqRange[],
  start: SeqNum,
  end: SeqNum,
): readonly SeqRange[] {
  return aborted.filter(([first, last]) => first < end && last > start)
}

/**
 * What is visible after a record.
 *
 * @param lock the group that is open before it
 */
export function see<Seen extends Visible>(
  seen: Seen,
  lock: Lock | undefined,
  entry: Entry,
  record: LogRecord,
): Seen {
  switch (entry.kind) {
    case 'data':
    case 'part': {
      const { seqNum, timestamp } = record
      const end = seqNum + 1
      if (lock === undefined || commits(lock, record)) {
        return { ...seen, dataTail: end, lastDataAt: timestamp, held: undefined }
      }
      return entry.kind === 'part' ? seen : { ...seen, held: { end, at: timestamp } }
    }
    case 'abort':
      return lock !== undefined && aborts(lock, record) ? withoutGroup(seen, lock, record) : seen
    default:
      return seen
  }
}

/** What is known after a record, to whoever knows no more of the stream than this. */
export function look(sight: Sight, entry: Entry, record: LogRecord): Sight {
  return { ...see(sight, sight.lock, entry, record), lock: foldLock(sight.lock, record) }
}

function withoutGroup<Seen extends Visible>(seen: Seen, { begin }: Lock, { seqNum }: LogRecord) {
  const { aborted, voids, dataTail, held } = seen
  const last = aborted.at(-1)
  // A client that tries again and again leaves one range, as long as nothing else comes between.
  const joined = last !== undefined && dataTail <= last[1] ? last : undefined
  const range = [joined?.[0] ?? begin, seqNum] as const
  const others = joined === undefined ? aborted : aborted.slice(0, -1)
  const otherVoids = voids.filter((start) => start !== range[0])
  const isVoid = held === undefined && (joined === undefined || otherVoids.length < voids.length)
  const after: Seen = {
    ...seen,
    aborted: [...others, range],
    voids: isVoid ? [...otherVoids, range[0]] : otherVoids,
  }
  if (held === undefined) return after
  return { ...after, dataTail: held.end, lastDataAt: held.at, held: undefined }
}
