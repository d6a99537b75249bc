/** What can be learned about a log at work: types only. Metrics are bound to it elsewhere. */

/** Which call of the port. `session_append` is one append of a session, up to its answer. */
export type LogCall =
  'append' | 'session_append' | 'read' | 'check_tail' | 'create_stream' | 'list_streams' | 'ping'

/** What a call came to: fit for a label. `error` is none of the failures the port promises. */
export type LogOutcome =
  'ok' | 'conflict' | 'missing' | 'beyond_tail' | 'invalid' | 'unavailable' | 'unknown' | 'error'

/** How a session ended: `closed` by its owner, `ended` by the log without a failure, or failed. */
export type SessionEnd = 'closed' | 'ended' | LogOutcome

export type ObservedCall = {
  readonly call: LogCall
  readonly outcome: LogOutcome
  /** From the call to its answer, in milliseconds. */
  readonly ms: number
  /** Records appended or read; 0 for a call that failed or moves none. */
  readonly records: number
  /** The size of their bodies. */
  readonly bytes: number
}

/** Hears what a log does. Called on the way of every answer: must be quick, and must not throw. */
export interface LogObserver {
  onCall(call: ObservedCall): void
  onReadSessionOpened(): void
  /** Once for each session that was opened. */
  onReadSessionEnded(how: SessionEnd): void
  /** A read session has handed over records. `bytes` is the size of their bodies. */
  onRecordsDelivered(records: number, bytes: number): void
  onAppendSessionOpened(): void
  /** Once for each session that was opened. Of one that is lost, with its next append. */
  onAppendSessionEnded(how: SessionEnd): void
}

/** Hears of the connections to S2, beside what {@link LogObserver} hears of any log. */
export interface ConnectionObserver {
  /** A connection has gone silent: sessions to come are on new ones. */
  onConnectionsReplaced(): void
}
