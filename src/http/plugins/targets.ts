/** Refuses URLs that are too long, before anybody looks into them (RFC 9110 §15.5.15). */
import type { FastifyInstance } from 'fastify'
import { RequestError } from '../../errors.ts'
import type { GatewayError } from '../../errors.ts'

export function registerUrlLength(app: FastifyInstance, maxBytes: number): void {
  app.addHook('onRequest', ({ url }, _reply, done) => {
    done(urlRefusal(url, maxBytes))
  })
}

/** Undefined unless the URL is too long. Node's parser lets only ASCII in: characters are bytes. */
export function urlRefusal(url: string, maxBytes: number): GatewayError | undefined {
  if (url.length <= maxBytes) return undefined
  return new RequestError('uri_too_long', `the URL is longer than ${maxBytes} bytes`)
}
