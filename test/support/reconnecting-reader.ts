/**
 * An SSE reader that comes back as the protocol's own client does: at once when a response has
 * ended or its connection is lost, and after `Retry-After` when it is refused. It reads a JSON
 * stream whose messages are 0, 1, 2 and so on, and sees whether one is missing or comes twice.
 */
import http from 'node:http'

/** Refused connections are tried again after this, in ms: nobody listens while all restart. */
const REFUSED_MS = 50

export class ReconnectingReader {
  /** The message that comes next. */
  next = 0
  connects = 0
  refusals = 0
  /** The longest time between two deliveries, in ms. */
  longestGapMs = 0
  /** What was not as it must be; empty when all is well. */
  readonly problems: string[] = []
  readonly #url: () => string
  #offset = '-1'
  #deliveredAt: number | undefined
  #request: http.ClientRequest | undefined
  #timer: NodeJS.Timeout | undefined
  #phase: 'reading' | 'over' = 'reading'

  /** Begins to read. `url` is asked before each connection. */
  constructor(url: () => string) {
    this.#url = url
    this.#connect()
  }

  stop(): void {
    this.#phase = 'over'
    clearTimeout(this.#timer)
    this.#request?.destroy()
  }

  #connect(): void {
    if (this.#phase === 'over') return
    this.connects += 1
    const url = `${this.#url()}?offset=${this.#offset}&live=sse`
    const request = http.get(url, { agent: false }, (response) => this.#receive(response))
    this.#request = request
    request.on('error', () => this.#again(REFUSED_MS))
  }

  #receive(response: http.IncomingMessage): void {
    let rest = ''
    response.setEncoding('utf8')
    if (response.statusCode !== 200) {
      this.refusals += 1
      response.resume()
      return this.#again(Number(response.headers['retry-after'] ?? 1) * 1000)
    }
    response.on('data', (text: string) => {
      const blocks = (rest + text).split('\n\n')
      rest = blocks.pop() ?? ''
      for (const block of blocks) this.#take(block)
    })
    response.once('close', () => this.#again(0))
    response.on('error', () => undefined)
  }

  #again(ms: number): void {
    if (this.#phase === 'over') return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#connect(), ms)
  }

  #take(block: string): void {
    const data = block
      .split('\n')
      .filter((line) => line.startsWith('data:'))
      .map((line) => line.slice('data:'.length))
      .join('\n')
    if (block.includes('event: control')) {
      this.#offset = (JSON.parse(data) as { streamNextOffset: string }).streamNextOffset
    } else if (block.includes('event: data')) {
      for (const message of JSON.parse(data) as number[]) this.#see(message)
    }
  }

  #see(message: number): void {
    const now = performance.now()
    const gapMs = now - (this.#deliveredAt ?? now)
    this.#deliveredAt = now
    this.longestGapMs = Math.max(this.longestGapMs, gapMs)
    if (message !== this.next) this.problems.push(`${message} in place of ${this.next}`)
    this.next = message + 1
  }
}
