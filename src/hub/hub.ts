/**
 * One followed stream: one read session, a ring, and the readers who wait on it.
 *
 * The shell around `machine.ts`: runs its effects, turns records into batches, wakes readers. It
 * never queues anything for a reader; a reader that falls behind the ring reads the log.
 */
import type { Clock } from '../clock.ts'
import { BeyondTailError, LogStreamMissingError } from '../log/log.ts'
import type { DurableLog, LogRecord, ReadSession, SeqNum } from '../log/log.ts'
import { decodeRecord, toDataRecord } from '../streams/codec.ts'
import type { DataRecord, Entry } from '../streams/codec.ts'
import { Frames } from './frames.ts'
import { begin, transition } from './machine.ts'
import type { HubEffect, HubEvent, HubState, Step, StopReason } from './machine.ts'
import { Ring } from './ring.ts'
import type { Batch, RingLimits } from './ring.ts'
import type { Subscriber } from './subscriber.ts'

/** The stream as it was when the hub began. */
export type HubStream = {
  readonly name: string
  readonly incarnation: string
  readonly contentType: string
  readonly base: SeqNum
  readonly start: SeqNum
  readonly dataTail: SeqNum
  /** Following begins here. */
  readonly nextSeq: SeqNum
  readonly lastDataAt: number
  readonly closed: boolean
  /** How often a live reader renews the stream's TTL, in ms; undefined when there is none. */
  readonly renewEveryMs: number | undefined
  /** The instant at which the stream ends whatever happens, in ms. */
  readonly endsAt: number | undefined
}

export type HubOptions = {
  readonly log: DurableLog
  readonly clock: Clock
  readonly ring: RingLimits
  /** A hub without readers closes its read session after this. */
  readonly idleMs: number
  /** Gets every record that arrives, so that nobody else has to read it. */
  readonly onRecords: (stream: string, records: readonly LogRecord[]) => void
  /** Called every `renewEveryMs` while there are readers. */
  readonly onRenew: (stream: string) => void
  readonly onTransition: (stream: string, state: HubState, cause: unknown) => void
  readonly onReleased: (hub: Hub) => void
}

/** What is next for a reader at a position. */
export type Next =
  | {
      readonly kind: 'batch'
      readonly batch: Batch
      readonly upToDate: boolean
      readonly closed: boolean
    }
  | { readonly kind: 'tail'; readonly end: SeqNum; readonly closed: boolean }
  /** The ring no longer has it: read the log up to `end`, then ask again. */
  | { readonly kind: 'behind'; readonly end: SeqNum }

/** A reader's place: its hub, and the position after the last record it has. */
export type Place = { readonly hub: Hub; readonly position: SeqNum }

