/** The point at which a fork leaves its source (PROTOCOL §4.2), found in the source's data. */
import { OffsetGoneError, RequestError } from '../errors.ts'
import { isJson } from '../protocol/content-type.ts'
import type { ForkPoint } from '../protocol/fork.ts'
import { beginningOf, locate, offsetOf } from './lineage.ts'
import type { StreamPosition } from './lineage.ts'
import type { Portion } from './shared-chunk.ts'
import type { StreamView } from './view.ts'

/** Reads a chunk of a stream, with its records at their positions in it. */
export type ReadChunk = (view: StreamView, from: StreamPosition) => Promise<Portion>

export type ResolvedPoint = {
  readonly position: StreamPosition
  /** The part of the record after the position that the fork begins with. */
  readonly prefix: Uint8Array | undefined
}

/**
 * Finds where a fork leaves its source, and what of the next record it takes along.
 *
 * @throws RequestError `invalid_fork`, `invalid_offset`, `offset_beyond_tail`
 * @throws OffsetGoneError
 */
export async function resolveForkPoint(
  source: StreamView,
  { offset, subOffset }: ForkPoint,
  read: ReadChunk,
): Promise<ResolvedPoint> {
  const position = positionIn(source, offset)
  if (subOffset === 0) return { position, prefix: undefined }
  return isJson(source.contentType)
    ? { position: await afterMessages(source, position, subOffset, read), prefix: undefined }
    : insideRecord(source, position, subOffset, read)
}

async function afterMessages(
  source: StreamView,
  from: StreamPosition,
  count: number,
  read: ReadChunk,
): Promise<StreamPosition> {
  // Each message takes a position: without this a wild guess would read the whole stream.
  if (count > source.dataTail - from) throw overshoot()
  let left = count
  let position = from
  while (position < source.dataTail) {
    const { records, end } = await read(source, position)
    const last = records[left - 1]
    if (last !== undefined) return last.seqNum + 1
    left -= records.length
    position = end
  }
  throw overshoot()
}

async function insideRecord(
  source: StreamView,
  from: StreamPosition,
  bytes: number,
  read: ReadChunk,
): Promise<ResolvedPoint> {
  let position = from
  let begin = from
  let left = bytes
  while (position < source.dataTail) {
    const { records, end } = await read(source, position)
    for (const { body, seqNum, goesOn } of records) {
      if (left === body.length) return { position: seqNum + 1, prefix: undefined }
      if (left < body.length) return { position: begin, prefix: body.subarray(0, left) }
      // How an append was cut into records is nothing that clients know.
      if (goesOn !== true) throw overshoot()
      left -= body.length
      begin = seqNum + 1
    }
    position = end
  }
  throw overshoot()
}

function positionIn(source: StreamView, offset: ForkPoint['offset']): StreamPosition {
  if (offset === undefined || offset.kind === 'now') return source.dataTail
  if (offset.kind === 'beginning') return beginningOf(source)
  const position = locate(source, offset.position)
  if (position === 'gone') throw new OffsetGoneError(offsetOf(source, beginningOf(source)))
  if (position === 'foreign') {
    throw new RequestError('invalid_offset', 'the source has no such offset')
  }
  if (position <= source.dataTail) return position
  throw new RequestError('offset_beyond_tail', 'the fork offset is past the tail of the source')
}

function overshoot(): RequestError {
  return new RequestError('invalid_fork', 'the sub-offset is past the next data boundary')
}
