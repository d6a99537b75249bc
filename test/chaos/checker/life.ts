/** A stream is there from its creation to its deletion, and what is deleted stays so. PURE. */
import type { Operation, Violation } from '../history.ts'
import { messageIdOf } from '../payload.ts'
import type { Evidence } from './evidence.ts'
import { isLinearizable } from './evidence.ts'

/**
 * A hub, and the pages before the tail, may serve what a gateway has of a stream that was deleted
 * elsewhere: nobody asks the log for them.
 */
function mayLag(operation: Operation): boolean {
  return operation.kind === 'read' && !isLinearizable(operation)
}

/** Whoever says that there is no such stream knows of a deletion. */
export function* disappearances(evidence: Evidence): Generator<Violation> {
  const shown = evidence.operations
    .filter((operation) => operation.kind !== 'delete' && operation.outcome.kind === 'ok')
    .filter((operation) => !mayLag(operation))
    .toSorted((a, b) => a.end - b.end)
  for (const operation of evidence.operations) {
    const { outcome } = operation
    if (outcome.kind !== 'refused' || outcome.status !== 404) continue
    const known = latestStart(shown, operation.start)
    if (known === undefined) continue
    const isExplained = evidence
      .effectiveDeletes()
      .some((del) => evidence.latestEffect(del) > known.start && del.start < operation.end)
    if (isExplained) continue
    yield evidence.violation(
      'vanished',
      'the stream was there and nobody deleted it',
      known,
      operation,
    )
  }
}

/** Of those that had ended before a time, the one that began last. */
function latestStart(byEnd: readonly Operation[], time: number): Operation | undefined {
  let latest: Operation | undefined
  for (const operation of byEnd) {
    if (operation.end >= time) break
    if (latest === undefined || operation.start > latest.start) latest = operation
  }
  return latest
}

/** After a deletion there is no stream until somebody creates it. */
export function* survivals(evidence: Evidence): Generator<Violation> {
  const deletes = evidence.deletes
    .filter(({ outcome }) => outcome.kind === 'ok')
    .toSorted((a, b) => a.end - b.end)
  const creates = evidence.creates.filter(({ outcome }) => outcome.kind !== 'refused')
  for (const operation of evidence.operations) {
    if (operation.kind === 'create' || operation.kind === 'delete') continue
    if (operation.outcome.kind !== 'ok') continue
    if (mayLag(operation)) continue
    const del = latestStart(deletes, operation.start)
    if (del === undefined) continue
    const isExplained = creates.some(
      (create) => evidence.latestEffect(create) > del.start && create.start < operation.end,
    )
    if (isExplained) continue
    yield evidence.violation(
      'survived',
      'the stream was deleted and nobody created it',
      del,
      operation,
    )
  }
}

/** No message of a deleted incarnation comes back. */
export function* resurrections(evidence: Evidence): Generator<Violation> {
  const deletes = evidence.deletes.filter(({ outcome }) => outcome.kind === 'ok')
  if (deletes.length === 0) return
  const firstSeen = new Map<number, number>()
  for (const operation of evidence.operations) {
    const chain = chainOf(evidence, operation)
    if (chain === undefined) continue
    firstSeen.set(chain, Math.min(firstSeen.get(chain) ?? Infinity, operation.end))
  }
  for (const operation of evidence.operations) {
    if (mayLag(operation)) continue
    const chain = chainOf(evidence, operation)
    const seen = chain === undefined ? undefined : firstSeen.get(chain)
    if (seen === undefined) continue
    const death = deletes.find(({ start, end }) => start > seen && end < operation.start)
    if (death === undefined) continue
    yield evidence.violation('resurrected', 'this was deleted before', death, operation)
  }
}

/** The incarnation, or the part of one, that an operation shows. */
function chainOf({ order }: Evidence, operation: Operation): number | undefined {
  const { outcome } = operation
  if (outcome.kind !== 'ok' || !('next' in outcome)) return undefined
  if ('messages' in outcome) {
    const [first] = outcome.messages
    return first === undefined ? undefined : order.place(first)?.chain
  }
  if (operation.kind === 'append' && operation.count > 0 && !outcome.duplicate) {
    return order.place(messageIdOf(operation.append, 0, operation.count))?.chain
  }
  if (operation.kind === 'create' && outcome.status === 201) {
    return order.place(messageIdOf(operation.append, 0, 1))?.chain
  }
  return undefined
}
