/** Which pages may read: every kind of answer there is, whoever gives it, for every kind of page. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { DurableLog } from '../../src/log/log.ts'
import { ALLOWED_HEADERS, EXPOSED_HEADERS } from '../../src/http/cors.ts'
import { startGateway } from '../support/gateway.ts'
import type { TestGateway } from '../support/gateway.ts'
import { call } from '../support/http-calls.ts'
import { connect } from '../support/raw-http.ts'

const A = 'https://a.example'
const SUB = 'https://x.y.a.example'
const B = 'https://b.example'
const EVIL = 'https://a.example.evil.com'
const TEXT = { 'content-type': 'text/plain' }

/** Who is asked: what the operator said, and which way answers go. */
const POLICIES = {
  default: {},
  list: { CORS_ORIGINS: `${A}, https://*.a.example` },
  project: { CORS_ORIGINS: A, CORS_PROJECT_ORIGINS: `acme=${B}` },
  'project only': { CORS_PROJECT_ORIGINS: `acme=${B}` },
  credentials: { CORS_ORIGINS: A, CORS_CREDENTIALS: 'true' },
} as const
type Policy = keyof typeof POLICIES
const LANES = ['on', 'off'] as const

let log: DurableLog
const gateways = new Map<string, TestGateway>()
const gatewayOf = (policy: Policy, lane: string) => gateways.get(`${policy} ${lane}`)!

beforeAll(async () => {
  log = await openEmbeddedLog({ location: { kind: 'memory' } })
  const HEADS = { MAX_HEADER_BYTES: '2048', MAX_URL_BYTES: '1024' }
  const bounds = { LONG_POLL_TIMEOUT_MS: '20', MAX_APPEND_BYTES: '100', ...HEADS }
  for (const [policy, env] of Object.entries(POLICIES)) {
    for (const FAST_LANE of LANES) {
      const gateway = await startGateway({ log, env: { ...bounds, ...env, FAST_LANE } })
      gateways.set(`${policy} ${FAST_LANE}`, gateway)
    }
  }
  const gateway = gatewayOf('default', 'on')
  for (const name of ['s', 'acme/s']) {
    const headers = { 'content-type': 'text/plain', 'stream-closed': 'true' }
    await call(gateway.stream(name), { method: 'PUT', headers, body: 'x' })
    await call(gateway.stream(`${name}-open`), { method: 'PUT', headers: TEXT, body: 'x' })
  }
})
afterAll(async () => {
  for (const gateway of gateways.values()) await gateway.shutdown()
  await log.close()
})

/** The head of the first answer to what is sent on a connection of its own. */
async function headOf(gateway: TestGateway, bytes: string) {
  const socket = await connect(gateway.url)
  socket.write(Buffer.from(bytes, 'latin1'))
  let text = ''
  for await (const chunk of socket) {
    text += (chunk as Buffer).toString('latin1')
    if (text.includes('\r\n\r\n')) break
  }
  const [line = '', ...fields] = text.slice(0, text.indexOf('\r\n\r\n')).split('\r\n')
  const headers = fields.map((field) => {
    const colon = field.indexOf(':')
    return [field.slice(0, colon).toLowerCase(), field.slice(colon + 1).trim()] as const
  })
  const names = headers.map(([name]) => name)
  expect(new Set(names).size, 'no header twice').toBe(names.length)
  return { status: Number(line.split(' ')[1]), headers: Object.fromEntries(headers) }
}

/** What is asked, the status of the answer, and the request: `$` is a stream, `@` the `Origin`. */
type Kind = readonly [what: string, status: number, request: string]

const ask = (line: string, ...fields: string[]) =>
  [`${line} HTTP/1.1`, 'Host: h', ...fields].join('\r\n') + '\r\n@\r\n'
const send = (line: string, body: string, ...fields: string[]) =>
  ask(line, 'Content-Type: text/plain', `Content-Length: ${body.length}`, ...fields) + body
