/**
 * A proxy between a gateway and an s2-lite that counts S2's calls and breaks the network.
 *
 * Two layers. In front a TCP relay, where the faults are: it knows bytes only. Behind it an HTTP
 * proxy on an inner port, where the counts are: HTTP/1.1 for unary calls and HTTP/2 (prior
 * knowledge) for sessions, told apart by the first bytes of a connection.
 */
import { once } from 'node:events'
import http from 'node:http'
import http2 from 'node:http2'
import net from 'node:net'
import { bodyOf, HttpFaults, type HttpFault } from './http-faults.ts'

export type S2CallKind =
  'append' | 'read' | 'checkTail' | 'create' | 'readSession' | 'appendSession' | 'other'

/** Calls begun since the start or the last `reset`, by kind. */
export type S2CallCounts = Readonly<Record<S2CallKind, number>>

export type ReadSessions = {
  /** Begun since the start or the last `reset`. */
  readonly begun: readonly string[]
  /** Open at this moment. */
  readonly open: readonly string[]
}

export type S2Proxy = {
  readonly url: string
  readonly port: number
  counts(): S2CallCounts
  /** Read sessions that are open at this moment. */
  openReadSessions(): number
  openAppendSessions(): number
  /** The streams of read sessions, one for each session. */
  readSessions(): ReadSessions
  /** TCP connections that a client has to the proxy at this moment. */
  connections(): number
  /** Sets the counts to zero. What is open stays counted as open. */
  reset(): void
  /** Lets no byte through in either direction and still accepts. `resume` delivers them all. */
  pause(): void
  resume(): void
  /** Makes the connections of this moment silent for good. New ones work. */
  strand(): void
  /** Resets all connections. */
  cut(): void
  /** Refuses new connections; those there are stay. */
  refuse(): Promise<void>
  /** Accepts connections again, on the same port. */
  listen(): Promise<void>
  /** Delays every byte by this long in each direction. 0 for no delay. */
  delay(ms: number): void
  /** Gives calls this answer in S2's place. Undefined for S2's own again. */
  answer(fault: HttpFault | undefined): void
  stop(): Promise<void>
}

/** Starts a proxy in front of the s2-lite at `127.0.0.1:target`. */
export async function startS2Proxy({ target }: { readonly target: number }): Promise<S2Proxy> {
  const counter = new CallCounter()
  const faults = new HttpFaults()
  const inner = await startHttpProxy({ target, counter, faults })
  const relay = new Relay(inner.port)
  await relay.listen()
  const { port } = relay
  return {
    url: `http://127.0.0.1:${port}`,
    port,
    counts: () => ({ ...counter.begun }),
    openReadSessions: () => counter.open.readSession,
    openAppendSessions: () => counter.open.appendSession,
    readSessions: () => counter.readSessions(),
    connections: () => relay.connections(),
    reset: () => counter.reset(),
    pause: () => relay.setPaused(true),
    resume: () => relay.setPaused(false),
    strand: () => relay.strand(),
    cut: () => relay.cut(),
    refuse: () => relay.refuse(),
    listen: () => relay.listen(),
    delay: (ms) => relay.setDelay(ms),
    answer: (fault) => faults.set(fault),
    stop: async () => {
      relay.cut()
      await relay.refuse()
      await inner.stop()
    },
  }
}

const noCalls = (): Record<S2CallKind, number> => ({
  append: 0,
  read: 0,
  checkTail: 0,
  create: 0,
  readSession: 0,
  appendSession: 0,
  other: 0,
})

class CallCounter {
  begun = noCalls()
  readonly open = noCalls()
  #begunSessions: string[] = []
  readonly #openSessions = new Set<{ readonly name: string }>()

  /** Counts a call and returns what to do when it is over. */
  begin(method: string, url: string, contentType?: string): () => void {
    const kind = kindOfCall(method, url, contentType)
    const session = { name: streamOfCall(url) }
    this.begun[kind] += 1
    this.open[kind] += 1
    if (kind === 'readSession') {
      this.#begunSessions.push(session.name)
      this.#openSessions.add(session)
    }
    return () => {
      this.open[kind] -= 1
      this.#openSessions.delete(session)
    }
  }

