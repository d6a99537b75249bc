/** The reserved subscription APIs under `__ds` (PROTOCOL §6, §7). */
import type { FastifyInstance, FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify'
import type { StreamNames } from '../../protocol/names.ts'
import { SubscriptionError } from '../../subscriptions/errors.ts'
import {
  parseClaim,
  parseLinkPath,
  parseProgress,
  parseRelease,
  parseStreams,
  parseSubscription,
  parseSubscriptionId,
} from '../../subscriptions/requests.ts'
import type { SubscriptionService } from '../../subscriptions/service.ts'
import { JWKS_MAX_AGE_S } from '../../subscriptions/signature.ts'
import type { WakeTokenUse } from '../../subscriptions/wake-token.ts'
import type { WorkService } from '../../subscriptions/work-service.ts'
import type { Gate } from '../gate.ts'
import { accessOf } from '../plugins/auth.ts'
import type { OnProblem } from '../plugins/errors.ts'
import { noteFailure } from '../plugins/request-log.ts'
import { renderClaim, renderError, renderSubscription } from '../render-subscription.ts'
import { SubscriptionDoor } from '../subscription-door.ts'
import { STREAM_PREFIX, originOf, pathOf } from '../stream-url.ts'

type Options = {
  readonly subscriptions: SubscriptionService
  readonly work: WorkService
  readonly names: StreamNames
  readonly gate: Gate
  /** Where clients reach the gateway, when that can't be taken from their requests. */
  readonly publicUrl: string | undefined
  readonly onProblem?: OnProblem | undefined
}

/** The largest that makes sense; appends may be larger. */
const MAX_BODY_BYTES = 1024 * 1024
const CONTROL_PREFIX = `${STREAM_PREFIX}__ds/`
const PREFIX = `${CONTROL_PREFIX}subscriptions/`
const ONE = `${PREFIX}:id`

const ANYBODY = { config: { access: 'anybody' } } as const
const CALLER = { config: { access: 'caller' } } as const
/** The one that the wake or the claim has brought (PROTOCOL §7). */
const WAKE_TOKEN = { config: { access: 'token_of_ours' } } as const

export const subscriptionRoutes: FastifyPluginCallback<Options> = (app, options, done) => {
  const { subscriptions, work, names, gate, publicUrl, onProblem } = options
  const door = new SubscriptionDoor(gate, subscriptions)
  app.setErrorHandler((error, request, reply) => {
    if (!(error instanceof SubscriptionError)) throw error
    noteFailure(request, error)
    onProblem?.(error.code)
    const { status, headers, body } = renderError(error)
    return reply.code(status).headers(headers).send(body)
  })

  app.addHook('onRoute', (route) => {
    route.bodyLimit = MAX_BODY_BYTES
  })

  app.get(`${CONTROL_PREFIX}jwks.json`, ANYBODY, async (_request, reply) => {
    const jwks = await subscriptions.jwks()
    return reply
      .header('content-type', 'application/jwk-set+json')
      .header('cache-control', `public, max-age=${JWKS_MAX_AGE_S}`)
      .send(Buffer.from(JSON.stringify(jwks)))
  })

  app.put(ONE, CALLER, async (request, reply) => {
    const body = parseSubscription(bodyOf(request), names)
    const access = accessOf(request)
    door.checkRequest(access, body)
    const maker = { root: rootOf(request, publicUrl), project: access.grant?.project }
    const made = await subscriptions.create(idOf(request), body, maker)
    door.checkOwner(access, made)
    const status = made.kind === 'created' ? 201 : 200
    return json(reply.code(status), renderSubscription(made))
  })

  app.get(ONE, CALLER, async (request, reply) => {
    const id = idOf(request)
    await door.check(accessOf(request), 'read', id)
    return json(reply, renderSubscription(await subscriptions.describe(id)))
  })

  app.delete(ONE, CALLER, async (request, reply) => {
    const id = idOf(request)
    await door.check(accessOf(request), 'manage', id)
    await subscriptions.delete(id)
    return reply.code(204).send()
  })

  app.post(`${ONE}/streams`, CALLER, async (request, reply) => {
    const id = idOf(request)
    const streams = parseStreams(bodyOf(request), names)
    await door.check(accessOf(request), 'write', id, streams)
    await subscriptions.addStreams(id, streams)
    return reply.code(204).send()
  })

  app.delete(`${ONE}/streams/*`, CALLER, async (request, reply) => {
    const [, , ...path] = segmentsOf(request)
    const id = idOf(request)
    await door.check(accessOf(request), 'manage', id)
    await subscriptions.removeStream(id, parseLinkPath(path.join('/'), names))
    return reply.code(204).send()
  })

  workRoutes(app, work, door)
  done()
}

/** What subscribers ask for (PROTOCOL §7). */
function workRoutes(app: FastifyInstance, work: WorkService, door: SubscriptionDoor): void {
  app.post(`${ONE}/claim`, CALLER, async (request, reply) => {
    const id = idOf(request)
    await door.check(accessOf(request), 'write', id)
    const claimed = await work.claim(id, parseClaim(bodyOf(request)))
    return json(reply, renderClaim(claimed))
  })

  const progress = (use: WakeTokenUse) => async (request: FastifyRequest, reply: FastifyReply) => {
    const authorization = { use, token: bearerOf(request) }
    const body = parseProgress(bodyOf(request))
    const nextWake = await work.progress(idOf(request), authorization, body)
    return json(reply, { ok: true, next_wake: nextWake })
  }
  app.post(`${ONE}/callback`, WAKE_TOKEN, progress('callback'))
  app.post(`${ONE}/ack`, WAKE_TOKEN, progress('claim'))

  app.post(`${ONE}/release`, WAKE_TOKEN, async (request, reply) => {
    const token = bearerOf(request)
    await work.release(idOf(request), token, parseRelease(bodyOf(request)))
    return reply.code(204).send()
  })
}

/**
 * The URL that all the streams are under, for callbacks.
 *
 * @throws SubscriptionError `INVALID_REQUEST`: a client of HTTP/1.0 that names no host
 */
function rootOf(request: FastifyRequest, publicUrl: string | undefined): string {
  const base = publicUrl ?? originOf(request)
  if (base === '') {
    throw new SubscriptionError('INVALID_REQUEST', 'callbacks need a Host header or a PUBLIC_URL')
  }
  return `${base}${STREAM_PREFIX}`
}

/** The path after the prefix, as sent: the router's own decoding would hide what is malformed. */
function segmentsOf(request: FastifyRequest): readonly string[] {
  return pathOf(request).slice(PREFIX.length).split('/')
}

function idOf(request: FastifyRequest): string {
  return parseSubscriptionId(segmentsOf(request)[0] ?? '')
}

function bodyOf({ body }: FastifyRequest): Buffer {
  return Buffer.isBuffer(body) ? body : Buffer.alloc(0)
}

/** The credentials of RFC 6750 §2.1. */
function bearerOf({ headers }: FastifyRequest): string {
  const [, token] = /^Bearer +([\w.~+/-]+=*) *$/i.exec(headers.authorization ?? '') ?? []
  if (token === undefined) {
    throw new SubscriptionError('TOKEN_INVALID', 'send the token as Authorization: Bearer')
  }
  return token
}

/** As bytes: to a string the framework would add a charset, which JSON does not have. */
function json(reply: FastifyReply, body: unknown): FastifyReply {
  return reply
    .header('content-type', 'application/json')
    .header('cache-control', 'no-store')
    .send(Buffer.from(JSON.stringify(body)))
}
