/** One line for each request, when it is over: no bodies, no query, no headers, so no secrets. */
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { DisconnectReason } from '../event-sink.ts'
import { GatewayError } from '../../errors.ts'
import { parseTraceparent } from '../../protocol/traceparent.ts'
import type { Span } from '../../tracing/tracing.ts'
import { spanOf } from '../spans.ts'
import { pathOf } from '../stream-url.ts'
import { whenOver } from '../when-over.ts'

/** A refusal or a failure that has a stable code. */
type Failure = Error & { readonly code: string }

/** Levels at which these lines are written. */
const LOGGED_AT: ReadonlySet<string> = new Set(['trace', 'debug', 'info'])

/** What a request failed with, until its line is written. */
const failures = new WeakMap<FastifyRequest, Failure>()

export function registerRequestLog(app: FastifyInstance): void {
  app.addHook('onRequest', (request, reply, done) => {
    logWhenOver(request, reply)
    done()
  })
}

/** Has the request's line say what it failed with. */
export function noteFailure(request: FastifyRequest, error: Failure): void {
  failures.set(request, error)
}

/** The stable code of what a request failed with, if it did. */
export function failureCodeOf(request: FastifyRequest): string | undefined {
  return failures.get(request)?.code
}

/** For a request that the hooks do not see. */
export function logWhenOver(request: FastifyRequest, reply: FastifyReply): void {
  if (!isLogged(request.log)) return
  whenOver(reply.raw, () => {
    const failure = failures.get(request)
    request.log.info(
      {
        reqId: request.id,
        method: request.method,
        path: pathOf(request),
        live: liveOf(request.query),
        status: reply.raw.statusCode,
        ms: Math.round(reply.elapsedTime * 10) / 10,
        aborted: reply.raw.writableFinished ? undefined : true,
        code: failure?.code,
        cause: failure && causeOf(failure),
        trace_id: spanOf(request)?.traceId ?? traceIdIn(request.headers['traceparent']),
      },
      'request',
    )
  })
}

/** The trace that a request is a part of, by its sender's word. */
function traceIdIn(traceparent: string | string[] | undefined): string | undefined {
  return typeof traceparent === 'string' ? parseTraceparent(traceparent)?.traceId : undefined
}

/** A part of a text keeps all of it, as long as a reader stays. */
function copyOf(text: string | undefined): string | undefined {
  return text && Buffer.from(text).toString()
}

/** Whether anybody reads the lines: not at a level from `warn` up. */
function isLogged({ level }: FastifyBaseLogger): boolean {
  return LOGGED_AT.has(level)
}

/** The same lines for live reads that Fastify does not see. */
export class LiveLines {
  readonly #log: FastifyBaseLogger
  /** Of all long-polls, where nobody reads what they would say. */
  readonly #silent: LiveLine | undefined
  #requests = 0

  constructor(log: FastifyBaseLogger) {
    this.#log = log
    if (!isLogged(log)) this.#silent = new LiveLine(log, 0, { path: '', live: 'long-poll' })
  }

  /** What only a bug explains. A refusal is for the way that says it to the client. */
  laneFailed(path: string, error: unknown): void {
    if (!(error instanceof GatewayError)) this.#log.error({ path, err: error }, 'fast lane failed')
  }

  /** The line of a request that has begun. */
  begin(read: LiveLineOf): LiveLine {
    const isSilent = read.live === 'long-poll' && read.span === undefined
    if (isSilent && this.#silent !== undefined) return this.#silent
    this.#requests += 1
    return new LiveLine(this.#log, this.#requests, read)
  }
}

/** What a line says of its live read from the beginning. */
type LiveLineOf = {
  /** As sent, without the query. */
  readonly path: string
  readonly live: 'sse' | 'long-poll'
  readonly traceparent?: string | undefined
  /** Ends with it. */
  readonly span?: Span | undefined
}

/** The line of one live read, to be written when it is over. */
export class LiveLine {
  readonly #log: FastifyBaseLogger
  readonly #request: number
  readonly #path: string
  readonly #live: 'sse' | 'long-poll'
  readonly #traceId: string | undefined
  readonly #span: Span | undefined
  readonly #begunAt = performance.now()

  constructor(log: FastifyBaseLogger, request: number, read: LiveLineOf) {
    this.#log = log
    this.#request = request
    this.#path = read.path
    this.#live = read.live
    this.#traceId = read.span?.traceId ?? copyOf(traceIdIn(read.traceparent))
    this.#span = read.span
  }

  /** `aborted` when the client did not wait for the end. */
  write(status: number, aborted?: true): void {
    const noted = { 'http.response.status_code': status, 'durable_streams.aborted': aborted }
    this.#span?.end(noted)
    if (!isLogged(this.#log)) return
    const line = {
      reqId: `live-${this.#request.toString(36)}`,
      method: 'GET',
      path: this.#path,
      live: this.#live,
      status,
      ms: Math.round((performance.now() - this.#begunAt) * 10) / 10,
      aborted,
      trace_id: this.#traceId,
    }
    this.#log.info(line, 'request')
  }

  /** The reader of a stream of events is no more. */
  readerEnded(reason: DisconnectReason, cause: unknown): void {
    logEnd(this.#log, { path: this.#path }, reason, cause)
    this.#span?.note({ 'durable_streams.end': reason })
    this.write(200, reason === 'client' ? true : undefined)
  }
}

/** Why an SSE reader's connection ended, as far as it is of interest. */
export function logEnd(
  log: FastifyBaseLogger,
  request: { readonly reqId: string } | { readonly path: string },
  reason: DisconnectReason,
  err: unknown,
): void {
  if (reason === 'failed') log.error({ ...request, reason, err }, 'sse reader ended')
  else if (reason === 'read_failed') log.warn({ ...request, reason, err }, 'sse reader ended')
  else log.debug({ ...request, reason }, 'sse reader ended')
}

/** The first cause's message: a stack for each request of an outage would fill the disk. */
function causeOf(failure: Failure): string | undefined {
  let { cause } = failure
  while (cause instanceof Error && cause.cause !== undefined) cause = cause.cause
  return cause instanceof Error ? cause.message : undefined
}

/** Only what it may be: anything else in a query could be a secret. */
export function liveOf(query: unknown): 'sse' | 'long-poll' | undefined {
  const { live } = (query ?? {}) as Readonly<Record<string, unknown>>
  return live === 'sse' || live === 'long-poll' ? live : undefined
}
