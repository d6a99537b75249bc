/** What a check works with: connections to the deployment, and streams of its own. */
import { randomBytes } from 'node:crypto'
import type { Readable } from 'node:stream'
import { setTimeout as pause } from 'node:timers/promises'
import type { Options } from './arguments.ts'
import { EventReader } from './events.ts'
import { Http1Wire } from './http1.ts'
import { Http2Wire } from './http2.ts'
import { ScratchStreams } from './scratch.ts'
import { Sightings } from './sightings.ts'
import { WireError } from './wire.ts'
import type { Headers, Incoming, Wire } from './wire.ts'

export type Call = {
  readonly method?: string
  readonly headers?: Headers
  readonly body?: Uint8Array | string
  /** Without the token, as a stranger. */
  readonly anonymous?: true
  /** How long the answer may take; `--timeout` when left out. In ms. */
  readonly withinMs?: number
  /** Takes 429 for an answer. */
  readonly once?: true
  /** Instead of the connections that all share. */
  readonly wire?: Wire
}

/** A whole answer. */
export type Answer = Omit<Incoming, 'body' | 'isWhole'> & {
  readonly body: string
  readonly endAt: number
}

/** How often a request is sent that is answered 429, and how long it waits between. */
const ATTEMPTS = 3
const LONGEST_WAIT_MS = 5000
const USUAL_WAIT_MS = 1000

/** The doctor asks for no more than 1 MiB: what has no end is no answer. */
const MAX_ANSWER_BYTES = 16 * 1024 * 1024

export type Speech = {
  /** What a TLS server chose, in the names of RFC 7301. */
  readonly protocol: string | undefined
  /** Whether requests go by HTTP/2. */
  readonly speaksHttp2: boolean
}

export class Context {
  readonly options: Options
  readonly sightings = new Sightings()
  readonly streams: ScratchStreams
  /** What was agreed on with a TLS server, in the names of RFC 7301. */
  readonly protocol: string | undefined
  /** Whether a shared cache was seen to keep history; undefined as long as nobody has looked. */
  keepsHistory: boolean | undefined
  readonly #speaksHttp2: boolean
  readonly #wire: Wire
  readonly #own: Wire[] = []
  readonly #signal: AbortSignal

  /** `signal` ends all that is under way. */
  constructor(options: Options, { protocol, speaksHttp2 }: Speech, signal: AbortSignal) {
    this.options = options
    this.protocol = protocol
    this.#speaksHttp2 = speaksHttp2
    this.#signal = signal
    this.#wire = this.dial()
    this.streams = new ScratchStreams(this, randomBytes(6).toString('hex'))
  }

  /** The connections that checks share. */
  get wire(): Wire {
    return this.#wire
  }

  /** Another connection, closed with the others. */
  dial(): Wire {
    const endpoint = { origin: this.options.target.origin, insecure: this.options.insecure }
    const wire = this.#speaksHttp2 ? new Http2Wire(endpoint) : new Http1Wire(endpoint)
    this.#own.push(wire)
    return wire
  }

  /**
   * One request and its whole answer. Who asks too often, as the answer says, asks again later.
   *
   * @throws WireError no answer, not in time, or only a part of it
   */
  async call(path: string, call: Call = {}): Promise<Answer> {
    for (let attempt = 1; ; attempt += 1) {
      const answer = await this.#callOnce(path, call)
      const isLast = attempt === ATTEMPTS || call.once === true
      if (answer.status !== 429 || isLast) return answer
      await this.sleep(waitOf(answer.headers))
    }
  }

  async #callOnce(path: string, call: Call): Promise<Answer> {
    const signal = AbortSignal.any([
      this.#signal,
      AbortSignal.timeout(call.withinMs ?? this.options.timeoutMs),
    ])
    const incoming = await this.#send(path, call, signal)
    const bytes = await allOf(incoming.body)
    if (bytes === undefined) throw new WireError('the answer is endless')
    if (signal.aborted && !incoming.isWhole())
      throw new WireError('the answer did not come to its end')
    if (!incoming.isWhole()) throw new WireError('the answer was cut off', 'CUT')
    const { body: _body, isWhole: _isWhole, ...head } = incoming
    return { ...head, body: bytes.toString(), endAt: performance.now() }
  }

  /**
   * Opens an event stream, whose head has to come in time. Whoever opens it must leave it.
   *
   * @throws WireError no head in time
   */
  async events(path: string, call: Call = {}): Promise<EventReader> {
    const leaving = new AbortController()
    const signal = AbortSignal.any([this.#signal, leaving.signal])
    const late = setTimeout(
      () => leaving.abort(new WireError('no head of an answer in time', 'TIMEOUT')),
      call.withinMs ?? this.options.timeoutMs,
    )
    try {
      const accept = { accept: 'text/event-stream', ...call.headers }
      const incoming = await this.#send(path, { ...call, headers: accept }, signal)
      return new EventReader(incoming, () => leaving.abort())
    } finally {
      clearTimeout(late)
    }
  }

  /** The same, but undefined when no head comes in time: what that means is another check's. */
  async eventsInTime(path: string, call: Call = {}): Promise<EventReader | undefined> {
    try {
      return await this.events(path, call)
    } catch (error) {
      if (error instanceof WireError && error.code === 'TIMEOUT') return undefined
      throw error
    }
  }

  /** Waits, unless all ends. */
  async sleep(ms: number): Promise<void> {
    await pause(ms, undefined, { signal: this.#signal })
  }

  close(): void {
    for (const wire of this.#own) wire.close()
  }

  /** Goes on with another signal when all else has been broken off: to clean up. */
  withSignal(signal: AbortSignal): Context {
    const speech = { protocol: this.protocol, speaksHttp2: this.#speaksHttp2 }
    return new Context(this.options, speech, signal)
  }

  async #send(path: string, call: Call, signal: AbortSignal): Promise<Incoming> {
    const { method = 'GET', headers = {}, body, anonymous, wire = this.#wire } = call
    const { token, userAgent } = this.options
    const authorization: Headers =
      token === undefined || anonymous === true ? {} : { authorization: `Bearer ${token}` }
    const all = { 'user-agent': userAgent, ...authorization, ...headers }
    const incoming = await wire.send({ method, path, headers: all, body, signal })
    this.sightings.take(incoming.status, incoming.headers)
    return incoming
  }
}

/** How long a refusal asks to wait, in ms: seconds or a date (RFC 9110 §10.2.3). */
function waitOf({ 'retry-after': text = '' }: Headers): number {
  const ms = /^\d+$/.test(text) ? Number(text) * 1000 : Date.parse(text) - Date.now()
  return Number.isNaN(ms) ? USUAL_WAIT_MS : Math.min(LONGEST_WAIT_MS, Math.max(0, ms))
}

/** What comes of it; what is cut off shows in the answer. Undefined when it is too much. */
function allOf(body: Readable): Promise<Buffer | undefined> {
  const chunks: Buffer[] = []
  let size = 0
  return new Promise((resolve) => {
    const settle = (): void => resolve(Buffer.concat(chunks))
    body.on('data', (chunk: Buffer) => {
      size += chunk.length
      if (size <= MAX_ANSWER_BYTES) return void chunks.push(chunk)
      resolve(undefined)
      body.destroy()
    })
    body.once('end', settle)
    body.once('close', settle)
  })
}
