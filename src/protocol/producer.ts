/**
 * Idempotent producers (PROTOCOL §5.2.1): the claim a request makes, and the verdict on it.
 *
 * Knows nothing of where producer states are kept.
 */
import { RequestError } from '../errors.ts'
import { PRODUCER_EPOCH, PRODUCER_ID, PRODUCER_SEQ, singleHeader } from './headers.ts'
import type { RequestHeaders } from './headers.ts'

/** What a request says of itself: who writes, in which epoch, and its how-manieth batch. */
export type ProducerClaim = { readonly id: string; readonly epoch: number; readonly seq: number }

/** What the stream remembers of one producer. */
export type ProducerState = { readonly epoch: number; readonly lastSeq: number }

/** Everything that can come of a claim, with the data its response headers need. */
export type ProducerVerdict =
  | { readonly kind: 'accepted'; readonly next: ProducerState }
  | { readonly kind: 'duplicate'; readonly lastSeq: number }
  | { readonly kind: 'gap'; readonly expectedSeq: number }
  | { readonly kind: 'stale_epoch'; readonly currentEpoch: number }
  | { readonly kind: 'bad_epoch_start' }

/** In UTF-8, as stored: every checkpoint of the stream carries the id of every producer. */
export const MAX_PRODUCER_ID_BYTES = 256

const INTEGER = /^(?:0|[1-9]\d*)$/

/**
 * Reads the three producer headers; none of them means no claim.
 *
 * @throws RequestError `invalid_producer`, `invalid_header`
 */
export function parseProducerClaim(headers: RequestHeaders): ProducerClaim | undefined {
  const id = singleHeader(headers, PRODUCER_ID)
  const epoch = singleHeader(headers, PRODUCER_EPOCH)
  const seq = singleHeader(headers, PRODUCER_SEQ)
  if (id === undefined && epoch === undefined && seq === undefined) return undefined
  if (id === undefined || epoch === undefined || seq === undefined) {
    throw invalid(`${PRODUCER_ID}, ${PRODUCER_EPOCH} and ${PRODUCER_SEQ} go together`)
  }
  if (id === '') throw invalid(`${PRODUCER_ID} is empty`)
  if (Buffer.byteLength(id) > MAX_PRODUCER_ID_BYTES) {
    throw invalid(`${PRODUCER_ID} is longer than ${MAX_PRODUCER_ID_BYTES} bytes`)
  }
  return { id, epoch: parseInteger(PRODUCER_EPOCH, epoch), seq: parseInteger(PRODUCER_SEQ, seq) }
}

function parseInteger(name: string, text: string): number {
  const value = INTEGER.test(text) ? Number(text) : NaN
  if (!Number.isSafeInteger(value)) throw invalid(`${name} is an integer from 0 to 2^53-1`)
  return value
}

function invalid(message: string): RequestError {
  return new RequestError('invalid_producer', message)
}

/**
 * Decides whether an append is new, a retry, or fenced off (PROTOCOL §5.2.1).
 *
 * Pure: the caller stores `next` only once the append is durable. An append that
 * fails leaves the old state in place, so the producer may retry the same seq.
 */
export function judgeProducer(claim: ProducerClaim, state?: ProducerState): ProducerVerdict {
  const { epoch, seq } = claim
  if (state === undefined || epoch > state.epoch) {
    if (seq === 0) return { kind: 'accepted', next: { epoch, lastSeq: 0 } }
    return state === undefined ? { kind: 'gap', expectedSeq: 0 } : { kind: 'bad_epoch_start' }
  }
  if (epoch < state.epoch) return { kind: 'stale_epoch', currentEpoch: state.epoch }
  if (seq <= state.lastSeq) return { kind: 'duplicate', lastSeq: state.lastSeq }
  if (seq > state.lastSeq + 1) return { kind: 'gap', expectedSeq: state.lastSeq + 1 }
  return { kind: 'accepted', next: { epoch, lastSeq: seq } }
}
