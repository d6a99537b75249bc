/** Creating and deleting a stream, decided over its state (PROTOCOL §5.1, §5.4). PURE. */
import { RequestError, StreamConflictError, StreamRetainedError } from '../errors.ts'
import { refuse } from '../journal/command.ts'
import type { Command, Decision } from '../journal/command.ts'
import { fitsInBatch } from '../journal/draft.ts'
import { deletedToken, incarnationToken } from '../journal/state.ts'
import { LOG_LIMITS } from '../log/log.ts'
import type { AppendRecord, SeqNum } from '../log/log.ts'
import { sameContentType } from '../protocol/content-type.ts'
import { sameExpiry } from '../protocol/expiry.ts'
import type { ForkOrigin, StreamConfig } from './bodies.ts'
import { encodeClosed, encodeCreated, encodeData, encodeDeleted, encodeRetired } from './codec.ts'
import { absence, existing, retained } from './existence.ts'
import { messagesOf, traced } from './messages.ts'
import type { Messages } from './messages.ts'
import type { Incarnation, StreamState } from './state.ts'

/** What a PUT asks for, with what the gateway adds. */
export type NewStream = {
  /** Names the new incarnation; unique for ever. */
  readonly id: string
  readonly config: StreamConfig
  readonly body: Uint8Array
  readonly close: boolean
  readonly fork?: NewFork | undefined
  readonly traceparent?: string | undefined
}

/** What a fork begins with, resolved against its source. */
export type NewFork = {
  readonly origin: ForkOrigin
  /** The part of a source's record that a sub-offset cut off: the fork's own first bytes. */
  readonly prefix: Uint8Array | undefined
  /** Where the log ended before the reference was taken; a log that moved says it may be gone. */
  readonly expectedSeq: SeqNum
}

export type CreateAnswer = {
  readonly kind: 'created' | 'exists'
  /** Names this life of the stream. */
  readonly incarnation: string
  readonly contentType: string
  readonly dataTail: SeqNum
  /** The fork depth of the offset at the data tail. */
  readonly depth: number
  readonly closed: boolean
  readonly isPublic: boolean
  /** The request brought the stream its first data. */
  readonly hasData: boolean
  /** The source of an expired fork whose place was taken: its reference is to be given up. */
  readonly released?: Released | undefined
}

/** The log has moved since the fork's reference was taken. Only a fork's creation comes to this. */
export type Moved = { readonly kind: 'moved' }

/** A reference that nobody needs any more. */
export type Released = { readonly source: string; readonly id: string }

/** Creates the stream, or finds the one that the same request would have made. */
export function createCommand(request: NewStream): Command<Incarnation, CreateAnswer | Moved> {
  const { maxBatchRecords } = LOG_LIMITS
  const messages = messagesOf(request.body, request.config.contentType, maxBatchRecords)
  return (state, now) => {
    const found = existing(state, now)
    if (found !== undefined) return compare(found, request)
    if (retained(state, now) !== undefined) return refuse(new StreamRetainedError())
    const { fork } = request
    if (fork !== undefined && fork.expectedSeq !== state.nextSeq) {
      return { kind: 'answer', answer: { kind: 'moved' } }
    }
    const prefix = fork?.prefix === undefined ? [] : [fork.prefix]
    return create(request, [...prefix, ...withAdvice(messages)], state)
  }
}

/** A stream and its first data are one batch, so that it never shows without them. */
const ADVICE = 'a new stream has room for one batch: create it first, then append'

function withAdvice(messages: () => Messages): Messages {
  try {
    return messages()
  } catch (error) {
    const tooMany = error instanceof RequestError && error.code === 'too_many_messages'
    throw tooMany ? new RequestError(error.code, ADVICE) : error
  }
}

/** What a request finds in a stream that exists: itself, or a conflict (PROTOCOL §5.1). */
export function compare(found: Incarnation, request: Requested): Decision<CreateAnswer> {
  const difference = differs(found, request)
  if (difference !== undefined) return refuse(new StreamConflictError(difference))
  const { id: incarnation, config, dataTail, lineage, closed } = found
  const { contentType, isPublic } = config
  return {
    kind: 'answer',
    answer: {
      kind: 'exists',
      incarnation,
      contentType,
      dataTail,
      depth: lineage.depth,
      closed,
      isPublic,
      hasData: false,
    },
  }
}

