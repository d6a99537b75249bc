/** What a person needs to understand a run that went wrong. */
import { describeOperation } from './history.ts'
import type { Operation, Violation } from './history.ts'
import type { Result } from './run.ts'

const VIOLATIONS_SHOWN = 10
/** Of the same stream, before and after what shows a violation. */
const OPERATIONS_AROUND = 4

/** Short: the first violations with the operations around them. */
export function report(result: Result): string {
  const { plan, violations } = result
  return [
    `seed ${plan.seed}: ${violations.length} violations`,
    ...distinct(violations)
      .slice(0, VIOLATIONS_SHOWN)
      .map((violation) => explain(result, violation)),
    'faults:',
    ...faults(result),
    `again: SEED=${plan.seed} npm run test:chaos`,
  ].join('\n')
}

/** All there is: for a file. */
export function fullReport(result: Result): string {
  const { plan, history, violations, outputs } = result
  return [
    `seed ${plan.seed}`,
    ...violations.map(({ rule, stream, text }) => `violation: ${rule} (${stream}): ${text}`),
    JSON.stringify(plan.gatewayEnvironment),
    ...plan.streams.map(({ name, contentType }) => `stream: ${name} ${contentType}`),
    ...faults(result),
    ...byStart(history.operations).map(describeOperation),
    ...history.final.map((view) => JSON.stringify({ ...view, messages: view.messages.length })),
    ...outputs.map((output, gateway) => `gateway ${gateway} said:\n${output}`),
  ].join('\n')
}

/** One line for a run that went well. */
export function summary({ plan, history, incidents }: Result): string {
  const count = (kind: Operation['kind'], outcome: string): number =>
    history.operations.filter((op) => op.kind === kind && op.outcome.kind === outcome).length
  const appends = ['ok', 'refused', 'unknown'].map((outcome) => count('append', outcome))
  const deletes = count('delete', 'ok')
  const ms = history.operations.reduce((latest, { end }) => Math.max(latest, end), 0)
  return `seed ${plan.seed}: ${(ms / 1000).toFixed(1)} s, ${incidents.length} faults, appends ${appends.join('/')} (ok/refused/unknown), ${deletes} deletions, reads ${count('read', 'ok')}`
}

/** Every reader that meets the same harm tells of it: the first is enough. */
function distinct(violations: readonly Violation[]): readonly Violation[] {
  const first = new Map<string, Violation>()
  for (const violation of violations) {
    const key = `${violation.stream} ${violation.text}`
    if (!first.has(key)) first.set(key, violation)
  }
  return [...first.values()]
}

function explain({ history }: Result, { rule, stream, text, operations }: Violation): string {
  const lines = new Set<string>()
  const ofStream = byStart(history.operations.filter((other) => other.stream === stream))
  for (const operation of operations) {
    const at = ofStream.indexOf(operation)
    const first = Math.max(0, at - OPERATIONS_AROUND)
    for (const near of ofStream.slice(first, at + OPERATIONS_AROUND + 1)) {
      lines.add(`${operations.includes(near) ? ' >' : '  '} ${describeOperation(near)}`)
    }
    lines.add('   ...')
  }
  return [`- ${rule} (${stream}): ${text}`, ...lines].join('\n')
}

function byStart(operations: readonly Operation[]): readonly Operation[] {
  return operations.toSorted((a, b) => a.start - b.start)
}

function faults({ incidents }: Result): readonly string[] {
  return incidents.map(({ fault, from, to }) => {
    const where = fault.kind.endsWith('s2') || fault.kind.endsWith('all') ? '' : ` ${fault.gateway}`
    return `  ${from.toFixed(0).padStart(6)}..${to.toFixed(0).padEnd(6)} ${fault.kind}${where}`
  })
}
