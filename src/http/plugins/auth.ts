/**
 * Every route says who may use it, and none is reached by anybody else: a route that says nothing
 * does not come into being.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Scope } from '../../auth/grant.ts'
import { invariant } from '../../errors.ts'
import { parseGlob } from '../../protocol/glob.ts'
import type { StreamNames } from '../../protocol/names.ts'
import type { Query } from '../../protocol/requests.ts'
import type { Credentials } from '../credentials.ts'
import { EVERYBODY, andThen } from '../gate.ts'
import type { Access, Gate, Later } from '../gate.ts'
import { streamNameOf } from '../stream-url.ts'

/**
 * - `anybody`: says nothing that is anybody's secret
 * - `token_of_ours`: the route asks for a token that the gateway itself has given out
 * - `operator`: whoever has a token for all streams there are, with the scope `manage`
 * - `caller`: whoever has a token; the route checks what its body asks for
 * - a scope: whoever has it for the stream that the URL names
 */
export type RouteAccess = 'anybody' | 'token_of_ours' | 'operator' | 'caller' | Scope

declare module 'fastify' {
  interface FastifyContextConfig {
    access?: RouteAccess
  }
  interface FastifyRequest {
    /** What the one who sends it may do; undefined until that is known. */
    access: Access | undefined
  }
}

/** What is called with each request that is refused; it may throw a refusal of its own. */
export type OnRefused = (request: FastifyRequest) => void

export type AuthOptions = {
  readonly gate: Gate
  readonly names: StreamNames
  readonly onRefused: OnRefused
}

export function registerAuth(app: FastifyInstance, options: AuthOptions): void {
  app.decorateRequest('access', undefined)
  app.addHook('onRoute', ({ config, method, url }) => {
    const isPreflight = method === 'OPTIONS'
    invariant(isPreflight || config?.access !== undefined, `${url} does not say who may use it`)
  })
  app.addHook('onRequest', (request, _reply, done) => {
    const { access } = request.routeOptions.config
    // Without a route there is nothing but a refusal.
    if (access === undefined) return done()
    const letIn = (known: Access): void => {
      request.access = known
      if (known.grant !== undefined) request.principal = known.grant
      done()
    }
    const refuse = (error: unknown): void => done(refusalOf(request, error, options.onRefused))
    let admitted: Later<Access>
    try {
      admitted = admit(options, access, request)
    } catch (error) {
      return refuse(error)
    }
    // Who is known already does not wait.
    if (admitted instanceof Promise) admitted.then(letIn, refuse)
    else letIn(admitted)
  })
}

function refusalOf(request: FastifyRequest, error: unknown, onRefused: OnRefused): Error {
  try {
    onRefused(request)
    throw error
  } catch (refusal) {
    return refusal instanceof Error ? refusal : new Error('refused', { cause: refusal })
  }
}

/** What the one who sends a request may do, once it has been let in. */
export function accessOf({ access }: FastifyRequest): Access {
  invariant(access !== undefined, 'a request was let in without a look at who sends it')
  return access
}

function admit(
  { gate, names }: AuthOptions,
  access: RouteAccess,
  request: FastifyRequest,
): Later<Access> {
  if (access === 'anybody' || access === 'token_of_ours') return EVERYBODY
  if (access === 'caller') return identify(gate, request)
  if (access === 'operator') {
    return andThen(identify(gate, request), (known) => {
      gate.check(known, { scope: 'manage', pattern: EVERYTHING })
      return known
    })
  }
  return gate.admit({ scope: access, name: streamNameOf(request, names) }, credentialsOf(request))
}

const EVERYTHING = parseGlob('**')

/** A ticket is for one stream, and a cookie is sent unasked. */
function identify(gate: Gate, { headers }: FastifyRequest): Later<Access> {
  return gate.identify({ ...NOTHING, authorization: headers.authorization })
}

const NOTHING: Credentials = { authorization: undefined, ticket: undefined, cookie: undefined }

function credentialsOf({ headers, query }: FastifyRequest): Credentials {
  const { ticket } = query as Query
  return {
    authorization: headers.authorization,
    // Given twice, it is no ticket; but neither is it nothing.
    ticket: Array.isArray(ticket) ? '' : ticket,
    cookie: headers.cookie,
  }
}
