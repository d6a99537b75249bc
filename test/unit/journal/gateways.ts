/** Journals of gateways over one log in memory, and what they have stored there. */
import { Journal } from '../../../src/journal/journal.ts'
import type { JournalOptions } from '../../../src/journal/journal.ts'
import type { DurableLog, LogRecord } from '../../../src/log/log.ts'
import { createCommand } from '../../../src/streams/create.ts'
import { STREAM_RULES } from '../../../src/streams/state.ts'
import type { Incarnation } from '../../../src/streams/state.ts'
import { ManualClock } from '../../support/manual-clock.ts'
import { STREAM, TEXT, bytes, memoryLog, text } from '../streams/builders.ts'

export const TIMEOUT_MS = 1000
export const create = createCommand({ id: 'i1', config: TEXT, body: bytes(''), close: false })

/** A gateway's journal of the stream. */
export function gateway(
  log: DurableLog,
  clock = new ManualClock(),
  more: Partial<JournalOptions> = {},
): Journal<Incarnation> {
  const options = { log, clock, commandTimeoutMs: TIMEOUT_MS, gatewayId: 'g', ...more }
  return new Journal(STREAM, STREAM_RULES, options)
}

/** A log with the stream in it. */
export async function fresh(): Promise<DurableLog> {
  const log = await memoryLog()
  await gateway(log).execute(create)
  return log
}

/** The data that is in the log. */
export async function stored(log: DurableLog): Promise<string[]> {
  const limits = { maxRecords: 1000, maxBytes: 1024 * 1024 }
  const records = await log.read(STREAM, { seqNum: 0 }, limits)
  return records.flatMap((record: LogRecord) => {
    return record.kind === 'data' && record.headers[0]?.[1] === 'data' ? [text(record.body)] : []
  })
}
