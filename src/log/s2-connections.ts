/**
 * The connections that carry append sessions; those of read sessions are `s2-read-connections.ts`.
 *
 * Works around two properties of the SDK's process-wide connection pool: it closes an origin's
 * connections with the last handle, and it never gives up on a connection that went silent.
 */
import { S2, type S2ClientOptions, type S2Stream } from '@s2-dev/streamstore'
import { isSilentConnection } from './s2-errors.ts'

/** The SDK's default. Only its being different makes a client's connections its own. */
const STREAM_WINDOW_BYTES = 10 * 1024 * 1024

/** A stream handle lent to one session. */
export type LentStream = {
  readonly stream: S2Stream
  /** Gives the handle back, with what ended the session. */
  release(cause?: unknown): void
}

type Generation = { readonly client: S2; readonly handles: Set<S2Stream> }

/**
 * Lends stream handles for sessions, and moves to new connections when one has died. All its basins
 * are at one origin.
 */
export class SessionConnections {
  readonly #options: S2ClientOptions
  readonly #onReplaced: () => void
  #streamWindowBytes = STREAM_WINDOW_BYTES
  #current: Generation

  /** `onReplaced` hears that a connection has gone silent and sessions to come are on new ones. */
  constructor(options: S2ClientOptions, onReplaced: () => void) {
    this.#options = options
    this.#onReplaced = onReplaced
    this.#current = this.#open()
  }

  /** Lends a handle. The first of a generation is kept open, so that its connections stay. */
  lend(basin: string, name: string): LentStream {
    const generation = this.#current
    const stream = generation.client.basin(basin).stream(name)
    const isAnchor = generation.handles.size === 0
    generation.handles.add(stream)
    return {
      stream,
      release: (cause) => {
        if (isSilentConnection(cause) && generation === this.#current) {
          this.replace()
          this.#onReplaced()
        }
        if (!isAnchor && generation.handles.delete(stream)) void closeHandle(stream)
      },
    }
  }

  /**
   * Leaves the connections there are. The sessions on them go on until they end by themselves:
   * most of those connections may be healthy.
   */
  replace(): void {
    const generation = this.#current
    this.#streamWindowBytes += 1
    this.#current = this.#open()
    void closeAll(generation)
  }

  /** Closes all connections. Waits for their streams to end, which on a dead one is for ever. */
  async close(): Promise<void> {
    await closeAll(this.#current)
  }

  #open(): Generation {
    const client = new S2({
      ...this.#options,
      // Reconnecting is the caller's: the SDK's error after its last attempt says nothing about
      // an append's first.
      retry: { maxAttempts: 1, appendRetryPolicy: 'noSideEffects' },
      http2: { initialStreamWindowSize: this.#streamWindowBytes },
    })
    return { client, handles: new Set() }
  }
}

async function closeAll({ handles }: Generation): Promise<void> {
  const closing = [...handles].map(closeHandle)
  handles.clear()
  await Promise.all(closing)
}

async function closeHandle(stream: S2Stream): Promise<void> {
  try {
    await stream.close()
  } catch {
    // What is left of the connection is the operating system's to time out.
  }
}
