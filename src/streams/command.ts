/**
 * What a writer may ask of a stream, as pure decisions over its state. PURE.
 *
 * A command looks at a state and says which records it would write and what it would answer. It
 * may be asked again against a newer state: only the appender knows which decision counted.
 */
import type { GatewayError } from '../errors.ts'
import type { AppendRecord } from '../log/log.ts'
import type { StreamState } from './state.ts'

export type Decision<Answer> =
  | {
      readonly kind: 'write'
      readonly records: readonly AppendRecord[]
      readonly answer: Answer
      /** Nothing may follow in the same batch: what was decided depends on where the batch ends. */
      readonly endsBatch?: boolean
    }
  /** Nothing to write; the answer holds for this state. */
  | { readonly kind: 'answer'; readonly answer: Answer }
  | { readonly kind: 'refuse'; readonly error: GatewayError }

/** `now` is the gateway's clock in ms: for what depends on waiting, never for what is written. */
export type Command<Answer> = (state: StreamState, now: number) => Decision<Answer>

/** Shorthand for a refusal. */
export function refuse(error: GatewayError): { kind: 'refuse'; error: GatewayError } {
  return { kind: 'refuse', error }
}
