/**
 * Who may do what: every route, for every token there can be. What is expected follows from the
 * table of routes and three rules; nothing is picked by hand.
 */
import http from 'node:http'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { DurableLog } from '../../src/log/log.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGateway } from '../support/gateway.ts'
import { bearer, inSeconds, JWT_ENV, sign, tokenOf } from '../support/access-tokens.ts'

const RANK = { nothing: 0, read: 1, write: 2, manage: 3 } as const
type Scope = keyof typeof RANK

/** Something that can be asked of the gateway about one stream of the project `own`. */
type Route = {
  readonly name: string
  readonly needs: Scope
  readonly status: number
  readonly method: string
  /** From the stream's name and a number that is nobody else's. */
  readonly path: (stream: string, unique: string) => string
  readonly headers?: (stream: string) => Record<string, string>
  readonly body?: (stream: string) => unknown
  /** What has to be there before; by default the stream, with data in it. */
  readonly before?: (stream: string, unique: string) => Promise<void>
}

const TEXT = { 'content-type': 'text/plain' }
const ADMIN = bearer({ sub: '*', scope: 'manage' })
const subscription = (unique: string) => `__ds/subscriptions/${unique}`
const pullWake = (stream: string) => ({
  type: 'pull-wake',
  streams: [stream],
  wake_stream: `${stream}/wakes`,
})

const ROUTES: readonly Route[] = [
  { name: 'catch-up', needs: 'read', status: 200, method: 'GET', path: (stream) => stream },
  { name: 'metadata', needs: 'read', status: 200, method: 'HEAD', path: (stream) => stream },
  {
    name: 'long-poll',
    needs: 'read',
    status: 200,
    method: 'GET',
    path: (stream) => `${stream}?offset=-1&live=long-poll`,
  },
  {
    name: 'events',
    needs: 'read',
    status: 200,
    method: 'GET',
    path: (stream) => `${stream}?offset=-1&live=sse`,
  },
  {
    name: 'events, past the fast lane',
    needs: 'read',
    status: 200,
    method: 'GET',
    path: (stream) => `${stream}?offset=-1&live=sse&and=more`,
  },
  {
    name: 'append',
    needs: 'write',
    status: 204,
    method: 'POST',
    path: (stream) => stream,
    headers: () => TEXT,
    body: () => 'more',
  },
  {
    name: 'close',
    needs: 'write',
    status: 204,
    method: 'POST',
    path: (stream) => stream,
    headers: () => ({ 'stream-closed': 'true' }),
  },
  {
    name: 'create',
    needs: 'manage',
    status: 201,
    method: 'PUT',
    path: (stream) => stream,
    headers: () => TEXT,
    before: () => Promise.resolve(),
  },
  {
    name: 'create again',
    needs: 'manage',
    status: 200,
    method: 'PUT',
    path: (stream) => stream,
    headers: () => TEXT,
  },
  {
    name: 'fork',
    needs: 'manage',
    status: 201,
    method: 'PUT',
    path: (stream) => `${stream}/fork`,
    headers: (stream) => ({ 'stream-forked-from': `/v1/stream/${stream}` }),
  },
  { name: 'delete', needs: 'manage', status: 204, method: 'DELETE', path: (stream) => stream },
  {
    name: 'ticket for reading',
    needs: 'read',
    status: 201,
    method: 'POST',
    path: () => '__ds/tickets',
    body: (stream) => ({ stream }),
  },
  {
    name: 'ticket for writing',
    needs: 'write',
    status: 201,
    method: 'POST',
    path: () => '__ds/tickets',
    body: (stream) => ({ stream, scope: 'write' }),
  },
  {
    name: 'subscribe to a pattern',
    needs: 'manage',
    status: 201,
    method: 'PUT',
    path: (_stream, unique) => subscription(unique),
    body: (stream) => ({ ...pullWake(stream), streams: [], pattern: `${stream}/*` }),
    before: wakes,
  },
  {
    name: 'subscribe to a stream',
    needs: 'manage',
    status: 201,
    method: 'PUT',
    path: (_stream, unique) => subscription(unique),
    body: pullWake,
    before: wakes,
  },
  {
    name: 'look at a subscription',
    needs: 'read',
    status: 200,
    method: 'GET',
    path: (_stream, unique) => subscription(unique),
    before: subscribed,
  },
  {
    name: 'delete a subscription',
    needs: 'manage',
    status: 204,
    method: 'DELETE',
    path: (_stream, unique) => subscription(unique),
    before: subscribed,
  },
  {
    name: 'add a stream to a subscription',
    needs: 'write',
    status: 204,
    method: 'POST',
    path: (_stream, unique) => `${subscription(unique)}/streams`,
    body: (stream) => ({ streams: [`${stream}/b`] }),
    before: subscribed,
  },
  {
    name: 'take a stream from a subscription',
    needs: 'manage',
    status: 204,
    method: 'DELETE',
    path: (stream, unique) => `${subscription(unique)}/streams/${encodeURIComponent(stream)}`,
    before: subscribed,
  },
  {
    name: 'claim work',
    needs: 'write',
    status: 200,
    method: 'POST',
    path: (_stream, unique) => `${subscription(unique)}/claim`,
    body: () => ({ worker: 'me' }),
    before: async (stream, unique) => {
      await subscribed(stream, unique)
      const headers = { ...TEXT, ...ADMIN }
      await expectStatus(204, { method: 'POST', path: stream, headers, body: 'work' })
    },
  },
]

