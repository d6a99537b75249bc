/** What happened, as the clients saw it: the only thing the checker knows. */
import type { AppendId, MessageId } from './payload.ts'

/** Opaque, but sortable as text (PROTOCOL §8); never given out twice for one name. */
export type Offset = string

/** What became of a request that did not succeed. */
export type Failure =
  /** The answer, or that nobody listened, says that nothing was written. */
  | { readonly kind: 'refused'; readonly status: number; readonly code: string }
  /** Nobody knows: no whole answer, or one that says so. What was sent may be written, once. */
  | { readonly kind: 'unknown'; readonly why: string }

export type Written = {
  readonly kind: 'ok'
  readonly status: number
  readonly next: Offset
  readonly closed: boolean
  /** An earlier request had this effect already. */
  readonly duplicate: boolean
  /** The highest seq of the producer, as the answer has it. */
  readonly producerSeq?: number | undefined
}

export type Seen = {
  readonly kind: 'ok'
  readonly next: Offset
  readonly messages: readonly MessageId[]
  readonly upToDate: boolean
  readonly closed: boolean
}

type Request = {
  readonly client: string
  readonly gateway: number
  readonly stream: string
  /** Before the request was sent, and after its answer was read: ms since the run began. */
  readonly start: number
  readonly end: number
}

/**
 * `idempotent` claims a seq and `stream-seq` a `Stream-Seq`: both retry. `plain` never does;
 * `retrying` does without a claim, so that several of its attempts may be stored.
 */
export type WriterKind = 'idempotent' | 'stream-seq' | 'plain' | 'retrying'

export type AppendOperation = Request & {
  readonly kind: 'append'
  readonly by: WriterKind
  /** Of what is in the body, if there is one; also the claim of an idempotent writer. */
  readonly append: AppendId
  /** Texts in the body. 0: it only closes. */
  readonly count: number
  readonly streamSeq?: string
  readonly close: boolean
  readonly outcome: Written | Failure
}

export type CreateOperation = Request & {
  readonly kind: 'create'
  /** The first text of the incarnation that this makes, unless it finds one. */
  readonly append: AppendId
  readonly outcome: Written | Failure
}

export type DeleteOperation = Request & {
  readonly kind: 'delete'
  readonly outcome: { readonly kind: 'ok' } | Failure
}

/** `page` is a catch-up read. Only `long-poll` and `sse` may be behind what others have seen. */
export type ReadMode = 'page' | 'now' | 'head' | 'long-poll' | 'sse'

export type ReadOperation = Request & {
  readonly kind: 'read'
  readonly mode: ReadMode
  /** An offset, `-1` or `now`. */
  readonly from: Offset
  readonly outcome: Seen | Failure
}

export type Operation = AppendOperation | CreateOperation | DeleteOperation | ReadOperation

/** A stream as one gateway shows it when everything has healed and nobody writes. */
export type FinalView = {
  readonly stream: string
  readonly gateway: number
  readonly next: Offset
  readonly closed: boolean
  readonly messages: readonly MessageId[]
  /** What its idempotent producers hear when they send again what was acknowledged last. */
  readonly producers: Readonly<Record<string, string>>
}

export type History = {
  /** In the order of their ends. */
  readonly operations: readonly Operation[]
  readonly final: readonly FinalView[]
  /** Live readers that should have seen the end of their stream. */
  readonly liveReaders: readonly { readonly client: string; readonly stream: string }[]
  /** What went wrong where no operation tells it: a text that is torn, a gateway that is stuck. */
  readonly alarms: readonly Violation[]
}

export type Violation = {
  readonly rule: string
  readonly stream: string
  readonly text: string
  /** The operations that show it, to be printed. */
  readonly operations: readonly Operation[]
}

export const isLive = ({ mode }: ReadOperation): boolean => mode === 'long-poll' || mode === 'sse'

/** Collects a history while it happens. */
export class Recorder {
  readonly operations: Operation[] = []
  readonly alarms: Violation[] = []
  readonly #epoch = performance.now()

  /** Ms since the run began. */
  now(): number {
    return performance.now() - this.#epoch
  }

  add(operation: Operation): void {
    this.operations.push(operation)
  }

  alarm(rule: string, stream: string, text: string): void {
    this.alarms.push({ rule, stream, text, operations: [] })
  }
}

/** One line for people. */
export function describeOperation(operation: Operation): string {
  const { client, gateway, stream, start, end } = operation
  const time = `${start.toFixed(0).padStart(6)}..${end.toFixed(0).padEnd(6)}`
  return `${time} ${stream} ${client} @${gateway}: ${request(operation)} → ${answer(operation)}`
}

function request(operation: Operation): string {
  switch (operation.kind) {
    case 'append': {
      const { append, count, streamSeq, close } = operation
      const seq = streamSeq === undefined ? '' : ` Stream-Seq ${streamSeq}`
      return `append ${append} (${count})${seq}${close ? ' and close' : ''}`
    }
    case 'create':
      return `create ${operation.append}`
    case 'delete':
      return 'delete'
    case 'read':
      return `${operation.mode} from ${short(operation.from)}`
  }
}

function answer({ outcome }: Operation): string {
  switch (outcome.kind) {
    case 'refused':
      return `${outcome.status} ${outcome.code}`
    case 'unknown':
      return `unknown (${outcome.why})`
    case 'ok': {
      if (!('next' in outcome)) return 'ok'
      const words = [`ok ${short(outcome.next)}`]
      if ('duplicate' in outcome && outcome.duplicate) words.push('duplicate')
      if ('messages' in outcome) words.push(range(outcome.messages))
      if ('upToDate' in outcome && outcome.upToDate) words.push('up to date')
      if (outcome.closed) words.push('closed')
      return words.join(' ')
    }
  }
}

function range(messages: readonly MessageId[]): string {
  if (messages.length < 3) return `[${messages.join(', ')}]`
  return `[${messages[0] ?? ''} ... ${messages.length} ... ${messages.at(-1) ?? ''}]`
}

/** An offset of ours without the zeros in front. */
export function short(offset: Offset): string {
  return offset.replace(/\b0+(?=\d)/g, '')
}
