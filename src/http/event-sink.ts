/**
 * Where a stream of events goes: what an SSE reader needs of its connection, and no more.
 *
 * There are two: `ResponseSink` for requests that came through Node's HTTP server, and
 * `fast/connection.ts` past it.
 */
import type { ServerResponse } from 'node:http'
import type { StopReason } from '../hub/machine.ts'
import type { Chunk } from '../protocol/chunk.ts'
import { whenOver } from './when-over.ts'

/** Why a reader's connection ended. `failed` and `read_failed` come with their cause. */
export type DisconnectReason =
  | StopReason
  | 'stream_closed'
  | 'lifetime'
  | 'token_expired'
  | 'key_withdrawn'
  | 'client'
  /** It has taken nothing for too long. */
  | 'stalled'
  | 'read_failed'

/** Hears of its sink. Called at most once after the other has begun: `closed`. */
export interface SinkOwner {
  /** There is room again. */
  drained(): void
  /** The connection is gone, whoever has ended it. */
  closed(): void
}

export interface EventSink {
  /** To be called once, before anything is sent. */
  own(owner: SinkOwner): void
  /** Sends bytes that other readers get too; false when there is no room for more. */
  send(chunk: Chunk): boolean
  /** Whether there is no room. */
  readonly isFull: boolean
  /** Bytes that were sent and not taken yet. */
  readonly waiting: number
  /** Ends the response in good order, once what waits is taken. */
  end(): void
  /** Drops the connection with what waits. */
  destroy(): void
  /** Told once, before it is ended or destroyed, why its reader is no more. */
  readerEnded(reason: DisconnectReason, cause?: unknown): void
}

export class ResponseSink implements EventSink {
  readonly #response: ServerResponse
  readonly #onEnd: (reason: DisconnectReason, cause?: unknown) => void

  constructor(
    response: ServerResponse,
    onEnd: (reason: DisconnectReason, cause?: unknown) => void,
  ) {
    this.#response = response
    this.#onEnd = onEnd
  }

  own(owner: SinkOwner): void {
    this.#response.on('drain', () => owner.drained())
    whenOver(this.#response, () => owner.closed())
    // A reader that went away in the same instant must not bring the process down.
    this.#response.on('error', () => owner.closed())
  }

  send({ plain }: Chunk): boolean {
    return this.#response.write(plain)
  }

  get isFull(): boolean {
    return this.#response.writableNeedDrain
  }

  get waiting(): number {
    return this.#response.writableLength
  }

  end(): void {
    this.#response.end()
  }

  destroy(): void {
    this.#response.destroy()
  }

  readerEnded(reason: DisconnectReason, cause?: unknown): void {
    this.#onEnd(reason, cause)
  }
}
