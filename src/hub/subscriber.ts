/** What a hub knows of its readers: a way to wake them and a way to end them. */
import type { ReaderTally } from './hub-observer.ts'
import type { StopReason } from './machine.ts'

/** A live reader, whatever its transport. It keeps its own position and asks the hub for more. */
export interface Subscriber {
  /** How it is served: a poll waits for one answer, a stream of events goes on. */
  readonly transport: 'long-poll' | 'sse'
  /** There may be something to read. Called once per batch; must not throw and must not wait. */
  wake(): void
  /** The hub is gone; the reader tells its client where it stood, if it can. */
  stop(reason: StopReason): void
  /** Adds itself to a sum; left out by those who have nothing to add. */
  tally?(sum: ReaderTally): void
}