const preflight = (target: string) =>
  ask(`OPTIONS ${target}`, 'Access-Control-Request-Method: POST')

const ON_STREAMS: readonly Kind[] = [
  ['catch-up', 200, ask('GET $?offset=-1')],
  ['revalidation', 304, ask('GET $', 'If-None-Match: *')],
  ['metadata', 200, ask('HEAD $')],
  ['PUT', 200, send('PUT $', 'x', 'Stream-Closed: true')],
  ['PUT of something else', 409, send('PUT $', 'y')],
  ['close', 204, ask('POST $', 'Stream-Closed: true')],
  ['an append that is refused', 409, send('POST $', 'x')],
  ['an append that is too large', 413, send('POST $', 'x'.repeat(101))],
  ['a body that is no HTTP', 400, `${ask('POST $', 'Transfer-Encoding: chunked')}x\r\n`],
  ['DELETE of nothing', 404, ask('DELETE $-none')],
  ['an offset that is none', 400, ask('GET $?offset=x')],
  ['a name that is none', 400, ask('GET $//')],
  ['a malformed escape', 400, ask('GET $%zz')],
  ['a method that streams do not have', 405, ask('PATCH $')],
  ['SSE', 200, ask('GET $?offset=-1&live=sse')],
  ['SSE that does not end', 200, ask('GET $-open?offset=-1&live=sse')],
  ['SSE of nothing', 404, ask('GET $-none?offset=-1&live=sse')],
  ['long-poll', 200, ask('GET $?offset=-1&live=long-poll')],
  ['long-poll that waits', 204, ask('GET $-open?offset=now&live=long-poll')],
  ['long-poll revalidation', 304, ask('GET $?offset=-1&live=long-poll', 'If-None-Match: *')],
  ['a live mode that is none', 400, ask('GET $?offset=-1&live=x')],
  ['OPTIONS', 204, ask('OPTIONS $')],
  ['a preflight', 204, preflight('$')],
]

/** No stream's name is in them: the default origins hold. */
const ELSEWHERE: readonly Kind[] = [
  ['health', 200, ask('GET /healthz')],
  ['nothing', 404, ask('GET /acme/s')],
  ['the keys of webhooks', 200, ask('GET /v1/stream/__ds/jwks.json')],
  ['no subscription', 404, ask('GET /v1/stream/__ds/subscriptions/acme')],
  ['a preflight for a subscription', 204, preflight('/v1/stream/__ds/subscriptions/acme')],
  ['a preflight for a claim', 204, preflight('/v1/stream/__ds/subscriptions/acme/claim')],
  ['a preflight for the keys', 204, preflight('/v1/stream/__ds/jwks.json')],
]

/** Nobody knows the request. */
const UNKNOWN: readonly Kind[] = [
  ['a huge head', 431, ask('GET $', `X: ${'x'.repeat(4096)}`)],
  ['no HTTP', 400, 'GET\r\n\r\n'],
  ['CONNECT', 405, ask('CONNECT h:80')],
  ['a method that nobody has', 405, ask('FETCH $')],
]

/** What a page of an origin is told: `*`, its own name, or nothing. */
type Told = '*' | 'itself' | 'nothing'

async function check(gateway: TestGateway, kind: Kind, name: string, asked: Asked): Promise<void> {
  const [what, status, request] = kind
  const field = asked.origin === undefined ? '' : `Origin: ${asked.origin}\r\n`
  const sent = request.replace('$', `/v1/stream/${name}`).replace('@\r\n', `${field}\r\n`)
  const head = await headOf(gateway, sent)
  expect({ what, status: head.status }).toEqual({ what, status })
  const cors = Object.entries(head.headers).filter(
    ([header]) => header.startsWith('access-control-') || header === 'vary',
  )
  expect({ what, ...Object.fromEntries(cors) }).toEqual({
    what,
    ...expected(asked, what.includes('preflight') || what === 'OPTIONS'),
  })
  expect(head.headers['x-content-type-options']).toBe('nosniff')
  expect(head.headers['cache-control'] ?? (status === 204 ? '' : undefined)).toBeDefined()
}

