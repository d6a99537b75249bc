/** An HTTP relay between a cache and a gateway: it counts requests, and holds answers back. */
import { EventEmitter, once } from 'node:events'
import http from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { pipeline } from 'node:stream'
import type { CleanUps } from './clean-ups.ts'

/** An answer that is kept from whoever asked. */
export type Held = {
  /** Resolves once the gateway has answered. */
  readonly answered: Promise<void>
  release(): void
}

type Hold = { readonly url: string; readonly take: (pass: () => void) => void }

export class RecordingRelay {
  readonly url: string
  /** What came through, as `GET /v1/stream/name?query`, in order. */
  readonly requests: string[] = []
  /** The status of every answer, in order. */
  readonly answers: number[] = []
  /** Requests that have no answer yet, or not all of it. */
  open = 0
  readonly #target: URL
  readonly #holds: Hold[] = []
  readonly #news = new EventEmitter().setMaxListeners(0)
  readonly #agent = new http.Agent({ keepAlive: true })

  /** Starts it in front of the gateway at `target`. */
  static async start(target: string, cleanUps: CleanUps): Promise<RecordingRelay> {
    const server = http.createServer({ keepAliveTimeout: 0, requestTimeout: 0 })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('not a TCP server')
    const relay = new RecordingRelay(new URL(target), `http://127.0.0.1:${address.port}`)
    server.on('request', (request, response) => relay.#relay(request, response))
    cleanUps.add(async () => {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
      relay.#agent.destroy()
    })
    return relay
  }

  private constructor(target: URL, url: string) {
    this.#target = target
    this.url = url
  }

  /** How often the path and query of a URL came through. */
  count(url: string, method = 'GET'): number {
    const wanted = requestLine(method, url)
    return this.requests.filter((line) => line === wanted).length
  }

  /** Resolves once a URL has come through so often. */
  async until(url: string, count: number): Promise<void> {
    while (this.count(url) < count) await once(this.#news, 'request')
  }

  /** Holds back the answer to the next request for a URL. */
  hold(url: string): Held {
    let pass: (() => void) | undefined
    let released = false
    const answered = new Promise<void>((resolve) => {
      this.#holds.push({
        url: requestLine('GET', url),
        take: (then) => {
          resolve()
          if (released) then()
          else pass = then
        },
      })
    })
    const release = (): void => {
      released = true
      pass?.()
    }
    return { answered, release }
  }

  #relay(request: IncomingMessage, response: ServerResponse): void {
    const line = `${request.method ?? ''} ${request.url ?? ''}`
    this.requests.push(line)
    this.open += 1
    response.once('close', () => (this.open -= 1))
    this.#news.emit('request')
    const { method, url: path, rawHeaders: headers } = request
    const { hostname, port } = this.#target
    const upstream = http.request({ hostname, port, method, path, headers, agent: this.#agent })
    upstream.once('response', (answer) => {
      this.answers.push(answer.statusCode ?? 0)
      const pass = (): void => {
        response.writeHead(answer.statusCode ?? 0, answer.rawHeaders)
        // Or the head of an event stream would wait for the first event.
        response.flushHeaders()
        pipeline(answer, response, () => undefined)
      }
      const index = this.#holds.findIndex(({ url }) => url === line)
      if (index === -1) pass()
      else this.#holds.splice(index, 1)[0]?.take(pass)
    })
    upstream.once('error', () => response.destroy())
    response.once('close', () => upstream.destroy())
    pipeline(request, upstream, () => undefined)
  }
}

function requestLine(method: string, url: string): string {
  const { pathname, search } = new URL(url)
  return `${method} ${pathname}${search}`
}
