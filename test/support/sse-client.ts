/** A reader of one SSE response, of any content type. It sees what the wire says; no reconnect. */
import { once } from 'node:events'
import http from 'node:http'

export type WireEvent = { readonly id: string; readonly event: string; readonly data: string }

export type WireControl = {
  readonly streamNextOffset: string
  readonly streamCursor?: string
  readonly upToDate?: true
  readonly streamClosed?: true
}

export class SseClient {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly events: WireEvent[] = []
  /** Comment lines seen: heartbeats. */
  comments = 0
  /** Whether the response came to its proper end; undefined while it has not ended. */
  complete: boolean | undefined
  readonly #response: http.IncomingMessage
  readonly #watchers = new Set<() => void>()
  #rest = ''

  /** Resolves with the head of the response. A status other than 200 is up to the caller. */
  static async open(
    url: string,
    headers: Readonly<Record<string, string>> = {},
    agent?: http.Agent,
  ): Promise<SseClient> {
    const request = http.get(url, { headers, ...(agent && { agent }) })
    const [response] = (await once(request, 'response')) as [http.IncomingMessage]
    return new SseClient(response)
  }

  private constructor(response: http.IncomingMessage) {
    this.#response = response
    this.status = response.statusCode ?? 0
    this.headers = response.headers
    response.setEncoding('utf8')
    response.on('data', (text: string) => this.#take(text))
    response.on('error', () => undefined)
    response.once('close', () => {
      this.complete = response.complete
      this.#tell()
    })
  }

  get controls(): WireControl[] {
    return this.events
      .filter(({ event }) => event === 'control')
      .map(({ data }) => JSON.parse(data) as WireControl)
  }

  /** All data so far, joined. */
  get text(): string {
    return this.events
      .filter(({ event }) => event === 'data')
      .map(({ data }) => data)
      .join('')
  }

  /** Resolves once the condition holds; rejects when the response ends before. */
  until(condition: (client: this) => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const watch = (): void => {
        if (condition(this)) resolve()
        else if (this.complete !== undefined) reject(new Error('the response has ended'))
        else return
        this.#watchers.delete(watch)
      }
      this.#watchers.add(watch)
      watch()
    })
  }

  ended(): Promise<void> {
    return this.until(({ complete }) => complete !== undefined)
  }

  /** Stops reading from the socket. */
  stall(): void {
    this.#response.pause()
  }

  resume(): void {
    this.#response.resume()
  }

  leave(): void {
    this.#response.destroy()
  }

  #take(text: string): void {
    const blocks = (this.#rest + text).split('\n\n')
    this.#rest = blocks.pop() ?? ''
    for (const block of blocks) this.#takeBlock(block)
    this.#tell()
  }

  #takeBlock(block: string): void {
    if (block.startsWith(':')) {
      this.comments += 1
      return
    }
    const fields: Record<string, string[]> = {}
    for (const line of block.split('\n')) {
      const colon = line.indexOf(':')
      const value = line.slice(colon + 1)
      const list = (fields[line.slice(0, colon)] ??= [])
      list.push(value.startsWith(' ') ? value.slice(1) : value)
    }
    const { id = [], event = [], data = [] } = fields
    this.events.push({ id: id.join(), event: event.join(), data: data.join('\n') })
  }

  #tell(): void {
    for (const watch of [...this.#watchers]) watch()
  }
}
