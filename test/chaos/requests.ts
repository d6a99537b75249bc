/** The requests of the protocol, as operations of a history. */
import type { Client, Exchange } from './client.ts'
import type {
  AppendOperation,
  CreateOperation,
  DeleteOperation,
  Failure,
  ReadMode,
  ReadOperation,
  Seen,
  WriterKind,
  Written,
} from './history.ts'
import type { Answer } from './http.ts'
import { TornTextError, appendIdOf, decodeBody, encodeAppend } from './payload.ts'
import type { Claim } from './payload.ts'

export type AppendRequest = {
  readonly by: WriterKind
  readonly claim: Claim
  /** Texts in the body; 0 only to close. */
  readonly count: number
  readonly padding?: number
  readonly streamSeq?: string
  readonly close?: boolean
}

export async function append(
  client: Client,
  { by, claim, count, padding = 0, streamSeq, close = false }: AppendRequest,
  gateway = client.anyGateway(),
): Promise<AppendOperation> {
  const { contentType, name } = client.stream
  const id = appendIdOf(claim)
  const headers = {
    ...(count > 0 && { 'content-type': contentType }),
    ...(close && { 'stream-closed': 'true' }),
    ...(streamSeq !== undefined && { 'stream-seq': streamSeq }),
    ...(by === 'idempotent' && claimHeaders(claim)),
  }
  const content = { id, count, padding }
  const body = count > 0 ? encodeAppend(name, contentType, content) : Buffer.alloc(0)
  const { exchange, answer } = await client.ask(gateway, { method: 'POST', headers, body })
  const outcome = writtenIn(answer)
  const isDuplicate = by === 'idempotent' && count > 0 && answer.kind === 'answer'
  return client.record({
    kind: 'append',
    ...exchange,
    by,
    append: id,
    count,
    ...(streamSeq !== undefined && { streamSeq }),
    close,
    outcome:
      outcome.kind === 'ok'
        ? { ...outcome, duplicate: isDuplicate && outcome.status === 204 }
        : outcome,
  })
}

/** The headers by which an idempotent producer claims its seq (PROTOCOL §5.2.1). */
function claimHeaders({ writer, epoch, seq }: Claim): Record<string, string> {
  return { 'producer-id': writer, 'producer-epoch': `${epoch}`, 'producer-seq': `${seq}` }
}

/** Creates the stream with its first text. */
export async function create(
  client: Client,
  claim: Claim,
  gateway = client.anyGateway(),
): Promise<CreateOperation> {
  const { contentType, name } = client.stream
  const id = appendIdOf(claim)
  const body = encodeAppend(name, contentType, { id, count: 1, padding: 0 })
  const headers = { 'content-type': contentType }
  const { exchange, answer } = await client.ask(gateway, { method: 'PUT', headers, body })
  return client.record({ kind: 'create', ...exchange, append: id, outcome: writtenIn(answer) })
}

export async function remove(
  client: Client,
  gateway = client.anyGateway(),
): Promise<DeleteOperation> {
  const { exchange, answer } = await client.ask(gateway, { method: 'DELETE' })
  const outcome = answer.kind === 'answer' ? ({ kind: 'ok' } as const) : answer
  return client.record({ kind: 'delete', ...exchange, outcome })
}

function writtenIn(answer: Answer | Failure): Written | Failure {
  if (answer.kind !== 'answer') return answer
  const { status, headers } = answer
  const seq = headers['producer-seq']
  return {
    kind: 'ok',
    status,
    next: String(headers['stream-next-offset']),
    closed: headers['stream-closed'] === 'true',
    duplicate: false,
    producerSeq: seq === undefined ? undefined : Number(seq),
  }
}

export type ReadRequest = {
  readonly mode: Exclude<ReadMode, 'sse'>
  readonly from: string
  readonly cursor?: string | undefined
}

/** One read; pages that end inside a text are read on until it is whole. */
export async function read(
  client: Client,
  { mode, from, cursor }: ReadRequest,
  gateway = client.anyGateway(),
): Promise<ReadOperation & { readonly cursor?: string | undefined }> {
  const live = mode === 'long-poll' ? '&live=long-poll' : ''
  const echo = cursor === undefined ? '' : `&cursor=${cursor}`
  const method = mode === 'head' ? 'HEAD' : 'GET'
  let first: Exchange | undefined
  let body = ''
  for (let offset = from; ;) {
    const query = mode === 'head' ? '' : `?offset=${offset}${live}${echo}`
    const { exchange, answer } = await client.ask(gateway, { method, query })
    first ??= exchange
    const times = { ...exchange, start: first.start }
    const done = (outcome: Seen | Failure): ReadOperation =>
      client.record({ kind: 'read', ...times, mode, from, outcome })
    if (answer.kind !== 'answer') return done(answer)
    body += answer.body
    offset = String(answer.headers['stream-next-offset'])
    const seen = decode(client, body, {
      kind: 'ok',
      next: offset,
      upToDate: mode === 'head' || answer.headers['stream-up-to-date'] === 'true',
      closed: answer.headers['stream-closed'] === 'true',
    })
    const next = answer.headers['stream-cursor']
    if (seen !== undefined) return { ...done(seen), cursor: next?.toString() }
  }
}

/** What a body shows; undefined when it is not whole and may yet become so. Torn is an alarm. */
export function decode(
  { stream, name, world }: Client,
  body: string,
  rest: Omit<Seen, 'messages'>,
): Seen | Failure | undefined {
  try {
    const messages = decodeBody(stream.name, stream.contentType, body)
    if (messages !== undefined) return { ...rest, messages }
    if (!rest.upToDate) return undefined
    throw new TornTextError(`up to date inside a text: ...${JSON.stringify(body.slice(-120))}`)
  } catch (error) {
    if (!(error instanceof TornTextError)) throw error
    world.recorder.alarm('torn', stream.name, `${name} read ${error.message}`)
    return { kind: 'unknown', why: 'torn' }
  }
}
