/** What can be learned about appends: types only. Metrics are bound to it elsewhere. */

/** `closed`: only that, without data. Fit for a label. */
export type AppendResult = 'appended' | 'duplicate' | 'closed'

export type ObservedAppend = {
  readonly result: AppendResult
  /** What was sent to be stored; 0 unless it was. */
  readonly bytes: number
  /** From the decision to begin until the log has it. */
  readonly ms: number
}

/** Hears of every append that was not refused. Must be quick, and must not throw. */
export interface AppendObserver {
  onAppend(append: ObservedAppend): void
}
