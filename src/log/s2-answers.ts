/**
 * What S2 answers when it does not do as it was asked, and what the network does, as the errors
 * that the SDK would throw: so that `s2-errors.ts` is right for our own calls, too. PURE.
 */
import {
  FencingTokenMismatchError,
  RangeNotSatisfiableError,
  S2Error,
  SeqNumMismatchError,
} from '@s2-dev/streamstore'

/** S2's documentation, "Append records" and "Read records". */
type RefusalBody = {
  readonly code?: unknown
  readonly message?: unknown
  readonly seq_num_mismatch?: unknown
  readonly fencing_token_mismatch?: unknown
  readonly tail?: unknown
}

/** The error for an answer with a status of HTTP, or for the end of a session with one. */
export function refusal(status: number, answer: Uint8Array): S2Error {
  const body = parse(answer)
  const message = typeof body.message === 'string' ? body.message : `S2 answered ${status}`
  const shared = { message, ...coded(body.code), status }
  const { seq_num_mismatch: nextSeqNum, fencing_token_mismatch: token } = body
  if (status === 412 && typeof nextSeqNum === 'number') {
    return new SeqNumMismatchError({ ...shared, expectedSeqNum: nextSeqNum })
  }
  if (status === 412 && typeof token === 'string') {
    return new FencingTokenMismatchError({ ...shared, expectedFencingToken: token })
  }
  if (status === 416) {
    return new RangeNotSatisfiableError({ ...coded(body.code), status, ...tailOf(body) })
  }
  return new S2Error({ ...shared, origin: 'server' })
}

/** The error for whatever a socket or HTTP itself has thrown. */
export function connectionFailure(error: unknown): S2Error {
  const { message = String(error), code } = error as { message?: string; code?: string }
  const failure = new S2Error({ message, ...coded(code), status: 0, origin: 'sdk' })
  return Object.assign(failure, { cause: error })
}

function coded(code: unknown): { readonly code?: string } {
  return typeof code === 'string' ? { code } : {}
}

function tailOf({ tail }: RefusalBody) {
  if (typeof tail !== 'object' || tail === null) return {}
  const { seq_num: seqNum, timestamp } = tail as { seq_num?: unknown; timestamp?: unknown }
  if (typeof seqNum !== 'number') return {}
  return { tail: { seqNum, timestamp: new Date(typeof timestamp === 'number' ? timestamp : 0) } }
}

function parse(answer: Uint8Array): RefusalBody {
  try {
    const body: unknown = JSON.parse(new TextDecoder().decode(answer))
    return typeof body === 'object' && body !== null ? body : {}
  } catch {
    return {}
  }
}
