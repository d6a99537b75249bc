/**
 * Request bodies, received into memory within bounds: of one, of all together, and of time.
 *
 * A body counts from its first byte until its request is answered, whatever became of the client:
 * an append that waits for the log still holds it.
 */
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { ByteBudget, Share } from '../byte-budget.ts'
import { receiveBody } from '../receive-body.ts'
import type { BodyDone } from '../receive-body.ts'
import type { Pace } from '../pace.ts'
import { STREAM_ROUTE } from '../stream-url.ts'

export type BodyOptions = {
  /** For the bodies of all requests about streams together. */
  readonly budget: ByteBudget
  /** For those of all others: nobody needs to be known to send some of them. */
  readonly otherBudget: ByteBudget
  readonly pace: Pace
}

declare module 'fastify' {
  interface FastifyRequest {
    /** What its body takes of the budget, if it has one. */
    bodyShare: Share | undefined
    /** Told of its bytes as they come, when somebody counts them. */
    bodyMeter: ((bytes: number) => void) | undefined
  }
}

/** Receives every body as bytes, of whatever type; routes bound the size of one. */
export function registerBodies(app: FastifyInstance, options: BodyOptions): void {
  const { budget, otherBudget, pace } = options
  app.decorateRequest('bodyShare', undefined)
  app.decorateRequest('bodyMeter', undefined)
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', (request: FastifyRequest, raw: IncomingMessage, done: BodyDone) => {
    // Who asks for what is not there is not waited for. Node reads the rest and drops it.
    if (request.is404) return done(null, undefined)
    const isOfStream = request.routeOptions.url === STREAM_ROUTE
    const share = (request.bodyShare = (isOfStream ? budget : otherBudget).open())
    const length = Number(request.headers['content-length'] ?? 0)
    const limit = request.routeOptions.bodyLimit
    receiveBody(raw, { share, length, limit, pace, meter: request.bodyMeter }, done)
  })
  app.addHook('onSend', (request, _reply, _payload, done) => {
    request.bodyShare?.close()
    done()
  })
}
