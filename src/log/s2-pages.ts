/** One page of a stream's records, by a unary read. */
import type { S2Stream } from '@s2-dev/streamstore'
import { LOG_LIMITS, type LogRecord, type ReadLimits, type ReadStart } from './log.ts'
import { fromS2Record } from './s2-records.ts'

/** Reads a page that is never empty because of a limit. Makes a second request for that at most. */
export async function readPage(
  stream: S2Stream,
  start: ReadStart,
  limits: ReadLimits,
  signal: AbortSignal,
): Promise<readonly LogRecord[]> {
  const page = await request(stream, start, limits, signal)
  if (page.length > 0 || limits.maxBytes >= LOG_LIMITS.maxBatchBytes) return page
  // S2 answers with an empty page when the first record alone is over the limit.
  const one = { maxRecords: 1, maxBytes: LOG_LIMITS.maxBatchBytes }
  return request(stream, start, one, signal)
}

async function request(
  stream: S2Stream,
  from: ReadStart,
  limits: ReadLimits,
  signal: AbortSignal,
): Promise<readonly LogRecord[]> {
  const count = Math.min(limits.maxRecords, LOG_LIMITS.maxBatchRecords)
  const bytes = Math.min(limits.maxBytes, LOG_LIMITS.maxBatchBytes)
  const { records } = await stream.read(
    { start: { from }, stop: { limits: { count, bytes } } },
    { as: 'bytes', signal },
  )
  return records.map(fromS2Record)
}
