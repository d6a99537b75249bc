/**
 * The log in S2: managed, or an s2-lite.
 *
 * With the other `s2-*` files the only code that knows the SDK. Never retries an append, and lets
 * the SDK retry nothing: who asked knows what a second attempt would mean.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { S2, type ListStreamsInput, type S2Basin, type S2ClientOptions } from '@s2-dev/streamstore'
import { LogUnavailableError } from '../errors.ts'
import {
  checkBatch,
  type AppendAck,
  type AppendBatch,
  type AppendSession,
  type DurableLog,
  type LogRecord,
  type ReadLimits,
  type ReadSession,
  type ReadSessionHandlers,
  type ReadStart,
  type SeqNum,
} from './log.ts'
import { openAppendSource, S2AppendSession } from './s2-append-session.ts'
import { S2Appends } from './s2-appends.ts'
import type { ConnectionObserver } from './log-observer.ts'
import { BasinGuard, PROBE_STREAM } from './s2-basin.ts'
import { BoundedCalls } from './s2-calls.ts'
import { SessionConnections, type LentStream } from './s2-connections.ts'
import { appendFailure, isAlreadyThere, isFleeting, readFailure } from './s2-errors.ts'
import { listNames } from './s2-listing.ts'
import { readPage } from './s2-pages.ts'
import { ReadConnections } from './s2-read-connections.ts'
import { S2ReadSession } from './s2-session.ts'

/** How long `close` waits for connections to end in good order. */
const CLOSE_TIMEOUT_MS = 1000

/** How long an empty stream is kept. Its seq nums begin at 0 again after that: a week is long. */
const EMPTY_STREAM_AGE_S = 7 * 24 * 60 * 60

/** Where the log is and how long a call to it may take. */
export type S2LogOptions = {
  /** One URL for account and basin, as s2-lite has it. Without it: managed S2. */
  readonly endpoint?: string | undefined
  readonly accessToken: string
  readonly basin: string
  /** Bounds every call but a read session, and every append of a session. */
  readonly requestTimeoutMs: number
  /** Bounds the connecting of sessions: 3 seconds by default. */
  readonly connectTimeoutMs?: number | undefined
  /** Hears of connections only; for the calls there is `observed-log.ts`. */
  readonly observer?: ConnectionObserver | undefined
}

/**
 * Opens the log and creates its basin when that is missing.
 *
 * Resolves even when S2 can't be reached, after `requestTimeoutMs` at the latest: the basin is
 * then checked by the calls that follow, `ping` included.
 *
 * @throws S2Error the endpoint or the basin's name is none that S2 could have
 */
export async function openS2Log(options: S2LogOptions): Promise<DurableLog> {
  const log = new S2Log(options)
  try {
    await log.ping()
  } catch {
    // Unreachable at start is no failure: readiness asks again.
  }
  return log
}

class S2Log implements DurableLog {
  readonly description: string
  readonly isShared = true
  readonly #basin: S2Basin
  readonly #appends: S2Appends
  readonly #connections: SessionConnections
  readonly #reads: ReadConnections
  readonly #calls: BoundedCalls
  readonly #guard: BasinGuard
  /** Read and append sessions. */
  readonly #sessions = new Set<{ end(cause: unknown): void }>()

