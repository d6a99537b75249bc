/**
 * What the gateway tells of its work: a port, so that nobody needs to know who listens.
 *
 * Where nobody does there is no `Tracing` at all, and what would be done for it is left out.
 */

/** By the names of OpenTelemetry's semantic conventions; what is undefined is left out. */
export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>

/** Headers as Node has them, by their names in lower case. */
export type Carrier = Readonly<Record<string, string | string[] | undefined>>

/** A piece of work with a beginning and an end. One that is never ended is never told of. */
export interface Span {
  /** 32 hexadecimal digits. */
  readonly traceId: string
  /** Names it, as `protocol/traceparent.ts` has it; undefined when it is not recorded. */
  readonly traceparent: string | undefined
  note(attributes: Attributes): void
  /** `failure`: why it failed, one of a few words. Only the first call counts. */
  end(attributes?: Attributes, failure?: string): void
}

/** What is done for whom, along all that is done asynchronously. */
export interface Scopes {
  /** What the code that asks is a part of. */
  current(): Span | undefined
  /**
   * Runs what is a part of the first of these that is not over, and done for the others too. With
   * none it is nobody's, whoever has called for it.
   */
  within<Result>(spans: readonly (Span | undefined)[], run: () => Result): Result
}

/** How a call leaves the gateway, if it does. */
export type OperationKind = 'internal' | 'client'

export type Tracing = Scopes & {
  /** A request that has come: a part of its sender's trace, if the headers name one. */
  request(name: string, headers: Carrier, attributes: Attributes): Span
  /** A part of what is {@link Scopes.current current}; undefined if nothing recorded is. */
  operation(name: string, kind: OperationKind, attributes: Attributes): Span | undefined
  /**
   * What was appended in the traces that these name reaches its readers: once for all of them.
   * Undefined if none of those was recorded.
   */
  delivery(traceparents: readonly string[], attributes: Attributes): Span | undefined
  /** A request to somebody else, for nobody's sake, and the headers that it should have. */
  outgoing(name: string, attributes: Attributes): Outgoing
}

/** Tracing that has begun. */
export type StartedTracing = {
  readonly tracing: Tracing
  /** Sends what is left, within three seconds. Never rejects. */
  readonly stop: () => Promise<void>
}

export type Outgoing = {
  readonly span: Span
  readonly headers: Readonly<Record<string, string>>
}
