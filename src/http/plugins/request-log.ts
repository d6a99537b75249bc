/** One line for each request, when it is over: no bodies, no query, no headers, so no secrets. */
import type { FastifyBaseLogger, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { DisconnectReason } from '../event-sink.ts'
import { GatewayError } from '../../errors.ts'
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
      },
      'request',
    )
  })
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
    if (!isLogged(log)) this.#silent = new LiveLine(log, 0, '', 'long-poll')
  }

  /** What only a bug explains. A refusal is for the way that says it to the client. */
  laneFailed(path: string, error: unknown): void {
    if (!(error instanceof GatewayError)) this.#log.error({ path, err: error }, 'fast lane failed')
  }

  /** The line of a request that has begun. */
  begin(path: string, live: 'sse' | 'long-poll'): LiveLine {
    if (live === 'long-poll' && this.#silent !== undefined) return this.#silent
    this.#requests += 1
    return new LiveLine(this.#log, this.#requests, path, live)
  }
}

/** The line of one live read, to be written when it is over. */
export class LiveLine {
  readonly #log: FastifyBaseLogger
  readonly #request: number
  readonly #path: string
  readonly #live: 'sse' | 'long-poll'
  readonly #begunAt = performance.now()

  constructor(log: FastifyBaseLogger, request: number, path: string, live: 'sse' | 'long-poll') {
    this.#log = log
    this.#request = request
    this.#path = path
    this.#live = live
  }

  /** `aborted` when the client did not wait for the end. */
  write(status: number, aborted?: true): void {
    if (!isLogged(this.#log)) return
    const line = {
      reqId: `live-${this.#request.toString(36)}`,
      method: 'GET',
      path: this.#path,
      live: this.#live,
      status,
      ms: Math.round((performance.now() - this.#begunAt) * 10) / 10,
      aborted,
    }
    this.#log.info(line, 'request')
  }

  /** The reader of a stream of events is no more. */
  readerEnded(reason: DisconnectReason, cause: unknown): void {
    logEnd(this.#log, { path: this.#path }, reason, cause)
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
