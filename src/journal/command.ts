/**
 * What a writer may ask of a log, as pure decisions over its state. PURE.
 *
 * A command looks at a state and says which records it would write and what it would answer. It
 * may be asked again against a newer state: only the journal knows which decision counted.
 */
import type { AppendRecord, SeqNum } from '../log/log.ts'
import type { LogState } from './state.ts'

export type Decision<Answer> =
  | {
      readonly kind: 'write'
      readonly records: readonly AppendRecord[]
      readonly answer: Answer
      /** The batch holds nothing else: what was decided depends on where it begins and ends. */
      readonly alone?: boolean
    }
  /** Nothing to write; the answer holds for this state. */
  | { readonly kind: 'answer'; readonly answer: Answer }
  /** Nothing to write; a GatewayError, unless the command itself is broken. */
  | { readonly kind: 'refuse'; readonly error: Error }

/**
 * Too much for one batch: a group. The last record commits the others, which count for nothing
 * before it; what the answer is depends on where it stands. The records name no checkpoint.
 */
export type GroupDecision<Answer> = {
  readonly kind: 'group'
  /** Made one by one as they are asked for, and anew each time. Each has to fit in a batch. */
  readonly records: () => Iterable<AppendRecord>
  readonly answerAt: (last: SeqNum) => Answer
}

/** `now` is the gateway's clock in ms: for what depends on waiting, never for what is written. */
export type Command<Life, Answer> = (
  state: LogState<Life>,
  now: number,
) => Decision<Answer> | GroupDecision<Answer>

/** Shorthand for a refusal. */
export function refuse(error: Error): { kind: 'refuse'; error: Error } {
  return { kind: 'refuse', error }
}
