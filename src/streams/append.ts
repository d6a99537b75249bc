/** Appending, closing and renewing, decided over a stream's state (PROTOCOL §5.2, §5.3). PURE. */
import {
  BadEpochStartError,
  ContentTypeMismatchError,
  ProducerGapError,
  RequestError,
  StaleEpochError,
  StreamClosedError,
  StreamSeqRegressionError,
  TooManyProducersError,
} from '../errors.ts'
import type { GatewayError } from '../errors.ts'
import { refuse } from '../journal/command.ts'
import type { Command, Decision, GroupDecision } from '../journal/command.ts'
import type { SeqNum } from '../log/log.ts'
import { DEFAULT_CONTENT_TYPE, sameContentType } from '../protocol/content-type.ts'
import { touchThresholdMs } from '../protocol/expiry.ts'
import { judgeProducer } from '../protocol/producer.ts'
import type { ProducerClaim, ProducerVerdict } from '../protocol/producer.ts'
import type { AppendRequest } from '../protocol/requests.ts'
import { compareStreamSeq } from '../protocol/stream-seq.ts'
import { encodeClosed, encodeTouch } from './codec.ts'
import { groupRecordsOf, messagesOf, toBatchRecords } from './messages.ts'
import type { Messages, RequestEnd } from './messages.ts'
import { absence, existing } from './existence.ts'
import { offsetOf } from './lineage.ts'
import { oldestProducer } from './state.ts'
import type { Incarnation, StreamState } from './state.ts'

export type AppendAnswer = {
  /** `duplicate`: an earlier request had this effect already. */
  readonly kind: 'appended' | 'duplicate'
  readonly dataTail: SeqNum
  /** The fork depth of the offset at the data tail. */
  readonly depth: number
  readonly closed: boolean
  /** The producer's epoch and its highest accepted seq. */
  readonly producer?: { readonly epoch: number; readonly seq: number } | undefined
}

/**
 * How long a producer is remembered for sure once a stream knows as many as it may: PROTOCOL
 * §5.2.1 recommends seven days.
 */
const PRODUCER_RETENTION_MS = 7 * 24 * 60 * 60 * 1000

/**
 * How many places in a log may hold aborted groups: all of them stand in each checkpoint, and
 * with the most producers and forks they fit in a record. One place holds all that failed without
 * other data between them.
 */
const MAX_ABORTED_RANGES = 200

/**
 * Appends a body, closes the stream, or both in one step.
 *
 * Refusals take the order of PROTOCOL §5.2: closed, content type, producer, `Stream-Seq`.
 */
export function appendCommand(
  request: AppendRequest,
  maxMessages = Infinity,
): Command<Incarnation, AppendAnswer> {
  const { body, close, producer, streamSeq, traceparent } = request
  // A body is only written when its content type is the stream's.
  const contentType = request.contentType ?? DEFAULT_CONTENT_TYPE
  const messages = messagesOf(body, contentType, maxMessages)
  const end = { mark: { producer, streamSeq }, close, traceparent }
  const content = { end, messages, contentType }
  return (state, now) => {
    const stream = existing(state, now)
    if (stream === undefined) return refuse(absence(state, now))
    if (stream.closed) return appendToClosed(request, stream)
    const mismatch = checkContentType(request, stream)
    if (mismatch !== undefined) return refuse(mismatch)
    if (producer !== undefined) {
      const known = stream.producers.get(producer.id)
      const decided =
        fromVerdict(judgeProducer(producer, known), producer, stream) ??
        (known === undefined ? checkRoom(stream, now) : undefined)
      if (decided !== undefined) return decided
    }
    if (isRegression(request, stream)) return refuse(new StreamSeqRegressionError())
    return write(request, content, stream, state)
  }
}

function appendToClosed(
  { body, close, producer }: AppendRequest,
  stream: Incarnation,
): Decision<AppendAnswer> {
  const { closedBy, dataTail, lineage } = stream
  const sameRequest =
    producer === undefined
      ? close && body.length === 0
      : closedBy !== undefined &&
        closedBy.id === producer.id &&
        closedBy.epoch === producer.epoch &&
        closedBy.seq === producer.seq
  if (!sameRequest) return refuse(new StreamClosedError(offsetOf(stream, dataTail)))
  const answer = {
    kind: 'duplicate',
    dataTail,
    depth: lineage.depth,
    closed: true,
    producer: standing(producer),
  } as const
  return { kind: 'answer', answer }
}

