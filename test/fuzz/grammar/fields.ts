/** Header fields: each on its own well-formed enough that the request around it stays one. */
import type { Random, Weighted } from '../random.ts'
import type { HostileTokens } from './tokens.ts'

/** Lines without their end. */
export type Field = readonly string[]

type Make = (random: Random) => Field

const VISIBLE = Array.from({ length: 94 }, (_, at) => String.fromCharCode(0x21 + at)).join('')
const OBS_TEXT = `${VISIBLE} \t\x80\xa0\xc0\xe9\xf0\xff`

const GARBAGE: Weighted<(random: Random) => string> = [
  [3, (random) => random.text(random.between(1, 40), VISIBLE)],
  [2, (random) => random.text(random.between(1, 40), OBS_TEXT).trim()],
  [1, () => ''],
  [1, (random) => '9'.repeat(random.between(1, 400))],
  [1, (random) => random.text(random.between(1000, 5000), VISIBLE)],
  [1, (random) => random.pick(['-1', '0', '1e3', '0x1', 'NaN', '+1', '1.5', ' 1', '1,1', 'null'])],
  [1, (random) => random.pick(['true', 'false', 'TRUE', 'yes', '1', 'true,true'])],
]

const garbage = (random: Random): string => random.weighted(GARBAGE)(random)

const OF_THE_PROTOCOL = [
  'Stream-Seq',
  'Stream-TTL',
  'Stream-Expires-At',
  'Stream-Closed',
  'Stream-Public',
  'Stream-Forked-From',
  'Stream-Fork-Offset',
  'Stream-Fork-Sub-Offset',
  'Stream-Reader-Key',
  'Stream-Cursor',
  'Stream-Next-Offset',
  'Producer-Id',
  'Producer-Epoch',
  'Producer-Seq',
] as const

const KNOWN_TO_SERVERS = [
  'Accept',
  'Accept-Encoding',
  'Access-Control-Request-Method',
  'Access-Control-Request-Headers',
  'Cache-Control',
  'Content-Encoding',
  'Content-Type',
  'Cookie',
  'Expect',
  'Forwarded',
  'If-Match',
  'If-Modified-Since',
  'If-None-Match',
  'If-Range',
  'Last-Event-ID',
  'Origin',
  'Range',
  'Referer',
  'Sec-WebSocket-Key',
  'TE',
  'Trailer',
  'Upgrade',
  'Upgrade-Insecure-Requests',
  'User-Agent',
  'Via',
  'X-Forwarded-For',
  'X-Forwarded-Host',
  'X-Forwarded-Proto',
  'X-HTTP-Method-Override',
  'X-Original-URL',
  'X-Rewrite-URL',
  '__proto__',
  'constructor',
  'toString',
] as const

const ORIGINS = [
  'null',
  'http://evil.example',
  'https://a.example.evil.example',
  'https://a.example:443:443',
  'https://xn--e1afmkfd.example',
  'file://',
  'https://a.example https://b.example',
  'javascript:alert(1)',
] as const

const sensible: Make = (random) => [
  random.pick([
    'Content-Type: text/plain',
    'Content-Type: application/json',
    'Content-Type: text/plain; charset=',
    'Content-Type: multipart/form-data; boundary=x',
    'Stream-Forked-From: /v1/stream/acme/a',
    'Stream-Forked-From: /v1/stream/../../etc/passwd',
    'Stream-Closed: true',
    'Stream-Public: true',
    'Stream-TTL: 1',
    'Stream-Expires-At: 1970-01-01T00:00:00Z',
    'If-None-Match: *',
    'If-None-Match: W/"a", "b", "',
    'Last-Event-ID: 0000000000000000_0000000000000001',
    'Range: bytes=0-,-1,5-2',
    'X-HTTP-Method-Override: DELETE',
    'X-Original-URL: /v1/stream/acme/a',
    'X-Forwarded-For: 127.0.0.1',
    'Forwarded: for=127.0.0.1;proto=https;host="evil"',
    'Connection: keep-alive, Authorization, Host',
    'Upgrade: websocket',
    'Upgrade: h2c',
    'HTTP2-Settings: AAMAAABkAAQAAP__',
    'Expect: 417',
    'TE: trailers, deflate;q=0.5',
    'Trailer: Authorization, Content-Length',
    'Keep-Alive: timeout=0, max=0',
    'Proxy-Connection: close',
    'Accept: text/event-stream',
    'Access-Control-Request-Method: DELETE',
    'Access-Control-Request-Headers: authorization, x-evil',
    `Origin: ${random.pick(ORIGINS)}`,
  ]),
]

const producer: Make = (random) => [
  `Producer-Id: ${random.pick(['p', '', garbage(random)])}`,
  `Producer-Epoch: ${random.pick(['0', '1', garbage(random)])}`,
  `Producer-Seq: ${random.pick(['0', '1', garbage(random)])}`,
]

const twice: Make = (random) => {
  const name = random.pick([...OF_THE_PROTOCOL, ...KNOWN_TO_SERVERS])
  return [`${name}: ${garbage(random)}`, `${name.toLowerCase()}: ${garbage(random)}`]
}

/** Many, but not so many bytes that the request is refused for that alone. */
const flood: Make = (random) => {
  const count = random.between(50, 1500)
  const name = random.pick(['A', 'X', 'Cookie', 'Authorization', 'Stream-Seq', 'Host2'])
  return Array.from({ length: count }, () => `${name}: x`)
}

const OTHERS: Weighted<Make> = [
  [8, sensible],
  [4, (random) => [`${random.pick(OF_THE_PROTOCOL)}: ${garbage(random)}`]],
  [4, (random) => [`${random.pick(KNOWN_TO_SERVERS)}: ${garbage(random)}`]],
  [1, (random) => [`${random.text(random.between(1, 60), 'abcXYZ-_.!#$%&^`|~')}: x`]],
  [2, producer],
  [1, twice],
  [0.05, flood],
  // The last ones of their connections.
  [0.03, () => ['Expect: 100-continue']],
  [0.03, () => ['Connection: upgrade', 'Upgrade: websocket']],
]

export function otherFields(random: Random): Field {
  const fields: string[] = []
  for (let left = random.below(5); left > 0; left -= 1) {
    fields.push(...random.weighted(OTHERS)(random))
  }
  return fields
}

const SCHEMES = ['Bearer', 'bearer', 'BEARER', 'Bearer ', 'Token', 'JWT', 'DPoP', ''] as const

/** Credentials that must not be taken for any. */
export function hostileCredentials(random: Random, tokens: HostileTokens): Field {
  const token = tokens.pick(random)
  return random.weighted<() => Field>([
    [10, () => [`Authorization: Bearer ${token}`]],
    [2, () => [`Authorization: ${random.pick(SCHEMES)} ${token}`]],
    [2, () => [`Authorization: ${garbage(random)}`]],
    [1, () => [`Authorization: Bearer ${garbage(random)}`]],
    [1, () => [`Authorization: Basic ${Buffer.from('admin:admin').toString('base64')}`]],
    [1, () => ['Authorization:', `Authorization: Bearer ${token}`]],
    [1, () => [`Authorization: Bearer ${token}`, `authorization: Bearer ${tokens.pick(random)}`]],
    [2, () => [`Cookie: __Secure-stream=${token}`]],
    [1, () => [`Cookie: a=b; __Secure-stream=${garbage(random)}; __Secure-stream=${token}`]],
    [1, () => [`Proxy-Authorization: Bearer ${token}`]],
  ])()
}
