/**
 * Who may come in. A gateway that has enough to do refuses what is new, at once and with a
 * `Retry-After`, and keeps those that it serves.
 */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import { OverloadedError } from '../errors.ts'

export type AdmissionOptions = {
  /** Connections with a claim to be served; of those above it each request is refused. */
  readonly maxConnections: number
  /** With a later event loop nothing new is begun. In ms. */
  readonly maxLoopDelayMs: number
  /** How late it is, in ms. */
  readonly loopDelayMs: () => number
}

/** How many more there may be that are only told so; those above are dropped without a word. */
const MAX_SURPLUS = 1000

export class Admission {
  readonly #options: AdmissionOptions
  readonly #surplus = new WeakSet<Socket>()
  #connections = 0

  constructor(options: AdmissionOptions) {
    this.#options = options
  }

  /** How many connections there are. */
  get connections(): number {
    return this.#connections
  }

  /** Counts the connections of a server from now on, before anybody else hears of them. */
  watch(server: Server): void {
    server.maxConnections = this.#options.maxConnections + MAX_SURPLUS
    server.prependListener('connection', (socket: Socket) => this.#came(socket))
  }

  #came(socket: Socket): void {
    this.#connections += 1
    if (this.#connections > this.#options.maxConnections) this.#surplus.add(socket)
    socket.once('close', () => {
      this.#connections -= 1
    })
  }

  /** Whether a connection is one too many, and is to be closed once it was told so. */
  isSurplus(socket: Socket): boolean {
    return this.#surplus.has(socket)
  }

  /** Whether a request that came by this connection may be begun. */
  admits(socket: Socket): boolean {
    return !this.isSurplus(socket) && !this.#isBusy()
  }

  /** @throws OverloadedError a request that came by this connection is not to be begun */
  check(socket: Socket): void {
    if (this.isSurplus(socket)) throw new OverloadedError('too many connections')
    if (this.#isBusy()) throw new OverloadedError('the gateway is too busy')
  }

  #isBusy(): boolean {
    const { loopDelayMs, maxLoopDelayMs } = this.#options
    return loopDelayMs() > maxLoopDelayMs
  }
}