/** Tokens that are none, whatever they say: 401 with a code. */
const NO_TOKENS: Readonly<Record<string, (claims: object) => [headers: object, code: string]>> = {
  none: () => [{}, 'unauthenticated'],
  expired: (claims) => [authorized(sign({ ...claims, exp: inSeconds(-120) })), 'token_expired'],
  'not yet valid': (claims) => [
    authorized(tokenOf({ ...claims, nbf: inSeconds(120) })),
    'invalid_token',
  ],
  'without an end': (claims) => [authorized(sign({ ...claims })), 'invalid_token'],
  'of another key': (claims) => [
    authorized(sign({ ...claims, exp: inSeconds(60) }, { secret: 'x'.repeat(40) })),
    'invalid_token',
  ],
  'of another algorithm': (claims) => [
    authorized(sign({ ...claims, exp: inSeconds(60) }, { alg: 'HS512' })),
    'invalid_token',
  ],
  unsigned: (claims) => [
    authorized(sign({ ...claims, exp: inSeconds(60) }, { alg: 'none' }).replace(/[^.]*$/, '')),
    'invalid_token',
  ],
  'tampered with': (claims) => {
    const [head, , signature] = tokenOf({ ...claims, scope: 'read' }).split('.')
    const body = Buffer.from(JSON.stringify({ ...claims, exp: inSeconds(60), scope: 'manage' }))
    return [authorized(`${head}.${body.toString('base64url')}.${signature}`), 'invalid_token']
  },
  'no token at all': () => [authorized('hello'), 'invalid_token'],
}

const authorized = (token: string) => ({ authorization: `Bearer ${token}` })

const SCOPES = Object.keys(RANK) as readonly Scope[]
const PROJECTS = { own: 'own', other: 'other', every: '*' } as const
/** Bounds to streams, by the name of one, and whether they let the caller get to it. */
const BOUNDS: Readonly<Record<string, (stream: string) => [claims: object, isIn: boolean]>> = {
  none: () => [{}, true],
  'a list that has it': (stream) => [{ streams: ['own/else', `${stream}/**`] }, true],
  'a list that has not': () => [{ streams: ['own/else', 'own/*/else/**'] }, false],
  'an empty list': () => [{ streams: [] }, false],
  'another name': () => [{ stream_id: 'own/else' }, false],
  'a list that has it, and another name': (stream) => [
    { streams: [`${stream}/**`], stream_id: 'own/else' },
    false,
  ],
}

let log: DurableLog
let gateway: TestGateway
let cases = 0

beforeAll(async () => {
  log = await openEmbeddedLog({ location: { kind: 'memory' } })
  const unlimited = { LIMITS_SUBJECT: 'none', LIMITS_PROJECT: 'none' }
  const env = { ...JWT_ENV, ...unlimited, GATEWAY_SECRETS: 's'.repeat(32) }
  gateway = await startGateway({ log, env })
})
afterAll(async () => {
  await gateway.shutdown()
  await log.close()
})

type Request = {
  readonly method: string
  readonly path: string
  readonly headers: object
  readonly body?: unknown
}

/** The answer's status and code; what follows of a stream of events is of no interest. */
function ask({ method, path, headers, body }: Request) {
  type Outcome = { status: number; code: unknown; challenge: string | undefined }
  return new Promise<Outcome>((resolve, reject) => {
    const url = `${gateway.url}/v1/stream/${path}`
    const request = http.request(url, { method, headers: { ...headers } })
    request.once('error', reject)
    request.once('response', (response) => {
      const { statusCode: status = 0, headers: given } = response
      const challenge = given['www-authenticate']
      if (given['content-type'] === 'text/event-stream') {
        response.destroy()
        return resolve({ status, code: undefined, challenge })
      }
      let text = ''
      response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
      response.once('end', () => {
        const isProblem = given['content-type'] === 'application/problem+json' && text !== ''
        const { code } = (isProblem ? JSON.parse(text) : {}) as { code?: unknown }
        resolve({ status, code, challenge })
      })
    })
    request.end(typeof body === 'object' ? JSON.stringify(body) : body)
  })
}

async function expectStatus(status: number, request: Request): Promise<void> {
  const answer = await ask(request)
  if (answer.status !== status) throw new Error(`${request.path}: ${JSON.stringify(answer)}`)
}

async function created(stream: string): Promise<void> {
  const headers = { ...TEXT, ...ADMIN }
  await expectStatus(201, { method: 'PUT', path: stream, headers, body: 'data' })
}

async function wakes(stream: string): Promise<void> {
  await created(stream)
  const headers = { 'content-type': 'application/json', ...ADMIN }
  await expectStatus(201, { method: 'PUT', path: `${stream}/wakes`, headers })
}

