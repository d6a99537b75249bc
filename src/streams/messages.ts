/** A request body as the data records it becomes (PROTOCOL §9.1). PURE. */
import { LOG_LIMITS } from '../log/log.ts'
import { isJson } from '../protocol/content-type.ts'
import { splitMessages } from '../protocol/json.ts'

/** A request is one atomic batch, and a message is one record. */
const MAX_MESSAGES = LOG_LIMITS.maxBatchRecords

/**
 * One message per JSON value in JSON mode, else the whole body; none for an empty body.
 *
 * Only what is asked for is parsed, and once: a command may be decided many times.
 *
 * @returns a function that throws RequestError `invalid_json`, `too_many_messages`
 */
export function messagesOf(body: Uint8Array, contentType: string): () => readonly Uint8Array[] {
  let messages: readonly Uint8Array[] | undefined
  return () => (messages ??= split(body, contentType))
}

function split(body: Uint8Array, contentType: string): readonly Uint8Array[] {
  if (body.length === 0) return []
  return isJson(contentType) ? splitMessages(body, MAX_MESSAGES) : [body]
}
