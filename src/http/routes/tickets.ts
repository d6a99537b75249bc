/**
 * Tickets: for readers that can't send a header, as the `EventSource` of browsers.
 *
 * A page asks for one with its token, and puts it into the URL: it is good for that stream alone,
 * and for as long as a connection takes to begin, so that it does no harm in somebody's log.
 */
import type { FastifyPluginCallback, FastifyReply, FastifyRequest } from 'fastify'
import { z } from 'zod'
import type { Authenticator } from '../../auth/authenticator.ts'
import type { Ticket } from '../../auth/tickets.ts'
import { RequestError, invariant } from '../../errors.ts'
import type { StreamNames } from '../../protocol/names.ts'
import { accessOf } from '../plugins/auth.ts'
import { STREAM_PREFIX, TICKETS_PATH, originOf } from '../stream-url.ts'

type Options = {
  readonly authenticator: Authenticator
  readonly names: StreamNames
  /** The cookie to set for who asks for one; undefined when there is none. */
  readonly cookie: string | undefined
  /** Where clients reach the gateway, when that can't be taken from their requests. */
  readonly publicUrl: string | undefined
}

const MAX_BODY_BYTES = 16 * 1024

const ticketRequest = z.strictObject({
  stream: z.string(),
  scope: z.enum(['read', 'write', 'manage']).default('read'),
  cookie: z.boolean().default(false),
})

export const ticketRoutes: FastifyPluginCallback<Options> = (app, options, done) => {
  const { authenticator, names, cookie: cookieName, publicUrl } = options
  const config = { access: 'caller' } as const

  app.post(TICKETS_PATH, { config, bodyLimit: MAX_BODY_BYTES }, async (request, reply) => {
    const { grant } = accessOf(request)
    invariant(grant !== undefined, 'who asks for a ticket is known')
    const { stream, scope, cookie } = parseBody(request)
    if (cookie && cookieName === undefined) {
      throw new RequestError('not_supported', 'the gateway has no cookie: see AUTH_COOKIE')
    }
    const name = names.check(stream)
    const use = cookie ? 'cookie' : 'url'
    const ticket = await authenticator.issueTicket(grant, { stream: name, scope, use })
    const url = `${publicUrl ?? originOf(request)}${STREAM_PREFIX}${encodePath(name)}`
    if (cookieName !== undefined && cookie) setCookie(reply, cookieName, url, ticket)
    return reply
      .code(201)
      .header('content-type', 'application/json')
      .header('cache-control', 'no-store')
      .send(Buffer.from(JSON.stringify(render(url, ticket, cookie))))
  })
  done()
}

/** What is in a cookie is nothing for the page: `HttpOnly`. */
function render(url: string, { ticket, expiresAt }: Ticket, isInCookie: boolean) {
  const expires = { expires_at: new Date(expiresAt).toISOString() }
  return isInCookie ? { url, ...expires } : { ticket, url: `${url}?ticket=${ticket}`, ...expires }
}

function encodePath(name: string): string {
  return name.split('/').map(encodeURIComponent).join('/')
}

function parseBody({ body }: FastifyRequest): z.infer<typeof ticketRequest> {
  const parsed = ticketRequest.safeParse(parseJson(Buffer.isBuffer(body) ? body : Buffer.alloc(0)))
  if (parsed.success) return parsed.data
  const [issue] = parsed.error.issues
  const where = issue === undefined || issue.path.length === 0 ? 'the body' : issue.path.join('.')
  throw new RequestError('bad_request', `${where}: ${issue?.message ?? 'is not what it must be'}`)
}

function parseJson(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString()) as unknown
  } catch {
    throw new RequestError('invalid_json', 'the body is not JSON')
  }
}

/** For the path of the stream alone, so that each stream may have its own. */
function setCookie(reply: FastifyReply, name: string, url: string, ticket: Ticket): void {
  const expires = new Date(ticket.expiresAt).toUTCString()
  const attributes = 'Secure; HttpOnly; SameSite=None'
  const value = `${name}=${ticket.ticket}; Path=${pathnameOf(url)}; Expires=${expires}; ${attributes}`
  void reply.header('set-cookie', value)
}

/** Of a URL, or of what a client of HTTP/1.0 gets, which is a path already. */
function pathnameOf(url: string): string {
  return URL.canParse(url) ? new URL(url).pathname : url
}
