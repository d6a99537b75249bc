/** Tells an observer of every request once it is over, by what it was for and never by its URL. */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { HttpObserver, Operation } from '../http-observer.ts'
import { OPS_PATHS } from '../routes/ops.ts'
import { STREAM_PREFIX, TICKETS_PATH, pathOf } from '../stream-url.ts'
import { whenOver } from '../when-over.ts'
import { liveOf } from './request-log.ts'

/** What nginx calls a request whose client did not wait for the answer. */
const CLIENT_LEFT = 499

const CONTROL_PREFIX = `${STREAM_PREFIX}__ds/`

const STREAM_OPERATIONS: Readonly<Record<string, Operation>> = {
  PUT: 'create',
  POST: 'append',
  GET: 'read',
  HEAD: 'head',
  DELETE: 'delete',
}

export function registerObserver(app: FastifyInstance, observer: HttpObserver): void {
  app.addHook('onRequest', (request, reply, done) => {
    observeWhenOver(request, reply, observer)
    done()
  })
}

/** For a request that the hooks do not see. */
export function observeWhenOver(
  request: FastifyRequest,
  reply: FastifyReply,
  observer: HttpObserver,
): void {
  whenOver(reply.raw, () => {
    const { raw } = reply
    const { method, query } = request
    const operation = operationOf(method, pathOf(request))
    // Of anything but a stream it says nothing.
    const live = operation === 'read' ? liveOf(query) : undefined
    const status = raw.headersSent ? raw.statusCode : CLIENT_LEFT
    // Such an answer has begun long ago, and was told of then.
    if (live === 'sse' && status === 200) return
    observer.onRequest({
      method: method === 'OPTIONS' || method in STREAM_OPERATIONS ? method : 'other',
      operation,
      status,
      ms: live === undefined ? reply.elapsedTime : undefined,
    })
  })
}

function operationOf(method: string, path: string): Operation {
  if (OPS_PATHS.has(path)) return 'ops'
  if (!path.startsWith(STREAM_PREFIX)) return 'other'
  if (method === 'OPTIONS') return 'preflight'
  if (path === TICKETS_PATH) return 'tickets'
  if (path.startsWith(CONTROL_PREFIX)) return 'subscriptions'
  return STREAM_OPERATIONS[method] ?? 'other'
}
