/**
 * The frames of S2's session protocol, S2S, as a client reads them. PURE.
 *
 * A frame is a length of 3 bytes, one byte of flags, and a body. Bytes come in as the network cuts
 * them. Each body is copied once, into memory of its own: records are views into it and stay for as
 * long as a hub keeps them, and a view into what a socket has read would keep those 64 KiB for a
 * record of 200 bytes. A body has one batch, whose records came and mostly go together.
 */
import { Buffer } from 'node:buffer'

export type Frame =
  | {
      readonly kind: 'message'
      readonly body: Buffer
      /** The server is about to go and asks for the session to move. */
      readonly isReconnectAdvised: boolean
    }
  /** The last one: a status as of HTTP, and what goes with it. */
  | { readonly kind: 'terminal'; readonly status: number; readonly body: Buffer }

const LENGTH_BYTES = 3
const HEAD_BYTES = LENGTH_BYTES + 1
const STATUS_BYTES = 2

/** Flags and body; S2's own limit. */
const MAX_FRAME_BYTES = 2 * 1024 * 1024

const TERMINAL = 0x80
const COMPRESSION = 0x60
const RECONNECT_ADVISED = 0x10

export class FrameParser {
  readonly #head = new Uint8Array(HEAD_BYTES)
  #headBytes = 0
  /** Of the frame whose head is complete. */
  #body: Buffer | undefined
  #bodyBytes = 0

  /** Whether a frame has begun that is not complete. */
  get isInside(): boolean {
    return this.#headBytes > 0
  }

  /**
   * Takes bytes in and gives the frames that they complete, as they are asked for. All must be
   * asked for before more bytes come.
   *
   * @throws Error this is no frame, or none that was asked for; nothing can be read any more
   */
  *push(chunk: Uint8Array): Generator<Frame, void, undefined> {
    let at = 0
    while (at < chunk.length) {
      at += this.#body === undefined ? this.#takeHead(chunk, at) : this.#takeBody(chunk, at)
      // The head may have been all there is of the frame.
      if (this.#body !== undefined && this.#bodyBytes === this.#body.length) {
        yield this.#complete(this.#body)
      }
    }
  }

  #takeHead(chunk: Uint8Array, at: number): number {
    const taken = Math.min(HEAD_BYTES - this.#headBytes, chunk.length - at)
    for (let index = 0; index < taken; index += 1) {
      this.#head[this.#headBytes + index] = chunk[at + index] ?? 0
    }
    this.#headBytes += taken
    if (this.#headBytes === HEAD_BYTES) this.#begin()
    return taken
  }

  #begin(): void {
    const [high = 0, middle = 0, low = 0, flags = 0] = this.#head
    const length = high * 0x1_00_00 + middle * 0x1_00 + low
    if (length < 1) throw new Error('a frame of S2 has no flags')
    if (length > MAX_FRAME_BYTES) throw new Error(`a frame of S2 is too long: ${length} bytes`)
    if ((flags & COMPRESSION) !== 0 && (flags & TERMINAL) === 0) {
      throw new Error('a frame of S2 is compressed, which was not asked for')
    }
    // Not of Node's pool: a piece of it would keep its neighbours' memory.
    this.#body = Buffer.allocUnsafeSlow(length - 1)
    this.#bodyBytes = 0
  }

  #takeBody(chunk: Uint8Array, at: number): number {
    const body = this.#body ?? Buffer.alloc(0)
    const taken = Math.min(body.length - this.#bodyBytes, chunk.length - at)
    body.set(chunk.subarray(at, at + taken), this.#bodyBytes)
    this.#bodyBytes += taken
    return taken
  }

  #complete(body: Buffer): Frame {
    const flags = this.#head[LENGTH_BYTES] ?? 0
    this.#headBytes = 0
    this.#body = undefined
    if ((flags & TERMINAL) === 0) {
      return { kind: 'message', body, isReconnectAdvised: (flags & RECONNECT_ADVISED) !== 0 }
    }
    if (body.length < STATUS_BYTES) throw new Error("the last frame of S2's has no status")
    return { kind: 'terminal', status: body.readUInt16BE(0), body: body.subarray(STATUS_BYTES) }
  }
}
