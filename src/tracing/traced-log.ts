/**
 * A log whose calls are told as parts of the requests that they are made for.
 *
 * Sessions outlive the request that was the first to need them: they are nobody's.
 */
import { outcomeOf } from '../log/observed-log.ts'
import type {
  AppendAck,
  AppendBatch,
  AppendSession,
  DurableLog,
  LogRecord,
  ReadLimits,
  ReadSession,
  ReadSessionHandlers,
  ReadStart,
  SeqNum,
} from '../log/log.ts'
import type { LogOutcome } from '../log/log-observer.ts'
import type { Attributes, OperationKind, Tracing } from './tracing.ts'

/** Calls that were answered with what the rules of the gateway expect. */
const EXPECTED: ReadonlySet<LogOutcome> = new Set(['ok', 'conflict', 'missing', 'beyond_tail'])

/** Wraps a log. Nothing of what it does is changed. */
export function traced(log: DurableLog, tracing: Tracing): DurableLog {
  return new TracedLog(log, tracing)
}

class TracedLog implements DurableLog {
  readonly description: string
  readonly isShared: boolean
  readonly #log: DurableLog
  readonly #tracing: Tracing

  constructor(log: DurableLog, tracing: Tracing) {
    this.description = log.description
    this.isShared = log.isShared
    this.#log = log
    this.#tracing = tracing
  }

  createStream(stream: string, signal?: AbortSignal): Promise<void> {
    return this.#trace('create_stream', stream, () => this.#log.createStream(stream, signal))
  }

  listStreams(
    prefix: string,
    startAfter: string,
    signal?: AbortSignal,
  ): Promise<readonly string[]> {
    return this.#log.listStreams(prefix, startAfter, signal)
  }

  append(stream: string, batch: AppendBatch, signal?: AbortSignal): Promise<AppendAck> {
    return this.#trace('append', stream, () => this.#log.append(stream, batch, signal), {
      'durable_streams.records': batch.records.length,
    })
  }

  checkTail(stream: string, signal?: AbortSignal): Promise<SeqNum> {
    return this.#trace('check_tail', stream, () => this.#log.checkTail(stream, signal))
  }

  read(
    stream: string,
    start: ReadStart,
    limits: ReadLimits,
    signal?: AbortSignal,
  ): Promise<readonly LogRecord[]> {
    return this.#trace('read', stream, () => this.#log.read(stream, start, limits, signal))
  }

  openReadSession(stream: string, from: SeqNum, handlers: ReadSessionHandlers): ReadSession {
    return this.#tracing.within([], () => this.#log.openReadSession(stream, from, handlers))
  }

  openAppendSession(stream: string): AppendSession {
    const session = this.#tracing.within([], () => this.#log.openAppendSession(stream))
    const trace = (batch: AppendBatch): Promise<AppendAck> =>
      this.#trace('append', stream, () => session.append(batch), {
        'durable_streams.records': batch.records.length,
        'durable_streams.append_session': true,
      })
    return {
      append: trace,
      get isOpen() {
        return session.isOpen
      },
      close: () => session.close(),
    }
  }

  ping(signal?: AbortSignal): Promise<void> {
    return this.#log.ping(signal)
  }

  close(): Promise<void> {
    return this.#log.close()
  }

  #trace<Result>(
    operation: string,
    stream: string,
    run: () => Promise<Result>,
    attributes?: Attributes,
  ): Promise<Result> {
    // A log that others share is across the network.
    const kind: OperationKind = this.isShared ? 'client' : 'internal'
    const span = this.#tracing.operation(operation, kind, {
      'db.system.name': this.isShared ? 's2' : 'embedded',
      'db.operation.name': operation,
      'durable_streams.stream': stream,
      ...attributes,
    })
    const result = run()
    if (span === undefined) return result
    const end = (outcome: LogOutcome): void => {
      const noted = { 'durable_streams.log.outcome': outcome }
      span.end(noted, EXPECTED.has(outcome) ? undefined : outcome)
    }
    result.then(
      () => end('ok'),
      (error: unknown) => end(outcomeOf(error)),
    )
    return result
  }
}
