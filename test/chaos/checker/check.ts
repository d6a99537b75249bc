/** Whether a history is one that the gateway may have produced. PURE. */
import type { History, Violation } from '../history.ts'
import { acknowledgements, claims, realTime, wholeness } from './appends.ts'
import { agreement, liveReaders, refusals } from './answers.ts'
import { Evidence } from './evidence.ts'
import type { Rule } from './evidence.ts'
import { disappearances, resurrections, survivals } from './life.ts'
import { closure, tailContents, tails } from './tail.ts'

const RULES: readonly Rule[] = [
  ({ order }) => order.violations,
  acknowledgements,
  wholeness,
  claims,
  realTime,
  tails,
  tailContents,
  closure,
  disappearances,
  survivals,
  resurrections,
  refusals,
  agreement,
]

/** All that is wrong with a history. */
export function check(history: History): readonly Violation[] {
  const streams = new Set([...history.operations, ...history.final].map(({ stream }) => stream))
  const rules = [...RULES, liveReaders(history.liveReaders)]
  const found = [...streams].flatMap((stream) => {
    const evidence = new Evidence(history, stream)
    return rules.flatMap((rule) => [...rule(evidence)])
  })
  return [...history.alarms, ...found]
}
