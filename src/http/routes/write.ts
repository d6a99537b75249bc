/** The requests that change a stream: PUT, POST, DELETE (PROTOCOL §5.1-§5.4). */
import type { FastifyPluginCallback, FastifyRequest } from 'fastify'
import type { Scope } from '../../auth/grant.ts'
import { RequestError } from '../../errors.ts'
import { parseAppend, parseCreate } from '../../protocol/requests.ts'
import {
  PRODUCER_EPOCH,
  PRODUCER_SEQ,
  STREAM_CLOSED,
  STREAM_NEXT_OFFSET,
  STREAM_PUBLIC,
  STREAM_READER_KEY,
} from '../../protocol/headers.ts'
import { formatOffset } from '../../protocol/offset.ts'
import type { AppendAnswer } from '../../streams/append.ts'
import type { StreamNames } from '../../protocol/names.ts'
import type { StreamService } from '../../streams/service.ts'
import type { Gate, Life } from '../gate.ts'
import { accessOf } from '../plugins/auth.ts'
import { keptTraceparent } from '../plugins/tracing.ts'
import { STREAM_ROUTE, absoluteUrl, sourceNameOf, streamNameOf } from '../stream-url.ts'

type Options = {
  readonly streams: StreamService
  readonly names: StreamNames
  readonly gate: Gate
  /** Who may create streams. */
  readonly creation: Scope
  /** Whether what is appended is kept with the step of a trace that it was appended in. */
  readonly tracesRecords: boolean
}

export const writeRoutes: FastifyPluginCallback<Options> = (app, options, done) => {
  const { streams, names, gate, creation, tracesRecords } = options
  const traceOf = (request: FastifyRequest): { readonly traceparent: string | undefined } => ({
    traceparent: tracesRecords ? keptTraceparent(request) : undefined,
  })

  app.put(STREAM_ROUTE, { config: { access: creation } }, async (request, reply) => {
    const name = streamNameOf(request, names)
    const create = { ...parseCreate(request.headers, bodyOf(request)), ...traceOf(request) }
    const source = create.fork && sourceNameOf(create.fork.sourcePath, names)
    const toSource = source === undefined ? undefined : gate.admitToRead(accessOf(request), source)
    const readable = await toSource
    const confirm = (found: Life): void => readable && gate.confirm(readable, found)
    const created = await streams.create(name, create, source, confirm)
    if (created.isPublic) void reply.header(STREAM_PUBLIC, 'true')
    const readerKey = gate.readerKeyOf({ name, ...created })
    if (readerKey !== undefined) void reply.header(STREAM_READER_KEY, readerKey)
    if (created.kind === 'created') void reply.header('location', absoluteUrl(request))
    return reply
      .code(created.kind === 'created' ? 201 : 200)
      .header('content-type', created.contentType)
      .headers(position(created))
      .send()
  })

  app.post(STREAM_ROUTE, { config: { access: 'write' } }, async (request, reply) => {
    const name = streamNameOf(request, names)
    const append = { ...parseAppend(request.headers, bodyOf(request)), ...traceOf(request) }
    const answer = await streams.append(name, append)
    // PROTOCOL §5.2.1: only new data of an idempotent producer is told apart from a duplicate.
    const stored = answer.kind === 'appended' && append.body.length > 0
    return reply
      .code(stored && append.producer !== undefined ? 200 : 204)
      .headers(standing(answer))
      .send()
  })

  app.delete(STREAM_ROUTE, { config: { access: 'manage' } }, async (request, reply) => {
    await streams.delete(streamNameOf(request, names))
    return reply.code(204).send()
  })
  done()
}

/**
 * The bytes to store: those that were sent. A request without a body has none at all; to the
 * rules it is an empty one.
 *
 * @throws RequestError the body is coded, and what readers would get is not what the writer meant
 */
function bodyOf({ body, headers }: FastifyRequest): Buffer {
  if (!isPlain(headers['content-encoding'], 'identity')) {
    throw new RequestError('invalid_header', 'send the body without a Content-Encoding')
  }
  if (!isPlain(headers['transfer-encoding'], 'chunked')) {
    throw new RequestError('not_supported', 'the only Transfer-Encoding is chunked')
  }
  return Buffer.isBuffer(body) ? body : Buffer.alloc(0)
}

function isPlain(coding: string | undefined, plain: string): boolean {
  return coding === undefined || coding.trim() === '' || coding.trim().toLowerCase() === plain
}

type Tail = { readonly dataTail: number; readonly depth: number; readonly closed: boolean }

function position({ dataTail: seqNum, depth, closed }: Tail): Record<string, string> {
  const headers: Record<string, string> = { [STREAM_NEXT_OFFSET]: formatOffset({ depth, seqNum }) }
  if (closed) headers[STREAM_CLOSED] = 'true'
  return headers
}

/** Where the stream ends now, and where its producer stands, if there is one. */
function standing(answer: AppendAnswer): Record<string, string> {
  const headers = position(answer)
  const { producer } = answer
  if (producer === undefined) return headers
  headers[PRODUCER_EPOCH] = String(producer.epoch)
  headers[PRODUCER_SEQ] = String(producer.seq)
  return headers
}
