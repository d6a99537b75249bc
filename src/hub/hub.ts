/**
 * One followed stream: one read session, a ring, and the readers who wait on it.
 *
 * The shell around `machine.ts`: runs its effects, turns records into batches, wakes readers. It
 * never queues anything for a reader; a reader that falls behind the ring reads the log.
 */
import { sleep } from '../clock.ts'
import type { Clock } from '../clock.ts'
import { BeyondTailError, LOG_LIMITS, LogStreamMissingError } from '../log/log.ts'
import type { DurableLog, LogRecord, SeqNum } from '../log/log.ts'
import type { DataRecord } from '../streams/codec.ts'
import type { Sight } from '../streams/visible.ts'
import { digest } from './digest.ts'
import { Follower } from './follower.ts'
import type { Delivery } from './follower.ts'
import { Frames } from './frames.ts'
import type { Progress } from './frames.ts'
import type { OnEncoded } from './frames.ts'
import type { HubLook, HubObserver } from './hub-observer.ts'
import { begin, transition } from './machine.ts'
import type { HubEffect, HubEvent, HubState, Step, StopReason } from './machine.ts'
import { Readers } from './readers.ts'
import { Ring } from './ring.ts'
import type { Batch, RingLimits } from './ring.ts'
import type { HubStream } from './stream.ts'
import type { Subscriber } from './subscriber.ts'
import { HubTimers } from './timers.ts'

export type HubOptions = {
  readonly log: DurableLog
  readonly clock: Clock
  readonly ring: RingLimits
  /** A hub without readers closes its read session after this. */
  readonly idleMs: number
  /** Gets every record that arrives, so that nobody else has to read it. */
  readonly onRecords: (stream: string, records: readonly LogRecord[]) => void
  /** Called twice in every window of the stream's TTL while there are readers. */
  readonly onRenew: (stream: string) => void
  /** Bytes were encoded of records that the ring does not have, and are kept as long as they are. */
  readonly onEncoded?: OnEncoded
  /** A batch goes out to all readers; what it returns is called when it has. */
  readonly onDelivery?: ((delivery: HubDelivery) => (() => void) | undefined) | undefined
  readonly onTransition: (stream: string, transition: HubTransition) => void
  /** A reader threw: it is out, the others and the hub go on. */
  readonly onSubscriberError?: (stream: string, error: unknown) => void
  readonly onReleased: (hub: Hub) => void
  readonly observer?: HubObserver | undefined
}

/** Data that the readers of a hub are woken for. */
export type HubDelivery = {
  readonly stream: string
  readonly records: readonly DataRecord[]
  readonly readers: number
}

/** A change of phase, and the failure that caused it, if one did. */
export type HubTransition = {
  readonly from: HubState
  readonly to: HubState
  readonly cause: unknown
}

/** What is next for a reader at a position. */
export type Next =
  | ({ readonly kind: 'batch'; readonly batch: Batch } & Progress)
  | { readonly kind: 'tail'; readonly end: SeqNum; readonly closed: boolean }
  /** The ring no longer has it: read the log up to where that begins, then ask again. */
  | { readonly kind: 'behind' }

/** A reader's place: its hub, and the position after the last record it has. */
export type Place = { readonly hub: Hub; readonly position: SeqNum }

type Published = { readonly data: readonly DataRecord[]; readonly isNews: boolean }

/** What one poll gets at most, as one chunk of history would hold. */
const CHUNK: RingLimits = {
  maxRecords: LOG_LIMITS.maxBatchRecords,
  maxBytes: LOG_LIMITS.maxBatchBytes,
}

/** Most readers are at one position, and on their way from the one before. */
const MAX_NEXTS = 64