function checkContentType(
  { body, contentType }: AppendRequest,
  { config }: Incarnation,
): GatewayError | undefined {
  if (body.length === 0) return undefined
  const same = contentType !== undefined && sameContentType(contentType, config.contentType)
  return same ? undefined : new ContentTypeMismatchError(config.contentType)
}

/** What a verdict other than `accepted` means for the request. */
function fromVerdict(
  verdict: ProducerVerdict,
  { epoch, seq }: ProducerClaim,
  { dataTail, lineage, closed }: Incarnation,
): Decision<AppendAnswer> | undefined {
  switch (verdict.kind) {
    case 'accepted':
      return undefined
    case 'duplicate': {
      const producer = { epoch, seq: verdict.lastSeq }
      const { depth } = lineage
      return { kind: 'answer', answer: { kind: 'duplicate', dataTail, depth, closed, producer } }
    }
    case 'gap':
      return refuse(new ProducerGapError(verdict.expectedSeq, seq))
    case 'stale_epoch':
      return refuse(new StaleEpochError(verdict.currentEpoch))
    case 'bad_epoch_start':
      return refuse(new BadEpochStartError())
  }
}

/** A new producer pushes out the one silent longest, but never one that may still retry. */
function checkRoom(
  { producers, config }: Incarnation,
  now: number,
): Decision<AppendAnswer> | undefined {
  if (producers.size < config.maxProducers) return undefined
  const oldest = oldestProducer(producers)
  if (oldest !== undefined && oldest.activeAt < now - PRODUCER_RETENTION_MS) return undefined
  return refuse(new TooManyProducersError(config.maxProducers))
}

function isRegression({ streamSeq }: AppendRequest, { streamSeq: last }: Incarnation): boolean {
  return streamSeq !== undefined && last !== undefined && compareStreamSeq(streamSeq, last) <= 0
}

/** What a request appends, made when it is needed. */
type Content = {
  readonly end: RequestEnd
  readonly messages: () => Messages
  readonly contentType: string
}

function write(
  { body, close, producer }: AppendRequest,
  { end, messages: made, contentType }: Content,
  stream: Incarnation,
  state: StreamState,
): Decision<AppendAnswer> | GroupDecision<AppendAnswer> {
  const answerAt = (dataTail: SeqNum): AppendAnswer => ({
    kind: 'appended',
    dataTail,
    depth: stream.lineage.depth,
    closed: close,
    producer: standing(producer),
  })
  const context = { checkpoint: state.checkpoint }
  if (body.length === 0) {
    const records = [encodeClosed(context, end.mark)]
    return { kind: 'write', records, answer: answerAt(stream.dataTail) }
  }
  const messages = made()
  if (messages.length === 0) {
    return refuse(new RequestError('empty_json_array', 'an append holds at least one message'))
  }
  const records = toBatchRecords(messages, context, end)
  if (records !== undefined) {
    return { kind: 'write', records, answer: answerAt(state.nextSeq + messages.length) }
  }
  if (stream.aborted.length >= MAX_ABORTED_RANGES) return refuse(tooManyAborted())
  return {
    kind: 'group',
    records: () => groupRecordsOf(messages, contentType, end),
    answerAt: (last) => answerAt(last + 1),
  }
}

function tooManyAborted(): RequestError {
  const detail = 'too many large appends were broken off: the stream takes only small ones'
  return new RequestError('too_many_aborted_appends', detail)
}

/** Where a producer stands after the request that made this claim. */
function standing(claim: ProducerClaim | undefined): AppendAnswer['producer'] {
  return claim && { epoch: claim.epoch, seq: claim.seq }
}

/**
 * Renews a sliding TTL after a read, once enough of the window has passed since the last renewal
 * in the log: expiry allows for what was not written (PROTOCOL §5.1).
 */
export const touchCommand: Command<Incarnation, undefined> = (state, now) => {
  const stream = existing(state, now)
  if (stream === undefined || !isTouchDue(stream, now)) return { kind: 'answer', answer: undefined }
  return {
    kind: 'write',
    records: [encodeTouch({ checkpoint: state.checkpoint })],
    answer: undefined,
  }
}

/** Whether a read at `now` (ms) must renew the stream's sliding TTL in the log. */
export function isTouchDue({ config, lastActivity }: Incarnation, now: number): boolean {
  const { expiry } = config
  return expiry.kind === 'ttl' && now - lastActivity >= touchThresholdMs(expiry.seconds)
}
