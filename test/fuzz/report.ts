/** What people read of a run. */
import type { Failure, Plan, Result } from './run.ts'

const MIB = 1024 * 1024

/** A few lines, of a run that found something and of one that did not. */
export function summary(plan: Plan, result: Result): string {
  const { requests, answers, conversations, statuses, ms, vitals, pulse } = result
  const { before, after } = vitals
  const mib = (name: 'heap' | 'rss'): string =>
    `${name} ${(before[name] / MIB).toFixed(1)} → ${(after[name] / MIB).toFixed(1)} MiB`
  const counts = [...statuses].sort(([a], [b]) => a - b).map(([status, n]) => `${status}: ${n}`)
  const perSecond = Math.round(requests / (ms / 1000))
  return `seed ${plan.seed}, AUTH=${plan.auth}: ${requests} requests on ${conversations} connections in \
${(ms / 1000).toFixed(1)} s (${perSecond}/s), ${answers} answers
  ${counts.join(', ')}
  ${mib('heap')}, ${mib('rss')}, descriptors ${before.descriptors} → ${after.descriptors}, \
slowest /healthz ${Math.round(pulse.longestMs)} ms`
}

/** How to have a run again, and the bytes of each conversation that went wrong. */
export function report(plan: Plan, { failures, findings }: Result): string {
  const { auth, seed } = plan
  const again = `SEED=${seed} REQUESTS=${plan.requests} AUTH=${auth} npm run test:fuzz`
  return [...findings, ...failures.map((failure) => shown(plan, failure)), `again: ${again}`].join(
    '\n\n',
  )
}

/** Texts are JSON strings of latin1: a test may have them as they are. */
function shown(plan: Plan, { conversation, outcome }: Failure): string {
  const { number, writes, requests, ending, pace } = conversation
  const at = outcome.statuses.length
  const around = requests.slice(Math.max(0, at - 2), at + 2).map(({ text }) => text)
  return `conversation ${number}, ${pace}, ${requests.length} requests, ${ending === undefined ? 'no ending' : ending.leave}
  ${outcome.complaint ?? ''}
  statuses: ${outcome.statuses.join(' ')}
  around: ${JSON.stringify(around).slice(0, 4000)}
  ending: ${JSON.stringify(ending?.text ?? 'none').slice(0, 4000)}
  last bytes received: ${JSON.stringify(outcome.last)}
  sent: ${writes.reduce((sum, { length }) => sum + length, 0)} bytes; all of them:
  ${JSON.stringify(writes.map((bytes) => bytes.toString('latin1'))).slice(0, 20_000)}
  alone: SEED=${plan.seed} ONLY=${number} AUTH=${plan.auth} npm run test:fuzz`
}
