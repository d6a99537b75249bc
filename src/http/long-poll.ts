/** A parked long-poll: one answer, when there is data or the time is up (PROTOCOL §5.7). */
import { LogUnavailableError, StreamNotFoundError } from '../errors.ts'
import type { Hub, Place } from '../hub/hub.ts'
import type { StopReason } from '../hub/machine.ts'
import type { Batch } from '../hub/ring.ts'
import type { HubStream } from '../hub/stream.ts'
import type { Subscriber } from '../hub/subscriber.ts'
import { nextCursor } from '../protocol/cursor.ts'
import type { SinkOwner } from './event-sink.ts'
import type { Lease, Leaseholder, Leases } from './leases.ts'
import type { Waiter, Wheel } from './wheel.ts'

export type LongPollResult = {
  readonly stream: HubStream
  readonly from: number
  readonly next: number
  readonly upToDate: boolean
  readonly closed: boolean
  /** Undefined for 204: no data, because of the time or the end of the stream. */
  readonly body: Buffer | undefined
  /** Absent at the end of a closed stream: there is nothing to poll for. */
  readonly cursor: number | undefined
  /** That of the latest append in the body. */
  readonly traceparent?: string | undefined
}

/** What all polls share. */
export type LongPollOptions = {
  readonly wheel: Wheel
  readonly timeoutMs: number
  readonly leases: Leases
  /** Reads the batch at a position that the hub no longer has. */
  readonly history: (hub: Hub, position: number) => Promise<Batch>
  /** Hears of the end of each: when it began, and its answer, if there is somebody to have it. */
  readonly onEnd: (begunAt: number, answer: LongPollResult | undefined) => void
}

export type LongPoller = {
  /** Its place, and what comes next there if the ring no longer has it. */
  readonly place: Place & { readonly past?: Batch | undefined }
  readonly cursor: number | undefined
  /** Undefined for one who needs none. */
  readonly lease?: Lease | undefined
  /** By the monotonic clock, in ms. */
  readonly begunAt: number
  /** Whether its client has left already. */
  readonly isGone: boolean
}

/** `looking`: for data, in the ring or in history; `parked`: on the hub, until woken. */
type Phase = 'looking' | 'parked' | 'answered'

export class LongPollSubscriber implements Subscriber, SinkOwner, Waiter, Leaseholder {
  readonly transport = 'long-poll'
  readonly result: Promise<LongPollResult>
  readonly #hub: Hub
  readonly #options: LongPollOptions
  readonly #from: number
  readonly #clientCursor: number | undefined
  readonly #lease: Lease | undefined
  #position: number
  #past: Batch | undefined
  #phase: Phase = 'looking'
  readonly #begunAt: number
  #isGone: boolean
  #resolve!: (result: LongPollResult) => void
  #reject!: (error: unknown) => void
  /** The turn of the wheel at which its time is up; 0 unless it waits for that. */
  #dueAt = 0

