/** Keeps all that a log's observer is told. */
import type { LogObserver, ObservedCall, SessionEnd } from '../../src/log/log-observer.ts'

export class RecordingObserver implements LogObserver {
  readonly calls: ObservedCall[] = []
  readonly readSessions = { opened: 0, ends: [] as SessionEnd[] }
  readonly appendSessions = { opened: 0, ends: [] as SessionEnd[] }
  readonly delivered = { records: 0, bytes: 0 }

  onCall(call: ObservedCall): void {
    this.calls.push(call)
  }
  onReadSessionOpened(): void {
    this.readSessions.opened += 1
  }
  onReadSessionEnded(how: SessionEnd): void {
    this.readSessions.ends.push(how)
  }
  onRecordsDelivered(records: number, bytes: number): void {
    this.delivered.records += records
    this.delivered.bytes += bytes
  }
  onAppendSessionOpened(): void {
    this.appendSessions.opened += 1
  }
  onAppendSessionEnded(how: SessionEnd): void {
    this.appendSessions.ends.push(how)
  }

  /** `call outcome`, in the order of the answers. */
  get outcomes(): string[] {
    return this.calls.map(({ call, outcome }) => `${call} ${outcome}`)
  }
}
