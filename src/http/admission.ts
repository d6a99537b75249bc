/**
 * Who may come in. A gateway that has enough to do refuses what is new, at once and with a
 * `Retry-After`, and keeps those that it serves.
 */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock } from '../clock.ts'
import { OverloadedError } from '../errors.ts'

export type AdmissionOptions = {
  readonly clock: Clock
  /** Connections that are served; of those above it each request is refused. */
  readonly maxConnections: number
  /** New connections that are served, in a second. A second's worth may come at once. */
  readonly maxConnectsPerS: number
  /** With a later event loop nothing new is begun. In ms. */
  readonly maxLoopDelayMs: number
  /** How late it is, in ms. */
  readonly loopDelayMs: () => number
  /** Hears of connections that are gone, and how long they were there, in ms. */
  readonly onClosed?: ((ms: number) => void) | undefined
}

export type ConnectionCounts = {
  readonly open: number
  readonly accepted: number
  readonly refused: { readonly too_many: number; readonly too_fast: number }
}

/** How many more there may be that are only told so; those above are dropped without a word. */
const MAX_REFUSED = 1000

export class Admission {
  readonly #options: AdmissionOptions
  /** Connections that are to be closed once they were told why. */
  readonly #refused = new WeakMap<Socket, string>()
  #connections = 0
  #accepted = 0
  #tooMany = 0
  #tooFast = 0
  /** How many may come now. */
  #room: number
  #roomAt: number

  constructor(options: AdmissionOptions) {
    this.#options = options
    this.#room = options.maxConnectsPerS
    this.#roomAt = options.clock.now()
  }

  /** Connections there are, and since the start: those that came, and those that were one too many. */
  get counts(): ConnectionCounts {
    const refused = { too_many: this.#tooMany, too_fast: this.#tooFast }
    return { open: this.#connections, accepted: this.#accepted, refused }
  }

  /** How late the event loop is, in ms. */
  get loopDelayMs(): number {
    return this.#options.loopDelayMs()
  }

  /** Counts the connections of a server from now on, before anybody else hears of them. */
  watch(server: Server): void {
    server.maxConnections = this.#options.maxConnections + MAX_REFUSED
    server.prependListener('connection', (socket: Socket) => this.#came(socket))
    server.on('drop', () => {
      this.#tooMany += 1
    })
  }

  #came(socket: Socket): void {
    const { clock, onClosed } = this.#options
    const begunAt = clock.elapsed()
    this.#connections += 1
    this.#accepted += 1
    socket.once('close', () => {
      this.#connections -= 1
      onClosed?.(clock.elapsed() - begunAt)
    })
    if (this.#connections > this.#options.maxConnections) {
      this.#tooMany += 1
      this.#refused.set(socket, 'too many connections')
    } else if (!this.#takeRoom()) {
      this.#tooFast += 1
      this.#refused.set(socket, 'too many new connections at the same time')
    }
  }

  #takeRoom(): boolean {
    const { clock, maxConnectsPerS } = this.#options
    const now = clock.now()
    // A clock that was set back has stood still.
    const earned = (Math.max(0, now - this.#roomAt) / 1000) * maxConnectsPerS
    this.#roomAt = now
    this.#room = Math.min(maxConnectsPerS, this.#room + earned)
    if (this.#room < 1) return false
    this.#room -= 1
    return true
  }

  /** Whether a connection is one too many, and is to be closed once it was told so. */
  isRefused(socket: Socket): boolean {
    return this.#refused.has(socket)
  }

  /** Why a request that came by this connection is not to be begun; undefined when it may be. */
  refusal(socket: Socket): OverloadedError | undefined {
    const { loopDelayMs, maxLoopDelayMs } = this.#options
    const busy = loopDelayMs() > maxLoopDelayMs ? 'the gateway is too busy' : undefined
    const reason = this.#refused.get(socket) ?? busy
    return reason === undefined ? undefined : new OverloadedError(reason)
  }
}