  constructor(poller: LongPoller, options: LongPollOptions) {
    const { place, cursor, lease, begunAt, isGone } = poller
    this.#begunAt = begunAt
    this.#isGone = isGone
    this.#hub = place.hub
    this.#from = place.position
    this.#position = place.position
    this.#past = place.past
    this.#clientCursor = cursor
    this.#lease = lease
    this.#options = options
    this.result = new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
    })
    this.#look()
  }

  wake(): void {
    if (this.#phase === 'parked') this.#look()
  }

  stop(reason: StopReason): void {
    switch (reason) {
      case 'stream_deleted':
      case 'stream_expired':
        return this.#fail(new StreamNotFoundError())
      case 'failed':
      case 'gap':
        // Not an empty answer: it would say that there is nothing, and be asked for again at once.
        return this.#fail(new LogUnavailableError())
      case 'idle':
      case 'shutdown':
        // The next poll finds a new hub, here or at another gateway. Whoever is about to get data
        // gets it: an empty answer says that there is none (PROTOCOL §5.7).
        if (this.#phase === 'parked') this.#answerEmpty()
        return
    }
  }

  /** The client is gone, and maybe nobody waits for the result. */
  closed(): void {
    this.#isGone = true
    if (this.#phase !== 'answered') this.#answerEmpty()
  }

  /** One answer has room. */
  drained(): void {}

  #look(): void {
    const next = this.#hub.nextAll(this.#position)
    switch (next.kind) {
      case 'batch':
        return this.#answer(next.batch, next)
      case 'behind':
        this.#phase = 'looking'
        // There is data: the time is no longer up before it is here.
        this.#stopWaiting()
        this.#readHistory().catch((error: unknown) => this.#fail(error))
        return
      case 'tail':
        if (next.closed) this.#answerEmpty()
        else this.#park()
    }
  }

  #park(): void {
    this.#phase = 'parked'
    if (this.#dueAt > 0) return
    const { wheel } = this.#options
    this.#dueAt = wheel.after(this.#holdLease())
    wheel.add(this, this.#dueAt)
    this.#hub.add(this)
  }

  /** How long it may wait, in ms. */
  #holdLease(): number {
    const { timeoutMs, leases } = this.#options
    if (this.#lease === undefined) return timeoutMs
    leases.hold(this.#lease, this)
    return Math.min(timeoutMs, leases.left(this.#lease))
  }

  /** Its next request is refused. */
  revoked(): void {
    if (this.#phase === 'parked') this.#answerEmpty()
  }

  #stopWaiting(): void {
    if (this.#dueAt === 0) return
    this.#options.wheel.remove(this, this.#dueAt)
    this.#dueAt = 0
  }

  async #readHistory(): Promise<void> {
    const past = this.#past
    this.#past = undefined
    const batch = past ?? (await this.#options.history(this.#hub, this.#position))
    // The client may have left, the hub may have stopped.
    if (this.#phase !== 'looking') return
    if (batch.records.length === 0) {
      this.#position = batch.end
      this.#look()
      return
    }
    this.#answer(batch, this.#hub.progressAt(batch.end))
  }

  #answer(batch: Batch, { upToDate, closed }: { upToDate: boolean; closed: boolean }): void {
    this.#settle({
      stream: this.#hub.stream,
      from: this.#from,
      next: batch.end,
      upToDate,
      closed,
      body: this.#hub.frames.body(batch.records),
      traceparent: this.#hub.frames.traceparent(batch.records),
      cursor: this.#cursor(batch.end, 0),
    })
  }

  /**
   * Its time is up. An empty answer says that there is nothing more, which nobody knows while the
   * log is away.
   */
  due(): void {
    if (this.#hub.isCurrent) this.#answerEmpty()
    else this.#fail(new LogUnavailableError())
  }

  #answerEmpty(): void {
    const next = this.#hub.next(this.#position)
    const closed = next.kind === 'tail' && next.closed
    this.#settle({
      stream: this.#hub.stream,
      from: this.#from,
      next: this.#position,
      upToDate: true,
      closed,
      body: undefined,
      cursor: closed ? undefined : this.#cursor(this.#position, this.#hub.idleMs),
    })
  }

  #cursor(seqNum: number, idleMs: number): number {
    return nextCursor({ seqNum, idleMs, clientCursor: this.#clientCursor })
  }

  #settle(result: LongPollResult): void {
    this.#leave(this.#isGone ? undefined : result)
    this.#resolve(result)
  }

  /** Its history may fail when its client has left, or its hub has stopped. */
  #fail(error: unknown): void {
    if (this.#phase === 'answered') return
    this.#leave()
    this.#reject(error)
  }

  #leave(answer?: LongPollResult): void {
    this.#phase = 'answered'
    this.#stopWaiting()
    if (this.#lease !== undefined) this.#options.leases.release(this.#lease, this)
    this.#hub.remove(this)
    this.#options.onEnd(this.#begunAt, answer)
  }
}
