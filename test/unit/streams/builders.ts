/** Records, states and logs for the tests of `src/streams`. */
import { openEmbeddedLog } from '../../../src/log/embedded-log.ts'
import type { AppendRecord, DurableLog, LogRecord, SeqNum } from '../../../src/log/log.ts'
import type { AppendRequest } from '../../../src/protocol/requests.ts'
import type { StreamConfig } from '../../../src/streams/bodies.ts'
import { encodeCreated } from '../../../src/streams/codec.ts'
import type { Command, Decision, GroupDecision } from '../../../src/journal/command.ts'
import { composed } from '../journal/composed.ts'
import { EMPTY_STATE } from '../../../src/journal/state.ts'
import { STREAM_RULES } from '../../../src/streams/state.ts'
import type { Incarnation, StreamState } from '../../../src/streams/state.ts'

export const STREAM = 's'
/** The gateway's clock and the log's in tests that have one time only. */
export const NOW = 1_700_000_000_000
export const TEXT: StreamConfig = {
  contentType: 'text/plain',
  expiry: { kind: 'never' },
  maxProducers: 3,
  isPublic: false,
}
export const JSON_MODE: StreamConfig = { ...TEXT, contentType: 'application/json' }

export const bytes = (text: string): Uint8Array => Buffer.from(text)
export const text = (body: Uint8Array): string => Buffer.from(body).toString()

/** A record that an S2 client wrote without us. */
export const foreign = (body: string): AppendRecord => ({
  kind: 'data',
  headers: [['x', 'y']],
  body: bytes(body),
})

/** Gives records their places, all at one time. */
export function placed(
  records: readonly AppendRecord[],
  { from = 0, timestamp = NOW }: { from?: SeqNum; timestamp?: number } = {},
): LogRecord[] {
  return records.map((record, index) => ({ ...record, seqNum: from + index, timestamp }))
}

export function fold(records: readonly LogRecord[], from: StreamState = EMPTY_STATE): StreamState {
  return records.reduce(STREAM_RULES.apply, from)
}

/** What a gateway writes to create a stream `i1`: the state ends at seq num 2. */
export function creation(config: StreamConfig = TEXT): AppendRecord[] {
  return [
    { kind: 'fence', token: 'o:i1' },
    encodeCreated({ id: 'i1', fencingToken: 'o:i1', base: 0, config }),
  ]
}

/** The state of a stream that was just created. */
export const created = (config: StreamConfig = TEXT): StreamState => fold(placed(creation(config)))

export function appendRequest(body: string, more: Partial<AppendRequest> = {}): AppendRequest {
  return {
    contentType: body === '' ? undefined : 'text/plain',
    body: bytes(body),
    close: false,
    producer: undefined,
    streamSeq: undefined,
    ...more,
  }
}

/** The state after commands that went to the log one by one, each at its own time. */
export function after(
  state: StreamState,
  commands: readonly Command<Incarnation, unknown>[],
  now: (index: number) => number = () => NOW,
): StreamState {
  return commands.reduce((current, command, index) => {
    const { batches, decisions } = composed(STREAM_RULES, current, [command], {
      now: now(index),
      operation: 'op',
      owner: 'g',
    })
    const [decision] = decisions
    if (decision?.kind === 'refuse') throw decision.error
    const records = batches.flatMap((batch) => batch.records)
    return fold(placed(records, { from: current.nextSeq, timestamp: now(index) }), current)
  }, state)
}

/** A decision without its records: what the client would hear. */
export function heard<Answer>(decision: Decision<Answer> | GroupDecision<Answer>): Answer | Error {
  if (decision.kind === 'group') throw new Error('a group has no answer yet')
  return decision.kind === 'refuse' ? decision.error : decision.answer
}

export function memoryLog(now: () => number = () => NOW): Promise<DurableLog> {
  return openEmbeddedLog({ location: { kind: 'memory' }, now })
}

/** Appends whatever it is, as anybody with access to the log may. */
export async function appendRaw(
  log: DurableLog,
  records: readonly AppendRecord[],
  fencingToken: string,
): Promise<SeqNum> {
  const { end } = await log.append(STREAM, {
    records,
    matchSeqNum: await log.checkTail(STREAM),
    fencingToken,
  })
  return end
}

/** The log with some of its calls replaced, and every call noted by name. */
export function spied(
  log: DurableLog,
  replaced: Partial<DurableLog> = {},
): { log: DurableLog; calls: string[] } {
  const calls: string[] = []
  const spy = new Proxy(log, {
    get(target, property) {
      const key = property as keyof DurableLog
      const value: unknown = replaced[key] ?? target[key]
      if (typeof value !== 'function') return value
      const owner = replaced[key] === undefined ? target : replaced
      return (...args: unknown[]) => {
        calls.push(key)
        return value.apply(owner, args) as unknown
      }
    },
  })
  return { log: spy, calls }
}
