/** A request body as the messages and then the data records it becomes (PROTOCOL §9.1). PURE. */
import { fitsInBatch } from '../journal/draft.ts'
import type { RecordContext } from '../journal/envelope.ts'
import { LOG_LIMITS } from '../log/log.ts'
import type { AppendRecord } from '../log/log.ts'
import { isJson } from '../protocol/content-type.ts'
import { countMessages, messagesIn, splitMessages } from '../protocol/json.ts'
import { encodeData, encodeEnd, encodePart, withTraceparent } from './codec.ts'
import type { WriterMark } from './codec.ts'
import { cutBytes, cutMessage } from './pieces.ts'

/** The messages of a request; going through them makes them, anew each time. */
export type Messages = Iterable<Uint8Array> & { readonly length: number }

/** Of a body up to this size the messages are kept once they were made. */
const KEPT_BYTES = 16 * 1024

/**
 * One message per JSON value in JSON mode, else the whole body; none for an empty body.
 *
 * Only what is asked for is validated, and once: a command may be decided many times.
 *
 * @returns a function that throws RequestError `invalid_json`, `too_many_messages`
 */
export function messagesOf(
  body: Uint8Array,
  contentType: string,
  maxMessages: number,
): () => Messages {
  return once(() => {
    if (body.length === 0) return []
    if (!isJson(contentType)) return [body]
    if (body.length <= KEPT_BYTES) return splitMessages(body, maxMessages)
    // A hundred thousand views take ten times the memory of a body, while it may have to wait.
    const length = countMessages(body, maxMessages)
    return { length, [Symbol.iterator]: () => messagesIn(body) }
  })
}

/** What the last record of a request says besides its data. */
export type RequestEnd = {
  readonly mark: WriterMark
  readonly close: boolean
  readonly traceparent?: string | undefined
}

/** One record for each message; undefined when they do not fit in one batch. */
export function toBatchRecords(
  messages: Messages,
  context: RecordContext,
  { mark, close, traceparent }: RequestEnd,
): readonly AppendRecord[] | undefined {
  const { maxBatchRecords, maxBatchBytes } = LOG_LIMITS
  if (messages.length > maxBatchRecords) return undefined
  const records: AppendRecord[] = []
  let bytes = 0
  for (const message of messages) {
    bytes += message.length
    if (bytes > maxBatchBytes) return undefined
    // The last record carries the request's marks: a fold of a part of it changes nothing.
    const isLast = records.length === messages.length - 1
    records.push(isLast ? encodeData(message, context, mark, close) : encodeData(message, context))
  }
  return fitsInBatch(records) ? traced(records, traceparent) : undefined
}

/**
 * The records of a batch, the last of which says in which step of a trace they are appended; if
 * there is room for that: what an append comes to must not depend on it.
 */
export function traced(
  records: readonly AppendRecord[],
  traceparent: string | undefined,
): readonly AppendRecord[] {
  const last = records.at(-1)
  if (traceparent === undefined || last === undefined) return records
  const saying = [...records.slice(0, -1), withTraceparent(last, traceparent)]
  return fitsInBatch(saying) ? saying : records
}

/** The records of a group: parts, and the one that ends the request. */
export function* groupRecordsOf(
  messages: Messages,
  contentType: string,
  { mark, close, traceparent }: RequestEnd,
): Generator<AppendRecord, void, void> {
  const cut = isJson(contentType) ? cutMessage : cutPlain
  let last: CutPiece | undefined
  for (const message of messages) {
    for (const piece of cut(message)) {
      if (last !== undefined) yield encodePart(last.body, last.piece)
      last = piece
    }
  }
  if (last === undefined) return
  const end = encodeEnd(last.body, last.piece, mark, close)
  yield traceparent === undefined ? end : withTraceparent(end, traceparent)
}

type CutPiece = ReturnType<typeof cutMessage>[number]

function cutPlain(body: Uint8Array): CutPiece[] {
  return cutBytes(body).map((piece) => ({ body: piece }))
}

/** What is made, or why it can't be, is made once. */
function once<Value>(make: () => Value): () => Value {
  let made: (() => Value) | undefined
  const attempt = (): (() => Value) => {
    try {
      const value = make()
      return () => value
    } catch (error) {
      return () => {
        throw error
      }
    }
  }
  return () => (made ??= attempt())()
}
