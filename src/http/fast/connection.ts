/**
 * A connection whose requests are plain live reads, past Node's HTTP server: that one keeps some
 * kilobytes for each connection and takes some microseconds for each write.
 *
 * Whatever is anything else is given to Node as it came, the connection with it, and for good.
 * Thousands of these wait for nothing: what they have in common is in the options.
 */
import type { Socket } from 'node:net'
import { LAST_CHUNK } from '../../protocol/chunk.ts'
import type { Chunk } from '../../protocol/chunk.ts'
import type { DisconnectReason, EventSink, SinkOwner } from '../event-sink.ts'
import type { LiveLine } from '../plugins/request-log.ts'
import type { Waiter, Wheel } from '../wheel.ts'
import type { DirectHandle, DirectOwner, DirectWrites } from './direct.ts'

export type ConnectionOptions = {
  /** Begins to answer what was sent; what it can't answer it hands over, before it sends anything. */
  readonly serve: (sent: Buffer, connection: Connection) => void
  /** The connection is no longer in this hand: closed, or about to be Node's. */
  readonly onGone: (socket: Socket) => void
  /** Makes a connection what it was when it came. */
  readonly release: (socket: Socket) => void
  /** Gives the connection to Node's HTTP server. */
  readonly toNode: (socket: Socket) => void
  /** Answers and closes a connection whose first request did not come in time. */
  readonly refuseLate: (socket: Socket) => void
  /** Whether a request may be begun here; Node says why not. */
  readonly admits: (socket: Socket) => boolean
  /** Whether no connection is to be kept for a further request. */
  readonly isLeaving: () => boolean
  readonly onDrain: (this: Socket) => void
  /** Undefined where a socket's stream is the only way to write to it. */
  readonly direct: DirectWrites | undefined
  readonly wheel: Wheel
  /** How long a connection may be without its first request, in ms. */
  readonly firstMs: number
  /** How long it may be without another one after an answer, in ms. */
  readonly keepAliveMs: number
}

/** What a client may send ahead of an answer; the rest waits in the network. */
const MAX_AHEAD_BYTES = 16 * 1024

/**
 * `new`: nothing has come; `idle`: between requests; `asked`: a request is here, and nothing of an
 * answer is sent.
 */
type Phase = 'new' | 'idle' | 'asked' | 'answering' | 'ending' | 'gone'

export class Connection implements EventSink, Waiter, DirectOwner {
  // What every event needs comes first, so that it is on one line of the processor's cache.
  readonly #options: ConnectionOptions
  /** Where events are written as long as the socket's stream has nothing. */
  #handle: DirectHandle | undefined
  #isFull = false
  readonly #socket: Socket
  #phase: Phase = 'new'
  /** The request in hand, as long as Node may have to answer it. */
  #request: Buffer | undefined
  /** What came behind it. */
  #ahead: Buffer | undefined
  #owner: SinkOwner | undefined
  #line: LiveLine | undefined
  #onReaderEnded: (() => void) | undefined
  /** When it has waited for a request long enough, as a turn of the wheel. */
  #dueAt = 0

  constructor(socket: Socket, options: ConnectionOptions) {
    this.#socket = socket
    this.#options = options
    this.#wait(options.firstMs)
  }

  get isGone(): boolean {
    return this.#phase === 'gone'
  }

  get socket(): Socket {
    return this.#socket
  }

  get remoteAddress(): string | undefined {
    return this.#socket.remoteAddress
  }

  get isFull(): boolean {
    return this.#isFull
  }

