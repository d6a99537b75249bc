/** What {@link compose} comes to, with all the batches of a group. */
import { compose } from '../../../src/journal/compose.ts'
import type { Command, Decision } from '../../../src/journal/command.ts'
import type { ComposeOptions } from '../../../src/journal/compose.ts'
import type { MarkedBatch } from '../../../src/journal/draft.ts'
import type { LogState, Rules } from '../../../src/journal/state.ts'

export type Composed<Life> = {
  readonly batches: readonly MarkedBatch[]
  readonly decisions: readonly Decision<unknown>[]
  readonly after: LogState<Life>
}

export function composed<Life>(
  rules: Rules<Life>,
  state: LogState<Life>,
  commands: readonly Command<Life, unknown>[],
  options: ComposeOptions,
): Composed<Life> {
  const { batch, group, decisions, after } = compose(rules, state, commands, options)
  if (group === undefined) return { batches: batch === undefined ? [] : [batch], decisions, after }
  const batches: MarkedBatch[] = []
  for (const { batch: next, end } of group.batches) {
    batches.push(next)
    if (end) return { batches, decisions: [...decisions, group.decide(end)], after: end.after }
  }
  throw new Error('a group has an end')
}
