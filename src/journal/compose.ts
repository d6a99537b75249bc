/**
 * Group commit: turns waiting commands into one conditional batch, or one large command into a
 * group of them. PURE.
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
import type { Group } from './group.ts'
import type { LogState, Rules } from './state.ts'

export type Composition<Life> = {
  /**
   * What to append, in this order: none when no command wants to write, or while another group is
   * open; several are one group, and each is conditional on the one before.
   */
  readonly batches: readonly MarkedBatch[]
  /** What each of the first commands came to; the others wait for the next composition. */
  readonly decisions: readonly Decision<unknown>[]
  /** The state that they leave, but for the timestamps that only the log gives. */
  readonly after: LogState<Life>
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
type Taken<Life> = {
  readonly decision: Decision<unknown>
  readonly group?: Group<Life>
}

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
    const { decision, group } = taken
    decisions.push(decision)
    if (group !== undefined) return { ...group, decisions }
    if (decision.kind !== 'write') continue
    writes = true
    if (decision.alone === true) break
  }
  // A checkpoint goes with a write, or before the one that does not fit behind it; never alone.
  const isNeeded = writes || (decisions.length === 0 && state.lock === undefined)
  if (!isNeeded || draft.isEmpty) return { batches: [], decisions, after: state }
  return { batches: [draft.toBatch(options.operation)], decisions, after: draft.after }
}

function nothing<Life>(state: LogState<Life>): Composition<Life> {
  return { batches: [], decisions: [], after: state }
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
      return waits ? undefined : takeGroup(rules, state, decision, options)
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

function takeGroup<Life>(
  rules: Rules<Life>,
  state: LogState<Life>,
  { records, answerAt }: GroupDecision<unknown>,
  options: ComposeOptions,
): Taken<Life> {
  const group = composeGroup(rules, state, records, options)
  // One record that fits in no batch: whoever makes groups cuts them smaller.
  if (group === undefined) return { decision: refuse(tooLarge(records)) }
  return { decision: { kind: 'write', records, answer: answerAt(group.last) }, group }
}

function tooLarge(records: readonly AppendRecord[]): RequestError {
  return records.length > LOG_LIMITS.maxBatchRecords
    ? new RequestError('too_many_messages', 'one request holds more messages than can be atomic')
    : new RequestError('payload_too_large', 'the body is larger than one atomic append')
}
