/** What can be learned about hubs at work: types only. Metrics are bound to it elsewhere. */
import type { SeqNum } from '../log/log.ts'

/** A batch that came while readers were there, after all of them were told. */
export type BatchDelivery = {
  /** Who was there for it, also those who get it later because their sockets are full. */
  readonly readers: number
  /** Bytes of its data. */
  readonly bytes: number
  /** Bytes that it makes for all of them, as encoded, control events included. */
  readonly sentBytes: number
  /**
   * From the timestamp of its first record until every reader with room was written to, in ms. Two
   * clocks may differ: never less than 0.
   */
  readonly latencyMs: number
}

/** Hears of hubs. Called once per batch, on its way: must be quick, and must not throw. */
export interface HubObserver {
  onBatch(delivery: BatchDelivery): void
}

/** The readers of a hub at one moment. */
export type HubLook = {
  readonly sse: number
  readonly longPolls: number
  /** See {@link ReaderTally}. */
  readonly lagging: number
  readonly waitingBytes: number
  /** What the ring has that the one farthest behind was not sent yet; all of it if that is more. */
  readonly lagBytes: number
}

/** A sum over readers, to which each adds itself. */
export type ReaderTally = {
  /** Whose socket is full, or who read history. */
  lagging: number
  /** Bytes that were sent and that no socket has taken yet. */
  waitingBytes: number
  /** Where the one is who is farthest behind; `Infinity` for none. */
  earliest: SeqNum
}
