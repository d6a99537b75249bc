/** An HTTP/2 server that answers read sessions as the test tells it. */
import { once } from 'node:events'
import http2, {
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2'
import type { AddressInfo, Socket } from 'node:net'

export type ReadRequest = {
  readonly stream: ServerHttp2Stream
  readonly headers: IncomingHttpHeaders
}

/** A frame of S2S: flags and a body. */
export function frame(flags: number, body: Uint8Array): Buffer {
  const head = Buffer.alloc(4)
  head.writeUIntBE(1 + body.length, 0, 3)
  head[3] = flags
  return Buffer.concat([head, body])
}

/** A batch without records. */
export const heartbeat = (tail: number, flags = 0): Buffer =>
  frame(flags, Uint8Array.of(0x12, 0x02, 0x08, tail))

/** A batch of one record with a body of some bytes; seq nums up to 127. */
export function batch(seqNum: number, bodyBytes = 1): Buffer {
  const varint = (value: number): number[] =>
    value < 0x80 ? [value] : [(value % 0x80) | 0x80, ...varint(Math.floor(value / 0x80))]
  const record = [0x08, seqNum, 0x10, 0x01, 0x22, ...varint(bodyBytes)]
  const length = varint(record.length + bodyBytes)
  return frame(
    0,
    Buffer.concat([Uint8Array.of(0x0a, ...length, ...record), Buffer.alloc(bodyBytes, 0x61)]),
  )
}

/** The last frame of a session. */
export function terminal(status: number, answer: object = {}): Buffer {
  const head = Buffer.alloc(2)
  head.writeUInt16BE(status)
  return frame(0x80, Buffer.concat([head, Buffer.from(JSON.stringify(answer))]))
}

export class ReadServer {
  readonly connections: ServerHttp2Session[] = []
  /** Below {@link connections}. */
  readonly sockets: Socket[] = []
  readonly requests: ReadRequest[] = []
  readonly #server: Http2Server
  /** What is done with a session; by default it is opened, and nothing is sent. */
  onRequest = ({ stream }: ReadRequest): void => stream.respond({ ':status': 200 })

  private constructor(maxConcurrentStreams: number) {
    this.#server = http2.createServer({ settings: { maxConcurrentStreams } })
    this.#server.on('connection', (socket: Socket) => this.sockets.push(socket))
    this.#server.on('session', (session) => {
      this.connections.push(session)
      session.on('error', () => undefined)
    })
    this.#server.on('stream', (stream, headers) => {
      stream.on('error', () => undefined)
      this.requests.push({ stream, headers })
      this.onRequest({ stream, headers })
    })
  }

  static async start(maxConcurrentStreams = 1000): Promise<ReadServer> {
    const server = new ReadServer(maxConcurrentStreams)
    server.#server.listen(0, '127.0.0.1')
    await once(server.#server, 'listening')
    return server
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Connections that are still there. */
  get open(): number {
    return this.connections.filter(({ destroyed }) => !destroyed).length
  }

  async stop(): Promise<void> {
    for (const session of this.connections) session.destroy()
    this.#server.close()
    await once(this.#server, 'close')
  }
}
