/** One request body into memory, within bounds. */
import { RequestError } from '../errors.ts'
import type { Share } from './byte-budget.ts'
import type { Pace, Paced } from './pace.ts'

export type BodyBounds = {
  readonly share: Share
  /** What the client says it sends; 0 when it does not say. */
  readonly length: number
  readonly limit: number
  readonly pace: Pace
  /** Told of the bytes as they come. */
  readonly meter?: ((bytes: number) => void) | undefined
}

/**
 * How far ahead of the bytes their room is reserved, where the client has said how many come: far
 * enough to refuse most of what has no room before it is sent, and so little that announcing alone
 * takes no room from others.
 */
const AHEAD_BYTES = 1024 * 1024

/** Called once: with the body, or with why there is none. */
export type BodyDone = (error: Error | null, body?: Buffer) => void

/**
 * Receives a body; or says `payload_too_large`, `overloaded`, `request_timeout`, `bad_request`.
 *
 * Nothing is read any more of a body that is refused: what is left of it is Node's to drop, once
 * the answer is sent.
 */
export function receiveBody(
  stream: NodeJS.ReadableStream,
  bounds: BodyBounds,
  done: BodyDone,
): void {
  new Body(stream, bounds, done).begin()
}

class Body implements Paced {
  readonly #stream: NodeJS.ReadableStream
  readonly #bounds: BodyBounds
  readonly #done: BodyDone
  readonly #chunks: Buffer[] = []
  received = 0

  constructor(stream: NodeJS.ReadableStream, bounds: BodyBounds, done: BodyDone) {
    this.#stream = stream
    this.#bounds = bounds
    this.#done = done
  }

  begin(): void {
    const { length, pace } = this.#bounds
    if (!this.#admit(length)) return
    pace.watch(this)
    this.#stream.on('data', this.#onData).on('end', this.#onEnd).on('error', this.#onBroken)
  }

  late(): void {
    this.#fail(new RequestError('request_timeout', 'the body came too slowly'))
  }

  readonly #onData = (chunk: Buffer): void => {
    this.received += chunk.length
    this.#bounds.meter?.(chunk.length)
    if (this.#admit(this.received)) this.#chunks.push(chunk)
  }

  readonly #onEnd = (): void => {
    this.#leave()
    this.#done(null, joined(this.#chunks, this.received))
  }

  readonly #onBroken = (): void => {
    this.#fail(new RequestError('bad_request', 'the body broke off'))
  }

  #admit(bytes: number): boolean {
    const { length, limit, share } = this.#bounds
    const ahead = Math.min(length, this.received + AHEAD_BYTES)
    const refusal = bytes > limit ? tooLarge() : share.growTo(Math.max(this.received, ahead))
    if (refusal !== undefined) this.#fail(refusal)
    return refusal === undefined
  }

  #fail(error: Error): void {
    this.#leave()
    this.#done(error)
  }

  /** What comes of the stream later is no news: a client may go while its append waits for the log. */
  #leave(): void {
    this.#bounds.pace.forget(this)
    this.#stream.off('data', this.#onData).off('end', this.#onEnd).off('error', this.#onBroken)
  }
}

/** A part of a much larger buffer is copied: it would keep all of that in memory. */
function joined(chunks: readonly Buffer[], length: number): Buffer {
  const [first] = chunks
  const isWhole = chunks.length === 1 && first !== undefined && first.buffer.byteLength < 2 * length
  return isWhole ? first : Buffer.concat(chunks, length)
}

function tooLarge(): RequestError {
  return new RequestError('payload_too_large', 'the body is larger than this server takes')
}
