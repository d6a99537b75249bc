/** Reads at the tail are linearizable: nothing that was known before they began is missing. PURE. */
import { short } from '../history.ts'
import type { Operation, ReadOperation, Violation } from '../history.ts'
import { messageIdOf } from '../payload.ts'
import { isLinearizable } from './evidence.ts'
import type { Evidence } from './evidence.ts'

/** The furthest that anybody knew at a time, of those who had heard by then. */
class Frontier<T> {
  readonly #points: { readonly time: number; readonly value: T; readonly by: Operation }[] = []
  readonly #isBeyond: (a: T, b: T) => boolean

  constructor(isBeyond: (a: T, b: T) => boolean) {
    this.#isBeyond = isBeyond
  }

  /** Must be called in the order of time. */
  advance(value: T, by: Operation): void {
    const last = this.#points.at(-1)
    if (last === undefined || this.#isBeyond(value, last.value)) {
      this.#points.push({ time: by.end, value, by })
    }
  }

  /** What was known before a time. */
  before(time: number): { readonly value: T; readonly by: Operation } | undefined {
    return this.#points.findLast((point) => point.time < time)
  }
}

/** Offsets never go back, on whatever gateway. */
export function* tails(evidence: Evidence): Generator<Violation> {
  const offsets = new Frontier<string>((a, b) => a > b)
  for (const operation of byEnd(evidence)) {
    const { outcome } = operation
    if (outcome.kind === 'ok' && 'next' in outcome) offsets.advance(outcome.next, operation)
  }
  for (const operation of evidence.operations) {
    const { outcome } = operation
    if (outcome.kind !== 'ok' || !('next' in outcome)) continue
    if (operation.kind === 'read' && !isLinearizable(operation)) continue
    const known = offsets.before(operation.start)
    if (known === undefined || known.value <= outcome.next) continue
    const text = `the tail was at ${short(known.value)} before a request began that shows ${short(outcome.next)}`
    yield evidence.violation('stale', text, known.by, operation)
  }
}

/** The same for what the offsets stand for. */
export function* tailContents(evidence: Evidence): Generator<Violation> {
  const { order } = evidence
  const frontiers = order.chains.map(() => new Frontier<number>((a, b) => a > b))
  for (const operation of byEnd(evidence)) {
    const place = lastMessage(operation)
    const at = place === undefined ? undefined : order.place(place)
    if (at !== undefined) frontiers[at.chain]?.advance(at.index, operation)
  }
  for (const read of evidence.reads.filter(isLinearizable)) {
    const last = lastMessage(read)
    const at = last === undefined ? undefined : order.place(last)
    const known = at && frontiers[at.chain]?.before(read.start)
    if (at === undefined || known === undefined || known.value <= at.index) continue
    const missing = order.chains[at.chain]?.[known.value] ?? ''
    const text = `${missing} was known before a read began that ends with ${last ?? ''}`
    yield evidence.violation('stale', text, known.by, read)
  }
}

function lastMessage(operation: Operation): string | undefined {
  const { outcome } = operation
  if (outcome.kind !== 'ok') return undefined
  if ('messages' in outcome) return outcome.messages.at(-1)
  if (operation.kind !== 'append' || operation.count === 0) return undefined
  if (!('duplicate' in outcome) || outcome.duplicate) return undefined
  return messageIdOf(operation.append, operation.count - 1, operation.count)
}

function byEnd({ operations }: Evidence): readonly Operation[] {
  return operations.toSorted((a, b) => a.end - b.end)
}

/** Closed is the end: a closed stream stays so, and nothing follows where it ended. */
export function* closure(evidence: Evidence): Generator<Violation> {
  const { order, operations } = evidence
  const closed = new Frontier<string>((a, b) => a > b)
  for (const operation of byEnd(evidence)) {
    const { outcome } = operation
    if (outcome.kind !== 'ok' || !('next' in outcome) || !outcome.closed) continue
    closed.advance(outcome.next, operation)
    const last = order.messageBefore(outcome.next)
    const more = last === undefined ? undefined : order.following(last)
    if (last === undefined || more === undefined) continue
    const text = `closed after ${last}, and ${more.value} follows`
    yield evidence.violation('closed', text, operation, more.by)
  }
  for (const operation of operations) {
    const { outcome } = operation
    if (outcome.kind !== 'ok' || !('next' in outcome) || outcome.closed) continue
    if (operation.kind === 'read' && !isLinearizable(operation)) continue
    const end = closed.before(operation.start)
    if (end === undefined) continue
    if (outcome.next > end.value && !sameIncarnation(evidence, end.value, outcome.next)) continue
    const text = `closed at ${short(end.value)} before a request began that shows it open`
    yield evidence.violation('closed', text, end.by, operation)
  }
}

function sameIncarnation({ order }: Evidence, a: string, b: string): boolean {
  const [one, other] = [a, b].map((offset) => {
    const message = order.messageBefore(offset)
    return message === undefined ? undefined : order.place(message)?.chain
  })
  return one !== undefined && one === other
}

/** For the rules about the end of a run. */
export function isLastOf(
  reads: readonly ReadOperation[],
  client: string,
): ReadOperation | undefined {
  return reads.findLast((read) => read.client === client && read.outcome.kind === 'ok')
}