  get waiting(): number {
    const { writableLength } = this.#socket
    return Math.max(writableLength, this.#options.direct?.waiting(this.#socket) ?? 0)
  }

  own(owner: SinkOwner): void {
    this.#owner = owner
  }

  #wait(ms: number): void {
    const { wheel } = this.#options
    this.#dueAt = wheel.after(ms)
    wheel.add(this, this.#dueAt)
  }

  /** No request has come in time. */
  due(): void {
    const isFirst = this.#phase === 'new'
    if (!isFirst) return this.destroy()
    this.#forget()
    this.#options.release(this.#socket)
    this.#options.refuseLate(this.#socket)
  }

  /** Bytes have come. */
  take(bytes: Buffer): void {
    if (this.#isWaiting()) return this.#ask(bytes)
    // Node's parser would stop at it, in the middle of an answer.
    if (this.#ahead === undefined && !beginsRequest(bytes)) return this.destroy()
    this.#ahead = this.#ahead === undefined ? bytes : Buffer.concat([this.#ahead, bytes])
    if (this.#ahead.length > MAX_AHEAD_BYTES) this.#socket.pause()
  }

  #isWaiting(): boolean {
    return this.#phase === 'idle' || this.#phase === 'new'
  }

  #ask(bytes: Buffer): void {
    const { wheel, isLeaving, admits, serve } = this.#options
    wheel.remove(this, this.#dueAt)
    this.#request = bytes
    this.#phase = 'asked'
    if (isLeaving() || !admits(this.#socket)) this.handOver()
    else serve(bytes, this)
  }

  /** Has Node answer the request in hand, and all that follow on this connection. */
  handOver(): void {
    if (this.#phase !== 'asked' && !this.#isWaiting()) return
    const received = [this.#request, this.#ahead].filter((bytes) => bytes !== undefined)
    this.#forget()
    this.#options.release(this.#socket)
    if (received.length > 0) this.#socket.unshift(Buffer.concat(received))
    this.#options.toNode(this.#socket)
  }

  /** Something is broken that an answer can't tell: what was not begun may still be Node's. */
  fail(): void {
    if (this.#phase === 'asked') this.handOver()
    else this.destroy()
  }

  /** Begins a response in chunks. What is sent before {@link flush} leaves with its head. */
  begin(head: Buffer, line: LiveLine, onReaderEnded?: () => void): void {
    this.#answering()
    this.#line = line
    this.#onReaderEnded = onReaderEnded
    this.#socket.cork()
    this.#write(head)
  }

  flush(): void {
    this.#socket.uncork()
  }

  /** Sends a whole response. */
  answer(head: Buffer, body?: Buffer): void {
    this.#answering()
    if (body !== undefined) {
      this.#socket.cork()
      this.#write(head)
    }
    this.#endWith(body ?? head)
    if (body !== undefined) this.#socket.uncork()
  }

  #answering(): void {
    this.#phase = 'answering'
    this.#request = undefined
  }

  send({ framed }: Chunk): boolean {
    return this.#put(framed)
  }

  /** Writes past the socket's stream, if that has nothing; whether there is room for more. */
  #put(bytes: Buffer): boolean {
    const { direct } = this.#options
    if (direct === undefined || this.#isFull) return this.#write(bytes)
    this.#handle ??= direct.open(this.#socket)
    if (this.#handle === undefined) return this.#write(bytes)
    const result = direct.write(this.#handle, bytes, this)
    if (result === 'written') return true
    this.#isFull = true
    // `close` follows.
    if (result === 'failed') this.#socket.destroy()
    return false
  }

  settled(ok: boolean): void {
    if (!ok) this.#socket.destroy()
    else if (this.#phase !== 'gone') this.drained()
  }

  /** Writes to the stream. Listens for room only when there is none: most never lack it. */
  #write(bytes: Buffer): boolean {
    // What the stream holds back must not be overtaken.
    this.#handle = undefined
    const hasRoom = this.#socket.write(bytes)
    if (!hasRoom && !this.#isFull) {
      this.#isFull = true
      this.#socket.once('drain', this.#options.onDrain)
    }
    return hasRoom && !this.#isFull
  }

  end(): void {
    if (this.#phase === 'answering') this.#endWith(LAST_CHUNK)
  }

  #endWith(last: Buffer): void {
    this.#phase = 'ending'
    if (this.#put(last)) this.#over()
  }

  /** There is room again. */
  drained(): void {
    this.#isFull = false
    if (this.#phase === 'ending') this.#over()
    else this.#owner?.drained()
  }

  readerEnded(reason: DisconnectReason, cause?: unknown): void {
    const [line, onReaderEnded] = [this.#line, this.#onReaderEnded]
    this.#line = undefined
    this.#onReaderEnded = undefined
    line?.readerEnded(reason, cause)
    onReaderEnded?.()
  }

  /** The answer is taken: the next request may come. */
  #over(): void {
    const [owner, ahead] = [this.#owner, this.#ahead]
    this.#owner = undefined
    this.#ahead = undefined
    this.#phase = 'idle'
    owner?.closed()
    if (ahead !== undefined) {
      this.#socket.resume()
      this.#ask(ahead)
    } else if (this.#options.isLeaving()) this.#socket.destroySoon()
    else this.#wait(this.#options.keepAliveMs)
  }

  /** Closes the connection unless a request is in hand, or a first one may be on its way. */
  closeIdle(): void {
    if (this.#phase === 'new') return this.handOver()
    if (this.#phase !== 'idle') return
    // What it was sent last may wait for a slow client.
    if (this.#socket.writableLength > 0) this.#socket.destroySoon()
    else this.destroy()
  }

  destroy(): void {
    if (this.#phase === 'gone') return
    const owner = this.#owner
    this.#forget()
    this.#socket.destroy()
    owner?.closed()
  }

  #forget(): void {
    if (this.#isWaiting()) this.#options.wheel.remove(this, this.#dueAt)
    this.#phase = 'gone'
    this.#request = undefined
    this.#ahead = undefined
    this.#owner = undefined
    this.#options.onGone(this.#socket)
  }
}

/** Whether these may be the first bytes of a request: methods are in capitals. */
function beginsRequest(bytes: Buffer): boolean {
  const first = bytes[0] ?? 0
  return first >= 0x41 && first <= 0x5a
}
