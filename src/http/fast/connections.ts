/** The connections of a lane, with one set of listeners for all: closures each would be megabytes. */
import type { Socket } from 'node:net'
import { Connection } from './connection.ts'
import type { ConnectionOptions } from './connection.ts'

type Listener = (this: Socket, bytes: Buffer) => void

export class Connections {
  readonly #options: ConnectionOptions
  readonly #connections = new Map<Socket, Connection>()
  readonly #listeners: readonly (readonly [event: string, listener: Listener])[]

  constructor(options: Omit<ConnectionOptions, 'onGone' | 'onDrain' | 'release'>) {
    const connections = this.#connections
    this.#listeners = [
      ['data', onData],
      ['close', onClose],
      ['error', onError],
    ]
    this.#options = {
      ...options,
      onGone: (socket) => connections.delete(socket),
      onDrain,
      release: (socket) => this.#release(socket),
    }

    function onData(this: Socket, bytes: Buffer): void {
      connections.get(this)?.take(bytes)
    }
    function onDrain(this: Socket): void {
      connections.get(this)?.drained()
    }
    function onClose(this: Socket): void {
      connections.get(this)?.destroy()
    }
    // `close` follows.
    function onError(): void {}
  }

  open(socket: Socket): void {
    // A client that will send nothing more has left; Node's server has it so, too.
    socket.allowHalfOpen = false
    this.#connections.set(socket, new Connection(socket, this.#options))
    for (const [event, listener] of this.#listeners) socket.on(event, listener)
  }

  /** A copy: what is done with one may take it out. */
  all(): readonly Connection[] {
    return [...this.#connections.values()]
  }

  /** As it came, for other hands. */
  #release(socket: Socket): void {
    for (const [event, listener] of this.#listeners) socket.removeListener(event, listener)
    socket.allowHalfOpen = true
    socket.resume()
  }
}
