/** Creating and deleting a stream, decided over its state (PROTOCOL §5.1, §5.4). PURE. */
import { StreamConflictError, StreamNotFoundError } from '../errors.ts'
import type { AppendRecord, SeqNum } from '../log/log.ts'
import { sameContentType } from '../protocol/content-type.ts'
import { sameExpiry } from '../protocol/expiry.ts'
import type { StreamConfig } from './bodies.ts'
import { encodeClosed, encodeCreated, encodeData, encodeDeleted } from './codec.ts'
import { refuse } from './command.ts'
import type { Command } from './command.ts'
import { messagesOf } from './messages.ts'
import { deletedToken, existing, incarnationToken } from './state.ts'
import type { Incarnation, StreamState } from './state.ts'

/** What a PUT asks for, with what the gateway adds. */
export type NewStream = {
  /** Names the new incarnation; unique for ever. */
  readonly id: string
  readonly config: StreamConfig
  readonly body: Uint8Array
  readonly close: boolean
}

export type CreateAnswer = {
  readonly kind: 'created' | 'exists'
  readonly contentType: string
  readonly dataTail: SeqNum
  readonly closed: boolean
}

/** Creates the stream, or finds the one that the same request would have made. */
export function createCommand(request: NewStream): Command<CreateAnswer> {
  const messages = messagesOf(request.body, request.config.contentType)
  return (state, now) => {
    const found = existing(state, now)
    if (found === undefined) return create(request, messages(), state)
    const difference = differs(found, request)
    if (difference !== undefined) return refuse(new StreamConflictError(difference))
    const { config, dataTail, closed } = found
    return {
      kind: 'answer',
      answer: { kind: 'exists', contentType: config.contentType, dataTail, closed },
    }
  }
}

function differs({ config, closed }: Incarnation, request: NewStream): string | undefined {
  if (!sameContentType(config.contentType, request.config.contentType)) return 'content type'
  if (!sameExpiry(config.expiry, request.config.expiry)) return 'TTL or expiry'
  return closed === request.close ? undefined : 'closure status'
}

function create(
  { id, config, close }: NewStream,
  messages: readonly Uint8Array[],
  state: StreamState,
): ReturnType<Command<CreateAnswer>> {
  const records: AppendRecord[] = []
  // An expired stream that nobody deleted still holds its records.
  const expired = state.incarnation !== undefined
  if (expired) records.push({ kind: 'trim', before: state.nextSeq })
  const fencingToken = incarnationToken(id)
  records.push({ kind: 'fence', token: fencingToken })
  const createdAt = state.nextSeq + records.length
  // The last offset of the expired one is none of this one.
  const base = expired ? state.nextSeq + 1 : state.nextSeq
  records.push(encodeCreated({ id, fencingToken, base, config }))

  const context = { checkpoint: createdAt }
  messages.forEach((message, index) => {
    const last = index === messages.length - 1
    records.push(encodeData(message, context, undefined, close && last))
  })
  if (close && messages.length === 0) records.push(encodeClosed(context, {}))
  const dataTail = createdAt + 1 + messages.length
  return {
    kind: 'write',
    records,
    answer: { kind: 'created', contentType: config.contentType, dataTail, closed: close },
  }
}

/**
 * Deletes the stream: a tombstone under a new fencing token, then nothing left before or of it.
 *
 * The batch trims its own records too, so that S2 can reclaim the empty stream; the token is
 * derived from the tail, which survives. It is a batch of its own, so that the token alone tells
 * whether it was applied.
 */
export const deleteCommand: Command<undefined> = (state, now) => {
  if (existing(state, now) === undefined) return refuse(new StreamNotFoundError())
  return bury(state)
}

/** Deletes the stream if it is there but has expired, so that its storage is freed. */
export const buryExpiredCommand: Command<undefined> = (state, now) => {
  const expired = state.incarnation !== undefined && existing(state, now) === undefined
  return expired ? bury(state) : { kind: 'answer', answer: undefined }
}

function bury(state: StreamState): ReturnType<Command<undefined>> {
  const tail = state.nextSeq + 3
  const token = deletedToken(tail)
  return {
    kind: 'write',
    records: [{ kind: 'fence', token }, encodeDeleted(token), { kind: 'trim', before: tail }],
    answer: undefined,
    alone: true,
  }
}
