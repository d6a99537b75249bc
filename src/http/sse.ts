/**
 * One SSE reader (PROTOCOL §5.8): a position in the hub's ring and a socket.
 *
 * It writes shared bytes until the socket pushes back, and goes on from its position when the
 * socket has drained. Nothing is queued for it beyond what Node holds of one write.
 */
import type { ServerResponse } from 'node:http'
import { backoffMs } from '../clock.ts'
import type { Clock } from '../clock.ts'
import { LogUnavailableError } from '../errors.ts'
import type { Hub, Place } from '../hub/hub.ts'
import type { StopReason } from '../hub/machine.ts'
import type { Batch } from '../hub/ring.ts'
import type { Frame } from '../hub/frames.ts'
import type { Subscriber } from '../hub/subscriber.ts'
import { HEARTBEAT } from '../protocol/sse.ts'

/** Why a reader's connection ended. `failed` and `read_failed` come with their cause. */
export type DisconnectReason = StopReason | 'stream_closed' | 'lifetime' | 'client' | 'read_failed'

/** Ends after which the stream goes on elsewhere: the reader is told where it stands. */
const SAYS_WHERE: ReadonlySet<DisconnectReason> = new Set(['lifetime', 'shutdown', 'idle'])

export type SseOptions = {
  readonly clock: Clock
  readonly response: ServerResponse
  readonly cursor: number | undefined
  readonly heartbeatMs: number
  /** The connection ends after this, less up to a fifth, so that CDNs can collapse readers. */
  readonly lifetimeMs: number
  /** Reads the batch at a position that the hub no longer has. */
  readonly history: (position: number) => Promise<Batch>
  readonly onEnd: (reason: DisconnectReason, cause?: unknown) => void
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
/** The slowest that a reader may be with them, in bytes a ms. */
const FLUSH_RATE = 64

export class SseSubscriber implements Subscriber {
  readonly transport = 'sse'
  readonly #hub: Hub
  readonly #options: SseOptions
  #position: number
  #cursor: number | undefined
  #phase: Phase = 'following'
  /** What the last event told the client, if there was one. */
  #told: { readonly upToDate: boolean } | undefined
  #attempt = 0
  #cancelHeartbeat = (): void => undefined
  #cancelLifetime = (): void => undefined

  constructor({ hub, position }: Place, options: SseOptions) {
    this.#hub = hub
    this.#position = position
    this.#options = options
    this.#cursor = options.cursor
  }

  /** Sends what there is and stays. */
  begin(): void {
    const { clock, lifetimeMs, response } = this.#options
    response.on('drain', () => {
      if (this.#phase === 'draining') this.#pump()
    })
    response.once('close', () => this.#end('client'))
    // A reader that went away in the same instant must not bring the process down.
    response.on('error', () => this.#end('client'))
    const lifetime = lifetimeMs * (1 - LIFETIME_JITTER * clock.random())
    this.#cancelLifetime = clock.after(lifetime, () => this.stop('lifetime'))
    this.#armHeartbeat()
    this.#hub.add(this)
    // A hub that has stopped meanwhile ends its readers at once.
    if (this.#isFollowing()) this.#pump()
  }

  wake(): void {
    if (this.#phase === 'following') this.#pump()
  }

  stop(reason: DisconnectReason): void {
    if (this.#phase === 'ended') return
    if (SAYS_WHERE.has(reason)) this.#sayWhere()
    this.#end(reason)
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
      const next = this.#hub.next(this.#position)
      switch (next.kind) {
        case 'batch':
          this.#send(next.batch, next)
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
      .history(this.#position)
      .then((batch) => this.#takeHistory(batch))
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

  #takeHistory(batch: Batch): void {
    if (this.#phase !== 'reading') return
    this.#attempt = 0
    this.#phase = 'following'
    if (batch.records.length === 0) this.#position = batch.end
    else {
      const upToDate = batch.end === this.#hub.tail
      this.#send(batch, { upToDate, closed: upToDate && this.#hub.closed })
    }
    if (this.#isFollowing()) this.#pump()
  }

  #send(batch: Batch, { upToDate, closed }: { upToDate: boolean; closed: boolean }): void {
    const progress = { end: batch.end, upToDate, closed }
    this.#write(this.#hub.frames.event(batch, progress, this.#cursor), upToDate)
    this.#position = batch.end
    if (closed) this.#end('stream_closed')
  }

  /** Nothing more to read: says so to a reader that does not know, or that it is the end. */
  #atTail(end: number, closed: boolean): void {
    // While the hub looks for the log, nobody knows whether this is all there is.
    const upToDate = closed || this.#hub.isCurrent
    const isNews = this.#told === undefined || (upToDate && !this.#told.upToDate)
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

  #write({ bytes, cursor }: Frame, upToDate: boolean): void {
    this.#told = { upToDate }
    this.#cursor = cursor
    if (!this.#options.response.write(bytes) && this.#phase === 'following') {
      this.#phase = 'draining'
    }
  }

  #armHeartbeat(): void {
    const { clock, heartbeatMs, response } = this.#options
    this.#cancelHeartbeat = clock.after(heartbeatMs, () => {
      // A full socket has enough to send; its reader is not idle.
      if (!response.writableNeedDrain) response.write(HEARTBEAT)
      this.#armHeartbeat()
    })
  }

  #end(reason: DisconnectReason, cause?: unknown): void {
    if (this.#phase === 'ended') return
    this.#phase = 'ended'
    this.#cancelHeartbeat()
    this.#cancelLifetime()
    this.#hub.remove(this)
    const { response, onEnd } = this.#options
    if (reason === 'client') response.destroy()
    else this.#endResponse()
    onEnd(reason, cause)
  }

  #endResponse(): void {
    const { clock, response } = this.#options
    response.end()
    const ms = FLUSH_MS + response.writableLength / FLUSH_RATE
    // Ending waits for what is buffered; a reader that does not read would hold it for ever.
    const cancel = clock.after(ms, () => response.destroy())
    response.once('close', cancel)
  }
}
