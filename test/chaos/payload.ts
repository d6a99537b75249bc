/**
 * What the clients write: texts that say who wrote them, in which attempt, and whether they are
 * whole. A text is one JSON message, or one line of a stream of bytes.
 */
import { crc32 } from 'node:zlib'

/** One request's worth: `<writer>:<epoch>:<seq>:<attempt>`, unique in a run. */
export type AppendId = string

/** One text of it: `<append>:<index>/<count>`. */
export type MessageId = string

export type Claim = {
  readonly writer: string
  readonly epoch: number
  readonly seq: number
  readonly attempt: number
}

/** The first text of every incarnation of a stream is written by one that is named so. */
export const BIRTH_PREFIX = 'birth-'

export class TornTextError extends Error {}

export function appendIdOf({ writer, epoch, seq, attempt }: Claim): AppendId {
  return `${writer}:${epoch}:${seq}:${attempt}`
}

export function messageIdOf(append: AppendId, index: number, count: number): MessageId {
  return `${append}:${index}/${count}`
}

export type ParsedId = Claim & {
  readonly append: AppendId
  readonly index: number
  readonly count: number
}

export function parseId(id: MessageId): ParsedId {
  const [writer = '', epoch, seq, attempt, place = ''] = id.split(':')
  const [index, count] = place.split('/').map(Number)
  const claim = { writer, epoch: Number(epoch), seq: Number(seq), attempt: Number(attempt) }
  return { ...claim, append: appendIdOf(claim), index: index ?? 0, count: count ?? 0 }
}

export function isBirth(id: string): boolean {
  return id.startsWith(BIRTH_PREFIX)
}

export type Append = {
  readonly id: AppendId
  readonly count: number
  /** Filler in each text, in bytes. */
  readonly padding: number
}

/** The body of an append to a stream of this content type. */
export function encodeAppend(stream: string, contentType: string, append: Append): Buffer {
  const filler = append.padding > 0 ? ` ${'.'.repeat(append.padding)}` : ''
  const texts = Array.from({ length: append.count }, (_, index) => {
    const content = `${stream} ${messageIdOf(append.id, index, append.count)}${filler}`
    return `${checksum(content)} ${content}`
  })
  const isJson = contentType === 'application/json'
  return Buffer.from(isJson ? JSON.stringify(texts) : texts.map((text) => `${text}\n`).join(''))
}

/**
 * The messages in a body that was read.
 *
 * @returns undefined: it ends inside a text, and what follows may make it whole
 * @throws TornTextError a text is not what anybody wrote
 */
export function decodeBody(
  stream: string,
  contentType: string,
  body: string,
): readonly MessageId[] | undefined {
  if (body === '') return []
  if (contentType === 'application/json') return parseArray(body).map((text) => idIn(stream, text))
  if (!body.endsWith('\n')) return undefined
  return body
    .slice(0, -1)
    .split('\n')
    .map((text) => idIn(stream, text))
}

function parseArray(body: string): readonly string[] {
  try {
    return JSON.parse(body) as string[]
  } catch {
    throw new TornTextError(`no JSON: ${excerpt(body)}`)
  }
}

function idIn(stream: string, text: unknown): MessageId {
  if (typeof text !== 'string') throw new TornTextError(`no text: ${JSON.stringify(text)}`)
  const [sum, name, id = ''] = text.split(' ', 3)
  if (sum !== checksum(text.slice(text.indexOf(' ') + 1))) {
    throw new TornTextError(`a torn text: ${excerpt(text)}`)
  }
  if (name !== stream) throw new TornTextError(`a text of another stream: ${excerpt(text)}`)
  return id
}

function checksum(content: string): string {
  return crc32(content).toString(16).padStart(8, '0')
}

function excerpt(text: string): string {
  return JSON.stringify(text.length > 120 ? `${text.slice(0, 60)} ... ${text.slice(-60)}` : text)
}
