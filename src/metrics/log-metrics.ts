/** Metrics of the log: its calls, and the sessions with it. */
import type {
  ConnectionObserver,
  LogObserver,
  ObservedCall,
  SessionEnd,
} from '../log/log-observer.ts'
import type { Instruments, Seconds, Tally } from './instruments.ts'
import type { Meter } from './meter.ts'

const CALLS = [
  'append',
  'session_append',
  'read',
  'check_tail',
  'create_stream',
  'list_streams',
  'ping',
]
const ENDS = ['closed', 'ended', 'unavailable']
const DIRECTIONS = ['read', 'append', 'session_read']

/** An append to S2 takes from 6 ms (local) over 40 (express) to 400 (standard, the slowest). */
const BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5]

export class LogMetrics implements LogObserver, ConnectionObserver {
  readonly #meter: Meter
  readonly #operations: Tally
  readonly #durations: Seconds
  readonly #records: Tally
  readonly #bytes: Tally
  readonly #readEnds: Tally
  readonly #appendEnds: Tally
  #replaced = 0

  constructor(to: Instruments, meter: Meter) {
    this.#meter = meter
    this.#operations = to
      .tally({
        name: 'log_operations_total',
        help: 'Calls to the log by what they came to; each one that its caller makes.',
        labels: ['operation', 'outcome'],
      })
      .begin(CALLS.flatMap((call) => [`${call} ok`, `${call} unavailable`]))
    this.#durations = to.seconds(
      {
        name: 'log_operation_duration_seconds',
        help: 'How long calls to the log took, failures included.',
        labels: ['operation'],
      },
      BUCKETS,
    )
    const direction = { labels: ['direction'] } as const
    this.#records = to
      .tally({ name: 'log_records_total', help: 'Records to and from the log.', ...direction })
      .begin(DIRECTIONS)
    this.#bytes = to
      .tally({
        name: 'log_bytes_total',
        help: 'Bytes of data in records to and from the log; headers are left out.',
        ...direction,
      })
      .begin(DIRECTIONS)
    this.#readEnds = to
      .tally({
        name: 'log_read_sessions_ended_total',
        help: 'Read sessions that are over: closed by us, or how else they ended.',
        labels: ['how'],
      })
      .begin(ENDS)
    this.#appendEnds = to
      .tally({
        name: 'log_append_sessions_ended_total',
        help: 'Append sessions that are over: closed by us, or how else they ended.',
        labels: ['how'],
      })
      .begin(ENDS)
    this.#sessions(to)
  }

  #sessions(to: Instruments): void {
    const { readSessions, appendSessions } = this.#meter
    to.gauge(
      { name: 'log_read_sessions', help: 'Read sessions that are open.' },
      () => readSessions.open,
    )
    to.counter(
      { name: 'log_read_sessions_opened_total', help: 'Read sessions that were opened.' },
      () => readSessions.opened,
    )
    to.counter(
      {
        name: 'log_read_session_seconds_total',
        help: 'How long read sessions were open, all of them together: what S2 bills by the minute.',
      },
      () => readSessions.ms / 1000,
    )
    to.gauge(
      { name: 'log_append_sessions', help: 'Append sessions that are open.' },
      () => appendSessions.open,
    )
    to.counter(
      {
        name: 'log_connections_replaced_total',
        help: 'Connections to S2 that went silent and were left for new ones.',
      },
      () => this.#replaced,
    )
  }

  onCall(observed: ObservedCall): void {
    const { call, outcome, ms, records, bytes } = observed
    this.#operations.add(`${call} ${outcome}`)
    this.#durations.observe(ms, call)
    this.#meter.onCall(observed)
    if (records === 0) return
    const direction = call === 'read' ? 'read' : 'append'
    this.#records.add(direction, records)
    this.#bytes.add(direction, bytes)
  }

  onReadSessionOpened(): void {
    this.#meter.readSessions.add()
  }

  onReadSessionEnded(how: SessionEnd): void {
    this.#meter.readSessions.remove()
    this.#readEnds.add(how)
  }

  onRecordsDelivered(records: number, bytes: number): void {
    this.#records.add('session_read', records)
    this.#bytes.add('session_read', bytes)
    this.#meter.onRecordsDelivered(bytes)
  }

  onAppendSessionOpened(): void {
    this.#meter.appendSessions.add()
  }

  onAppendSessionEnded(how: SessionEnd): void {
    this.#meter.appendSessions.remove()
    this.#appendEnds.add(how)
  }

  onConnectionsReplaced(): void {
    this.#replaced += 1
  }
}

/**
 * Hears of what the gateway follows for itself, beside {@link LogMetrics}: those sessions would be
 * the same without fan-out.
 */
export function ownSessions(meter: Meter): LogObserver {
  return {
    onCall: () => undefined,
    onReadSessionOpened: () => meter.ownSessions.add(),
    onReadSessionEnded: () => meter.ownSessions.remove(),
    onRecordsDelivered: (_records, bytes) => meter.onOwnRecordsDelivered(bytes),
    onAppendSessionOpened: () => undefined,
    onAppendSessionEnded: () => undefined,
  }
}
