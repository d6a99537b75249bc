/**
 * The durable log inside this process: on local disk, or in memory.
 *
 * Composes the embedded parts and keeps the port's promises about aborted calls and closing. Has
 * S2's semantics (the contract suite compares it with s2-lite), for one process at a time.
 */
import { AppendOutcomeUnknownError, invariant, LogUnavailableError } from '../errors.ts'
import { EmbeddedAppendSession } from './embedded-append-session.ts'
import { GroupCommit } from './embedded-commit.ts'
import { openDiskStore } from './embedded-disk-store.ts'
import { MemoryStore } from './embedded-memory-store.ts'
import { FollowSession } from './embedded-session.ts'
import { EMPTY_STREAM } from './embedded-state.ts'
import { orUnavailable, type EmbeddedStore } from './embedded-store.ts'
import { OpenStream, type StreamContext } from './embedded-stream.ts'
import { StreamTable } from './embedded-streams.ts'
import {
  checkBatch,
  LOG_LIMITS,
  LogStreamMissingError,
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

/** As often as S2 does on average (it draws from 5 to 15 s). */
const DEFAULT_HEARTBEAT_MS = 10_000

/** Some hundred bytes each. A stream beyond them costs one look into the database to use again. */
const DEFAULT_MAX_IDLE_STREAMS = 4096

const MAX_NAME_BYTES = 512

export type EmbeddedLogOptions = {
  /** How long a follower hears nothing before it is told that it is still caught up. */
  readonly heartbeatMs?: number
  readonly now?: () => number
  readonly maxIdleStreams?: number
  /** As {@link DurableLog.isShared}: also when several gateways of this process use it. */
  readonly isShared?: boolean
}

export type EmbeddedLocation =
  { readonly kind: 'memory' } | { readonly kind: 'directory'; readonly path: string }

/**
 * Opens the log, making its directory when there is none.
 *
 * @throws DataDirectoryError another process has it open, or it can't be read
 */
export async function openEmbeddedLog(
  options: EmbeddedLogOptions & { readonly location: EmbeddedLocation },
): Promise<DurableLog> {
  const { location } = options
  if (location.kind === 'memory') {
    return new EmbeddedLog(new MemoryStore(), 'embedded log in memory (lost on exit)', options)
  }
  const store = await openDiskStore(location.path)
  return new EmbeddedLog(store, `embedded log in ${location.path} (one process only)`, options)
}

/** The log over any store. {@link openEmbeddedLog} chooses the store. */
export class EmbeddedLog implements DurableLog {
  readonly description: string
  readonly isShared: boolean
  readonly #store: EmbeddedStore
  readonly #commits: GroupCommit
  readonly #context: StreamContext
  readonly #streams: StreamTable
  /** Read and append sessions. */
  readonly #sessions = new Set<{ end(cause: unknown): void }>()
  readonly #heartbeatMs: number
  #closing: Promise<void> | undefined

  constructor(store: EmbeddedStore, description: string, options: EmbeddedLogOptions = {}) {
    this.description = description
    this.isShared = options.isShared ?? true
    this.#store = store
    this.#commits = new GroupCommit(store)
    this.#context = { store, commits: this.#commits, now: options.now ?? Date.now }
    this.#heartbeatMs = options.heartbeatMs ?? DEFAULT_HEARTBEAT_MS
    this.#streams = new StreamTable(
      { load: (name) => this.#load(name), create: (name) => this.#create(name) },
      options.maxIdleStreams ?? DEFAULT_MAX_IDLE_STREAMS,
    )
  }

  createStream(stream: string, signal?: AbortSignal): Promise<void> {
    return this.#call(signal, async () => {
      invariant(isStreamName(stream), `no log takes the stream name ${JSON.stringify(stream)}`)
      await this.#streams.create(stream)
    })
  }

  listStreams(
    prefix: string,
    startAfter: string,
    signal?: AbortSignal,
  ): Promise<readonly string[]> {
    // Past the open streams: one that is still on its way to disk does not exist yet.
    return this.#call(signal, () =>
      orUnavailable(this.#store.listStreams(prefix, startAfter, LOG_LIMITS.maxPageNames)),
    )
  }

  async append(stream: string, batch: AppendBatch, signal?: AbortSignal): Promise<AppendAck> {
    checkBatch(batch)
    this.#assertOpen()
    return orAborted(
      signal,
      (reason) => new AppendOutcomeUnknownError(reason),
      () => this.#use(stream, (open) => open.append(batch)),
    )
  }

  checkTail(stream: string, signal?: AbortSignal): Promise<SeqNum> {
    return this.#call(signal, () => this.#use(stream, (open) => Promise.resolve(open.tail)))
  }

  read(
    stream: string,
    start: ReadStart,
    limits: ReadLimits,
    signal?: AbortSignal,
  ): Promise<readonly LogRecord[]> {
    return this.#call(signal, () => this.#use(stream, (open) => open.read(start, limits)))
  }

  openReadSession(stream: string, from: SeqNum, handlers: ReadSessionHandlers): ReadSession {
    const session = new FollowSession(from, handlers, this.#heartbeatMs)
    this.#sessions.add(session)
    // Never rejects: whatever goes wrong ends the session.
    void this.#runSession(stream, session)
    return session
  }

  openAppendSession(stream: string): AppendSession {
    const session = new EmbeddedAppendSession(
      async (work) => {
        this.#assertOpen()
        return this.#use(stream, work)
      },
      () => this.#sessions.delete(session),
    )
    this.#sessions.add(session)
    return session
  }

  ping(signal?: AbortSignal): Promise<void> {
    return this.#call(signal, async () => {
      this.#commits.assertOpen()
      await orUnavailable(this.#store.loadStream('ping'))
    })
  }

  close(): Promise<void> {
    // In a later turn: what is called on the way must find the log closing.
    this.#closing ??= Promise.resolve().then(() => this.#shutDown())
    return this.#closing
  }

  async #shutDown(): Promise<void> {
    for (const session of [...this.#sessions]) session.end(closedError())
    await this.#commits.close()
    await this.#store.close()
  }

  /** A call that writes nothing a caller could lose: when aborted it is merely unavailable. */
  async #call<T>(signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    this.#assertOpen()
    return orAborted(signal, (reason) => new LogUnavailableError(reason), work)
  }

  #use<T>(name: string, work: (stream: OpenStream) => Promise<T>): Promise<T> {
    return this.#streams.use(name, (stream) => {
      if (stream === undefined) throw new LogStreamMissingError(name)
      return work(stream)
    })
  }

  async #load(name: string): Promise<OpenStream | undefined> {
    const stored = await orUnavailable(this.#store.loadStream(name))
    return stored && new OpenStream(name, stored, this.#context)
  }

  async #create(name: string): Promise<OpenStream> {
    const stored = { id: this.#store.newStreamId(), state: EMPTY_STREAM }
    // Whether a failed one exists makes no difference: the caller may ask for it again.
    await orUnavailable(this.#commits.commit({ name, ...stored, records: [] }, () => {}))
    return new OpenStream(name, stored, this.#context)
  }

  async #runSession(stream: string, session: FollowSession): Promise<void> {
    try {
      // The caller must have the session in its hands before anything is called.
      await Promise.resolve()
      this.#assertOpen()
      await this.#use(stream, (open) => session.run(open))
    } catch (error) {
      session.end(error)
    } finally {
      this.#sessions.delete(session)
    }
  }

  #assertOpen(): void {
    if (this.#closing !== undefined) throw closedError()
  }
}

function closedError(): LogUnavailableError {
  return new LogUnavailableError(new Error('the log is closed'))
}

/** S2's rule for names; NUL is refused by its SDK. */
function isStreamName(name: string): boolean {
  const bytes = Buffer.from(name, 'utf8')
  return (
    bytes.length > 0 &&
    bytes.length <= MAX_NAME_BYTES &&
    bytes.toString('utf8') === name &&
    !name.includes('\0') &&
    name !== '.' &&
    name !== '..'
  )
}

/** Does the work, or stops waiting for it when the signal is aborted. The work itself goes on. */
function orAborted<T>(
  signal: AbortSignal | undefined,
  aborted: (reason: unknown) => Error,
  work: () => Promise<T>,
): Promise<T> {
  if (signal === undefined) return work()
  if (signal.aborted) return Promise.reject(aborted(signal.reason))
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(aborted(signal.reason))
    signal.addEventListener('abort', onAbort, { once: true })
    work()
      .then(resolve, reject)
      .finally(() => signal.removeEventListener('abort', onAbort))
  })
}
