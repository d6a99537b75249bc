/** What can be learned about the HTTP side at work: types only. Metrics are bound to it elsewhere. */
import type { Subscriber } from '../hub/subscriber.ts'
import type { Audience, CacheKind } from '../protocol/caching.ts'
import type { DisconnectReason } from './event-sink.ts'

/** What a request is for, by its path and method: fit for a label. */
export type Operation =
  | 'create'
  | 'append'
  | 'read'
  | 'head'
  | 'delete'
  | 'subscriptions'
  | 'tickets'
  | 'ops'
  | 'preflight'
  | 'other'

export type ObservedRequest = {
  /** `other` for those that no route has. */
  readonly method: string
  readonly operation: Operation
  /** 499 when the client left before there was an answer. */
  readonly status: number
  /** Undefined for live reads, whose time says nothing of us. */
  readonly ms: number | undefined
}

/** Hears of requests. Called on the way of every answer: must be quick, and must not throw. */
export interface HttpObserver {
  /** A request is over; of one that streams events see {@link LiveObserver}. */
  onRequest(request: ObservedRequest): void
  /** An answer is a problem; with its stable code. */
  onProblem(code: string): void
  /** What caches may do with the answer to a read. */
  onCacheKind(kind: CacheKind, audience: Audience): void
  /** A connection is gone, after so many ms. */
  onConnectionClosed(ms: number): void
}

export type Transport = Subscriber['transport']

/** Hears of live reads, whichever way they came. The same holds for it. */
export interface LiveObserver {
  /** A long-poll is let in; or a stream of events begins, which is an answer with status 200. */
  onBegin(transport: Transport): void
  /** It is over, after so many ms. */
  onEnd(transport: Transport, ms: number): void
  onSseEnd(reason: DisconnectReason): void
  /** A long-poll has its answer; `isEmpty` when there was no data. */
  onPollAnswer(isEmpty: boolean): void
}
