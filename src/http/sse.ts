/**
 * One SSE reader (PROTOCOL §5.8): a position in the hub's ring and a socket.
 *
 * It writes shared bytes until the socket pushes back, and goes on from its position when the
 * socket has drained. Nothing is queued for it beyond what Node holds of one write.
 */
import { backoffMs } from '../clock.ts'
import type { Clock } from '../clock.ts'
import { LogUnavailableError } from '../errors.ts'
import type { Hub, Place } from '../hub/hub.ts'
import type { Batch } from '../hub/ring.ts'
import type { Frame, Progress } from '../hub/frames.ts'
import type { ReaderTally } from '../hub/hub-observer.ts'
import type { Subscriber } from '../hub/subscriber.ts'
import { HEARTBEAT } from '../protocol/sse.ts'
import type { Chunk, Portion } from '../streams/shared-chunk.ts'
import type { DisconnectReason, EventSink, SinkOwner } from './event-sink.ts'
import type { Lease, Leaseholder, Leases } from './leases.ts'
import type { Waiter, Wheel } from './wheel.ts'

/** Ends after which the stream goes on elsewhere: the reader is told where it stands. */
const SAYS_WHERE: ReadonlySet<DisconnectReason> = new Set([
  'lifetime',
  'token_expired',
  'key_withdrawn',
  'shutdown',
  'idle',
])

/** What all readers share: there are thousands of them, and each byte counts. */
export type SseOptions = {
  readonly clock: Clock
  readonly wheel: Wheel
  readonly heartbeatMs: number
  /** The connection ends after this, less up to a fifth, so that CDNs can collapse readers. */
  readonly lifetimeMs: number
  /** A reader that takes nothing of what it was sent is let go of after this. */
  readonly stallMs: number
  readonly leases: Leases
  /** Hears of the end of each, and how long it was there, in ms. */
  readonly onEnd: (reason: DisconnectReason, ms: number) => void
  /** Reads the chunk at a position that the hub no longer has. */
  readonly history: (hub: Hub, position: number) => Promise<Chunk>
}

export type SseReader = {
  /** Its place, and what comes next there if the ring no longer has it. */
  readonly place: Place & { readonly past?: Chunk | undefined }
  readonly cursor: number | undefined
  readonly sink: EventSink
  /** Undefined for a reader who needs none. */
  readonly lease?: Lease | undefined
}

/**
 * `reading`: waits for history; `draining`: the socket is full; `following`: all written.
 */
type Phase = 'reading' | 'draining' | 'following' | 'ended'

const LIFETIME_JITTER = 0.2
/** The wait before history is read again after a failure. */
const HISTORY_RETRY = { firstMs: 100, longestMs: 2000 }
/** How long a reader may take for its last bytes, at least; a message may be as large as an append. */
const FLUSH_MS = 10_000
/** The slowest that a reader may be, in bytes a ms: Node does not tell how far it is with a write. */
const SLOWEST_RATE = 64

export class SseSubscriber implements Subscriber, SinkOwner, Waiter, Leaseholder {
  readonly #hub: Hub
  readonly #sink: EventSink
  readonly #options: SseOptions
  readonly #lease: Lease | undefined
  #position: number
  #cursor: number | undefined
  /** History that comes next, as long as the socket takes it. */
  #past: readonly Portion[] | undefined
  #phase: Phase = 'following'
  /** Whether the last event told the client that it is up to date; undefined before the first. */
  #told: boolean | undefined
  /** Whether anything was sent since its turn came last. */
  #wrote = false
  #attempt = 0
  /** Turns of the wheel: the next one for this reader, and the one at which its lifetime is over. */
  #dueAt = 0
  #endsAt = 0
  /** By the clock, in whole ms. */
  readonly #begunAt: number
  /** The one at which it has taken too long; only while its socket is full. */
  #stallsAt = 0

  constructor({ place, cursor, sink, lease }: SseReader, options: SseOptions) {
    this.#hub = place.hub
    this.#position = place.position
    this.#cursor = cursor
    this.#sink = sink
    this.#options = options
    this.#lease = lease
    this.#begunAt = Math.round(options.clock.elapsed())
    if (place.past !== undefined) this.#hold(place.past)
  }

