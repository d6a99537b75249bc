/**
 * One read session as S2 sends it: an HTTP/2 stream, turned into batches and one end.
 *
 * Owns the stream from the request on. Knows what S2's frames mean and what their staying out
 * means; what a batch is good for is `s2-session.ts`'s.
 */
import { constants, type ClientHttp2Stream, type IncomingHttpHeaders } from 'node:http2'
import { Buffer } from 'node:buffer'
import { S2Error } from '@s2-dev/streamstore'
import { connectionFailure, refusal } from './s2-answers.ts'
import { FrameParser, type Frame } from './s2-frames.ts'
import { decodeReadBatch, type ReadBatch } from './s2-read-wire.ts'

export type ReadSourceEvents = {
  /** Records, or a tail, or both. */
  readonly onBatch: (batch: ReadBatch) => void
  /** The last call: with the failure, or with nothing when S2 simply ended it. Not after `cancel`. */
  readonly onEnd: (cause: unknown) => void
}

/** S2 lets no more than 15 seconds pass without a batch, be it an empty one. */
export const SILENCE_MS = 20_000

/**
 * What is read of one session in one turn of the event loop. The rest waits where it is, and in
 * the end at S2: a session with gigabytes behind must leave others their turn.
 */
const TURN_BYTES = 256 * 1024

/** S2's refusals are some hundred bytes. */
const MAX_REFUSAL_BYTES = 64 * 1024

/** A server that drains and says so before it takes a session, and one that says so in it. */
const DRAINING = new Set(['server_draining', 'reconnect_advised'])

/** Tells whether a session ended because its server is about to go. */
export function isDraining(cause: unknown): boolean {
  return cause instanceof S2Error && cause.status === 503 && DRAINING.has(cause.code ?? '')
}

export class ReadSource {
  readonly #stream: ClientHttp2Stream
  readonly #events: ReadSourceEvents
  readonly #parser = new FrameParser()
  readonly #silence: NodeJS.Timeout
  #phase: 'open' | 'over' = 'open'
  /** Undefined until S2 has answered. */
  #status: number | undefined
  #refusal: Buffer[] = []
  #refusalBytes = 0
  #turnBytes = 0

  constructor(stream: ClientHttp2Stream, events: ReadSourceEvents, silenceMs = SILENCE_MS) {
    this.#stream = stream
    this.#events = events
    this.#silence = setTimeout(() => this.#end(silent(silenceMs)), silenceMs)
    stream.on('response', (headers: IncomingHttpHeaders & { ':status'?: number }) => {
      this.#status = headers[':status'] ?? 500
    })
    stream.on('data', (chunk: Buffer) => this.#take(chunk))
    stream.on('error', (error) => this.#end(connectionFailure(error)))
    stream.on('close', () => this.#end(this.#causeOfClose()))
  }

  /** Lets go of the session at once; nobody is called any more. Does nothing when it is over. */
  cancel(): void {
    if (this.#isOver()) return
    this.#phase = 'over'
    clearTimeout(this.#silence)
    this.#stream.close(constants.NGHTTP2_CANCEL)
    // One that is paused would never be closed.
    this.#stream.resume()
  }

  #end(cause: unknown): void {
    if (this.#isOver()) return
    this.cancel()
    this.#events.onEnd(cause)
  }

  #take(chunk: Buffer): void {
    if (this.#isOver()) return
    if (this.#status !== 200) return this.#takeRefusal(chunk)
    this.#breathe(chunk.length)
    for (const item of this.#read(chunk)) {
      if ('batch' in item) {
        this.#silence.refresh()
        this.#events.onBatch(item.batch)
      } else this.#end(item.cause)
      if (this.#isOver()) return
    }
  }

  /** What the bytes say. Catches what is no frame, and nothing of what a batch leads to. */
  *#read(chunk: Buffer): Generator<Item, void, undefined> {
    try {
      for (const frame of this.#parser.push(chunk)) yield* itemsOf(frame)
    } catch (error) {
      yield { cause: unreadable(error) }
    }
  }

  #takeRefusal(chunk: Buffer): void {
    this.#refusalBytes += chunk.length
    if (this.#refusalBytes <= MAX_REFUSAL_BYTES) this.#refusal.push(chunk)
  }

  #breathe(bytes: number): void {
    if (this.#turnBytes === 0) setImmediate(() => this.#nextTurn())
    this.#turnBytes += bytes
    if (this.#turnBytes >= TURN_BYTES) this.#stream.pause()
  }

  #nextTurn(): void {
    this.#turnBytes = 0
    if (this.#stream.isPaused()) this.#stream.resume()
  }

  #causeOfClose(): unknown {
    const { rstCode, readableEnded } = this.#stream
    if (this.#status !== undefined && this.#status !== 200) {
      return refusal(this.#status, Buffer.concat(this.#refusal))
    }
    if (rstCode !== constants.NGHTTP2_NO_ERROR) return reset(`the stream was reset (${rstCode})`)
    if (!readableEnded) return reset('the stream was closed before its end')
    if (this.#status === undefined) return reset('the stream has ended without an answer')
    return this.#parser.isInside ? reset('the stream has ended inside a frame') : undefined
  }

  #isOver(): boolean {
    return this.#phase === 'over'
  }
}

/** A batch, or the end of the session with its cause. */
type Item = { readonly batch: ReadBatch } | { readonly cause: unknown }

function* itemsOf(frame: Frame): Generator<Item, void, undefined> {
  if (frame.kind === 'terminal') {
    yield { cause: frame.status >= 400 ? refusal(frame.status, frame.body) : undefined }
    return
  }
  yield { batch: decodeReadBatch(frame.body) }
  // After the batch: the next session begins behind it.
  if (frame.isReconnectAdvised) yield { cause: advised() }
}

function silent(ms: number): S2Error {
  const message = `S2 has sent nothing for ${ms} ms`
  return new S2Error({ message, code: 'TIMEOUT', status: 408, origin: 'sdk' })
}

function advised(): S2Error {
  const message = 'S2 asks for the session to move: its server drains'
  return new S2Error({ message, code: 'reconnect_advised', status: 503, origin: 'server' })
}

function reset(message: string): S2Error {
  return new S2Error({ message, code: 'stream reset', status: 500, origin: 'sdk' })
}

function unreadable(error: unknown): S2Error {
  const message = error instanceof Error ? error.message : String(error)
  const failure = new S2Error({ message, status: 500, origin: 'sdk' })
  return Object.assign(failure, { cause: error })
}
