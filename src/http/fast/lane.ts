/**
 * The fast lane: connections begin here, and those that ask for plain live reads stay. Everything
 * else, failures included, is Node's and Fastify's: what is refused is refused in one place.
 */
import type { Server } from 'node:http'
import type { Socket } from 'node:net'
import type { Clock } from '../../clock.ts'
import type { StreamNames } from '../../protocol/names.ts'
import type { Span, Tracing } from '../../tracing/tracing.ts'
import type { Admission } from '../admission.ts'
import type { Cors } from '../cors.ts'
import { eventHeaders } from '../live.ts'
import type { LiveReads } from '../live.ts'
import type { ClientAddressOf } from '../client-address.ts'
import { OPEN_GATE } from '../gate.ts'
import type { Access, Gate, Later, Life } from '../gate.ts'
import type { Lease } from '../leases.ts'
import type { HttpObserver, ObservedRequest } from '../http-observer.ts'
import type { Limits, Principal } from '../limits.ts'
import type { LongPollResult } from '../long-poll.ts'
import type { Drain } from '../plugins/drain.ts'
import type { LiveLine, LiveLines } from '../plugins/request-log.ts'
import { beginLiveRead } from '../plugins/tracing.ts'
import { passSpan } from '../spans.ts'
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
  readonly gate: Gate
  readonly clock: Clock
  readonly drain: Drain
  readonly admission: Admission
  readonly cors: Cors
  readonly lines: LiveLines
  readonly limits: Limits
  readonly clientAddressOf: ClientAddressOf
  readonly maxUrlBytes: number
  readonly observer?: HttpObserver | undefined
  /** Undefined when nobody wants to know. */
  readonly tracing: Tracing | undefined
}

/** How finely times without a request are kept. */
const TURN_MS = 250

/** What Node's server says of a connection whose request did not come in time. */
const LATE = { code: 'ERR_HTTP_REQUEST_TIMEOUT' }

/** A request that was let in. */
type Admitted = {
  readonly lease: (stream: Life) => Lease | undefined
  /** To be called when it is over, once or more. */
  readonly leave: () => void
}

/** Where everybody may do everything as often as they like. */
const FREELY: Admitted = { lease: () => undefined, leave: () => undefined }

const NOBODY: Principal = {}
const ONE_REQUEST = { requests: 1 } as const

function live(status: number): ObservedRequest {
  return { method: 'GET', operation: 'read', status, ms: undefined }
}

/** What there is to tell of a request: thousands are answered at once. */
const ANSWERED: Readonly<Record<number, ObservedRequest>> = { 200: live(200), 204: live(204) }
/** Its client did not wait for the answer. */
const LEFT = live(499)

export class FastLane {
  readonly #options: FastLaneOptions
  readonly #needsAddress: boolean
  readonly #isFree: boolean
  readonly #connections: Connections
  readonly #heads: ResponseHeads
  readonly #polls: PollAnswers
  readonly #gets: LiveGets

  /** Takes the place of what the server would do with a new connection. */
  constructor(options: FastLaneOptions) {
    const { server, clock, drain, admission } = options
    this.#options = options
    this.#needsAddress = options.limits.limits('address')
    // Of whom no token is asked, nothing but the address is known.
    this.#isFree = options.gate === OPEN_GATE && !this.#needsAddress
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
    const { tracing } = this.#options
    const { path, headers } = get
    const live = get.read.mode === 'sse' ? 'sse' : 'long-poll'
    const span = tracing && beginLiveRead(tracing, { path, live, headers })
    const answer = (): Promise<void> =>
      live === 'sse' ? this.#events(get, connection, span) : this.#poll(get, connection, span)
    const answered = tracing === undefined ? answer() : tracing.within([span], answer)
    answered.catch((error: unknown) => {
      this.#options.lines.laneFailed(get.path, error)
      if (span !== undefined) passSpan(connection.socket, span)
      // What is begun has been told of.
      if (connection.isGone) this.#options.observer?.onRequest(LEFT)
      connection.fail()
    })
  }

  /**
   * Lets a request in, and counts it until the returned function is called.
   *
   * @throws GatewayError it is refused, which is not said here
   */
  #admit(get: LiveGet, connection: Connection): Later<Admitted> {
    return this.#isFree ? FREELY : this.#check(get, connection)
  }

  async #check(get: LiveGet, connection: Connection): Promise<Admitted> {
    const { gate, limits } = this.#options
    const admitted = gate.admit({ scope: 'read', name: get.name }, get)
    const access = admitted instanceof Promise ? await admitted : admitted
    const principal = this.#principalOf(get, access, connection)
    const leave = limits.enter(principal)
    let isTaken = false
    return {
      // Only when nothing can send it to Node any more, which takes it, too.
      lease: (stream) => {
        const lease = gate.lease(access, stream)
        if (!isTaken) limits.take(principal, ONE_REQUEST)
        isTaken = true
        return lease
      },
      leave,
    }
  }

  #principalOf(get: LiveGet, access: Access, connection: Connection): Principal {
    const grant: Principal = access.grant ?? NOBODY
    if (!this.#needsAddress) return grant
    const { clientAddressOf } = this.#options
    const address = clientAddressOf(connection.remoteAddress, get.forwardedFor)
    return { subject: grant.subject, project: grant.project, address }
  }

  async #events(get: LiveGet, connection: Connection, span: Span | undefined): Promise<void> {
    const { live } = this.#options
    const { name, read, common } = get
    const admitted = this.#admit(get, connection)
    const { lease, leave } = admitted instanceof Promise ? await admitted : admitted
    try {
      const place = await live.attach(name, read.offset)
      const held = lease(place.hub.stream)
      if (connection.isGone) {
        leave()
        this.#options.observer?.onRequest(LEFT)
        return
      }
      const head = this.#heads.chunked(eventHeaders(place.hub.stream), common)
      connection.begin(head, this.#line(get, 'sse', span), leave)
      live.open({ place, cursor: read.cursor, sink: connection, lease: held })
    } catch (error) {
      leave()
      throw error
    }
    connection.flush()
  }

  #line({ path, headers }: LiveGet, live: 'sse' | 'long-poll', span?: Span): LiveLine {
    const { traceparent } = headers
    return this.#options.lines.begin({ path, live, traceparent, span })
  }

  async #poll(get: LiveGet, connection: Connection, span: Span | undefined): Promise<void> {
    const admitted = this.#admit(get, connection)
    const { lease, leave } = admitted instanceof Promise ? await admitted : admitted
    try {
      const { name, read } = get
      const line = this.#line(get, 'long-poll', span)
      const result = await this.#options.live.longPoll({ name, read, lease }, connection)
      if (connection.isGone) {
        line.write(204, true)
        this.#options.observer?.onRequest(LEFT)
      } else line.write(this.#answerPoll(get, connection, result))
    } finally {
      leave()
    }
  }

  #answerPoll(get: LiveGet, connection: Connection, result: LongPollResult): number {
    const { clock, drain, gate, observer } = this.#options
    const { read, ifNoneMatch, common, readerKey } = get
    const audience = gate.audienceOf(result.stream, readerKey)
    const asked = { read, ifNoneMatch, common, audience, now: clock.now() }
    const { head, body, status, cache } = this.#polls.of(result, asked, drain.begun)
    connection.answer(head, body)
    observer?.onRequest(ANSWERED[status] ?? live(status))
    observer?.onCacheKind(cache, audience)
    return status
  }
}
