/** The bodies of requests to subscriptions (PROTOCOL §6.2, §6.4, §7), checked and normalised. */
import { createHash } from 'node:crypto'
import { z } from 'zod'
import { RequestError } from '../errors.ts'
import { parseGlob } from '../protocol/glob.ts'
import type { StreamNames } from '../protocol/names.ts'
import { parseOffset } from '../protocol/offset.ts'
import { MAX_STREAM_NAME_BYTES, checkStreamName, trimSlashes } from '../protocol/path.ts'
import { SubscriptionError } from './errors.ts'
import type { SubscriptionConfig } from './events.ts'
import type { AckRequest, Fence } from './leases.ts'

/** What a client asks for when it creates a subscription. */
export type SubscriptionRequest = Omit<SubscriptionConfig, 'hash' | 'root' | 'project'> & {
  /** The streams to link, each once and in order. */
  readonly streams: readonly string[]
}

/** PROTOCOL §6.2. */
const LEASE_TTL_MS = { min: 1000, max: 10 * 60 * 1000, fallback: 30_000 }
/** An id becomes a part of the name of an S2 stream, which has at most 512 bytes. */
const MAX_ID_BYTES = 400
const MAX_DESCRIPTION = 1000
const MAX_WORKER = 200
/** Acks in one request; more can follow in the next. */
const MAX_ACKS = 1000

/** A few slashes may stand around names and patterns, which have as many bytes at most. */
const MAX_NAME_TEXT = MAX_STREAM_NAME_BYTES + 8

const nameText = z.string().min(1).max(MAX_NAME_TEXT)
const lease = z.int().min(LEASE_TTL_MS.min).max(LEASE_TTL_MS.max).default(LEASE_TTL_MS.fallback)
const streamName = nameText.transform((text, context) => {
  try {
    return checkStreamName(trimSlashes(text))
  } catch (error) {
    context.addIssue(error instanceof RequestError ? error.message : 'is no stream name')
    return z.NEVER
  }
})
const pattern = nameText.transform((text, context) => {
  try {
    return parseGlob(text).pattern
  } catch (error) {
    context.addIssue(error instanceof RequestError ? error.message : 'is no pattern')
    return z.NEVER
  }
})

const common = {
  pattern: pattern.nullish(),
  streams: z.array(streamName).default([]),
  lease_ttl_ms: lease,
  description: z.string().max(MAX_DESCRIPTION).nullish(),
}
/** What only the other type needs is ignored like any other member: PROTOCOL §6.2 shows it. */
const creation = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('webhook'),
    webhook: z.object({ url: z.string().min(1) }),
    ...common,
  }),
  z.object({
    type: z.literal('pull-wake'),
    wake_stream: streamName,
    ...common,
  }),
])

/**
 * Reads the body of a creation (PROTOCOL §6.2).
 *
 * @throws SubscriptionError `INVALID_REQUEST`
 */
export function parseSubscription(body: Uint8Array, names: StreamNames): SubscriptionRequest {
  const request = parse(creation, body)
  const { type, lease_ttl_ms: leaseTtlMs } = request
  const streams = [...new Set(request.streams)].sort()
  if (typeof request.pattern !== 'string' && streams.length === 0) {
    throw invalid('name a pattern or streams')
  }
  orInvalid(() => {
    for (const stream of streams) names.check(stream)
    if (request.type === 'pull-wake') names.check(request.wake_stream)
    if (typeof request.pattern === 'string') names.parsePattern(request.pattern)
  })
  return {
    type,
    streams,
    leaseTtlMs,
    ...(typeof request.pattern === 'string' ? { pattern: request.pattern } : {}),
    ...(request.type === 'webhook' ? { webhookUrl: request.webhook.url } : {}),
    ...(request.type === 'pull-wake' ? { wakeStream: request.wake_stream } : {}),
    ...(typeof request.description === 'string' ? { description: request.description } : {}),
  }
}

/** The hash that tells one configuration from another (PROTOCOL §6.2). */
export function hashOf(request: SubscriptionRequest): string {
  const { type, pattern: glob, streams, webhookUrl, wakeStream, leaseTtlMs, description } = request
  const fields = [type, glob, streams, webhookUrl, wakeStream, leaseTtlMs, description]
  const canonical = JSON.stringify(fields.map((field) => field ?? null))
  return createHash('sha256').update(canonical).digest('base64url')
}

