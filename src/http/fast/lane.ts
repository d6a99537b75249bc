/**
 * The fast lane: connections begin here, and those that ask for plain live reads stay. Everything
 * else, failures included, is Node's and Fastify's: what is refused is refused in one place.
 */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock } from '../../clock.ts'
import { parseStreamPath } from '../../protocol/path.ts'
import { parseRead } from '../../protocol/requests.ts'
import type { ReadRequest } from '../../protocol/requests.ts'
import type { Admission } from '../admission.ts'
import { eventHeaders } from '../live.ts'
import type { LiveReads } from '../live.ts'
import type { Drain } from '../plugins/drain.ts'
import type { LiveLines } from '../plugins/request-log.ts'
import { renderLongPoll } from '../render.ts'
import { STREAM_PREFIX } from '../stream-url.ts'
import { Wheel } from '../wheel.ts'
import type { Connection } from './connection.ts'
import { Connections } from './connections.ts'
import type { PlainGet } from './head.ts'
import { ResponseHeads } from './response.ts'

export type FastLaneOptions = {
  readonly server: Server
  readonly live: LiveReads
  readonly clock: Clock
  readonly drain: Drain
  readonly admission: Admission
  readonly lines: LiveLines
}

/** How finely times without a request are kept. */
const TURN_MS = 250

/** What Node's server says of a connection whose request did not come in time. */
const LATE = { code: 'ERR_HTTP_REQUEST_TIMEOUT' }

export class FastLane {
  readonly #options: FastLaneOptions
  readonly #connections: Connections
  readonly #heads: ResponseHeads

  /** Takes the place of what the server would do with a new connection. */
  constructor(options: FastLaneOptions) {
    const { server, clock, drain, admission } = options
    this.#options = options
    this.#heads = new ResponseHeads(clock, server.keepAliveTimeout)
    const listeners = server.listeners('connection')
    const toNode = (socket: Socket): void => {
      for (const listener of listeners) listener.call(server, socket)
    }
    this.#connections = new Connections({
      serve: (request, connection) => this.#serve(request, connection),
      toNode,
      refuseLate: (socket) => {
        // Node's from here on: somebody has to hear of its errors, and to end it at last.
        toNode(socket)
        server.emit('clientError', Object.assign(new Error('request timeout'), LATE), socket)
      },
      admits: (socket) => admission.refusal(socket) === undefined,
      isLeaving: () => drain.begun,
      wheel: new Wheel(clock, TURN_MS),
      firstMs: server.headersTimeout,
      keepAliveMs: server.keepAliveTimeout,
    })
    server.removeAllListeners('connection')
    server.on('connection', (socket: Socket) => {
      if (drain.begun) toNode(socket)
      else this.#connections.open(socket)
    })
  }

  /** Closes the connections that wait for a request. */
  closeIdle(): void {
    for (const connection of this.#connections.all()) connection.closeIdle()
  }

  /** Drops all that is left. */
  destroy(): void {
    for (const connection of this.#connections.all()) connection.destroy()
  }

  #serve(request: PlainGet, connection: Connection): void {
    this.#answer(request, connection).catch((error: unknown) => {
      this.#options.lines.laneFailed(request.path, error)
      connection.fail()
    })
  }

  async #answer(request: PlainGet, connection: Connection): Promise<void> {
    const name = parseStreamPath(request.path.slice(STREAM_PREFIX.length))
    const read = parseRead(request.query, request.headers)
    if (read.mode === 'sse') await this.#events(name, read, request, connection)
    else if (read.mode === 'long-poll') await this.#poll(name, read, request, connection)
    else connection.handOver()
  }

  async #events(
    name: string,
    read: ReadRequest,
    request: PlainGet,
    connection: Connection,
  ): Promise<void> {
    const { live, lines } = this.#options
    const place = await live.attach(name, read.offset)
    if (connection.isGone) return
    const head = this.#heads.chunked(eventHeaders(place.hub.stream))
    connection.begin(head, lines.begin(request.path, 'sse'))
    live.open({ place, cursor: read.cursor, sink: connection })
    connection.flush()
  }

  async #poll(
    name: string,
    read: ReadRequest,
    request: PlainGet,
    connection: Connection,
  ): Promise<void> {
    const { live, clock, lines } = this.#options
    const line = lines.begin(request.path, 'long-poll')
    const result = await live.longPoll(name, read, connection)
    if (connection.isGone) {
      line.write(204, true)
      return
    }
    const ifNoneMatch = request.headers['if-none-match']
    const rendered = renderLongPoll(result, { read, ifNoneMatch, now: clock.now() })
    const { head, body } = this.#heads.whole(rendered, this.#options.drain.begun)
    connection.answer(head, body)
    line.write(rendered.status)
  }
}
