/**
 * One stream of the embedded log while it is in use.
 *
 * Holds two states: `pending` counts appends that are still on their way to disk and judges the
 * next one; `durable` is all that readers ever see.
 */
import type { GroupCommit } from './embedded-commit.ts'
import type { StoredStream } from './embedded-format.ts'
import { applyAppend, judgeAppend, type StreamState } from './embedded-state.ts'
import { orUnavailable, type EmbeddedStore } from './embedded-store.ts'
import {
  AppendConflictError,
  BeyondTailError,
  LOG_LIMITS,
  type AppendAck,
  type AppendBatch,
  type LogRecord,
  type ReadLimits,
  type ReadStart,
  type SeqNum,
} from './log.ts'

/** Gets every batch once it is durable, in order. Must not throw. */
export type Follower = {
  deliver(records: readonly LogRecord[], tail: SeqNum): void
}

/** What a stream shares with all others. */
export type StreamContext = {
  readonly store: EmbeddedStore
  readonly commits: GroupCommit
  readonly now: () => number
}

export class OpenStream {
  readonly #name: string
  readonly #id: number
  readonly #context: StreamContext
  readonly #followers = new Set<Follower>()
  #pending: StreamState
  #durable: StreamState
  /** The last append's way to disk: once it is over, `pending` is durable. */
  #settled: Promise<void> = Promise.resolve()
  /** Records before it are known to be off the disk. */
  #removedBefore: SeqNum = 0

  constructor(name: string, { id, state }: StoredStream, context: StreamContext) {
    this.#name = name
    this.#id = id
    this.#context = context
    this.#pending = state
    this.#durable = state
    // A crash may have come between a trim and the removal of its records.
    this.#removeTrimmed()
  }

  /** The seq num after the last durable record. */
  get tail(): SeqNum {
    return this.#durable.tail
  }

  /**
   * As {@link DurableLog.append}; decides without waiting, so calls are judged in their order.
   * `onRefused` is called at once, before the conflict is answered.
   */
  async append(batch: AppendBatch, onRefused?: () => void): Promise<AppendAck> {
    const { commits, now } = this.#context
    commits.assertOpen()
    const conflict = judgeAppend(this.#pending, batch)
    if (conflict !== undefined) {
      onRefused?.()
      // A conflict is proof for others only once what caused it can't be lost any more.
      await orUnavailable(this.#settled)
      throw new AppendConflictError(conflict)
    }
    const start = this.#pending.tail
    const { state, records } = applyAppend(this.#pending, batch.records, now())
    this.#pending = state
    const write = { name: this.#name, id: this.#id, state, records }
    this.#settled = commits.commit(write, () => this.#advance(state, records))
    await this.#settled
    return { start, end: state.tail, timestamp: state.timestamp }
  }

  /** As {@link DurableLog.read}. */
  async read(start: ReadStart, limits: ReadLimits): Promise<readonly LogRecord[]> {
    const { tail, trimPoint } = this.#durable
    const wanted = 'seqNum' in start ? start.seqNum : Math.max(0, tail - start.tailOffset)
    if (wanted >= tail) throw new BeyondTailError(tail)
    const from = Math.max(wanted, trimPoint)
    if (from >= tail) return []
    const page = {
      maxRecords: Math.min(Math.max(limits.maxRecords, 1), LOG_LIMITS.maxBatchRecords),
      maxBytes: Math.min(limits.maxBytes, LOG_LIMITS.maxBatchBytes),
    }
    const { store } = this.#context
    return orUnavailable(store.readRecords(this.#id, { from, before: tail }, page))
  }

  /** Feeds the follower every batch after the present tail, until the returned function is called. */
  follow(follower: Follower): () => void {
    this.#followers.add(follower)
    return () => this.#followers.delete(follower)
  }

  #advance(state: StreamState, records: readonly LogRecord[]): void {
    this.#durable = state
    this.#removeTrimmed()
    for (const follower of this.#followers) follower.deliver(records, state.tail)
  }

  #removeTrimmed(): void {
    const { store, commits } = this.#context
    const range = { from: this.#removedBefore, before: this.#durable.trimPoint }
    if (range.from >= range.before) return
    this.#removedBefore = range.before
    // Nobody waits for it: readers go by the trim point. But a disk that fails here has failed.
    store.removeRecords(this.#id, range).catch((cause: unknown) => commits.fail(cause))
  }
}