type Asked = {
  readonly origin: string | undefined
  readonly told: Told
  readonly cookies?: true
  /** Preflights say of all streams that it depends, if it does of some. */
  readonly vary?: 'preflights'
}

function expected({ origin, told, cookies, ...asked }: Asked, isPreflight: boolean): object {
  const depends = told !== '*' || (isPreflight && asked.vary === 'preflights')
  const vary = depends ? { vary: 'Origin' } : {}
  if (told === 'nothing') return vary
  return {
    ...vary,
    'access-control-allow-origin': told === '*' ? '*' : origin,
    'access-control-expose-headers': EXPOSED_HEADERS.join(', '),
    ...(cookies && { 'access-control-allow-credentials': 'true' }),
    ...(isPreflight && {
      'access-control-allow-methods': 'GET, HEAD, PUT, POST, DELETE',
      'access-control-allow-headers': ALLOWED_HEADERS.join(', '),
      'access-control-max-age': '7200',
    }),
  }
}

const NOBODY = [undefined, EVIL, 'null', 'http://a.example', `${A}:8443`, `${A}.`, `${A}, ${A}`]
const told = (answer: Told, ...origins: (string | undefined)[]): Asked[] =>
  origins.map((origin) => ({ origin, told: answer }))
const withCookies = (asked: readonly Asked[]): Asked[] =>
  asked.map((one) => (one.told === 'itself' ? { ...one, cookies: true } : one))

const onlyA = [...told('itself', A), ...told('nothing', B, SUB, ...NOBODY)]
const onlyB = [...told('itself', B), ...told('nothing', A, SUB, ...NOBODY)]
const family = [...told('itself', A, SUB, 'HTTPS://A.Example'), ...told('nothing', B, ...NOBODY)]
const all = told('*', A, B, SUB, ...NOBODY)

/** Who reads what is of the project acme, what is of others, and what is of none. */
const READERS: Readonly<Record<Policy, { acme: Asked[]; other: Asked[]; unknown: Asked[] }>> = {
  default: { acme: all, other: all, unknown: all },
  list: { acme: family, other: family, unknown: told('nothing', A, EVIL, undefined) },
  project: { acme: onlyB, other: onlyA, unknown: told('nothing', A, EVIL, undefined) },
  'project only': {
    acme: onlyB,
    other: all.map((asked) => ({ ...asked, vary: 'preflights' })),
    unknown: told('nothing', A, EVIL, undefined),
  },
  credentials: {
    acme: withCookies(onlyA),
    other: withCookies(onlyA),
    unknown: told('nothing', A, EVIL, undefined),
  },
}

const CASES = (Object.keys(POLICIES) as Policy[]).flatMap((policy) =>
  LANES.map((lane) => [policy, lane] as const),
)

describe.each(CASES)(
  'with origins by %s and FAST_LANE=%s, pages learn who may read',
  (policy, lane) => {
    const { acme, other, unknown } = READERS[policy]

    test.each(ON_STREAMS)('of %s (%i)', async (...kind) => {
      const gateway = gatewayOf(policy, lane)
      await Promise.all([
        ...other.map((asked) => check(gateway, kind, 's', asked)),
        ...acme.map((asked) => check(gateway, kind, 'acme/s', asked)),
        ...acme.map((asked) => check(gateway, kind, '%61cme%2Fs', asked)),
      ])
    })

    test.each(ELSEWHERE)('of %s (%i)', async (...kind) => {
      const gateway = gatewayOf(policy, lane)
      await Promise.all(other.map((asked) => check(gateway, kind, '', asked)))
    })

    test.each(UNKNOWN)('of %s (%i)', async (...kind) => {
      const gateway = gatewayOf(policy, lane)
      await Promise.all(unknown.map((asked) => check(gateway, kind, 'acme/s', asked)))
    })
  },
)
