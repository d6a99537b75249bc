/** A request body as the messages and then the data records it becomes (PROTOCOL §9.1). PURE. */
import { fitsInBatch } from '../journal/draft.ts'
import type { RecordContext } from '../journal/envelope.ts'
import { LOG_LIMITS } from '../log/log.ts'
import type { AppendRecord } from '../log/log.ts'
import { isJson } from '../protocol/content-type.ts'
import { splitMessages } from '../protocol/json.ts'
import { encodeData, encodeEnd, encodePart } from './codec.ts'
import type { WriterMark } from './codec.ts'
import { cutBytes, cutMessage } from './pieces.ts'

/**
 * One message per JSON value in JSON mode, else the whole body; none for an empty body.
 *
 * Only what is asked for is parsed, and once: a command may be decided many times.
 *
 * @returns a function that throws RequestError `invalid_json`, `too_many_messages`
 */
export function messagesOf(
  body: Uint8Array,
  contentType: string,
  maxMessages: number,
): () => readonly Uint8Array[] {
  return once(() => {
    if (body.length === 0) return []
    return isJson(contentType) ? splitMessages(body, maxMessages) : [body]
  })
}

/** What the last record of a request says besides its data. */
export type RequestEnd = { readonly mark: WriterMark; readonly close: boolean }

/** One record for each message; undefined when they do not fit in one batch. */
export function toBatchRecords(
  messages: readonly Uint8Array[],
  context: RecordContext,
  { mark, close }: RequestEnd,
): readonly AppendRecord[] | undefined {
  if (messages.length > LOG_LIMITS.maxBatchRecords) return undefined
  const records = messages.map((message, index) =>
    // The last record carries the request's marks: a fold of a part of it changes nothing.
    index === messages.length - 1
      ? encodeData(message, context, mark, close)
      : encodeData(message, context),
  )
  return fitsInBatch(records) ? records : undefined
}

/** The records of a group: parts, and the one that ends the request. Made once, as messages are. */
export function groupRecordsOf(
  messages: () => readonly Uint8Array[],
  contentType: string,
  { mark, close }: RequestEnd,
): () => readonly AppendRecord[] {
  const cut = isJson(contentType) ? cutMessage : cutPlain
  return once(() => {
    const bodies = messages().flatMap(cut)
    return bodies.map(({ body, piece }, index) =>
      index === bodies.length - 1 ? encodeEnd(body, piece, mark, close) : encodePart(body, piece),
    )
  })
}

function cutPlain(body: Uint8Array): ReturnType<typeof cutMessage> {
  return cutBytes(body).map((piece) => ({ body: piece }))
}

function once<Value>(make: () => Value): () => Value {
  let made: { readonly value: Value } | undefined
  return () => (made ??= { value: make() }).value
}
