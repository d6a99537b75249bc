/** Hand-made histories: one operation after the other, unless a time is given. */
import { check } from '../../chaos/checker/check.ts'
import type {
  AppendOperation,
  CreateOperation,
  DeleteOperation,
  Failure,
  FinalView,
  History,
  Operation,
  ReadOperation,
  Seen,
  Written,
} from '../../chaos/history.ts'
import type { MessageId } from '../../chaos/payload.ts'

export const STREAM = 's'

export const refused = (status: number, code: string): Failure => ({
  kind: 'refused',
  status,
  code,
})
export const UNKNOWN: Failure = { kind: 'unknown', why: 'cut' }

/** Offsets of these histories: their order as text is their order. */
export const at = (position: number): string => String(position).padStart(3, '0')

export const BIRTH = 'birth-s:0:1:0'
export const REBIRTH = 'birth-s:0:2:0'
export const A = 'a:0:0:0'
export const B = 'b:0:0:0'
export const C = 'c:0:0:0'

/** The birth, then `a` and `b`, all acknowledged. */
export const begun = (): HistoryBuilder =>
  new HistoryBuilder().created(BIRTH, 1).appended(A, 2).appended(B, 3)

/** What the checker finds, without the words. */
export const rulesOf = (history: History): readonly string[] => [
  ...new Set(check(history).map(({ rule }) => rule)),
]

type Times = { readonly start?: number; readonly end?: number; readonly gateway?: number }

export class HistoryBuilder {
  readonly operations: Operation[] = []
  readonly liveReaders: { client: string; stream: string }[] = []
  #time = 0

  created(birth: string, position: number, times: Times = {}): this {
    const outcome: Written = { ...this.#written(201, position) }
    return this.#add<CreateOperation>({ kind: 'create', append: birth, outcome }, 'keeper', times)
  }

  deleted(times: Times & { readonly outcome?: Failure } = {}): this {
    const { outcome = { kind: 'ok' } as const, ...rest } = times
    return this.#add<DeleteOperation>({ kind: 'delete', outcome }, 'keeper', rest)
  }

  /** `id` is `<writer>:<epoch>:<seq>:<attempt>`; a position means success. */
  appended(
    id: string,
    outcome: number | Failure,
    options: Times &
      Partial<Pick<AppendOperation, 'by' | 'count' | 'streamSeq' | 'close'>> & {
        readonly duplicate?: boolean
      } = {},
  ): this {
    const { by = 'plain', count = 1, close = false, streamSeq, duplicate = false } = options
    const written =
      typeof outcome === 'number'
        ? { ...this.#written(204, outcome), duplicate, closed: close }
        : outcome
    return this.#add<AppendOperation>(
      {
        kind: 'append',
        by,
        append: id,
        count,
        close,
        ...(streamSeq !== undefined && { streamSeq }),
        outcome: written,
      },
      id.split(':')[0] ?? '',
      options,
    )
  }

  read(
    messages: readonly string[],
    next: number,
    options: Times &
      Partial<Pick<ReadOperation, 'mode' | 'from' | 'client'>> &
      Partial<Pick<Seen, 'closed' | 'upToDate'>> = {},
  ): this {
    const { mode = 'page', from = '-1', client = 'reader', closed = false } = options
    const { upToDate = true } = options
    const outcome: Seen = { kind: 'ok', next: at(next), messages: ids(messages), upToDate, closed }
    return this.#add<ReadOperation>({ kind: 'read', mode, from, outcome }, client, options)
  }

  failedRead(outcome: Failure, times: Times = {}): this {
    const read = { kind: 'read', mode: 'page', from: '-1', outcome } as const
    return this.#add<ReadOperation>(read, 'reader', times)
  }

  head(next: number, options: Times & { readonly closed?: boolean } = {}): this {
    return this.read([], next, { mode: 'head', from: 'now', ...options })
  }

  /** Ends the history: two gateways that show the same, unless told otherwise. */
  end(
    messages: readonly string[],
    next: number,
    { closed = false, second }: { closed?: boolean; second?: Partial<FinalView> } = {},
  ): History {
    this.read(messages, next, { closed, client: 'final@0' })
    const view: FinalView = {
      stream: STREAM,
      gateway: 0,
      next: at(next),
      closed,
      messages: ids(messages),
      producers: {},
    }
    return {
      operations: this.operations,
      final: [view, { ...view, gateway: 1, ...second }],
      liveReaders: this.liveReaders,
      alarms: [],
    }
  }

  #written(status: number, position: number): Written {
    return { kind: 'ok', status, next: at(position), closed: false, duplicate: false }
  }

  #add<T extends Operation>(
    rest: Omit<T, 'client' | 'gateway' | 'stream' | 'start' | 'end'>,
    client: string,
    { start = this.#time + 1, end = start + 1, gateway = 0 }: Times,
  ): this {
    this.#time = Math.max(this.#time, end)
    this.operations.push({ ...rest, client, gateway, stream: STREAM, start, end } as T)
    return this
  }
}

/** `a:0:0:0` is short for the only text of that append. */
function ids(messages: readonly string[]): readonly MessageId[] {
  return messages.map((message) => (message.includes('/') ? message : `${message}:0/1`))
}
