/** Streams as the journal composes them, for the tests of batches and of groups. */
import type { Command } from '../../../src/journal/command.ts'
import type { AppendRequest } from '../../../src/protocol/requests.ts'
import { appendCommand } from '../../../src/streams/append.ts'
import type { AppendAnswer } from '../../../src/streams/append.ts'
import { STREAM_RULES } from '../../../src/streams/state.ts'
import type { Incarnation, StreamState } from '../../../src/streams/state.ts'
import { NOW, appendRequest, created, fold, foreign, placed } from '../streams/builders.ts'
import { composed } from './composed.ts'
import type { Composed } from './composed.ts'

export const options = { now: NOW, operation: 'g-1', owner: 'g' }

/** Appends a text. */
export function say(
  body: string,
  more: Partial<AppendRequest> = {},
): Command<Incarnation, AppendAnswer> {
  return appendCommand(appendRequest(body, more))
}

/** Composes what commands write to a stream; one that was just created if none is given. */
export function run(
  commands: readonly Command<Incarnation, unknown>[],
  state: StreamState = created(),
): Composed<Incarnation> {
  return composed(STREAM_RULES, state, commands, options)
}

/** A stream with as many records since its creation. */
export function holding(count: number): StreamState {
  const records = Array.from({ length: count }, () => foreign('x'))
  return fold(placed(records, { from: 2 }), created())
}

/** A stream whose last checkpoint is a whole page ago. */
export const due = holding(999)