/**
 * Reads the id of a subscription from a path segment.
 *
 * @throws SubscriptionError `INVALID_REQUEST`
 */
export function parseSubscriptionId(segment: string): string {
  const id = decode(segment)
  if (id === '' || /[\p{Cc}\p{Cs}]/u.test(id)) throw invalid('an id has no control characters')
  // In a callback URL they would be taken for steps of a path, even percent-encoded.
  if (id === '.' || id === '..') throw invalid('an id is not . or ..')
  if (encodeURIComponent(id).length > MAX_ID_BYTES) {
    throw invalid(`an id has at most ${MAX_ID_BYTES} bytes, percent-encoded`)
  }
  return id
}

function decode(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    // Only malformed escapes and bytes that are not UTF-8 get here.
    throw invalid('a URL is percent-encoded UTF-8')
  }
}

/**
 * Reads the streams to link (PROTOCOL §6.4).
 *
 * @throws SubscriptionError `INVALID_REQUEST`
 */
export function parseStreams(body: Uint8Array, names: StreamNames): readonly string[] {
  const { streams } = parse(z.object({ streams: z.array(streamName).min(1) }), body)
  orInvalid(() => streams.forEach((stream) => names.check(stream)))
  return [...new Set(streams)]
}

/**
 * Reads the stream to unlink, percent-encoded (PROTOCOL §6.4).
 *
 * @throws SubscriptionError `INVALID_REQUEST`
 */
export function parseLinkPath(raw: string, names: StreamNames): string {
  const parsed = streamName.safeParse(decode(raw))
  if (!parsed.success) throw invalid(describe(parsed.error))
  return orInvalid(() => names.check(parsed.data))
}

/**
 * Reads the name of a worker that claims (PROTOCOL §7.2).
 *
 * @throws SubscriptionError `INVALID_REQUEST`
 */
export function parseClaim(body: Uint8Array): string {
  return parse(z.object({ worker: z.string().min(1).max(MAX_WORKER) }), body).worker
}

const fence = { wake_id: z.string(), generation: z.int().nonnegative() }
const progress = z.object({
  ...fence,
  acks: z
    .array(z.object({ stream: streamName, offset: z.string() }))
    .max(MAX_ACKS)
    .default([]),
  done: z.boolean().default(false),
})

/**
 * Reads a callback or an ack (PROTOCOL §7.1, §7.2).
 *
 * @throws SubscriptionError `INVALID_REQUEST`, `INVALID_OFFSET`
 */
export function parseProgress(body: Uint8Array): AckRequest {
  const { wake_id: wakeId, generation, acks, done } = parse(progress, body)
  const offsets = new Map<string, string>()
  for (const { stream, offset } of acks) {
    if (!isPosition(offset)) {
      throw new SubscriptionError('INVALID_OFFSET', 'ack an offset that this server has returned')
    }
    // Named twice, a stream is acked up to the further of both.
    if (offset > (offsets.get(stream) ?? '')) offsets.set(stream, offset)
  }
  return { wakeId, generation, acks: offsets, done }
}

/** `-1` and `now` are no places that anybody could have got to. */
function isPosition(offset: string): boolean {
  try {
    return parseOffset(offset).kind === 'position'
  } catch {
    return false
  }
}

/**
 * Reads a release (PROTOCOL §7.2).
 *
 * @throws SubscriptionError `INVALID_REQUEST`
 */
export function parseRelease(body: Uint8Array): Fence {
  const { wake_id: wakeId, generation } = parse(z.object(fence), body)
  return { wakeId, generation }
}

function parse<Body>(schema: z.ZodType<Body>, body: Uint8Array): Body {
  let json: unknown
  try {
    json = JSON.parse(Buffer.from(body).toString())
  } catch {
    throw invalid('the body is no JSON')
  }
  const parsed = schema.safeParse(json)
  if (!parsed.success) throw invalid(describe(parsed.error))
  return parsed.data
}

function describe({ issues }: z.ZodError): string {
  return issues
    .slice(0, 5)
    .map(({ path, message }) => [...path.map(String), message].join(': '))
    .join('; ')
}

/** Names and patterns are refused here as in any body, with this API's own code. */
function orInvalid<T>(check: () => T): T {
  try {
    return check()
  } catch (error) {
    throw error instanceof RequestError ? invalid(error.message) : error
  }
}

function invalid(message: string): SubscriptionError {
  return new SubscriptionError('INVALID_REQUEST', message)
}
