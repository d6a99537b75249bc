/**
 * What a request says it is about, checked before anybody acts on it: the URL's length, how its
 * fixed part is written, and the host. Whatever stands between client and gateway must have read
 * the same from it.
 */
import type { IncomingMessage } from 'node:http'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { RequestError } from '../../errors.ts'
import type { GatewayError } from '../../errors.ts'
import { pathOf } from '../stream-url.ts'
import type { OnRefused } from './auth.ts'

export type TargetOptions = { readonly maxUrlBytes: number; readonly onRefused: OnRefused }

export function registerTargets(app: FastifyInstance, options: TargetOptions): void {
  const { maxUrlBytes, onRefused } = options
  app.addHook('onRequest', (request, _reply, done) => {
    const { url, raw } = request
    const refusal = urlRefusal(url, maxUrlBytes) ?? hostRefusal(raw) ?? spelling(request)
    if (refusal !== undefined) onRefused(request)
    done(refusal)
  })
}

/**
 * Undefined unless the URL is too long (RFC 9110 §15.5.15). Node's parser lets only ASCII in:
 * characters are bytes.
 */
export function urlRefusal(url: string, maxBytes: number): GatewayError | undefined {
  if (url.length <= maxBytes) return undefined
  return new RequestError('uri_too_long', `the URL is longer than ${maxBytes} bytes`)
}

/** There is one `Host`, and only HTTP/1.0 may leave it out (RFC 9112 §3.2). */
function hostRefusal({ rawHeaders, httpVersion }: IncomingMessage): GatewayError | undefined {
  let hosts = 0
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index]
    if (name?.length === 4 && name.toLowerCase() === 'host') hosts += 1
  }
  if (hosts === 1 || (hosts === 0 && httpVersion === '1.0')) return undefined
  return new RequestError('bad_request', 'a request has one Host header')
}

/**
 * The router decodes a path before it looks for a route. Only what a route leaves open may be
 * escaped: `/v1/%73tream/a` would be a stream to us, and not to a proxy in front that guards them.
 */
function spelling(request: FastifyRequest): GatewayError | undefined {
  const [fixed = ''] = (request.routeOptions.url ?? '').split(/[:*]/)
  if (pathOf(request).startsWith(fixed)) return undefined
  return new RequestError('not_found', 'there is nothing at this URL')
}
