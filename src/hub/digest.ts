/** Log records as a hub sees them: data for its readers, and what ends its following. PURE. */
import type { LogRecord } from '../log/log.ts'
import { decodeRecord, toDataRecord } from '../streams/codec.ts'
import type { DataRecord, Entry } from '../streams/codec.ts'

export type Digest = {
  readonly data: readonly DataRecord[]
  /** `eof`: the stream was closed; `deleted`: this life of it is over. Nothing after it counts. */
  readonly ended: 'eof' | 'deleted' | undefined
}

/** Takes the records of one delivery apart. Throws for a control record that makes no sense. */
export function digest(records: readonly LogRecord[], contentType: string): Digest {
  const data: DataRecord[] = []
  for (const record of records) {
    const entry = decodeRecord(record)
    if (entry.kind === 'data') data.push(toDataRecord(record, entry, contentType))
    const ended = ending(entry)
    if (ended !== undefined) return { data, ended }
  }
  return { data, ended: undefined }
}

function ending(entry: Entry): Digest['ended'] {
  switch (entry.kind) {
    case 'data':
      return entry.closes ? 'eof' : undefined
    case 'closed':
      return 'eof'
    case 'created':
    case 'deleted':
    case 'retired':
      return 'deleted'
    default:
      return undefined
  }
}
