/**
 * Where a stream's data lies: its own log, and for a fork the parts of its ancestors' logs that it
 * inherits by reference (PROTOCOL §4.2). PURE.
 *
 * A position is one number that grows along the stream, whatever log the data is in: own data is
 * at its seq num, inherited data counts up to −1. So readers, rings and chunks need no notion of
 * forks; only here does a position become an offset, and an offset a position.
 */
import { invariant } from '../errors.ts'
import type { SeqNum } from '../log/log.ts'
import { formatOffset } from '../protocol/offset.ts'
import type { Offset, Position as WirePosition } from '../protocol/offset.ts'
import { abortedWithin } from './visible.ts'
import type { SeqRange } from './visible.ts'

/** A place between two records of a stream, ancestors' records included. */
export type StreamPosition = number

/** A part of an ancestor's log: the data from `start` up to `end`. */
export type Segment = {
  /** Name of the ancestor. */
  readonly stream: string
  readonly incarnation: string
  /** The fork depth in the offsets of this part. */
  readonly depth: number
  /** Offsets before this seq num belong to an earlier incarnation of the ancestor. */
  readonly base: SeqNum
  readonly start: SeqNum
  readonly end: SeqNum
  /** Where groups were aborted in it, if any were. */
  readonly aborted?: readonly SeqRange[] | undefined
  /** Those of them, by where they begin, that hold no data at all. */
  readonly voids?: readonly SeqNum[] | undefined
}

/** What an incarnation inherits, oldest part first, and the fork depth of what it adds. */
export type Lineage = { readonly depth: number; readonly segments: readonly Segment[] }

/** A lineage stands in every checkpoint: about a hundred forks of forks. */
const MAX_LINEAGE_BYTES = 16 * 1024

/** The lineage of a stream that is no fork. */
export const NO_LINEAGE: Lineage = { depth: 0, segments: [] }

/** Where a stream's own part lies: what {@link Lineage} is relative to. */
export type OwnPart = {
  readonly lineage: Lineage
  readonly base: SeqNum
  readonly start: SeqNum
}

/** The position before the first data of the stream. */
export function beginningOf({ lineage, start }: OwnPart): StreamPosition {
  const inherited = inheritedLength(lineage)
  return inherited === 0 ? start : -inherited
}

/** The data at a position: where it is, and how to get on. Undefined in the stream's own part. */
export type InheritedPart = {
  readonly segment: Segment
  readonly seqNum: SeqNum
  /** The position of a seq num of this segment; the one at its end is where the next part starts. */
  readonly positionAt: (seqNum: SeqNum) => StreamPosition
}

/** Finds the inherited data at a position. */
export function inheritedAt(own: OwnPart, position: StreamPosition): InheritedPart | undefined {
  if (position >= 0) return undefined
  let offset = -inheritedLength(own.lineage)
  for (const segment of own.lineage.segments) {
    const begin = offset
    offset += segment.end - segment.start
    if (position >= offset || position < begin) continue
    return {
      segment,
      seqNum: segment.start + position - begin,
      positionAt: (seqNum) => inOwnPart(own, begin + seqNum - segment.start),
    }
  }
  return undefined
}

/** The end of what is inherited is where the own part starts. */
function inOwnPart({ start }: OwnPart, position: StreamPosition): StreamPosition {
  return position >= 0 ? Math.max(position, start) : position
}

/** The offset of a position. */
export function offsetOf(own: OwnPart, position: StreamPosition): Offset {
  const inherited = inheritedAt(own, position)
  return inherited === undefined
    ? formatOffset({ depth: own.lineage.depth, seqNum: position })
    : formatOffset({ depth: inherited.segment.depth, seqNum: inherited.seqNum })
}

/** `gone`: of an earlier incarnation. `foreign`: of a part that this stream does not have. */
export type Located = StreamPosition | 'gone' | 'foreign'

/** The position that an offset of this stream names. It may lie past the tail. */
export function locate(own: OwnPart, { depth, seqNum }: WirePosition): Located {
  if (depth === own.lineage.depth) {
    return seqNum < own.base ? 'gone' : Math.max(seqNum, own.start)
  }
  let begin = -inheritedLength(own.lineage)
  for (const { depth: partDepth, base, start, end } of own.lineage.segments) {
    if (partDepth === depth) {
      if (seqNum < base) return 'gone'
      // The source went on after the fork; those positions are not in this stream.
      if (seqNum > end) return 'foreign'
      return inOwnPart(own, begin + Math.max(seqNum, start) - start)
    }
    begin += end - start
  }
  return 'foreign'
}

/** A stream that can be forked. */
export type ForkSource = OwnPart & {
  readonly name: string
  readonly incarnation: string
  readonly aborted: readonly SeqRange[]
  readonly voids?: readonly SeqNum[]
}

/** The lineage of a fork that inherits everything before a position of its source. */
export function forkAt(source: ForkSource, position: StreamPosition): Lineage {
  const { lineage, name: stream, incarnation, base, start } = source
  const depth = lineage.depth + 1
  if (position >= 0) {
    invariant(position >= start, 'a position in the own part is not before its start')
    const own = { stream, incarnation, depth: lineage.depth, base, start, end: position }
    const aborted = abortedWithin(source.aborted, start, position)
    const voids = source.voids?.filter((begin) => aborted.some(([first]) => first === begin))
    const segment = aborted.length === 0 ? own : { ...own, aborted, voids }
    return { depth, segments: [...lineage.segments, segment] }
  }
  const segments: Segment[] = []
  let begin = -inheritedLength(lineage)
  for (const segment of lineage.segments) {
    if (begin > position) break
    const end = Math.min(segment.end, segment.start + position - begin)
    segments.push({ ...segment, end })
    begin += segment.end - segment.start
  }
  return { depth, segments }
}

/**
 * A stream of which everything before a position is lost: its offsets there are gone. The other
 * positions stay what they are.
 */
export function without<Own extends OwnPart>(own: Own, earliest: StreamPosition): Own {
  if (earliest <= beginningOf(own)) return own
  const { lineage } = own
  let begin = -inheritedLength(lineage)
  const segments = lineage.segments.map((segment) => {
    const cut = Math.min(segment.end, Math.max(segment.start, segment.start + earliest - begin))
    begin += segment.end - segment.start
    // The end of a lost part is a position only if nothing after it is lost too.
    const endIsLost = cut === segment.end && earliest > inOwnPart(own, begin)
    return cut === segment.start && !endIsLost
      ? segment
      : { ...segment, base: endIsLost ? cut + 1 : cut, start: cut }
  })
  const start = Math.max(own.start, earliest)
  const base = earliest > own.start ? start : own.base
  return { ...own, lineage: { ...lineage, segments }, base, start }
}

/** What makes a lineage too large to be inherited; undefined when it is not. */
export function oversize(lineage: Lineage): 'forks' | 'aborted' | undefined {
  const bytesOf = (value: Lineage): number => Buffer.byteLength(JSON.stringify(value))
  if (bytesOf(lineage) <= MAX_LINEAGE_BYTES) return undefined
  const segments = lineage.segments.map((segment) => ({
    ...segment,
    aborted: undefined,
    voids: undefined,
  }))
  return bytesOf({ ...lineage, segments }) <= MAX_LINEAGE_BYTES ? 'aborted' : 'forks'
}

function inheritedLength({ segments }: Lineage): number {
  return segments.reduce((sum, { start, end }) => sum + end - start, 0)
}
