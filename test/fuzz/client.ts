/** Holds one conversation with the gateway and hears whether each request has its own answer. */
import net from 'node:net'
import { AnswerReader, MalformedAnswerError } from './answers.ts'
import type { Answer } from './answers.ts'
import type { Conversation } from './conversation.ts'
import { complaintAbout } from './judge.ts'

export type Outcome = {
  readonly statuses: readonly number[]
  /** What went wrong, if something did. */
  readonly complaint: string | undefined
  /** What came last, for people. */
  readonly last: string
}

/** Longer than anything takes that the gateway waits for by itself. */
const STUCK_MS = 15_000
/** For whatever the gateway may say of an ending: nobody knows if that is anything. */
const LINGER_MS = 5
/** A client that waits gives up when the gateway should have, long since. */
const WAIT_MS = 6_000

/** In requests whose answer ends their connection. */
const CLOSING = /HTTP\/1\.0|Connection: (?:close|upgrade)|Expect: 100/i

/** Whether the head is so large that it may be too large. */
function isLarge(text: string): boolean {
  return text.indexOf('\r\n\r\n') >= 16 * 1024
}

export async function converse(port: number, conversation: Conversation): Promise<Outcome> {
  const socket = net.connect({ port, host: '127.0.0.1', noDelay: true })
  const call = new Call(socket, conversation)
  await call.over
  return call.outcome()
}

class Call {
  readonly #socket: net.Socket
  readonly #conversation: Conversation
  readonly #reader = new AnswerReader()
  readonly #statuses: number[] = []
  /** How many answers an ending can have at most: one for each line, and one for what is left. */
  readonly #most: number
  readonly #watch: NodeJS.Timeout
  readonly over: Promise<unknown>
  #linger: NodeJS.Timeout | undefined
  #written = 0
  #isLast = false
  #hasLeft = false
  #complaint: string | undefined
  #last = ''

  constructor(socket: net.Socket, conversation: Conversation) {
    this.#socket = socket
    this.#conversation = conversation
    const { requests, ending } = conversation
    this.#most = requests.length + (ending === undefined ? 0 : ending.text.split('\n').length + 1)
    this.#watch = setTimeout(() => this.#complain('stuck'), STUCK_MS)
    this.over = new Promise((resolve) => socket.once('close', resolve))
    socket.on('connect', () => this.#write())
    socket.on('data', (bytes: Buffer) => this.#take(bytes))
    socket.on('close', () => this.#closed())
    // `close` follows, and says what it means.
    socket.on('error', () => undefined)
  }

  outcome(): Outcome {
    return { statuses: this.#statuses, complaint: this.#complaint, last: this.#last }
  }

  #write(): void {
    const { writes, pace } = this.#conversation
    if (this.#isLast || this.#socket.destroyed) return
    const bytes = writes[this.#written]
    if (bytes === undefined) return this.#sent()
    this.#written += 1
    this.#socket.write(bytes)
    if (this.#written === writes.length) this.#sent()
    else if (pace === 'cut') setImmediate(() => this.#write())
    // An ending may have no answer to wait for.
    else if (pace === 'one by one' && this.#written > this.#conversation.requests.length) {
      this.#write()
    }
  }

  #sent(): void {
    if (this.#conversation.ending?.leave === 'reset') {
      this.#hasLeft = true
      setImmediate(() => this.#socket.resetAndDestroy())
    } else this.#leaveIfAnswered()
  }

  #take(bytes: Buffer): void {
    this.#watch.refresh()
    this.#last = bytes.toString('latin1').slice(-2000)
    const { requests } = this.#conversation
    const isHead = (): boolean => requests[this.#statuses.length]?.isHead ?? false
    try {
      for (const answer of this.#reader.take(bytes, isHead)) this.#hear(answer)
    } catch (error) {
      if (!(error instanceof MalformedAnswerError)) throw error
      this.#complain(error.message)
    }
  }

  #hear(answer: Answer): void {
    const { requests, ending, pace } = this.#conversation
    const at = this.#statuses.length
    const question = requests[at] ?? ending?.question
    if (this.#isLast) return this.#complain('an answer after the last one')
    if (question === undefined || at >= this.#most) return this.#complain('an answer to nothing')
    this.#statuses.push(answer.status)
    const complaint = complaintAbout(answer, question)
    if (complaint !== undefined) {
      this.#complain(`request ${at}: ${complaint}: ${JSON.stringify(shown(answer))}`)
      return
    }
    this.#isLast = answer.headers.get('connection') === 'close'
    if (pace === 'one by one') this.#write()
    this.#leaveIfAnswered()
  }

  /** Goes once it has all that it can be sure of. */
  #leaveIfAnswered(): void {
    const { requests, ending, writes } = this.#conversation
    if (this.#isLast || this.#statuses.length < requests.length) return
    if (this.#written < writes.length) return
    if (ending === undefined) return this.#leave()
    clearTimeout(this.#linger)
    const ms = ending.leave === 'wait' ? WAIT_MS : LINGER_MS
    this.#linger = setTimeout(() => this.#leave(), ms)
  }

  #leave(): void {
    if (this.#hasLeft) return
    this.#hasLeft = true
    this.#socket.end()
  }

  #closed(): void {
    clearTimeout(this.#watch)
    clearTimeout(this.#linger)
    const { requests } = this.#conversation
    const late = this.#reader.end()
    if (late !== undefined) this.#hear(late)
    if (this.#hasLeft || this.#isLast || this.#mayBeClosed()) return
    const at = this.#statuses.length
    if (at < requests.length) this.#complain(`request ${at}: no answer`)
    else if (this.#reader.isAmidst) this.#complain('half an answer')
  }

  /**
   * Whether there is something that the gateway may close the connection for. When it does while
   * more is on its way, the network resets the connection, and may lose what was said last.
   */
  #mayBeClosed(): boolean {
    const { requests, ending } = this.#conversation
    return ending !== undefined || requests.some(({ text }) => CLOSING.test(text) || isLarge(text))
  }

  #complain(complaint: string): void {
    this.#complaint ??= complaint
    this.#socket.destroy()
  }
}

function shown({ status, headers, body }: Answer): object {
  return { status, headers: Object.fromEntries(headers), body: body.slice(0, 500) }
}