/** What of a request must match an existing stream. */
export type Requested = {
  readonly config: Pick<StreamConfig, 'contentType' | 'expiry' | 'isPublic'>
  readonly close: boolean
  readonly fork?:
    { readonly origin: Pick<ForkOrigin, 'source' | 'offset' | 'subOffset'> } | undefined
}

function differs({ config, closed, fork }: Incarnation, request: Requested): string | undefined {
  if (!sameContentType(config.contentType, request.config.contentType)) return 'content type'
  if (!sameExpiry(config.expiry, request.config.expiry)) return 'TTL or expiry'
  if (config.isPublic !== request.config.isPublic) return 'visibility'
  if (closed !== request.close) return 'closure status'
  return sameOrigin(fork, request.fork?.origin) ? undefined : 'fork origin'
}

function sameOrigin(
  found: ForkOrigin | undefined,
  requested: Pick<ForkOrigin, 'source' | 'offset' | 'subOffset'> | undefined,
): boolean {
  if (found === undefined || requested === undefined) return found === requested
  return (
    found.source === requested.source &&
    found.offset === requested.offset &&
    found.subOffset === requested.subOffset
  )
}

function create(
  { id, config, close, fork, traceparent }: NewStream,
  messages: readonly Uint8Array[],
  state: StreamState,
): Decision<CreateAnswer> {
  const records: AppendRecord[] = []
  // An expired stream that nobody deleted still holds its records.
  const expired = state.incarnation !== undefined
  if (expired) records.push({ kind: 'trim', before: state.nextSeq })
  const fencingToken = incarnationToken(id)
  records.push({ kind: 'fence', token: fencingToken })
  const createdAt = state.nextSeq + records.length
  // The last offset of the expired one is none of this one.
  const base = expired ? state.nextSeq + 1 : state.nextSeq
  records.push(encodeCreated({ id, fencingToken, base, config, fork: fork?.origin }))

  const context = { checkpoint: createdAt }
  messages.forEach((message, index) => {
    const last = index === messages.length - 1
    records.push(encodeData(message, context, undefined, close && last))
  })
  if (close && messages.length === 0) records.push(encodeClosed(context, {}))
  if (!fitsInBatch(records)) {
    const many = records.length > LOG_LIMITS.maxBatchRecords
    return refuse(new RequestError(many ? 'too_many_messages' : 'payload_too_large', ADVICE))
  }
  return {
    kind: 'write',
    records: messages.length === 0 ? records : traced(records, traceparent),
    answer: {
      kind: 'created',
      incarnation: id,
      contentType: config.contentType,
      dataTail: createdAt + 1 + messages.length,
      depth: fork?.origin.lineage.depth ?? 0,
      closed: close,
      isPublic: config.isPublic,
      hasData: messages.length > 0,
      released: releasedBy(state.incarnation),
    },
  }
}

/** The reference that ends with an incarnation. */
export function releasedBy(incarnation: Incarnation | undefined): Released | undefined {
  const source = incarnation?.fork?.source
  return source === undefined ? undefined : { source, id: incarnation?.id ?? '' }
}

/**
 * Deletes the stream. Its data stays while forks read it; else it leaves a tombstone under a new
 * fencing token and nothing before or of it.
 *
 * The batch trims its own records too, so that S2 can reclaim the empty stream; the token is
 * derived from the tail, which survives. It is a batch of its own, so that the token alone tells
 * whether it was applied.
 */
export const deleteCommand: Command<Incarnation, Released | undefined> = (state, now) => {
  const found = existing(state, now)
  if (found === undefined) return refuse(absence(state, now))
  if (found.references.size === 0) return bury(state, found)
  const context = { checkpoint: state.checkpoint }
  return { kind: 'write', records: [encodeRetired(context)], answer: undefined }
}

/** Buries the stream if it is there, no client sees it, and no fork reads it. */
export const buryUnseenCommand: Command<Incarnation, Released | undefined> = (state, now) => {
  const { incarnation } = state
  const unseen = incarnation !== undefined && existing(state, now) === undefined
  return unseen && retained(state, now) === undefined
    ? bury(state, incarnation)
    : { kind: 'answer', answer: undefined }
}

function bury(state: StreamState, incarnation: Incarnation): Decision<Released | undefined> {
  const tail = state.nextSeq + 3
  const token = deletedToken(tail)
  return {
    kind: 'write',
    records: [{ kind: 'fence', token }, encodeDeleted(token), { kind: 'trim', before: tail }],
    answer: releasedBy(incarnation),
    alone: true,
  }
}
