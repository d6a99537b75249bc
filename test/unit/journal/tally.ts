/** The least there can be of a kind of log: a sum, with what the engine needs to know of it. */
import type { Command } from '../../../src/journal/command.ts'
import { encodeRecord, kindOf } from '../../../src/journal/envelope.ts'
import { mapIncarnation, step, wholeState } from '../../../src/journal/state.ts'
import type { LogState, Rules } from '../../../src/journal/state.ts'
import type { AppendRecord, LogRecord } from '../../../src/log/log.ts'

export type Tally = { readonly sum: number; readonly note: string }

const bodyOf = (record: LogRecord): string =>
  record.kind === 'data' ? Buffer.from(record.body).toString() : ''

function apply(before: LogState<Tally>, record: LogRecord): LogState<Tally> {
  const state = step(before, record)
  if (record.kind === 'fence') return { ...state, fencingToken: record.token }
  switch (kindOf(record)) {
    case 'created':
    case 'checkpoint': {
      const { token, tally } = JSON.parse(bodyOf(record)) as { token: string; tally?: Tally }
      return wholeState(state, record, token, tally)
    }
    case 'added': {
      const [count = 0] = bodyOf(record).split(' ').map(Number)
      return mapIncarnation(state, ({ sum, note }) => ({ sum: sum + count, note }))
    }
    default:
      return state
  }
}

function whole(kind: string, token: string, tally: Tally | undefined): AppendRecord {
  return encodeRecord(kind, Buffer.from(JSON.stringify({ token, tally })))
}

/** Its history is nobody's concern, or kept. */
export function tallyRules(trims: boolean): Rules<Tally> {
  return {
    apply,
    checkpoint: ({ fencingToken, incarnation }) => whole('checkpoint', fencingToken, incarnation),
    trims,
  }
}

/** Begins a sum at 0. What a note says makes its checkpoints as large as a test wants them. */
export function begin(note = ''): Command<Tally, undefined> {
  return () => ({
    kind: 'write',
    records: [{ kind: 'fence', token: 'o:t' }, whole('created', 'o:t', { sum: 0, note })],
    answer: undefined,
  })
}

/** Adds to the sum and answers what it is then. The padding makes the record as large as wanted. */
export function add(count: number, padding = 0): Command<Tally, number> {
  return ({ checkpoint, incarnation }) => ({
    kind: 'write',
    records: [
      encodeRecord('added', Buffer.from(`${count} ${'.'.repeat(padding)}`), { checkpoint }),
    ],
    answer: (incarnation?.sum ?? 0) + count,
  })
}
