/** One access to S2, and what the logs of its basins share: the client and the connections. */
import { S2, type S2ClientOptions } from '@s2-dev/streamstore'
import type { ConnectionObserver } from './log-observer.ts'
import { S2Transport, S2Transports, type LentTransport } from './s2-transport.ts'

export type S2AccountOptions = {
  /** One URL for account and basin, as s2-lite has it. Without it: managed S2. */
  readonly endpoint?: string | undefined
  readonly accessToken: string
  /** Bounds every call but a read session, and every append of a session. */
  readonly requestTimeoutMs: number
  /** Bounds the connecting of sessions: 3 seconds by default. */
  readonly connectTimeoutMs?: number | undefined
  /** Hears of connections only; for the calls there is `observed-log.ts`. */
  readonly observer?: ConnectionObserver | undefined
}

export class S2Account {
  readonly description: string
  readonly options: S2AccountOptions
  /** For unary calls. Tries once: who asked knows what a second attempt would mean. */
  readonly client: S2
  readonly #transports: S2Transports

  constructor(options: S2AccountOptions) {
    const { endpoint, connectTimeoutMs, observer } = options
    this.options = options
    this.description = endpoint === undefined ? 'managed S2' : `S2 at ${endpoint}`
    const client = clientOptions(options)
    this.client = new S2({
      ...client,
      retry: { maxAttempts: 1, appendRetryPolicy: 'noSideEffects' },
    })
    this.#transports = new S2Transports(
      (origin) => new S2Transport({ origin, client, connectTimeoutMs, observer }),
    )
  }

  /** The connections to an origin, shared with all others who have them. */
  lend(origin: string): LentTransport {
    return this.#transports.lend(origin)
  }
}

function clientOptions(options: S2AccountOptions): S2ClientOptions {
  const { endpoint, accessToken, connectTimeoutMs } = options
  return {
    accessToken,
    // Only for appends of a session, where it must not come before our own.
    requestTimeoutMillis: options.requestTimeoutMs,
    ...(endpoint === undefined ? {} : { endpoints: { account: endpoint, basin: endpoint } }),
    ...(connectTimeoutMs === undefined ? {} : { connectionTimeoutMillis: connectTimeoutMs }),
  }
}
