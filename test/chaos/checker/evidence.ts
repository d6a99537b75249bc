/** The history of one stream, sorted for the rules. PURE. */
import { isLive } from '../history.ts'
import type {
  AppendOperation,
  CreateOperation,
  DeleteOperation,
  FinalView,
  History,
  Operation,
  ReadOperation,
  Violation,
} from '../history.ts'
import type { AppendId } from '../payload.ts'
import { Order } from './order.ts'

/** One rule over one stream. */
export type Rule = (evidence: Evidence) => Iterable<Violation>

export class Evidence {
  readonly stream: string
  readonly operations: readonly Operation[]
  readonly final: readonly FinalView[]
  readonly order: Order
  readonly appends: readonly AppendOperation[]
  readonly creates: readonly CreateOperation[]
  readonly deletes: readonly DeleteOperation[]
  readonly reads: readonly ReadOperation[]
  /** The incarnation that lives at the end. */
  readonly finalChain: number | undefined
  readonly #writes: ReadonlyMap<AppendId, AppendOperation | CreateOperation>

  constructor(history: History, stream: string) {
    const isOurs = (thing: { readonly stream: string }): boolean => thing.stream === stream
    this.stream = stream
    this.operations = history.operations.filter(isOurs)
    this.final = history.final.filter(isOurs)
    this.order = new Order(stream, this.operations)
    this.appends = this.operations.filter(({ kind }) => kind === 'append') as AppendOperation[]
    this.creates = this.operations.filter(({ kind }) => kind === 'create') as CreateOperation[]
    this.deletes = this.operations.filter(({ kind }) => kind === 'delete') as DeleteOperation[]
    this.reads = this.operations.filter(({ kind }) => kind === 'read') as ReadOperation[]
    const birth = this.final[0]?.messages[0]
    this.finalChain = birth === undefined ? undefined : this.order.place(birth)?.chain
    this.#writes = new Map([...this.appends, ...this.creates].map((op) => [op.append, op]))
  }

  /** The request that sent it. */
  writeOf(append: AppendId): AppendOperation | CreateOperation | undefined {
    return this.#writes.get(append)
  }

  /** Deletions that may have happened. */
  effectiveDeletes(): readonly DeleteOperation[] {
    return this.deletes.filter(({ outcome }) => outcome.kind !== 'refused')
  }

  /** When the request's effect, if it had any, was there at the latest. */
  latestEffect({ outcome, end }: Operation): number {
    return outcome.kind === 'unknown' ? Infinity : end
  }

  violation(rule: string, text: string, ...operations: readonly Operation[]): Violation {
    return { rule, stream: this.stream, text, operations }
  }
}

/** Reads that show all that was acknowledged before they began. */
export function isLinearizable(read: ReadOperation): boolean {
  if (isLive(read) || read.outcome.kind !== 'ok') return false
  return read.mode !== 'page' || read.outcome.upToDate
}