export class Hub {
  readonly stream: HubStream
  readonly frames: Frames
  readonly #options: HubOptions
  readonly #ring: Ring
  readonly #subscribers = new Readers()
  /** What comes next at the positions that were asked for since something has changed. */
  readonly #nexts = new Map<SeqNum, Next>()
  /** The same of {@link nextAll}, where it was asked for last: polls that wait are at one position. */
  #latestAll: { readonly position: SeqNum; readonly next: Next } | undefined
  readonly #timers: HubTimers
  readonly #follower: Follower
  #state: HubState
  #nextSeq: SeqNum
  #sight: Sight
  /** Where the ring began: with the hub, or after the latest group. */
  #beganAt: SeqNum
  #closed: boolean
  /** Whether the ring ends where the log did: not while the hub looks for it, nor inside a batch. */
  #hasAll = true
  /** What has come and no reader was told of yet. */
  #news: Batch | undefined

  constructor(stream: HubStream, options: HubOptions) {
    this.stream = stream
    this.frames = new Frames(stream, (records, bytes) => {
      if (!this.#ring.weigh(records, bytes)) options.onEncoded?.(records, bytes)
      // The ring may have made room for it.
      this.#forgetNexts()
    })
    this.#options = options
    this.#ring = new Ring(stream.dataTail, options.ring)
    this.#beganAt = stream.dataTail
    this.#nextSeq = stream.nextSeq
    const { dataTail, lastDataAt, aborted, voids, held, lock } = stream
    this.#sight = { dataTail, lastDataAt, aborted, voids, held, lock }
    this.#closed = stream.closed
    this.#timers = this.#startTimers()
    this.#follower = this.#createFollower()
    const [state, effects] = begin(stream.closed)
    this.#state = state
    this.#run(effects)
  }

  get state(): HubState {
    return this.#state
  }

  get subscribers(): number {
    return this.#subscribers.size
  }

  /** What its readers are like now: goes through all of them. */
  look(): HubLook {
    const { size, longPolls } = this.#subscribers
    const { lagging, waitingBytes, earliest } = this.#subscribers.tally()
    const lagBytes = earliest < this.tail ? this.#ring.bytesFrom(earliest) : 0
    return { sse: size - longPolls, longPolls, lagging, waitingBytes, lagBytes }
  }

  /** Since when there has been no reader, in ms since 1970; undefined while there is one. */
  get idleSince(): number | undefined {
    return this.#timers.idleSince
  }

  /** What the ring holds, what is encoded of it included. */
  get bytes(): number {
    return this.#ring.bytes
  }

  /** The position after the last data the hub has seen. */
  get tail(): SeqNum {
    return this.#ring.end
  }

  /** The stream as far as readers who are behind look for it in the log. */
  get history(): HubStream & { readonly isFinal: boolean } {
    const { aborted, voids } = this.#sight
    const { start, end } = this.#ring
    // As long as the ring has all since it began, all of them end there: that is worth keeping.
    const isFinal = start === this.#beganAt
    // Once it drops what is old its start moves all the time; a chunk that goes on behind it is
    // whole, and the same for all.
    return { ...this.stream, dataTail: isFinal ? start : end, aborted, voids, isFinal }
  }

  get closed(): boolean {
    return this.#closed
  }

  /** Whether what the hub has seen is all there is, as far as anybody can know. */
  get isCurrent(): boolean {
    return this.#state.phase !== 'stopped' && (this.#hasAll || this.#closed)
  }

  /** How long nothing has been appended, in ms. */
  get idleMs(): number {
    return Math.max(0, this.#options.clock.now() - this.#sight.lastDataAt)
  }

  /**
   * What is next at a position. With {@link add} in the same synchronous block, a reader joins
   * without a gap.
   */
  next(position: SeqNum): Next {
    const known = this.#nexts.get(position)
    if (known !== undefined) return known
    const next = this.#nextFrom(position, (ring) => ring.next(position))
    if (this.#nexts.size === MAX_NEXTS) this.#nexts.clear()
    this.#nexts.set(position, next)
    return next
  }

  /** As {@link next}, but all there is at once, up to the size of a chunk of history. */
  nextAll(position: SeqNum): Next {
    if (this.#latestAll?.position === position) return this.#latestAll.next
    const next = this.#nextFrom(position, (ring) => ring.collect(position, CHUNK))
    this.#latestAll = { position, next }
    return next
  }

  #forgetNexts(): void {
    this.#nexts.clear()
    this.#latestAll = undefined
  }

  #nextFrom(position: SeqNum, take: (ring: Ring) => Batch | undefined): Next {
    const { start, end } = this.#ring
    if (position < start) return { kind: 'behind' }
    const batch = take(this.#ring)
    if (batch === undefined) {
      return { kind: 'tail', end: Math.max(end, position), closed: this.#closed }
    }
    return { kind: 'batch', batch, ...this.progressAt(batch.end) }
  }

  /** What a reader is told who has everything up to a position. */
  progressAt(end: SeqNum): Progress {
    const isLast = end === this.#ring.end
    return { end, upToDate: isLast && this.isCurrent, closed: isLast && this.#closed }
  }

  add(subscriber: Subscriber): void {
    if (this.#state.phase === 'stopped') return subscriber.stop(this.#state.reason)
    this.#subscribers.add(subscriber)
    this.#timers.readerCame()
  }

  remove(subscriber: Subscriber): void {
    const left = this.#subscribers.delete(subscriber) && this.#subscribers.size === 0
    if (left && this.#state.phase !== 'stopped') this.#timers.readersLeft()
  }

  stop(reason: StopReason): void {
    this.#handle({ type: 'stop', reason })
  }

  /**
   * Sends its readers away for a shutdown, polls at once and streams of events at random moments
   * within `overMs`: all of them together would come back together, to the next gateway.
   */
  async dismiss(overMs: number): Promise<void> {
    const { clock } = this.#options
    const dismissed = [...this.#subscribers.all].map(async (subscriber) => {
      if (subscriber.transport === 'sse') await sleep(clock, overMs * clock.random())
      if (this.#subscribers.delete(subscriber)) this.#stopOne(subscriber, 'shutdown')
    })
    await Promise.all(dismissed)
  }

  #handle(event: HubEvent, cause?: unknown): void {
    const [state, effects]: Step = transition(this.#state, event)
    if (state === this.#state) return
    if (state.phase !== this.#state.phase) {
      this.#options.onTransition(this.stream.name, { from: this.#state, to: state, cause })
    }
    if (state.phase === 'recovering') this.#setHasAll(false)
    this.#state = state
    // Of a hub that has stopped nobody knows whether it has all.
    if (state.phase === 'stopped') this.#forgetNexts()
    this.#run(effects)
  }

  #run(effects: readonly HubEffect[]): void {
    for (const effect of effects) {
      switch (effect.run) {
        case 'open_session':
          this.#follower.open(effect)
          break
        case 'close_session':
          this.#follower.close()
          break
        case 'release':
          this.#release(effect.reason)
          break
      }
    }
  }

  #isCurrent(generation: number): boolean {
    return this.#state.phase !== 'stopped' && this.#state.generation === generation
  }

  #ended(cause: unknown, generation: number): void {
    if (!this.#isCurrent(generation)) return
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

  /** Whether that is news. */
  #setHasAll(hasAll: boolean): boolean {
    if (this.#hasAll === hasAll) return false
    this.#hasAll = hasAll
    this.#forgetNexts()
    return true
  }

  #take({ records, upToTail }: Delivery, generation: number): void {
    if (!this.#isCurrent(generation)) return
    this.#handle({ type: 'opened', generation })
    let hasNews = this.#setHasAll(upToTail) && upToTail
    const fresh = records.filter(({ seqNum }) => seqNum >= this.#nextSeq)
    const first = fresh[0]
    const last = fresh.at(-1)
    let data: readonly DataRecord[] = []
    if (first !== undefined && last !== undefined) {
      if (first.seqNum !== this.#nextSeq) return this.#handle({ type: 'stop', reason: 'gap' })
      this.#nextSeq = last.seqNum + 1
      this.#options.onRecords(this.stream.name, fresh)
      const published = this.#publish(fresh, generation)
      hasNews ||= published.isNews
      data = published.data
    }
    if (hasNews) this.#deliver(data)
  }

  #caughtUp(tail: SeqNum, generation: number): void {
    if (!this.#isCurrent(generation)) return
    // Nothing of what lies between was delivered, so it is gone: trimmed by a deletion, most often.
    if (tail > this.#nextSeq) return this.#handle({ type: 'stop', reason: 'gap' })
    this.#handle({ type: 'opened', generation })
    if (this.#setHasAll(true)) this.#wakeAll()
  }

  /** What readers are to get, and whether they have something to hear of. */
  #publish(records: readonly LogRecord[], generation: number): Published {
    const { sight, jump, data, ended } = digest(records, this.stream.contentType, this.#sight)
    const last = data.at(-1)
    this.#forgetNexts()
    this.#sight = sight
    if (ended === 'eof') this.#closed = true
    if (jump !== undefined) {
      this.#beganAt = jump
      this.#ring.jump(jump)
    }
    this.#news = last && { records: data, end: last.seqNum + 1 }
    if (this.#news !== undefined) this.#ring.push(this.#news)
    if (ended === 'deleted') this.#handle({ type: 'stop', reason: 'stream_deleted' })
    if (ended === 'eof') this.#handle({ type: 'eof', generation })
    return { data, isNews: jump !== undefined || last !== undefined || ended === 'eof' }
  }

  #deliver(records: readonly DataRecord[]): void {
    const { size: readers } = this.#subscribers
    const isNeeded = records.length > 0 && readers > 0
    const delivery = { stream: this.stream.name, records, readers }
    const delivered = isNeeded ? this.#options.onDelivery?.(delivery) : undefined
    this.#wakeAll()
    delivered?.()
  }

  #wakeAll(): void {
    const { observer, clock } = this.#options
    const { size: readers, longPolls } = this.#subscribers
    const news = this.#news
    this.#news = undefined
    for (const subscriber of this.#subscribers.all) {
      try {
        subscriber.wake()
      } catch (error) {
        this.#options.onSubscriberError?.(this.stream.name, error)
        this.remove(subscriber)
        this.#stopOne(subscriber, 'failed')
      }
    }
    // Once per batch, however many readers there are.
    if (news === undefined || readers === 0) return
    observer?.onBatch(this.frames.delivered(news, { readers, longPolls }, clock.now()))
  }

  #stopOne(subscriber: Subscriber, reason: StopReason): void {
    try {
      subscriber.stop(reason)
    } catch (error) {
      this.#options.onSubscriberError?.(this.stream.name, error)
    }
  }

  #release(reason: StopReason): void {
    this.#timers.cancelAll()
    this.#options.onReleased(this)
    for (const subscriber of this.#subscribers.takeAll()) this.#stopOne(subscriber, reason)
  }

  #createFollower(): Follower {
    const { log, clock } = this.#options
    const from = (): SeqNum => this.#nextSeq
    return new Follower(
      { log, clock, stream: this.stream.name, from },
      {
        onRecords: (delivery, generation) => this.#guard(() => this.#take(delivery, generation)),
        onCaughtUp: (tail, generation) => this.#caughtUp(tail, generation),
        onEnd: (cause, generation) => this.#ended(cause, generation),
      },
    )
  }

  #startTimers(): HubTimers {
    const { clock, idleMs, onRenew } = this.#options
    const { name, ttlMs, endsAt } = this.stream
    const times = { idleMs, ttlMs, endsAt }
    return new HubTimers(clock, times, {
      onIdle: () => this.#handle({ type: 'linger_elapsed', subscribers: this.#subscribers.size }),
      onRenew: () => {
        const wanted = this.#subscribers.size > 0
        if (wanted) onRenew(name)
        return wanted
      },
      onEnd: () => this.stop('stream_expired'),
    })
  }
}