  readSessions(): ReadSessions {
    return {
      begun: [...this.#begunSessions],
      open: [...this.#openSessions].map(({ name }) => name),
    }
  }

  reset(): void {
    this.begun = noCalls()
    this.#begunSessions = []
  }
}

/** Tells an S2 call by its request line; sessions are marked by their content type. */
export function kindOfCall(method: string, url: string, contentType?: string): S2CallKind {
  const [path = ''] = url.split('?')
  const isSession = contentType === 's2s/proto'
  if (/^\/v1\/streams\/[^/]+\/records$/.test(path)) {
    if (method === 'GET') return isSession ? 'readSession' : 'read'
    if (method === 'POST') return isSession ? 'appendSession' : 'append'
  }
  if (method === 'GET' && /^\/v1\/streams\/[^/]+\/records\/tail$/.test(path)) return 'checkTail'
  if (method === 'POST' && path === '/v1/streams') return 'create'
  if (method === 'PUT' && /^\/v1\/streams\/[^/]+$/.test(path)) return 'create'
  return 'other'
}

function streamOfCall(url: string): string {
  const [, name = ''] = /^\/v1\/streams\/([^/?]+)/.exec(url) ?? []
  return decodeURIComponent(name)
}

/** The TCP layer: a pair of sockets for every connection, and the faults. */
export class Relay {
  readonly #innerPort: number
  readonly #pairs = new Set<SocketPair>()
  #server: net.Server | undefined
  #isPaused = false
  #isMuted = false
  #delayMs = 0
  port = 0

  constructor(innerPort: number) {
    this.#innerPort = innerPort
  }

  async listen(): Promise<void> {
    if (this.#server !== undefined) return
    const server = net.createServer({ noDelay: true }, (socket) => this.#accept(socket))
    this.#server = server
    server.listen(this.port, '127.0.0.1')
    await once(server, 'listening')
    this.port = portOf(server)
  }

  // Not awaited to the end: `close` also waits for the connections that are to stay.
  async refuse(): Promise<void> {
    this.#server?.close()
    this.#server = undefined
    await new Promise((resolve) => setImmediate(resolve))
  }

  connections(): number {
    return this.#pairs.size
  }

  setPaused(isPaused: boolean): void {
    this.#isPaused = isPaused
    for (const pair of this.#pairs) pair.setPaused(isPaused)
  }

  /** Passes on what clients send and holds what they are answered, until told otherwise. */
  setMuted(isMuted: boolean): void {
    this.#isMuted = isMuted
    for (const pair of this.#pairs) pair.setMuted(isMuted)
  }

  setDelay(ms: number): void {
    this.#delayMs = ms
  }

  strand(): void {
    for (const pair of this.#pairs) pair.strand()
  }

  cut(): void {
    for (const pair of this.#pairs) pair.reset()
  }

  #accept(client: net.Socket): void {
    const server = net.connect({ port: this.#innerPort, host: '127.0.0.1', noDelay: true })
    const pair = new SocketPair(client, server, () => this.#delayMs)
    this.#pairs.add(pair)
    client.once('close', () => this.#pairs.delete(pair))
    if (this.#isPaused) pair.setPaused(true)
    if (this.#isMuted) pair.setMuted(true)
  }
}

class SocketPair {
  readonly #client: net.Socket
  readonly #server: net.Socket
  readonly #delayMs: () => number
  #isStranded = false
  #isPaused = false
  #isMuted = false

  constructor(client: net.Socket, server: net.Socket, delayMs: () => number) {
    this.#client = client
    this.#server = server
    this.#delayMs = delayMs
    this.#forward(client, server)
    this.#forward(server, client)
  }

  setPaused(isPaused: boolean): void {
    if (this.#isStranded) return
    this.#isPaused = isPaused
    this.#flow(this.#client)
    this.#flow(this.#server)
  }

  setMuted(isMuted: boolean): void {
    if (this.#isStranded) return
    this.#isMuted = isMuted
    this.#flow(this.#server)
  }

  strand(): void {
    this.setPaused(true)
    this.#isStranded = true
  }

  reset(): void {
    this.#client.resetAndDestroy()
    this.#server.destroy()
  }

  #forward(from: net.Socket, to: net.Socket): void {
    // What is under way when a delay ends still comes before what follows.
    const underWay: (() => void)[] = []
    const later = (run: () => void): void => {
      underWay.push(run)
      setTimeout(() => underWay.shift()?.(), this.#delayMs())
    }
    from.on('data', (chunk: Buffer) => {
      const isLate = this.#delayMs() > 0 || underWay.length > 0
      if (isLate) later(() => this.#write(to, chunk))
      else if (!this.#write(to, chunk)) this.#waitForDrain(from, to)
    })
    from.on('end', () => later(() => to.end()))
    from.on('error', () => to.destroy())
    from.on('close', () => {
      // A paused socket that is closed has taken what it had not read with it.
      if (!this.#isPaused) to.destroySoon()
      else if (from === this.#client) this.#server.destroy()
    })
  }

  #write(to: net.Socket, chunk: Buffer): boolean {
    return to.writable ? to.write(chunk) : true
  }

  #waitForDrain(from: net.Socket, to: net.Socket): void {
    from.pause()
    to.once('drain', () => {
      this.#flow(from)
    })
  }

  #flow(from: net.Socket): void {
    const isHeld = this.#isPaused || (this.#isMuted && from === this.#server)
    if (isHeld) from.pause()
    else from.resume()
  }
}

/** The HTTP layer: passes everything on as it is and counts. */
async function startHttpProxy(proxied: Proxied) {
  const agent = new http.Agent({ keepAlive: true })
  const h1 = http.createServer((request, response) => {
    forwardCall({ ...proxied, request, response, agent })
  })
  h1.keepAliveTimeout = 60_000
  const h2 = http2.createServer({
    settings: { maxConcurrentStreams: 10_000, initialWindowSize: STREAM_WINDOW_BYTES },
  })
  h2.on('session', (session) => serveSession(session, proxied))
  const sockets = new Set<net.Socket>()
  const server = net.createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    socket.on('error', ignore)
    socket.once('data', (chunk: Buffer) => {
      socket.pause()
      socket.unshift(chunk)
      const isHttp2 = chunk.subarray(0, 3).toString('latin1') === 'PRI'
      ;(isHttp2 ? h2 : h1).emit('connection', socket)
      if (!isHttp2) socket.resume()
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    port: portOf(server),
    stop: async () => {
      for (const socket of sockets) socket.destroy()
      agent.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}

const STREAM_WINDOW_BYTES = 10 * 1024 * 1024
const CONNECTION_WINDOW_BYTES = 64 * 1024 * 1024

type Proxied = {
  readonly target: number
  readonly counter: CallCounter
  readonly faults: HttpFaults
}

type Call = Proxied & {
  readonly request: http.IncomingMessage
  readonly response: http.ServerResponse
  readonly agent: http.Agent
}

function forwardCall({ request, response, target, agent, counter, faults }: Call): void {
  const { method = 'GET', url = '/', headers } = request
  const done = counter.begin(method, url, headers['content-type'])
  response.once('close', done)
  const fault = faults.take(kindOfCall(method, url, headers['content-type']))
  const answerFault = (answer: HttpFault): void => {
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(bodyOf(answer))
  }
  if (fault !== undefined && fault.isApplied !== true) {
    request.resume().once('end', () => answerFault(fault))
    return
  }
  const upstream = http.request({
    host: '127.0.0.1',
    port: target,
    method,
    path: url,
    headers,
    agent,
  })
  upstream.on('response', (answer) => {
    if (fault !== undefined) {
      answer.resume().once('end', () => answerFault(fault))
      return
    }
    response.writeHead(answer.statusCode ?? 502, answer.headers)
    answer.pipe(response)
    answer.on('error', () => response.destroy())
  })
  upstream.on('error', () => response.destroy())
  response.on('error', () => upstream.destroy())
  response.once('close', () => {
    if (!response.writableFinished) upstream.destroy()
  })
  request.pipe(upstream)
}

/** One upstream connection for each of the client's, so that a connection's limits stay the same. */
function serveSession(session: http2.ServerHttp2Session, proxied: Proxied): void {
  const { target } = proxied
  const upstream = http2.connect(`http://127.0.0.1:${target}`, {
    settings: { initialWindowSize: STREAM_WINDOW_BYTES, enablePush: false },
    maxSessionMemory: 200,
  })
  upstream.once('connect', () => upstream.setLocalWindowSize(CONNECTION_WINDOW_BYTES))
  session.setLocalWindowSize(CONNECTION_WINDOW_BYTES)
  session.setMaxListeners(0)
  upstream.setMaxListeners(0)
  session.on('error', ignore)
  upstream.on('error', ignore)
  session.once('close', () => upstream.destroy())
  upstream.once('close', () => session.destroy())
  session.on('stream', (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => {
    forwardStream(stream, headers, upstream, proxied)
  })
}

function forwardStream(
  stream: http2.ServerHttp2Stream,
  headers: http2.IncomingHttpHeaders,
  session: http2.ClientHttp2Session,
  { counter, faults }: Proxied,
): void {
  const { ':method': method = 'GET', ':path': path = '/', 'content-type': contentType } = headers
  const done = counter.begin(method, path, contentType)
  stream.once('close', done)
  stream.on('error', ignore)
  const fault = faults.take(kindOfCall(method, path, contentType))
  if (fault !== undefined) {
    stream.respond({ ':status': fault.status, 'content-type': 'application/json' })
    stream.end(bodyOf(fault))
    return
  }
  if (session.destroyed || session.closed) {
    stream.close(http2.constants.NGHTTP2_REFUSED_STREAM)
    return
  }
  const upstream = session.request(headers, { endStream: stream.readableEnded || method === 'GET' })
  upstream.on('error', ignore)
  upstream.on('response', (answer) => {
    if (!stream.closed) stream.respond(answer)
    upstream.pipe(stream)
  })
  upstream.once('close', () => {
    if (!stream.closed && upstream.rstCode !== 0) stream.close(upstream.rstCode)
  })
  stream.once('close', () => {
    if (!upstream.closed) upstream.close(http2.constants.NGHTTP2_CANCEL)
  })
  if (method !== 'GET') stream.pipe(upstream)
}

function portOf(server: net.Server): number {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('not a TCP server')
  return address.port
}

/** For the errors of sockets that a fault has broken: their `close` event tells all there is. */
function ignore(): void {
  // Nothing to do.
}
