/** What was written, and in which order: acknowledged appends, refused ones, producers. PURE. */
import type { AppendOperation, CreateOperation, Operation, Violation } from '../history.ts'
import { messageIdOf, parseId } from '../payload.ts'
import type { MessageId, ParsedId } from '../payload.ts'
import type { Evidence } from './evidence.ts'

type Write = AppendOperation | CreateOperation

/** Acknowledged means present, refused means absent, unless a deletion took the data along. */
export function* acknowledgements(evidence: Evidence): Generator<Violation> {
  const lastBirth = finalBirthSeen(evidence)
  for (const operation of [...evidence.appends, ...evidence.creates]) {
    const { outcome } = operation
    if (countOf(operation) === 0 || outcome.kind === 'unknown') continue
    if (outcome.kind === 'refused') {
      if (isPresent(evidence, operation)) {
        const text = `${operation.append} was refused (${outcome.code}) and is there`
        yield evidence.violation('refused', text, operation)
      }
    } else if (!isStored(evidence, operation)) {
      if (isExplained(evidence, operation, lastBirth)) continue
      const text = `${operation.append} was acknowledged and is not there`
      yield evidence.violation('lost', text, operation)
    }
  }
}

/** Nobody reads what nobody wrote, nor a part of an append. */
export function* wholeness(evidence: Evidence): Generator<Violation> {
  for (const [chainIndex, chain] of evidence.order.chains.entries()) {
    let open: ParsedId | undefined
    for (const message of chain) {
      const id = parseId(message)
      const write = evidence.writeOf(id.append)
      if (write === undefined || id.count !== countOf(write)) {
        yield evidence.violation('invented', `nobody wrote ${message}`)
      }
      const isNext = open?.append === id.append && open.index + 1 === id.index
      // A chain without a birth begins where somebody began to read.
      const isFirst = message === chain[0] && !isBirthChain(chain)
      const begins = id.index === 0 && (open === undefined || open.index + 1 === open.count)
      if (!isNext && !begins && !isFirst) {
        const text = `${message} follows ${name(open)}: an append is torn`
        yield evidence.violation('torn', text, ...(write ? [write] : []))
      }
      open = id
    }
    if (chainIndex === evidence.finalChain && open && open.index + 1 !== open.count) {
      yield evidence.violation('torn', `the stream ends with ${name(open)}: an append is torn`)
    }
  }
  for (const read of evidence.reads) {
    if (read.outcome.kind !== 'ok' || !read.outcome.upToDate) continue
    const last = read.outcome.messages.at(-1)
    if (last === undefined) continue
    const { index, count } = parseId(last)
    if (index + 1 === count) continue
    yield evidence.violation('torn', `a read is up to date at ${last}: a part of an append`, read)
  }
}

/** Claims count: each producer's in order, without a gap, each once in an incarnation. */
export function* claims(evidence: Evidence): Generator<Violation> {
  for (const chain of evidence.order.chains) {
    const isWhole = isBirthChain(chain)
    const last = new Map<string, ParsedId>()
    let lastSeq: { readonly value: string; readonly append: string } | undefined
    for (const message of chain) {
      const id = parseId(message)
      const write = evidence.writeOf(id.append)
      if (id.index !== 0 || write?.kind !== 'append') continue
      if (write.by === 'stream-seq' && write.streamSeq !== undefined) {
        if (lastSeq !== undefined && lastSeq.value >= write.streamSeq) {
          const text = `${id.append} follows ${lastSeq.append} with Stream-Seq ${write.streamSeq} after ${lastSeq.value}`
          yield evidence.violation('stream-seq', text, write)
        }
        lastSeq = { value: write.streamSeq, append: id.append }
      }
      if (write.by !== 'idempotent') continue
      const before = last.get(id.writer)
      last.set(id.writer, id)
      const problem = judge(before, id, isWhole)
      if (problem !== undefined) {
        yield evidence.violation(
          'producer',
          `${problem}: ${id.append} after ${name(before)}`,
          write,
        )
      }
    }
  }
}

function judge(before: ParsedId | undefined, id: ParsedId, isWhole: boolean): string | undefined {
  const sameEpoch = before?.epoch === id.epoch
  if (sameEpoch && before.seq === id.seq) return 'a duplicate'
  if (before !== undefined && (before.epoch > id.epoch || (sameEpoch && before.seq > id.seq))) {
    return 'out of order'
  }
  const expected = sameEpoch ? before.seq + 1 : 0
  const isKnown = before !== undefined || isWhole
  return isKnown && id.seq !== expected ? `a gap, ${expected} expected` : undefined
}

/** What was acknowledged before another request began stands before what that one wrote. */
export function* realTime(evidence: Evidence): Generator<Violation> {
  for (const chain of evidence.order.chains) {
    let latest: Write | undefined
    for (const message of chain) {
      const { append, index } = parseId(message)
      const write = index === 0 ? evidence.writeOf(append) : undefined
      if (write === undefined) continue
      if (latest !== undefined && write.outcome.kind === 'ok' && write.end < latest.start) {
        const text = `${write.append} was acknowledged before ${latest.append} began, and follows it`
        yield evidence.violation('real time', text, write, latest)
      }
      if (latest === undefined || write.start > latest.start) latest = write
    }
  }
}

export function isBirthChain([first]: readonly MessageId[]): boolean {
  return first !== undefined && first.startsWith('birth-')
}

function isPresent({ order }: Evidence, write: Write): boolean {
  return order.wasRead(messageIdOf(write.append, 0, countOf(write)))
}

/** A claim may have been stored by any of the requests that made it. */
function isStored(evidence: Evidence, operation: Write): boolean {
  if (isPresent(evidence, operation)) return true
  const { outcome } = operation
  // A creation that found the stream there has written nothing.
  if (operation.kind === 'create') return outcome.kind === 'ok' && outcome.status === 200
  if (operation.by !== 'idempotent' || outcome.kind !== 'ok' || !outcome.duplicate) return false
  const { writer, epoch, seq } = parseId(operation.append)
  return evidence.appends.some((other) => {
    const id = parseId(other.append)
    const sameClaim = id.writer === writer && id.epoch === epoch && id.seq === seq
    return sameClaim && isPresent(evidence, other)
  })
}

/** Whether it may have been written to an incarnation that was deleted before anybody read it. */
function isExplained(evidence: Evidence, operation: Write, lastBirth: number): boolean {
  if (operation.start > lastBirth) return false
  return evidence
    .effectiveDeletes()
    .some((del) => evidence.latestEffect(del) > operation.start && del.start < lastBirth)
}

/** When somebody knew of the incarnation that is the last. */
function finalBirthSeen({ final, operations }: Evidence): number {
  const birth = final[0]?.messages[0]
  if (birth === undefined) return Infinity
  const { append } = parseId(birth)
  const shown = operations.filter((operation: Operation) => {
    const { kind, outcome } = operation
    if (outcome.kind !== 'ok') return false
    if (kind === 'create') return operation.append === append
    return 'messages' in outcome && outcome.messages[0] === birth
  })
  return Math.min(...shown.map(({ end }) => end))
}

function countOf(write: Write): number {
  return write.kind === 'create' ? 1 : write.count
}

function name(id: ParsedId | undefined): string {
  return id === undefined ? 'nothing' : messageIdOf(id.append, id.index, id.count)
}
