/** What a request costs its caller, taken before anything is done for it; but never of probes. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Standing } from '../../errors.ts'
import type { Cost } from '../buckets.ts'
import type { ClientAddressOf } from '../client-address.ts'
import type { Limits, Principal } from '../limits.ts'
import { renderStanding } from '../rate-limit-headers.ts'
import { OPS_PATHS } from '../routes/ops.ts'
import { whenOver } from '../when-over.ts'

export type LimitsPluginOptions = {
  readonly limits: Limits
  readonly clientAddressOf: ClientAddressOf
  /** The largest body that is taken in: what is announced above it never comes. */
  readonly maxBodyBytes: number
}

declare module 'fastify' {
  interface FastifyRequest {
    /** Whom it is counted for besides its address, if an earlier hook has found that out. */
    principal: Principal | undefined
    /** What its caller's limits had left then. */
    standing: Standing | undefined
  }
}

const NOBODY: Principal = {}

/**
 * Has a request cost its address something that is refused before it gets to the limits.
 *
 * @throws RateLimitedError
 */
export function chargeRefused(
  request: FastifyRequest,
  { limits, clientAddressOf }: Pick<LimitsPluginOptions, 'limits' | 'clientAddressOf'>,
): void {
  if (!limits.limits('address')) return
  limits.take({ address: addressOf(request, clientAddressOf) }, { requests: 1 })
}

/** To be registered after whatever finds out who asks. */
export function registerLimits(app: FastifyInstance, options: LimitsPluginOptions): void {
  const { limits, clientAddressOf, maxBodyBytes } = options
  if (!app.hasRequestDecorator('principal')) app.decorateRequest('principal', undefined)
  app.decorateRequest('standing', undefined)
  const needsAddress = limits.limits('address')
  const principalOf = (request: FastifyRequest): Principal => {
    const { principal: caller = NOBODY } = request
    return needsAddress ? { ...caller, address: addressOf(request, clientAddressOf) } : caller
  }

  app.addHook('onRequest', (request, reply, done) => {
    if (OPS_PATHS.has(request.url)) return done()
    const principal = principalOf(request)
    const cost = costOf(request, maxBodyBytes)
    const leave = isLive(request) ? limits.enter(principal) : undefined
    try {
      request.standing = limits.take(principal, cost)
    } catch (error) {
      leave?.()
      throw error
    }
    if (leave !== undefined) whenOver(reply.raw, leave)
    if (cost.bytes === 0) request.bodyMeter = (bytes) => limits.receive(principal, bytes)
    done()
  })

  app.addHook('onSend', (request, reply, _payload, done) => {
    const { standing } = request
    if (standing !== undefined && isOwn(request, reply))
      void reply.headers(renderStanding(standing))
    done()
  })
}

/** The client's address, to be counted by. */
function addressOf({ raw }: FastifyRequest, of: ClientAddressOf): string | undefined {
  const { 'x-forwarded-for': forwardedFor } = raw.headers
  // Node joins those that come as several headers.
  return of(raw.socket.remoteAddress, typeof forwardedFor === 'string' ? forwardedFor : undefined)
}

/** By its method: whether a PUT creates anything is known when the work is done. */
function costOf({ method, headers }: FastifyRequest, maxBodyBytes: number): Cost {
  const bytes = bytesOf(headers, maxBodyBytes)
  return {
    requests: 1,
    ...(method === 'POST' && { appends: 1 }),
    ...(method === 'PUT' && { creates: 1 }),
    ...(bytes !== undefined && { bytes }),
  }
}

/** Bytes of the body as announced; 0 when there are some, and undefined when there are none. */
function bytesOf(headers: FastifyRequest['headers'], maxBodyBytes: number): number | undefined {
  if (headers['transfer-encoding'] !== undefined) return 0
  const length = Number(headers['content-length'] ?? 0)
  return length > 0 ? Math.min(length, maxBodyBytes) : undefined
}

function isLive({ method, query }: FastifyRequest): boolean {
  const { live } = (query ?? {}) as Readonly<Record<string, unknown>>
  return method === 'GET' && (live === 'sse' || live === 'long-poll')
}

/**
 * Whether an answer is for this caller alone. Others would be told of its standing by what a shared
 * cache keeps; and to a live read nobody reads it, whose answer is the same bytes for all.
 */
function isOwn(request: FastifyRequest, reply: FastifyReply): boolean {
  return !isLive(request) && !String(reply.getHeader('cache-control')).startsWith('public')
}
