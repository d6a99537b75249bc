/** Refusals have a reason, and in the end all gateways say the same. PURE. */
import { short } from '../history.ts'
import type { AppendOperation, FinalView, Operation, Violation } from '../history.ts'
import { parseId } from '../payload.ts'
import { isLastOf } from './tail.ts'
import type { Evidence } from './evidence.ts'

/** Refusals that say nothing of the stream: any request may hear them while faults last. */
const ANY_TIME = new Set([
  'unreached',
  'overloaded',
  'shutting_down',
  'log_unavailable',
  // Life and death have rules of their own.
  'stream_not_found',
])

/** Each refusal that tells of the stream is true of it. */
export function* refusals(evidence: Evidence): Generator<Violation> {
  for (const operation of evidence.operations) {
    const { outcome } = operation
    if (outcome.kind !== 'refused' || ANY_TIME.has(outcome.code)) continue
    if (isTrue(evidence, operation, outcome.code)) continue
    const text = `refused with ${outcome.status} ${outcome.code} without a reason`
    yield evidence.violation('refusal', text, operation)
  }
}

function isTrue(evidence: Evidence, operation: Operation, code: string): boolean {
  const { appends } = evidence
  const before = (other: Operation): boolean =>
    other !== operation && other.start < operation.end && other.outcome.kind !== 'refused'
  switch (code) {
    case 'stream_closed':
    case 'stream_conflict':
      return appends.some((other) => other.close && before(other))
    case 'offset_gone':
      return evidence.deletes.some(before)
    case 'producer_gap':
      // It sends one seq after the other: only an incarnation that does not know it sees a gap.
      return isAppend(operation) && evidence.deletes.some(before)
    case 'stale_epoch':
      return isAppend(operation) && appends.some((other) => isHigherEpoch(other, operation))
    case 'stream_seq_regression':
      return isAppend(operation) && appends.some((o) => before(o) && isNotBelow(o, operation))
    default:
      return false
  }
}

function isAppend(operation: Operation): operation is AppendOperation {
  return operation.kind === 'append'
}

function isHigherEpoch(other: AppendOperation, { append, end }: AppendOperation): boolean {
  const mine = parseId(append)
  const its = parseId(other.append)
  return its.writer === mine.writer && its.epoch > mine.epoch && other.start < end
}

function isNotBelow({ streamSeq: its }: AppendOperation, { streamSeq: mine }: AppendOperation) {
  return its !== undefined && mine !== undefined && its >= mine
}

/** All gateways show the same stream at the end, and each of them all of it. */
export function* agreement(evidence: Evidence): Generator<Violation> {
  const [first, ...others] = evidence.final
  if (first === undefined) {
    yield evidence.violation('final', 'nobody has shown the stream at the end')
    return
  }
  for (const other of others) {
    const difference = differenceOf(first, other)
    if (difference === undefined) continue
    const text = `gateways ${first.gateway} and ${other.gateway} differ: ${difference}`
    yield evidence.violation('final', text)
  }
}

function differenceOf(one: FinalView, other: FinalView): string | undefined {
  if (one.next !== other.next) return `the tail is ${short(one.next)} and ${short(other.next)}`
  if (one.closed !== other.closed) return `closed is ${one.closed} and ${other.closed}`
  const at = one.messages.findIndex((message, index) => message !== other.messages[index])
  if (at !== -1) return `message ${at} is ${one.messages[at] ?? ''} and ${other.messages[at] ?? ''}`
  if (one.messages.length !== other.messages.length) {
    return `${one.messages.length} and ${other.messages.length} messages`
  }
  const producer = Object.keys(one.producers).find(
    (id) => one.producers[id] !== other.producers[id],
  )
  if (producer === undefined) return undefined
  return `${producer} is ${one.producers[producer] ?? ''} and ${other.producers[producer] ?? ''}`
}

/** Live readers get to the end by themselves. */
export function liveReaders(
  readers: readonly { readonly client: string; readonly stream: string }[],
): (evidence: Evidence) => Generator<Violation> {
  return function* (evidence) {
    const next = evidence.final[0]?.next
    for (const { client } of readers.filter(({ stream }) => stream === evidence.stream)) {
      const last = isLastOf(evidence.reads, client)
      if (last?.outcome.kind === 'ok' && last.outcome.next === next) continue
      const text = `${client} has not come to the end of the stream at ${short(next ?? '')}`
      yield evidence.violation('stuck', text, ...(last ? [last] : []))
    }
  }
}