/** First wait before a lost session is opened again; doubles up to the longest. In ms. */
const FIRST_RETRY_MS = 100
const LONGEST_RETRY_MS = 2000
/** Timers can't be set for longer than this; a later end is armed again. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

export class Hub {
  readonly stream: HubStream
  readonly frames: Frames
  readonly #options: HubOptions
  readonly #ring: Ring
  readonly #subscribers = new Set<Subscriber>()
  #state: HubState
  #session: ReadSession | undefined
  #nextSeq: SeqNum
  #lastDataAt: number
  #closed: boolean
  #cancelRetry = (): void => undefined
  #cancelLinger = (): void => undefined
  #cancelRenew: (() => void) | undefined
  #cancelEnd = (): void => undefined

  constructor(stream: HubStream, options: HubOptions) {
    this.stream = stream
    this.frames = new Frames(stream.contentType)
    this.#options = options
    this.#ring = new Ring(stream.dataTail, options.ring)
    this.#nextSeq = stream.nextSeq
    this.#lastDataAt = stream.lastDataAt
    this.#closed = stream.closed
    const [state, effects] = begin(stream.closed)
    this.#state = state
    this.#run(effects)
    this.#armLinger()
    this.#armEnd()
  }

  get state(): HubState {
    return this.#state
  }

  get subscribers(): number {
    return this.#subscribers.size
  }

  /** The position after the last data the hub has seen. */
  get tail(): SeqNum {
    return this.#ring.end
  }

  get closed(): boolean {
    return this.#closed
  }

  /** How long nothing has been appended, in ms. */
  get idleMs(): number {
    return Math.max(0, this.#options.clock.now() - this.#lastDataAt)
  }

  /**
   * What is next at a position. With {@link add} in the same synchronous block, a reader joins
   * without a gap.
   */
  next(position: SeqNum): Next {
    const { start, end } = this.#ring
    if (position < start) return { kind: 'behind', end }
    const batch = this.#ring.next(position)
    if (batch === undefined)
      return { kind: 'tail', end: Math.max(end, position), closed: this.#closed }
    const upToDate = batch.end === end
    return { kind: 'batch', batch, upToDate, closed: upToDate && this.#closed }
  }

  add(subscriber: Subscriber): void {
    if (this.#state.phase === 'stopped') return subscriber.stop(this.#state.reason)
    this.#subscribers.add(subscriber)
    this.#cancelLinger()
    this.#armRenew()
  }

  remove(subscriber: Subscriber): void {
    if (this.#subscribers.delete(subscriber) && this.#subscribers.size === 0) this.#armLinger()
  }

  stop(reason: StopReason): void {
    this.#handle({ type: 'stop', reason })
  }

  #handle(event: HubEvent, cause?: unknown): void {
    const [state, effects]: Step = transition(this.#state, event)
    if (state === this.#state) return
    if (state.phase !== this.#state.phase) {
      this.#options.onTransition(this.stream.name, state, cause)
    }
    this.#state = state
    this.#run(effects)
  }

  #run(effects: readonly HubEffect[]): void {
    for (const effect of effects) {
      switch (effect.run) {
        case 'open_session':
          this.#openAfter(this.#retryDelay(effect.attempt), effect.generation)
          break
        case 'close_session':
          this.#cancelRetry()
          this.#session?.cancel()
          this.#session = undefined
          break
        case 'release':
          this.#release(effect.reason)
          break
      }
    }
  }

  #retryDelay(attempt: number): number {
    if (attempt === 0) return 0
    const bound = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** Math.min(attempt - 1, 10))
    return bound * (0.5 + this.#options.clock.random() / 2)
  }

  #openAfter(delayMs: number, generation: number): void {
    const { clock, log } = this.#options
    const open = (): void => {
      this.#session = log.openReadSession(this.stream.name, this.#nextSeq, {
        onRecords: (records) => this.#guard(() => this.#take(records, generation)),
        onCaughtUp: () => this.#handle({ type: 'opened', generation }),
        onEnd: (cause) => this.#ended(cause, generation),
      })
    }
    if (delayMs === 0) open()
    else this.#cancelRetry = clock.after(delayMs, open)
  }

  #ended(cause: unknown, generation: number): void {
    // The log has less than it once told us: the stream was deleted and reclaimed.
    const gone = cause instanceof LogStreamMissingError || cause instanceof BeyondTailError
    if (gone) this.#handle({ type: 'stop', reason: 'stream_deleted' }, cause)
    else this.#handle({ type: 'lost', generation }, cause)
  }

  /** A hub that breaks stops itself; its readers reconnect, and the process lives. */
  #guard(run: () => void): void {
    try {
      run()
    } catch (error) {
      this.#handle({ type: 'stop', reason: 'failed' }, error)
    }
  }

  #take(records: readonly LogRecord[], generation: number): void {
    this.#handle({ type: 'opened', generation })
    const fresh = records.filter(({ seqNum }) => seqNum >= this.#nextSeq)
    const first = fresh[0]
    const last = fresh.at(-1)
    if (first === undefined || last === undefined) return
    if (first.seqNum !== this.#nextSeq) return this.#handle({ type: 'stop', reason: 'gap' })
    this.#nextSeq = last.seqNum + 1
    this.#options.onRecords(this.stream.name, fresh)
    this.#publish(fresh, generation)
  }

  #publish(records: readonly LogRecord[], generation: number): void {
    const data: DataRecord[] = []
    let ended: HubEvent | undefined
    for (const record of records) {
      const entry = decodeRecord(record)
      if (entry.kind === 'data') data.push(toDataRecord(record, entry, this.stream.contentType))
      ended = ending(entry, generation)
      if (ended !== undefined) break
    }
    const last = data.at(-1)
    if (ended?.type === 'eof') this.#closed = true
    if (last !== undefined) {
      this.#lastDataAt = last.timestamp
      this.#ring.push({ records: data, end: last.seqNum + 1 })
    }
    if (ended !== undefined) this.#handle(ended)
    if (last !== undefined || ended?.type === 'eof') {
      for (const subscriber of this.#subscribers) subscriber.wake()
    }
  }

  #release(reason: StopReason): void {
    this.#cancelLinger()
    this.#cancelRenew?.()
    this.#cancelEnd()
    this.#options.onReleased(this)
    const subscribers = [...this.#subscribers]
    this.#subscribers.clear()
    for (const subscriber of subscribers) subscriber.stop(reason)
  }

  #armLinger(): void {
    this.#cancelLinger()
    const { clock, idleMs } = this.#options
    this.#cancelLinger = clock.after(idleMs, () =>
      this.#handle({ type: 'linger_elapsed', subscribers: this.#subscribers.size }),
    )
  }

  /** Live readers keep a stream from expiring, for as long as there are any (PROTOCOL §5.1). */
  #armRenew(): void {
    const { renewEveryMs, name } = this.stream
    if (renewEveryMs === undefined || this.#cancelRenew !== undefined) return
    this.#cancelRenew = this.#options.clock.after(renewEveryMs, () => {
      this.#cancelRenew = undefined
      if (this.#subscribers.size === 0) return
      this.#options.onRenew(name)
      this.#armRenew()
    })
  }

  #armEnd(): void {
    const { endsAt } = this.stream
    if (endsAt === undefined) return
    const { clock } = this.#options
    const remaining = Math.max(0, endsAt - clock.now())
    this.#cancelEnd = clock.after(Math.min(remaining, LONGEST_TIMER_MS), () => {
      if (clock.now() < endsAt) this.#armEnd()
      else this.stop('stream_expired')
    })
  }
}

/** The event that ends the hub's following, if a record means one. */
function ending(entry: Entry, generation: number): HubEvent | undefined {
  switch (entry.kind) {
    case 'data':
      return entry.closes ? { type: 'eof', generation } : undefined
    case 'closed':
      return { type: 'eof', generation }
    case 'created':
    case 'deleted':
      return { type: 'stop', reason: 'stream_deleted' }
    default:
      return undefined
  }
}
