/**
 * Log records as a hub sees them: data for its readers, and what ends its following. PURE.
 *
 * The data of a group is not kept here until it counts, however much it is: when it does, the hub
 * only moves on, and its readers fetch it from the log.
 */
import type { LogRecord, SeqNum } from '../log/log.ts'
import { decodeRecord, toDataRecord } from '../streams/codec.ts'
import type { DataRecord, Entry } from '../streams/codec.ts'
import { look } from '../streams/visible.ts'
import type { Sight } from '../streams/visible.ts'

export type Digest = {
  /** After the records. */
  readonly sight: Sight
  /** A group has ended: all data before this position is in the log, and none of it here. */
  readonly jump: SeqNum | undefined
  /** What came after that. */
  readonly data: readonly DataRecord[]
  /** `eof`: the stream was closed; `deleted`: this life of it is over. Nothing after it counts. */
  readonly ended: 'eof' | 'deleted' | undefined
}

/** Takes the records of one delivery apart. Throws for a control record that makes no sense. */
export function digest(records: readonly LogRecord[], contentType: string, before: Sight): Digest {
  let sight = before
  let jump: SeqNum | undefined
  let data: DataRecord[] = []
  for (const record of records) {
    const entry = decodeRecord(record)
    const { lock, dataTail } = sight
    sight = look(sight, entry, record)
    const isSeen = sight.dataTail > dataTail
    if (isSeen && lock !== undefined) {
      jump = sight.dataTail
      data = []
    } else if (isSeen && (entry.kind === 'data' || entry.kind === 'part')) {
      data.push(toDataRecord(record, entry, contentType))
    }
    const ended = ending(entry, isSeen || lock === undefined)
    if (ended !== undefined) return { sight, jump, data, ended }
  }
  return { sight, jump, data, ended: undefined }
}

function ending(entry: Entry, counts: boolean): Digest['ended'] {
  switch (entry.kind) {
    case 'data':
      return entry.closes && counts ? 'eof' : undefined
    case 'closed':
      return counts ? 'eof' : undefined
    case 'created':
    case 'deleted':
    case 'retired':
      return 'deleted'
    default:
      return undefined
  }
}
