/**
 * Group commit: turns waiting commands into one conditional batch, or begins to turn a large one
 * into a group of them. PURE.
 *
 * Each command is judged against the state that the commands before it would leave. Nothing that
 * was decided here may be answered before the batches it depends on are durable.
 */
import { RequestError } from '../errors.ts'
import { LOG_LIMITS } from '../log/log.ts'
import type { AppendRecord } from '../log/log.ts'
import { refuse } from './command.ts'
import type { Command, Decision, GroupDecision } from './command.ts'
import { Draft, isCheckpointDue } from './draft.ts'
import type { MarkedBatch } from './draft.ts'
import { composeGroup } from './group.ts'
import type { GroupBatch, GroupEnd } from './group.ts'
import type { LogState, Rules } from './state.ts'

export type Composition<Life> = {
  /** What to append; none when no command wants to write, or while another group is open. */
  readonly batch: MarkedBatch | undefined
  /** What each of the first commands came to; the others wait for the next composition. */
  readonly decisions: readonly Decision<unknown>[]
  /** The state that they leave, but for the timestamps that only the log gives. */
  readonly after: LogState<Life>
  /** What to append for the one command behind those: there is no `batch` then. */
  readonly group?: ComposedGroup<Life>
}

/** A command that is a group: what it comes to shows when its last batch is made. */
export type ComposedGroup<Life> = {
  readonly batches: Generator<GroupBatch<Life>, void, void>
  readonly decide: (end: GroupEnd<Life>) => Decision<unknown>
}

export type ComposeOptions = {
  readonly now: number
  /** Unique id by which the batches are recognised in the log. */
  readonly operation: string
  /** The gateway: it owns the groups. */
  readonly owner: string
  /**
   * The state holds records that are not durable yet. Their timestamps are guesses, and so no
   * checkpoint may be made of it; all that would begin with one waits until they are.
   */
  readonly isAhead?: boolean
}

type Turn<Life> = {
  readonly rules: Rules<Life>
  /** Before all of them. */
  readonly state: LogState<Life>
  readonly draft: Draft<Life>
  readonly options: ComposeOptions
  /** Whether one of the commands before wants to write. */
  readonly writes: boolean
}

/** What a command came to. */
type Taken<Life> =
  { readonly decision: Decision<unknown> } | { readonly group: ComposedGroup<Life> }

/** Composes what is to be written next of the commands that wait, in their order. */
export function compose<Life>(
  rules: Rules<Life>,
  state: LogState<Life>,
  commands: readonly Command<Life, unknown>[],
  options: ComposeOptions,
): Composition<Life> {
  if (options.isAhead === true && isCheckpointDue(state)) return nothing(state)
  const draft = Draft.begin(rules, state, options.now)
  const decisions: Decision<unknown>[] = []
  let writes = false
  for (const command of commands) {
    const taken = take(command, { rules, state, draft, options, writes })
    if (taken === undefined) break
    if ('group' in taken) return { batch: undefined, decisions, after: state, ...taken }
    const { decision } = taken
    decisions.push(decision)
    if (decision.kind !== 'write') continue
    writes = true
    if (decision.alone === true) break
  }
  // A checkpoint goes with a write, or before the one that does not fit behind it; never alone.
  const isNeeded = writes || (decisions.length === 0 && state.lock === undefined)
  if (!isNeeded || draft.isEmpty) return { batch: undefined, decisions, after: state }
  return { batch: draft.toBatch(options.operation), decisions, after: draft.after }
}

function nothing<Life>(state: LogState<Life>): Composition<Life> {
  return { batch: undefined, decisions: [], after: state }
}

/** Decides a command and adds its records to the draft; undefined when it waits for the next. */
function take<Life>(command: Command<Life, unknown>, turn: Turn<Life>): Taken<Life> | undefined {
  const { rules, state, draft, options, writes } = turn
  try {
    const decision = command(draft.state, options.now)
    if (decision.kind === 'answer' || decision.kind === 'refuse') return { decision }
    if (state.lock !== undefined) return undefined
    if (decision.kind === 'group') {
      const waits = writes || options.isAhead === true
      return waits ? undefined : { group: beginGroup(rules, state, decision, options) }
    }
    const begun = !draft.isEmpty
    if (begun && decision.alone === true) return undefined
    if (draft.add(decision.records)) return { decision }
    // What fits in no batch at all is refused; what does not fit in this one waits.
    return begun ? undefined : { decision: refuse(tooLarge(decision.records)) }
  } catch (error) {
    // One that breaks fails by itself, and not the others of its batch.
    return { decision: refuse(error instanceof Error ? error : new Error(String(error))) }
  }
}

function beginGroup<Life>(
  rules: Rules<Life>,
  state: LogState<Life>,
  { records, answerAt }: GroupDecision<unknown>,
  options: ComposeOptions,
): ComposedGroup<Life> {
  return {
    batches: composeGroup(rules, state, records(), options),
    // Its records are in batches that were let go of.
    decide: ({ last }) => ({ kind: 'write', records: [], answer: answerAt(last) }),
  }
}

function tooLarge(records: readonly AppendRecord[]): RequestError {
  return records.length > LOG_LIMITS.maxBatchRecords
    ? new RequestError('too_many_messages', 'one request holds more messages than can be atomic')
    : new RequestError('payload_too_large', 'the body is larger than one atomic append')
}
