/**
 * One append session with S2: batches sent one behind the other over a single HTTP/2 stream.
 *
 * Opens itself with the first append, bounds every answer in time and never reconnects. Waits for
 * nothing when it is let go: the SDK's own `close` waits for answers that a dead connection will
 * never bring.
 */
import type { AppendAck as S2AppendAck, AppendInput, S2Stream } from '@s2-dev/streamstore'
import { AppendPipeline } from './append-pipeline.ts'
import { checkBatch, type AppendAck, type AppendBatch, type AppendSession } from './log.ts'
import { appendFailure, readFailure } from './s2-errors.ts'
import { toAppendInput } from './s2-records.ts'

/** The part of the SDK's append session that is used here. */
export type AppendSource = {
  /** Sends a batch behind all before it and resolves once it is durable. */
  append(input: AppendInput): Promise<S2AppendAck>
  /** Drops the session and what is under way on it. */
  abandon(): void
}

/** Where a session gets its connection and whom it tells of its end. */
export type AppendSessionHooks = {
  /** Runs a call within the time that one may take. */
  readonly bounded: <T>(call: () => Promise<T>) => Promise<T>
  /** Called once, before the first append is sent. */
  readonly open: () => Promise<AppendSource>
  /** Called once when the session is over, with what ended it. */
  readonly closed: (cause: unknown) => void
}

export class S2AppendSession implements AppendSession {
  readonly #stream: string
  readonly #hooks: AppendSessionHooks
  readonly #pipeline: AppendPipeline
  #source: Promise<AppendSource> | undefined

  constructor(stream: string, hooks: AppendSessionHooks) {
    this.#stream = stream
    this.#hooks = hooks
    this.#pipeline = new AppendPipeline((cause) => {
      // One that fails to open has nothing to drop.
      this.#source?.then(
        (source) => source.abandon(),
        () => undefined,
      )
      hooks.closed(cause)
    })
  }

  get isOpen(): boolean {
    return this.#pipeline.isOpen
  }

  async append(batch: AppendBatch): Promise<AppendAck> {
    checkBatch(batch)
    const input = toAppendInput(batch)
    return this.#pipeline.run(() => this.#send(input))
  }

  close(): void {
    this.end(new Error('the append session was closed'))
  }

  /** As {@link close}, for a reason of the log's. */
  end(cause: unknown): void {
    this.#pipeline.end(cause)
  }

  async #send(input: AppendInput): Promise<AppendAck> {
    const request = { isSent: false }
    try {
      const { start, end } = await this.#hooks.bounded(async () => {
        // All wait for the same promise, so they go on in the order of their calls.
        this.#source ??= this.#hooks.open()
        const source = await this.#source
        if (!this.#pipeline.isOpen) throw new Error('an append before it has failed')
        request.isSent = true
        return source.append(input)
      })
      return { start: start.seqNum, end: end.seqNum, timestamp: end.timestamp.getTime() }
    } catch (error) {
      throw (request.isSent ? appendFailure : readFailure)(error, this.#stream)
    }
  }
}

/** How long after it was dropped a session may still be connecting. */
const CONNECTING_MS = 5000

/** Opens the SDK's session. Connects with the first append, and fails with it. */
export async function openAppendSource(stream: S2Stream): Promise<AppendSource> {
  const dropped = new AbortController()
  const session = await stream.appendSession(
    // The SDK would hold back what is over its limit; the gateway bounds what it buffers itself.
    { maxInflightBytes: Number.MAX_SAFE_INTEGER },
    { signal: dropped.signal },
  )
  const acks = session.acks().getReader()
  let isConnected = false
  void discard(acks)
  return {
    append: async (input) => {
      const ticket = await session.submit(input)
      const ack = await ticket.ack()
      isConnected = true
      return ack
    },
    abandon: () => {
      // Stops the SDK's own loop, which would go on resending when a server drains.
      acks.cancel().catch(() => undefined)
      // Ends the HTTP/2 stream: until then the SDK looks every 10 ms whether answers have come. It
      // overlooks a signal that is aborted while it connects.
      if (isConnected) dropped.abort()
      else setTimeout(() => dropped.abort(), CONNECTING_MS).unref()
    },
  }
}

/** The SDK keeps every acknowledgement for a reader; without one they would pile up. */
async function discard(acks: ReadableStreamDefaultReader<S2AppendAck>): Promise<void> {
  try {
    while (!(await acks.read()).done);
  } catch {
    // Each append is told by its own ticket.
  }
}