  constructor(options: S2LogOptions) {
    const { basin, endpoint } = options
    this.description = `${endpoint === undefined ? 'managed S2' : `S2 at ${endpoint}`}, basin ${basin}`
    const client = clientOptions(options)
    const account = new S2({
      ...client,
      retry: { maxAttempts: 1, appendRetryPolicy: 'noSideEffects' },
    })
    this.#basin = account.basin(basin)
    this.#appends = new S2Appends(options)
    // What has gone silent for sessions of one kind is not to be trusted by those of the other.
    this.#connections = new SessionConnections(client, basin, () => {
      this.#reads.replace()
      options.observer?.onConnectionsReplaced()
    })
    this.#reads = new ReadConnections({
      ...options,
      onReplaced: () => {
        this.#connections.replace()
        options.observer?.onConnectionsReplaced()
      },
    })
    this.#calls = new BoundedCalls(options.requestTimeoutMs)
    const probe = this.#basin.stream(PROBE_STREAM)
    this.#guard = new BasinGuard(
      {
        probe: (signal) => probe.checkTail({ signal }),
        create: (signal) => account.basins.create({ basin }, { signal }),
      },
      this.#calls,
    )
  }

  async createStream(stream: string, signal?: AbortSignal): Promise<void> {
    const config = {
      // S2's default would drop records after a week, the one that describes the stream first.
      retentionPolicy: { infinite: {} },
      // A deleted stream leaves an empty one; S2 may take it once nobody holds old offsets.
      deleteOnEmpty: { minAgeSecs: EMPTY_STREAM_AGE_S },
    }
    try {
      await this.#repeatable(async (own) => {
        await this.#basin.streams.create({ stream, config }, { signal: own })
      }, signal)
    } catch (error) {
      if (!isAlreadyThere(error)) throw readFailure(error, stream)
    }
  }

  async listStreams(
    prefix: string,
    startAfter: string,
    signal?: AbortSignal,
  ): Promise<readonly string[]> {
    // Every request has the whole time-out: a call that had to skip many deleted streams within
    // one could fail each time at the same place.
    const list = (input: ListStreamsInput) =>
      this.#repeatable((own) => this.#basin.streams.list(input, { signal: own }), signal)
    try {
      return await listNames(list, prefix, startAfter)
    } catch (error) {
      throw readFailure(error, prefix)
    }
  }

  async append(stream: string, batch: AppendBatch, signal?: AbortSignal): Promise<AppendAck> {
    checkBatch(batch)
    const request = { isSent: false }
    try {
      return await this.#call((own) => {
        request.isSent = true
        return this.#appends.append(stream, batch, own)
      }, signal)
    } catch (error) {
      // What failed before was the check of the basin: that much is known.
      const isUnknown = request.isSent || signal?.aborted === true
      throw isUnknown ? appendFailure(error, stream) : readFailure(error, stream)
    }
  }

  async checkTail(stream: string, signal?: AbortSignal): Promise<SeqNum> {
    const handle = this.#basin.stream(stream)
    try {
      const { tail } = await this.#repeatable((own) => handle.checkTail({ signal: own }), signal)
      return tail.seqNum
    } catch (error) {
      throw readFailure(error, stream)
    }
  }

  async read(
    stream: string,
    start: ReadStart,
    limits: ReadLimits,
    signal?: AbortSignal,
  ): Promise<readonly LogRecord[]> {
    const handle = this.#basin.stream(stream)
    try {
      return await this.#repeatable((own) => readPage(handle, start, limits, own), signal)
    } catch (error) {
      throw readFailure(error, stream)
    }
  }

  openReadSession(stream: string, from: SeqNum, handlers: ReadSessionHandlers): ReadSession {
    const session = new S2ReadSession(from, handlers, {
      open: async (events) => {
        await this.#calls.run((own) => this.#guard.ready(own))
        return this.#reads.open(stream, from, events)
      },
      closed: () => this.#sessions.delete(session),
      failure: (cause) => readFailure(cause, stream),
    })
    this.#sessions.add(session)
    return session
  }

  openAppendSession(stream: string): AppendSession {
    let lent: LentStream | undefined
    const session = new S2AppendSession(stream, {
      bounded: (call) => this.#calls.run(call),
      open: async () => {
        await this.#calls.run((own) => this.#guard.ready(own))
        if (!session.isOpen) throw new Error('closed before it was opened')
        lent = this.#connections.lend(stream)
        return openAppendSource(lent.stream)
      },
      closed: (cause) => {
        lent?.release(cause)
        this.#sessions.delete(session)
      },
    })
    this.#sessions.add(session)
    return session
  }

  async ping(signal?: AbortSignal): Promise<void> {
    try {
      await this.#calls.run((own) => this.#guard.ping(own), signal)
    } catch (error) {
      throw readFailure(error, PROBE_STREAM)
    }
  }

  async close(): Promise<void> {
    const cause = new LogUnavailableError(new Error('the log is closed'))
    // Before the calls: what an append session has under way is unknown, sent or not.
    for (const session of this.#sessions) session.end(cause)
    this.#calls.close()
    this.#reads.close()
    const timer = new AbortController()
    await Promise.race([
      Promise.all([this.#connections.close(), this.#appends.close()]),
      sleep(CLOSE_TIMEOUT_MS, undefined, { signal: timer.signal }).catch(() => undefined),
    ])
    timer.abort()
  }

  #call<T>(call: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#calls.run(async (own) => {
      await this.#guard.ready(own)
      return call(own)
    }, signal)
  }

  /** A call that means the same when it is made twice: it is, within its time, if that may help. */
  #repeatable<T>(call: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#call(async (own) => {
      try {
        return await call(own)
      } catch (error) {
        if (own.aborted || !isFleeting(error)) throw error
        return await call(own)
      }
    }, signal)
  }
}

function clientOptions(options: S2LogOptions): S2ClientOptions {
  const { endpoint, accessToken, connectTimeoutMs } = options
  return {
    accessToken,
    // Only for appends of a session, where it must not come before our own.
    requestTimeoutMillis: options.requestTimeoutMs,
    ...(endpoint === undefined ? {} : { endpoints: { account: endpoint, basin: endpoint } }),
    ...(connectTimeoutMs === undefined ? {} : { connectionTimeoutMillis: connectTimeoutMs }),
  }
}
