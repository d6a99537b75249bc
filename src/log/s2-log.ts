/**
 * The log in S2: managed, or an s2-lite.
 *
 * With the other `s2-*` files the only code that knows the SDK. Never retries an append, and lets
 * the SDK retry nothing: who asked knows what a second attempt would mean.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { S2Basin } from '@s2-dev/streamstore'
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
import { S2Account, type S2AccountOptions } from './s2-account.ts'
import { openAppendSource, S2AppendSession, type AppendSource } from './s2-append-session.ts'
import { S2Appends } from './s2-appends.ts'
import {
  BasinGuard,
  LateBasin,
  PROBE_STREAM,
  type BasinAccess,
  type BasinCalls,
} from './s2-basin.ts'
import { BoundedCalls } from './s2-calls.ts'
import type { LentStream } from './s2-connections.ts'
import { BasinEndpoint } from './s2-endpoint.ts'
import {
  appendFailure,
  isAlreadyThere,
  isConflict,
  isFleeting,
  isStreamMissing,
  readFailure,
} from './s2-errors.ts'
import { listNames, type ListInput } from './s2-listing.ts'
import { readPage } from './s2-pages.ts'
import { S2ReadSession } from './s2-session.ts'
import type { LentTransport, S2Transport } from './s2-transport.ts'

/** How long `close` waits for connections to end in good order. */
const CLOSE_TIMEOUT_MS = 1000

/** As many as create the same stream at once may get into each other's way. */
const CONFLICT_ATTEMPTS = 10
const CONFLICT_WAIT_MS = 10

/** How long an empty stream is kept. Its seq nums begin at 0 again after that: a week is long. */
const EMPTY_STREAM_AGE_S = 7 * 24 * 60 * 60

/** Where the log is and how long a call to it may take. */
export type S2LogOptions = S2AccountOptions & { readonly basin: string }

/**
 * Opens the log and creates its basin when that is missing.
 *
 * Resolves even when S2 can't be reached, after `requestTimeoutMs` at the latest: the basin is
 * then checked by the calls that follow, `ping` included.
 *
 * @throws S2Error the endpoint or the basin's name is none that S2 could have
 */
export async function openS2Log(options: S2LogOptions): Promise<DurableLog> {
  const { basin, ...account } = options
  const log = new S2Log(new S2Account(account), { basin, creation: 'at once' })
  try {
    await log.ping()
  } catch {
    // Unreachable at start is no failure: readiness asks again.
  }
  return log
}

export type BasinChoice = {
  readonly basin: string
  /** When a basin that is missing is created; until then it is one without streams. */
  readonly creation: 'at once' | 'with its first stream'
}

/** The streams of one basin. Opens at once, and whatever is wrong shows with the calls. */
export class S2Log implements DurableLog {
  readonly description: string
  readonly isShared = true
  readonly #basin: S2Basin
  readonly #endpoint: BasinEndpoint
  readonly #lent: LentTransport
  readonly #transport: S2Transport
  readonly #appends: S2Appends
  readonly #calls: BoundedCalls
  readonly #access: BasinAccess
  /** Read and append sessions. */
  readonly #sessions = new Set<{ end(cause: unknown): void }>()

  constructor(account: S2Account, { basin, creation }: BasinChoice) {
    this.description = `${account.description}, basin ${basin}`
    const { client, options } = account
    this.#basin = client.basin(basin)
    this.#endpoint = new BasinEndpoint({ ...options, basin })
    this.#lent = account.lend(this.#endpoint.origin)
    this.#transport = this.#lent.transport
    this.#appends = new S2Appends(this.#endpoint, this.#transport.pool)
    this.#calls = new BoundedCalls(options.requestTimeoutMs)
    const probe = this.#basin.stream(PROBE_STREAM)
    const calls: BasinCalls = {
      probe: (signal) => probe.checkTail({ signal }),
      create: (signal) => client.basins.create({ basin }, { signal }),
    }
    this.#access =
      creation === 'at once' ? new BasinGuard(calls, this.#calls) : new LateBasin(calls)
  }

  async createStream(stream: string, signal?: AbortSignal): Promise<void> {
    const config = {
      // S2's default would drop records after a week, the one that describes the stream first.
      retentionPolicy: { infinite: {} },
      // A deleted stream leaves an empty one; S2 may take it once nobody holds old offsets.
      deleteOnEmpty: { minAgeSecs: EMPTY_STREAM_AGE_S },
    }
    try {
      await this.#repeatable((own) => {
        const create = () => this.#basin.streams.create({ stream, config }, { signal: own })
        return this.#access.creating(create, own)
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
    const list = async (input: ListInput) => {
      const { streams: entries, hasMore } = await this.#repeatable(
        (own) => this.#basin.streams.list(input, { signal: own }),
        signal,
      )
      return { entries, hasMore }
    }
    try {
      return await listNames(list, prefix, startAfter)
    } catch (error) {
      // S2 may answer for a basin that is missing with an empty page, or not: s2-lite does.
      if (isStreamMissing(error)) return []
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
        await this.#calls.run((own) => this.#access.ready(own))
        const endpoint = this.#endpoint
        return this.#transport.reads.open({ endpoint, stream, from }, events)
      },
      closed: () => this.#sessions.delete(session),
      failure: (cause) => readFailure(this.#access.explain(cause), stream),
    })
    this.#sessions.add(session)
    return session
  }

  openAppendSession(stream: string): AppendSession {
    let lent: LentStream | undefined
    const session = new S2AppendSession(stream, {
      bounded: (call) => this.#calls.run(call),
      open: async () => {
        await this.#calls.run((own) => this.#access.ready(own))
        if (!session.isOpen) throw new Error('closed before it was opened')
        lent = this.#transport.appendSessions.lend(this.#basin.name, stream)
        return this.#explained(await openAppendSource(lent.stream))
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
      await this.#calls.run((own) => this.#access.ping(own), signal)
    } catch (error) {
      throw readFailure(error, PROBE_STREAM)
    }
  }

  async close(): Promise<void> {
    const cause = new LogUnavailableError(new Error('the log is closed'))
    // Before the calls: what an append session has under way is unknown, sent or not.
    for (const session of this.#sessions) session.end(cause)
    this.#calls.close()
    const timer = new AbortController()
    await Promise.race([
      this.#lent.release(),
      sleep(CLOSE_TIMEOUT_MS, undefined, { signal: timer.signal }).catch(() => undefined),
    ])
    timer.abort()
  }

  #call<T>(call: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#calls.run(async (own) => {
      await this.#access.ready(own)
      try {
        return await call(own)
      } catch (error) {
        throw this.#access.explain(error)
      }
    }, signal)
  }

  #explained(source: AppendSource): AppendSource {
    const explain = (error: unknown): never => {
      throw this.#access.explain(error)
    }
    return {
      append: (input) => source.append(input).catch(explain),
      abandon: () => source.abandon(),
    }
  }

  /** A call that means the same when it is made twice: it is, within its time, if that may help. */
  #repeatable<T>(call: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    return this.#call(async (own) => {
      for (let attempt = 1; ; attempt += 1) {
        try {
          return await call(own)
        } catch (error) {
          const attempts = isConflict(error) ? CONFLICT_ATTEMPTS : isFleeting(error) ? 2 : 1
          if (own.aborted || attempt >= attempts) throw error
          if (isConflict(error)) await sleep(Math.random() * CONFLICT_WAIT_MS * attempt)
        }
      }
    }, signal)
  }
}
