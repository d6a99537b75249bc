/**
 * The fast lane: connections begin here, and those that ask for plain live reads stay. Everything
 * else, failures included, is Node's and Fastify's: what is refused is refused in one place.
 */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock } from '../../clock.ts'
import type { StreamNames } from '../../protocol/names.ts'
import type { Admission } from '../admission.ts'
import type { Cors } from '../cors.ts'
import { eventHeaders } from '../live.ts'
import type { LiveReads } from '../live.ts'
import type { Drain } from '../plugins/drain.ts'
import type { LiveLines } from '../plugins/request-log.ts'
import { Wheel } from '../wheel.ts'
import type { Connection } from './connection.ts'
import { Connections } from './connections.ts'
import { directWrites } from './direct.ts'
import { LiveGets } from './live-get.ts'
import type { LiveGet } from './live-get.ts'
import { PollAnswers } from './poll-answers.ts'
import { ResponseHeads } from './response.ts'

export type FastLaneOptions = {
  readonly names: StreamNames
  readonly server: Server
  readonly live: LiveReads
  readonly clock: Clock
  readonly drain: Drain
  readonly admission: Admission
  readonly cors: Cors
  readonly lines: LiveLines
  readonly maxUrlBytes: number
}

/** How finely times without a request are kept. */
const TURN_MS = 250

/** What Node's server says of a connection whose request did not come in time. */
const LATE = { code: 'ERR_HTTP_REQUEST_TIMEOUT' }

export class FastLane {
  readonly #options: FastLaneOptions
  readonly #connections: Connections
  readonly #heads: ResponseHeads
  readonly #polls: PollAnswers
  readonly #gets: LiveGets

  /** Takes the place of what the server would do with a new connection. */
  constructor(options: FastLaneOptions) {
    const { server, clock, drain, admission } = options
    this.#options = options
    this.#gets = new LiveGets(options)
    this.#heads = new ResponseHeads(clock, server.keepAliveTimeout)
    this.#polls = new PollAnswers(this.#heads)
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
      direct: directWrites,
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

  #serve(sent: Buffer, connection: Connection): void {
    const get = this.#gets.read(sent)
    if (get === undefined) return connection.handOver()
    const answered =
      get.read.mode === 'sse' ? this.#events(get, connection) : this.#poll(get, connection)
    answered.catch((error: unknown) => {
      this.#options.lines.laneFailed(get.path, error)
      connection.fail()
    })
  }

  async #events({ path, name, read, common }: LiveGet, connection: Connection): Promise<void> {
    const { live, lines } = this.#options
    const place = await live.attach(name, read.offset)
    if (connection.isGone) return
    const head = this.#heads.chunked(eventHeaders(place.hub.stream), common)
    connection.begin(head, lines.begin(path, 'sse'))
    live.open({ place, cursor: read.cursor, sink: connection })
    connection.flush()
  }

  async #poll(get: LiveGet, connection: Connection): Promise<void> {
    const { live, clock, lines, drain } = this.#options
    const line = lines.begin(get.path, 'long-poll')
    const result = await live.longPoll(get.name, get.read, connection)
    if (connection.isGone) {
      line.write(204, true)
      return
    }
    const { read, ifNoneMatch, common } = get
    const asked = { read, ifNoneMatch, common, now: clock.now(), audience: 'shared' } as const
    const { head, body, status } = this.#polls.of(result, asked, drain.begun)
    connection.answer(head, body)
    line.write(status)
  }
}