/** By a caller of the project, so that it is the project's. */
async function subscribed(stream: string, unique: string): Promise<void> {
  await wakes(stream)
  const headers = bearer({ sub: 'own', scope: 'manage' })
  const request = { method: 'PUT', path: subscription(unique), headers, body: pullWake(stream) }
  await expectStatus(201, request)
}

/** All there is to see of a stream from outside. */
async function look(stream: string): Promise<unknown> {
  const { status, headers } = await fetch(gateway.stream(stream), {
    method: 'HEAD',
    headers: ADMIN,
  })
  return [status, headers.get('stream-next-offset'), headers.get('stream-closed')]
}

async function begin(route: Route): Promise<Request & { readonly stream: string }> {
  const unique = `case-${(cases += 1)}`
  const stream = `own/${unique}`
  await (route.before ?? created)(stream, unique)
  const { method, path, headers, body } = route
  return {
    stream,
    method,
    path: path(stream, unique),
    headers: { ...headers?.(stream) },
    body: body?.(stream),
  }
}

describe.each(ROUTES)('$name', (route) => {
  const grants = SCOPES.flatMap((scope) =>
    Object.entries(PROJECTS).flatMap(([whose, project]) =>
      Object.keys(BOUNDS).map((bound) => ({ scope, whose, project, bound })),
    ),
  )

  test.each(grants)(
    'scope $scope, $whose project, bound to streams: $bound',
    async ({ scope, project, bound }) => {
      const { stream, ...request } = await begin(route)
      const [bounds, isIn] = BOUNDS[bound]!(stream)
      const before = await look(stream)
      const token = bearer({
        sub: project,
        scope: scope === 'nothing' ? 'openid' : scope,
        ...bounds,
      })
      const answer = await ask({ ...request, headers: { ...request.headers, ...token } })
      const isTheirs = project !== 'other' && isIn
      const isEnough = RANK[scope] >= RANK[route.needs]
      if (isTheirs && isEnough) {
        expect(answer.status).toBe(route.status)
        return
      }
      expect(answer.status).toBe(403)
      if (route.method === 'HEAD') expect(answer.code).toBeUndefined()
      else if (isEnough) expect(answer.code).toBe('forbidden')
      else if (isTheirs) expect(answer.code).toBe('insufficient_scope')
      else expect(['forbidden', 'insufficient_scope']).toContain(answer.code)
      expect(await look(stream)).toEqual(before)
    },
  )

  test.each(Object.keys(NO_TOKENS))('a token %s', async (kind) => {
    const { stream, ...request } = await begin(route)
    const before = await look(stream)
    const [credentials, code] = NO_TOKENS[kind]!({ sub: 'own', scope: 'manage' })
    const answer = await ask({ ...request, headers: { ...request.headers, ...credentials } })
    expect(answer).toEqual({
      status: 401,
      code: route.method === 'HEAD' ? undefined : code,
      challenge: expect.stringMatching(
        code === 'unauthenticated' ? /^Bearer(?!.*error=)/ : /^Bearer .*error="invalid_token"/,
      ) as string,
    })
    expect(await look(stream)).toEqual(before)
  })
})

describe('a fork needs its source to be readable', () => {
  test.each([
    ['of the same project', { sub: 'own' }, 201],
    ['of another project', { sub: 'mine' }, 403],
    ['outside the streams of the token', { sub: '*', streams: ['mine/**'] }, 403],
  ])('one %s', async (_where, claims, status) => {
    const unique = `case-${(cases += 1)}`
    await created(`own/${unique}`)
    const target = claims.sub === 'own' ? `own/${unique}/fork` : `mine/${unique}`
    const headers = {
      'stream-forked-from': `/v1/stream/own/${unique}`,
      ...bearer({ ...claims, scope: 'manage' }),
    }
    expect((await ask({ method: 'PUT', path: target, headers })).status).toBe(status)
  })

  test('and one that is not there is no different from one that is not theirs', async () => {
    const headers = {
      'stream-forked-from': '/v1/stream/own/nothing',
      ...bearer({ sub: 'mine', scope: 'manage' }),
    }
    expect(await ask({ method: 'PUT', path: 'mine/fork', headers })).toMatchObject({
      status: 403,
      code: 'forbidden',
    })
  })
})

describe('what no access token is for', () => {
  test.each(['callback', 'ack', 'release'])(
    '%s takes only what a wake has brought',
    async (what) => {
      const unique = `case-${(cases += 1)}`
      await subscribed(`own/${unique}`, unique)
      const path = `${subscription(unique)}/${what}`
      const body = { wake_id: 'w', generation: 1, acks: [] }
      expect((await ask({ method: 'POST', path, headers: ADMIN, body })).status).toBe(401)
    },
  )

  test.each(['/healthz', '/readyz', '/v1/stream/__ds/jwks.json'])('%s is for all', async (path) => {
    expect((await fetch(`${gateway.url}${path}`)).status).toBe(200)
  })
})
