/**
 * One HTTP/2 connection that carries read sessions.
 *
 * **Every read is acknowledged at once.** s2-lite writes with Nagle's algorithm: a frame waits
 * until the kernel of whoever reads has acknowledged the one before, and that may take its 40 ms
 * (delayed ACK) to see whether there is something to send along. So there is: a WINDOW_UPDATE of 13
 * bytes, which asks for no answer. A PING would, with one more frame for Nagle's queue.
 */
import http2, { constants, type ClientHttp2Session, type ClientHttp2Stream } from 'node:http2'
import type { OutgoingHttpHeaders } from 'node:http'
import { S2Error } from '@s2-dev/streamstore'
import { connectionFailure } from './s2-answers.ts'

const MIB = 1024 * 1024

/** As S2's own limit; the SDK takes no more either, whatever the server would allow. */
export const MAX_STREAMS = 100

/**
 * What S2 may send of one stream before it is read, and all that a session which is not read holds
 * here: one of its largest frames. It alone bounds them: Node gives the connection's window back
 * when bytes arrive, whether they are read or not.
 */
const STREAM_WINDOW_BYTES = 2 * MIB

/** What it may send of all before Node takes it in: up to 100 sessions share it. */
const CONNECTION_WINDOW_BYTES = 64 * MIB

/** Node's own limit, of 10 MB, would refuse streams before the windows are full. */
const SESSION_MEMORY_MB = (MAX_STREAMS * STREAM_WINDOW_BYTES + CONNECTION_WINDOW_BYTES) / MIB + 8

/** The largest window of HTTP/2: RFC 9113, section 6.9.1. */
const MAX_WINDOW_BYTES = 2 ** 31 - 1

export type ReadConnectionOptions = {
  readonly origin: string
  readonly connectTimeoutMs: number
  /** How long it is kept without a stream. */
  readonly idleMs: number
  /** Where the window ends that grows with every read. */
  readonly maxWindowBytes?: number | undefined
  /** Called once when it has come to its end. */
  readonly onClosed: () => void
}

export class ReadConnection {
  /** Resolves when S2 has sent its settings, and with them how many streams it takes. */
  readonly ready: Promise<void>
  readonly #options: ReadConnectionOptions
  readonly #session: ClientHttp2Session
  /** `leaving`: takes no new streams, and goes with its last one. */
  #phase: 'connecting' | 'open' | 'leaving' | 'closed' = 'connecting'
  #streams = 0
  #windowBytes = CONNECTION_WINDOW_BYTES
  #isAcknowledging = false
  #idle: NodeJS.Timeout | undefined

  constructor(options: ReadConnectionOptions) {
    this.#options = options
    this.#session = http2.connect(options.origin, {
      maxSessionMemory: SESSION_MEMORY_MB,
      settings: { initialWindowSize: STREAM_WINDOW_BYTES, enablePush: false },
    })
    this.ready = this.#connect()
    // Whoever waited may have gone.
    this.ready.catch(() => undefined)
    this.#session.on('goaway', () => this.close())
    this.#session.on('error', () => this.close())
    this.#session.on('close', () => this.close())
  }

  get isConnecting(): boolean {
    return this.#phase === 'connecting'
  }

  /** Whether it may get streams, now or as soon as it is there. */
  get isUsable(): boolean {
    return this.#phase === 'connecting' || this.#phase === 'open'
  }

  /** How many more streams it can take. */
  get room(): number {
    // What has just broken says so a little later.
    const isThere = this.#phase === 'open' && !this.#session.closed && !this.#session.destroyed
    return isThere ? this.streamLimit - this.#streams : 0
  }

  /** What S2 allows, of what we take. */
  get streamLimit(): number {
    return Math.min(this.#session.remoteSettings.maxConcurrentStreams ?? MAX_STREAMS, MAX_STREAMS)
  }

  /** Opens a stream. Only with {@link room}. */
  request(headers: OutgoingHttpHeaders): ClientHttp2Stream {
    const stream = this.#session.request(headers, { endStream: true })
    this.#streams += 1
    clearTimeout(this.#idle)
    stream.on('data', () => this.#acknowledge())
    stream.once('close', () => this.#released())
    return stream
  }

  /** Takes no new streams; those it has go on until they end. */
  leave(): void {
    if (!this.isUsable) return
    this.#phase = 'leaving'
    if (this.#streams === 0) this.close()
  }

  /** Ends it and all its streams. */
  close(): void {
    if (this.#phase === 'closed') return
    this.#phase = 'closed'
    clearTimeout(this.#idle)
    // Not its `close`: that waits for a peer which may be gone. With an error, as without one its
    // streams would seem to have ended well.
    this.#session.destroy(new Error('the connection was closed'), constants.NGHTTP2_NO_ERROR)
    this.#options.onClosed()
  }

  #connect(): Promise<void> {
    const { connectTimeoutMs } = this.#options
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(notConnected(connectTimeoutMs))
        this.close()
      }, connectTimeoutMs)
      this.#session.once('remoteSettings', () => {
        clearTimeout(timer)
        if (this.#phase === 'connecting') {
          this.#phase = 'open'
          this.#session.setLocalWindowSize(CONNECTION_WINDOW_BYTES)
          this.#waitIdle()
        }
        resolve()
      })
      this.#session.once('error', (error) => reject(connectionFailure(error)))
      this.#session.once('close', () => {
        clearTimeout(timer)
        reject(connectionFailure(new Error('the connection was closed')))
      })
    })
  }

  /**
   * Once in a turn of the event loop: what the window grows by is written at the end of the turn,
   * after all that was read in it and before what waits for `setImmediate`, as the fan-out does.
   */
  #acknowledge(): void {
    if (this.#isAcknowledging || this.#session.destroyed) return
    const { maxWindowBytes = MAX_WINDOW_BYTES } = this.#options
    // After two thousand million reads, some days' worth. The sessions go on on another one.
    if (this.#windowBytes >= maxWindowBytes) return this.close()
    this.#isAcknowledging = true
    setImmediate(() => (this.#isAcknowledging = false))
    this.#windowBytes += 1
    this.#session.setLocalWindowSize(this.#windowBytes)
  }

  #released(): void {
    this.#streams -= 1
    if (this.#streams > 0) return
    if (this.#phase === 'leaving') this.close()
    else this.#waitIdle()
  }

  #waitIdle(): void {
    if (this.#phase !== 'open') return
    clearTimeout(this.#idle)
    this.#idle = setTimeout(() => this.close(), this.#options.idleMs)
    this.#idle.unref()
  }
}

function notConnected(ms: number): S2Error {
  const message = `no connection within ${ms} ms`
  return new S2Error({ message, code: 'CONNECTION_TIMEOUT', status: 408, origin: 'sdk' })
}
