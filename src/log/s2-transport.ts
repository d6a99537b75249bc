/**
 * All connections to one origin of S2, of all kinds: those to a basin of managed S2, or those to
 * every basin behind one endpoint, which tells them apart by a header.
 */
import type { S2ClientOptions } from '@s2-dev/streamstore'
import { Pool } from 'undici'
import type { ConnectionObserver } from './log-observer.ts'
import { SessionConnections } from './s2-connections.ts'
import { CONNECT_TIMEOUT_MS } from './s2-endpoint.ts'
import { ReadConnections } from './s2-read-connections.ts'

export type S2TransportOptions = {
  readonly origin: string
  /** For the SDK's own connections. */
  readonly client: S2ClientOptions
  readonly connectTimeoutMs?: number | undefined
  readonly observer?: ConnectionObserver | undefined
}

export class S2Transport {
  /** Of unary appends; the SDK's unary calls go by `fetch`, which has a pool for the process. */
  readonly pool: Pool
  readonly appendSessions: SessionConnections
  readonly reads: ReadConnections

  constructor({ origin, client, connectTimeoutMs, observer }: S2TransportOptions) {
    this.pool = new Pool(origin, {
      connect: { timeout: connectTimeoutMs ?? CONNECT_TIMEOUT_MS },
      // Whoever appends bounds the whole call.
      headersTimeout: 0,
      bodyTimeout: 0,
    })
    // What has gone silent for sessions of one kind is not to be trusted by those of the other.
    this.appendSessions = new SessionConnections(client, () => {
      this.reads.replace()
      observer?.onConnectionsReplaced()
    })
    this.reads = new ReadConnections({
      origin,
      connectTimeoutMs,
      onReplaced: () => {
        this.appendSessions.replace()
        observer?.onConnectionsReplaced()
      },
    })
  }

  /** Drops what is under way. Waits for append sessions to end, which on a dead connection is for ever. */
  async close(): Promise<void> {
    this.reads.close()
    await Promise.all([this.appendSessions.close(), this.pool.destroy()])
  }
}

/** A transport that is lent to one log. */
export type LentTransport = {
  readonly transport: S2Transport
  /** Gives it back, once; the last one closes it, as {@link S2Transport.close}. */
  release(): Promise<void>
}

/** Lends the logs of one account their connections: one transport for all at the same origin. */
export class S2Transports {
  readonly #open: (origin: string) => S2Transport
  readonly #shared = new Map<string, { readonly transport: S2Transport; users: number }>()

  constructor(open: (origin: string) => S2Transport) {
    this.#open = open
  }

  lend(origin: string): LentTransport {
    const shared = this.#shared.get(origin) ?? { transport: this.#open(origin), users: 0 }
    this.#shared.set(origin, shared)
    shared.users += 1
    let isLent = true
    return {
      transport: shared.transport,
      release: async () => {
        if (!isLent) return
        isLent = false
        shared.users -= 1
        if (shared.users > 0) return
        this.#shared.delete(origin)
        await shared.transport.close()
      },
    }
  }
}
