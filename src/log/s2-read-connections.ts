/**
 * The connections that carry read sessions to one origin, past the SDK.
 *
 * Gives each session a stream on a connection that has room, opens connections as they are
 * needed, and moves to new ones when one has gone silent or its server is about to go. Reconnects
 * no session: that is its owner's.
 */
import { S2Error } from '@s2-dev/streamstore'
import type { SeqNum } from './log.ts'
import { CONNECT_TIMEOUT_MS, type BasinEndpoint } from './s2-endpoint.ts'
import { isSilentConnection } from './s2-errors.ts'
import { MAX_STREAMS, ReadConnection } from './s2-read-connection.ts'
import { isDraining, ReadSource, type ReadSourceEvents } from './s2-read-source.ts'

/** A reader that comes back within this finds its connection warm. */
const IDLE_MS = 10_000

/** How often one may find the connection that it waited for full, or gone. */
const MAX_TURNS = 5

/** What a session reads: any basin at the origin will do. */
export type ReadTarget = {
  readonly endpoint: BasinEndpoint
  readonly stream: string
  readonly from: SeqNum
}

export type ReadConnectionsOptions = {
  readonly origin: string
  readonly connectTimeoutMs?: number | undefined
  /** A connection has gone silent: sessions to come are on new ones. */
  readonly onReplaced: () => void
  readonly idleMs?: number | undefined
  readonly silenceMs?: number | undefined
  readonly maxWindowBytes?: number | undefined
}

export class ReadConnections {
  readonly #options: ReadConnectionsOptions
  readonly #headers: Readonly<Record<string, string>>
  /** With how many wait for each. */
  readonly #connections = new Map<ReadConnection, number>()
  #phase: 'open' | 'closed' = 'open'
  /** What S2 allowed last: of a connection that is not there yet nothing else is known. */
  #streamLimit = MAX_STREAMS

  constructor(options: ReadConnectionsOptions) {
    this.#options = options
    const { protocol, host } = new URL(options.origin)
    this.#headers = {
      ':method': 'GET',
      ':scheme': protocol.slice(0, -1),
      ':authority': host,
      // Even on a request without a body: it is how S2 knows a session.
      'content-type': 's2s/proto',
      accept: 'application/protobuf',
    }
  }

  /**
   * Follows a stream from a seq num.
   *
   * @throws S2Error there is no connection to be had
   */
  async open(target: ReadTarget, events: ReadSourceEvents): Promise<ReadSource> {
    for (let turn = 0; turn < MAX_TURNS; turn += 1) {
      const connection = this.#find() ?? this.#connect()
      if (connection.isConnecting) await this.#wait(connection)
      // Nothing is awaited between: of all who waited for it, the first get what room there is.
      if (connection.room > 0) return this.#openOn(connection, target, events)
    }
    throw unavailable('connections to S2 were full or closed before they could be used')
  }

  /** Leaves the connections there are: sessions to come are on new ones, those there are go on. */
  replace(): void {
    for (const connection of [...this.#connections.keys()]) {
      if (!connection.isConnecting) connection.leave()
    }
  }

  /** Closes all connections, and waits for nothing. */
  close(): void {
    this.#phase = 'closed'
    for (const connection of [...this.#connections.keys()]) connection.close()
  }

  #openOn(
    connection: ReadConnection,
    { endpoint, stream, from }: ReadTarget,
    events: ReadSourceEvents,
  ): ReadSource {
    const path = `${endpoint.recordsOf(stream)}?seq_num=${from}`
    const request = connection.request({ ...this.#headers, ...endpoint.headers, ':path': path })
    const onEnd = (cause: unknown): void => {
      this.#judge(connection, cause)
      events.onEnd(cause)
    }
    return new ReadSource(request, { onBatch: events.onBatch, onEnd }, this.#options.silenceMs)
  }

  #judge(connection: ReadConnection, cause: unknown): void {
    if (isDraining(cause)) connection.leave()
    // One that was left already has had its consequences.
    if (!isSilentConnection(cause) || !connection.isUsable) return
    this.replace()
    this.#options.onReplaced()
  }

  #find(): ReadConnection | undefined {
    for (const [connection, waiting] of this.#connections) {
      const room = connection.isConnecting ? this.#streamLimit - waiting : connection.room
      if (connection.isUsable && room > 0) return connection
    }
    return undefined
  }

  #connect(): ReadConnection {
    if (this.#phase === 'closed') throw unavailable('the connections to S2 are closed')
    const {
      connectTimeoutMs = CONNECT_TIMEOUT_MS,
      idleMs = IDLE_MS,
      maxWindowBytes,
    } = this.#options
    const connection = new ReadConnection({
      origin: this.#options.origin,
      connectTimeoutMs,
      idleMs,
      maxWindowBytes,
      onClosed: () => this.#connections.delete(connection),
    })
    this.#connections.set(connection, 0)
    return connection
  }

  async #wait(connection: ReadConnection): Promise<void> {
    this.#connections.set(connection, (this.#connections.get(connection) ?? 0) + 1)
    await connection.ready
    this.#streamLimit = Math.max(connection.streamLimit, 1)
  }
}

function unavailable(message: string): S2Error {
  return new S2Error({ message, status: 500, origin: 'sdk' })
}