  get transport(): 'sse' {
    return 'sse'
  }

  /** Sends what there is and stays. */
  begin(): void {
    const { clock, wheel, lifetimeMs } = this.#options
    this.#sink.own(this)
    this.#endsAt = wheel.after(lifetimeMs * (1 - LIFETIME_JITTER * clock.random()))
    this.#holdLease()
    this.#wait()
    this.#hub.add(this)
    // A hub that has stopped meanwhile ends its readers at once.
    if (this.#isFollowing()) this.#pump()
  }

  #holdLease(): void {
    const { wheel, leases } = this.#options
    if (this.#lease === undefined) return
    this.#endsAt = Math.min(this.#endsAt, wheel.after(leases.left(this.#lease)))
    leases.hold(this.#lease, this)
  }

  wake(): void {
    if (this.#phase === 'following') this.#pump()
  }

  drained(): void {
    if (this.#phase === 'draining') this.#pump()
  }

  closed(): void {
    this.#options.wheel.remove(this, this.#dueAt)
    this.#end('client')
  }

  /** Time for a heartbeat, the end of its lifetime, or the end of the time for its last bytes. */
  due(): void {
    if (this.#phase === 'ended') return this.#sink.destroy()
    try {
      this.#turn()
    } catch (error) {
      this.#end('failed', error)
    }
  }

  #turn(): void {
    if (this.#dueAt >= this.#endsAt)
      return this.stop(this.#isOnLease() ? 'lifetime' : 'token_expired')
    if (this.#phase === 'draining' && this.#dueAt >= this.#stallsAt) return this.#end('stalled')
    // A full socket has enough to send; its reader is not idle. Nor is there any telling when it
    // will go on: what is kept for it meanwhile can be read again.
    const { isFull } = this.#sink
    if (isFull) this.#past = undefined
    // Turns come twice in a heartbeat's time, so that nobody is sent one beside what he gets.
    const isSilent = !isFull && !this.#wrote
    if (isSilent) this.#sink.send(HEARTBEAT)
    this.#wrote = isSilent
    this.#wait()
  }

  #wait(): void {
    const { wheel, heartbeatMs } = this.#options
    const stallsAt = this.#phase === 'draining' ? this.#stallsAt : Infinity
    this.#dueAt = Math.min(wheel.after(heartbeatMs / 2), this.#endsAt, stallsAt)
    wheel.add(this, this.#dueAt)
  }

  /** Whatever it takes next, it has to take it by then. */
  #waitForRoom(): void {
    const { wheel, stallMs } = this.#options
    this.#phase = 'draining'
    this.#stallsAt = wheel.after(stallMs + this.#sink.waiting / SLOWEST_RATE)
    wheel.remove(this, this.#dueAt)
    this.#wait()
  }

  /** Also who needs none. */
  #isOnLease(): boolean {
    return this.#lease === undefined || this.#options.leases.left(this.#lease) > 0
  }

  revoked(): void {
    this.stop('key_withdrawn')
  }

  stop(reason: DisconnectReason): void {
    if (this.#phase === 'ended') return
    if (SAYS_WHERE.has(reason)) this.#sayWhere()
    this.#end(reason)
  }

  tally(sum: ReaderTally): void {
    sum.waitingBytes += this.#sink.waiting
    sum.earliest = Math.min(sum.earliest, this.#position)
    if (!this.#isFollowing()) sum.lagging += 1
  }

  /** What breaks here ends this reader; its client comes back, and the others do not notice. */
  #pump(): void {
    this.#phase = 'following'
    try {
      this.#sendAll()
    } catch (error) {
      this.#end('failed', error)
    }
  }

  /** Sends until there is nothing more, the socket is full, or history has to be read. */
  #sendAll(): void {
    while (this.#isFollowing()) {
      const past = this.#past?.find(({ end }) => end > this.#position)
      if (past !== undefined) {
        this.#send(past, this.#hub.progressAt(past.end))
        continue
      }
      this.#past = undefined
      const next = this.#hub.next(this.#position)
      switch (next.kind) {
        case 'batch':
          this.#send(next.batch, next)
          // It was told so.
          if (next.upToDate) return
          break
        case 'behind':
          this.#phase = 'reading'
          this.#readHistory()
          return
        case 'tail':
          return this.#atTail(next.end, next.closed)
      }
    }
  }

  /** Asked through a method: a write can change the phase. */
  #isFollowing(): boolean {
    return this.#phase === 'following'
  }

  #readHistory(): void {
    this.#options
      .history(this.#hub, this.#position)
      .then((chunk) => this.#takeHistory(chunk))
      .catch((error: unknown) => this.#readFailed(error))
  }

  /** A log that is away for a while costs a reader no more than the wait. */
  #readFailed(error: unknown): void {
    const mayPass = this.#phase === 'reading' && error instanceof LogUnavailableError
    if (!mayPass) return this.#end('read_failed', error)
    const { clock } = this.#options
    const waitMs = backoffMs(clock, this.#attempt, HISTORY_RETRY)
    this.#attempt += 1
    clock.after(waitMs, () => {
      if (this.#phase === 'reading') this.#readHistory()
    })
  }

  #takeHistory(chunk: Chunk): void {
    if (this.#phase !== 'reading') return
    this.#attempt = 0
    this.#hold(chunk)
    this.#pump()
  }

  #hold({ portions, end }: Chunk): void {
    this.#past = portions
    if (portions.length === 0) this.#position = end
  }

  #send(batch: Batch, progress: Progress): void {
    this.#write(this.#hub.frames.event(batch, progress, this.#cursor), progress.upToDate)
    this.#position = batch.end
    if (progress.closed) this.#end('stream_closed')
  }

  /** Nothing more to read: says so to a reader that does not know, or that it is the end. */
  #atTail(end: number, closed: boolean): void {
    // While the hub looks for the log, nobody knows whether this is all there is.
    const upToDate = this.#hub.isCurrent
    const isNews = this.#told === undefined || (upToDate && !this.#told)
    if (!isNews && !closed) return
    const progress = { end, upToDate, closed }
    this.#write(this.#hub.frames.status(progress, this.#hub.idleMs, this.#cursor), upToDate)
    if (closed) this.#end('stream_closed')
  }

  /** Also a full socket takes it: a control event is small, and the last thing to come. */
  #sayWhere(): void {
    const { kind } = this.#hub.next(this.#position)
    const upToDate = kind === 'tail' && this.#hub.isCurrent
    const progress = { end: this.#position, upToDate, closed: false }
    this.#write(this.#hub.frames.status(progress, this.#hub.idleMs, this.#cursor), true)
  }

  #write({ chunk, cursor }: Frame, upToDate: boolean): void {
    this.#told = upToDate
    this.#cursor = cursor
    this.#wrote = true
    if (!this.#sink.send(chunk) && this.#phase === 'following') this.#waitForRoom()
  }

  #end(reason: DisconnectReason, cause?: unknown): void {
    if (this.#phase === 'ended') return
    this.#phase = 'ended'
    this.#past = undefined
    this.#options.wheel.remove(this, this.#dueAt)
    if (this.#lease !== undefined) this.#options.leases.release(this.#lease, this)
    this.#hub.remove(this)
    this.#sink.readerEnded(reason, cause)
    const { clock, onEnd } = this.#options
    onEnd(reason, clock.elapsed() - this.#begunAt)
    if (reason === 'client' || reason === 'stalled') this.#sink.destroy()
    else this.#endResponse()
  }

  #endResponse(): void {
    const { wheel } = this.#options
    // Ending waits for what is buffered; a reader that does not read would hold it for ever.
    this.#dueAt = wheel.after(FLUSH_MS + this.#sink.waiting / SLOWEST_RATE)
    wheel.add(this, this.#dueAt)
    this.#sink.end()
  }
}
