/**
 * A log that tells an observer of every call, for metrics.
 *
 * Changes nothing of what the log inside does, and works over any. Nothing is allocated per record.
 */
import { AppendOutcomeUnknownError, LogUnavailableError } from '../errors.ts'
import {
  AppendConflictError,
  BeyondTailError,
  InvalidAppendError,
  LogStreamMissingError,
  type AppendAck,
  type AppendBatch,
  type AppendRecord,
  type AppendSession,
  type DurableLog,
  type LogRecord,
  type ReadLimits,
  type ReadSession,
  type ReadSessionHandlers,
  type ReadStart,
  type SeqNum,
} from './log.ts'
import type { LogCall, LogObserver, LogOutcome, SessionEnd } from './log-observer.ts'

/** Wraps a log so that the observers, of those that are some, hear of its calls and sessions. */
export function observed(
  log: DurableLog,
  ...observers: readonly (LogObserver | undefined)[]
): DurableLog {
  return observers.reduce<DurableLog>(
    (inner, observer) => (observer === undefined ? inner : new ObservedLog(inner, observer)),
    log,
  )
}

class ObservedLog implements DurableLog {
  readonly description: string
  readonly isShared: boolean
  readonly #log: DurableLog
  readonly #observer: LogObserver
  readonly #appendSessions = new Set<ObservedAppendSession>()

  constructor(log: DurableLog, observer: LogObserver) {
    this.description = log.description
    this.isShared = log.isShared
    this.#log = log
    this.#observer = observer
  }

  createStream(stream: string, signal?: AbortSignal): Promise<void> {
    return this.#watch('create_stream', this.#log.createStream(stream, signal))
  }

  listStreams(
    prefix: string,
    startAfter: string,
    signal?: AbortSignal,
  ): Promise<readonly string[]> {
    return this.#watch('list_streams', this.#log.listStreams(prefix, startAfter, signal))
  }

  append(stream: string, batch: AppendBatch, signal?: AbortSignal): Promise<AppendAck> {
    const ack = this.#log.append(stream, batch, signal)
    return this.#watch('append', ack, () => batch.records)
  }

  checkTail(stream: string, signal?: AbortSignal): Promise<SeqNum> {
    return this.#watch('check_tail', this.#log.checkTail(stream, signal))
  }

  read(
    stream: string,
    start: ReadStart,
    limits: ReadLimits,
    signal?: AbortSignal,
  ): Promise<readonly LogRecord[]> {
    return this.#watch('read', this.#log.read(stream, start, limits, signal), (page) => page)
  }

  openReadSession(stream: string, from: SeqNum, handlers: ReadSessionHandlers): ReadSession {
    const observer = this.#observer
    let isOver = false
    const ended = (how: SessionEnd): void => {
      if (isOver) return
      isOver = true
      observer.onReadSessionEnded(how)
    }
    observer.onReadSessionOpened()
    const session = this.#log.openReadSession(stream, from, {
      onRecords: (records, upToTail) => {
        observer.onRecordsDelivered(records.length, bodyBytes(records))
        handlers.onRecords(records, upToTail)
      },
      onCaughtUp: handlers.onCaughtUp,
      onEnd: (cause) => {
        ended(cause === undefined ? 'ended' : outcomeOf(cause))
        handlers.onEnd(cause)
      },
    })
    return {
      cancel: () => {
        session.cancel()
        ended('closed')
      },
    }
  }

  openAppendSession(stream: string): AppendSession {
    const session: ObservedAppendSession = new ObservedAppendSession(
      this.#log.openAppendSession(stream),
      (ack, batch) => this.#watch('session_append', ack, () => batch.records),
      (how) => {
        this.#appendSessions.delete(session)
        this.#observer.onAppendSessionEnded(how)
      },
    )
    this.#appendSessions.add(session)
    this.#observer.onAppendSessionOpened()
    return session
  }

  ping(signal?: AbortSignal): Promise<void> {
    return this.#watch('ping', this.#log.ping(signal))
  }

  close(): Promise<void> {
    const closed = this.#log.close()
    // The log ends them without a word to those that have nothing under way.
    for (const session of this.#appendSessions) session.close()
    return closed
  }

  async #watch<Result>(
    call: LogCall,
    promise: Promise<Result>,
    recordsOf?: (result: Result) => readonly AppendRecord[],
  ): Promise<Result> {
    const begin = performance.now()
    let outcome: LogOutcome = 'ok'
    let records: readonly AppendRecord[] | undefined
    try {
      const result = await promise
      records = recordsOf?.(result)
      return result
    } catch (error) {
      outcome = outcomeOf(error)
      throw error
    } finally {
      this.#observer.onCall({
        call,
        outcome,
        ms: performance.now() - begin,
        records: records?.length ?? 0,
        bytes: records === undefined ? 0 : bodyBytes(records),
      })
    }
  }
}

class ObservedAppendSession implements AppendSession {
  readonly #session: AppendSession
  readonly #watch: (ack: Promise<AppendAck>, batch: AppendBatch) => Promise<AppendAck>
  readonly #onEnded: (how: SessionEnd) => void
  #phase: 'open' | 'ended' = 'open'

  constructor(
    session: AppendSession,
    watch: (ack: Promise<AppendAck>, batch: AppendBatch) => Promise<AppendAck>,
    onEnded: (how: SessionEnd) => void,
  ) {
    this.#session = session
    this.#watch = watch
    this.#onEnded = onEnded
  }

  get isOpen(): boolean {
    return this.#session.isOpen
  }

  async append(batch: AppendBatch): Promise<AppendAck> {
    try {
      return await this.#watch(this.#session.append(batch), batch)
    } catch (error) {
      // Failures come in the order of the calls: the first one says why.
      if (!this.#session.isOpen) this.#end(outcomeOf(error))
      throw error
    }
  }

  close(): void {
    this.#session.close()
    this.#end('closed')
  }

  #end(how: SessionEnd): void {
    if (this.#phase === 'ended') return
    this.#phase = 'ended'
    this.#onEnded(how)
  }
}

/** What a call that failed came to. */
export function outcomeOf(error: unknown): LogOutcome {
  if (error instanceof AppendConflictError) return 'conflict'
  if (error instanceof LogStreamMissingError) return 'missing'
  if (error instanceof BeyondTailError) return 'beyond_tail'
  if (error instanceof InvalidAppendError) return 'invalid'
  if (error instanceof AppendOutcomeUnknownError) return 'unknown'
  return error instanceof LogUnavailableError ? 'unavailable' : 'error'
}

function bodyBytes(records: readonly AppendRecord[]): number {
  let bytes = 0
  for (const record of records) if (record.kind === 'data') bytes += record.body.length
  return bytes
}
