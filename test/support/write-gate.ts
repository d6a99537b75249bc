/**
 * A proxy in front of an s2-lite that stops a gateway at one of its writes: before S2 has it, or
 * before the gateway has the answer. Unary calls only: a gateway behind it can't follow a stream.
 */
import { once } from 'node:events'
import http from 'node:http'
import { text } from 'node:stream/consumers'
import { onTestFinished } from 'vitest'
import { kindOfCall } from './s2-proxy.ts'

/** An append or the creation of a stream. */
export type Write = { readonly kind: 'append' | 'create'; readonly stream: string }

export type HeldWrite = Write & {
  /** Sends it to S2, as a network does that held it up. Resolves with the HTTP status. */
  readonly deliver: () => Promise<number>
}

export type HeldPart = 'request' | 'answer'

type Hold = {
  /** Writes to let through before it. */
  left: number
  readonly part: HeldPart
  /** Where it must write to, to count. */
  readonly stream: string | undefined
  readonly held: (write: HeldWrite) => void
}

type Call = {
  readonly method: string
  readonly path: string
  readonly headers: http.IncomingHttpHeaders
  readonly body: string
}

/** S2's answer. */
type Result = {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly body: string
}

export class WriteGate {
  /** All that came, the held one included. */
  readonly writes: Write[] = []
  readonly #target: number
  readonly #agent = new http.Agent({ keepAlive: true })
  readonly #server: http.Server
  #hold: Hold | undefined
  #isShut = false

  /** Call it inside a test. `target` is the port of the s2-lite. */
  static async start(target: number): Promise<WriteGate> {
    const gate = new WriteGate(target)
    gate.#server.listen(0, '127.0.0.1')
    await once(gate.#server, 'listening')
    onTestFinished(async () => {
      gate.#agent.destroy()
      gate.#server.closeAllConnections()
      gate.#server.close()
      await once(gate.#server, 'close')
    })
    return gate
  }

  private constructor(target: number) {
    this.#target = target
    this.#server = http.createServer((request, response) => {
      // Whoever has gone away needs no answer.
      this.#take(request, response).catch(() => response.destroy())
    })
  }

  get url(): string {
    const address = this.#server.address()
    if (address === null || typeof address === 'string') throw new Error('not listening')
    return `http://127.0.0.1:${address.port}`
  }

  /** Holds the `nth` write from now, to `stream` if given, for good, and all calls after it. */
  hold(nth: number, part: HeldPart, stream?: string): Promise<HeldWrite> {
    this.writes.length = 0
    return new Promise((held) => {
      this.#hold = { left: nth - 1, part, stream, held }
    })
  }

  async #take(request: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const { method = 'GET', url = '/', headers } = request
    // Requests are JSON, or protobuf in which every byte counts.
    const body = await text(request.setEncoding('latin1'))
    const call = { method, path: url, headers, body }
    if (this.#isShut) return
    const write = writeOf(call)
    const hold = write && this.#count(write)
    const send = (): Promise<Result> => this.#send(call)
    if (write !== undefined && hold?.part === 'request') {
      hold.held({ ...write, deliver: async () => (await send()).status })
      return
    }
    const result = await send()
    if (write !== undefined && hold !== undefined) {
      hold.held({ ...write, deliver: () => Promise.resolve(result.status) })
      return
    }
    response.writeHead(result.status, result.headers).end(result.body, 'latin1')
  }

  /** The hold, if this is the write to hold. */
  #count(write: Write): Hold | undefined {
    this.writes.push(write)
    const hold = this.#hold
    if (hold === undefined || (hold.stream ?? write.stream) !== write.stream) return undefined
    hold.left -= 1
    if (hold.left >= 0) return undefined
    this.#isShut = true
    return hold
  }

  async #send({ method, path, headers, body }: Call): Promise<Result> {
    const request = http.request({
      host: '127.0.0.1',
      port: this.#target,
      method,
      path,
      headers,
      agent: this.#agent,
    })
    request.end(body, 'latin1')
    const [response] = (await once(request, 'response')) as [http.IncomingMessage]
    const answer = await text(response.setEncoding('latin1'))
    return { status: response.statusCode ?? 502, headers: response.headers, body: answer }
  }
}

function writeOf({ method, path, headers, body }: Call): Write | undefined {
  const kind = kindOfCall(method, path, headers['content-type'])
  if (kind !== 'append' && kind !== 'create') return undefined
  const [, inPath] = /^\/v1\/streams\/([^/?]+)/.exec(path) ?? []
  const stream =
    inPath === undefined
      ? (JSON.parse(body) as { readonly stream: string }).stream
      : decodeURIComponent(inPath)
  return { kind, stream }
}
