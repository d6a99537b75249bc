/** Request targets: names, the tricks that are played with them, reserved routes, and queries. */
import { STREAMS } from '../streams.ts'
import type { Random, Weighted } from '../random.ts'

type Make = (random: Random) => string

const PREFIX = '/v1/stream/'
const WORD = 'abcdefghijklmnopqrstuvwxyz0123456789-_.~'
/** What a request target may be made of without being no target at all. */
const PRINTABLE = Array.from({ length: 94 }, (_, at) => String.fromCharCode(0x21 + at)).join('')

const prepared: Make = (random) => random.pick(STREAMS).name
const word: Make = (random) => random.text(random.between(1, 24), WORD)

const name: Make = (random) =>
  random.weighted<Make>([
    [6, prepared],
    [3, word],
    [2, () => `acme/${word(random)}`],
    [1, () => Array.from({ length: random.between(2, 40) }, () => word(random)).join('/')],
  ])(random)

/** What servers, proxies and file systems have been made to disagree about. */
const SEGMENTS = [
  '..',
  '.',
  '',
  '%2e',
  '%2e%2e',
  '.%2e',
  '%252e%252e',
  '%2f',
  '%5c',
  '\\',
  '..\\',
  '%2e%2e%2f',
  '..;',
  ';a=b',
  '%00',
  'a%00b',
  '%c0%af',
  '%c0%ae%c0%ae',
  '%e0%80%af',
  '%f0%80%80%af',
  '%ed%a0%80',
  '%f4%90%80%80',
  '%ff%fe',
  '%u002e',
  '%',
  '%2',
  '%zz',
  '%0d%0aInjected:%201',
  '%0aInjected:1',
  '%20',
  '+',
  '%7f',
  '%c2%85',
  '%e2%80%ae',
  '%ef%bb%bf',
  '%f0%9f%92%a9',
  '*',
  '**',
  '__ds',
  '__DS',
  '%5f%5fds',
  '__proto__',
  'constructor',
  'toString',
  '$%7bjndi:x%7d',
  '{{7*7}}',
  "'",
  '"',
  '<script>',
  '|',
  '^',
  '`',
  '~root',
  'con',
  'etc/passwd',
] as const

/** A name with one of them somewhere. */
const trick: Make = (random) => {
  const segments = name(random).split('/')
  segments.splice(random.below(segments.length + 1), random.below(2), random.pick(SEGMENTS))
  return segments.join('/')
}

/** The same name in other clothes: escapes where none are needed. */
const escaped: Make = (random) => {
  const share = random.fraction()
  return name(random).replace(/./g, (character) =>
    random.chance(share) ? escape(character, random) : character,
  )
}

function escape(character: string, random: Random): string {
  const hex = character.charCodeAt(0).toString(16).padStart(2, '0')
  return `${random.chance(0.1) ? '%25' : '%'}${random.chance(0.5) ? hex : hex.toUpperCase()}`
}

const RESERVED = [
  '__ds',
  '__ds/',
  '__ds/jwks.json',
  '__ds/jwks.json/',
  '__ds/JWKS.json',
  '__ds/tickets',
  '__ds/tickets/x',
  '__ds/subscriptions',
  '__ds/subscriptions/',
  '__ds/subscriptions/ID',
  '__ds/subscriptions/ID/',
  '__ds/subscriptions/ID/streams',
  '__ds/subscriptions/ID/streams/NAME',
  '__ds/subscriptions/ID/streams/',
  '__ds/subscriptions/ID/claim',
  '__ds/subscriptions/ID/ack',
  '__ds/subscriptions/ID/callback',
  '__ds/subscriptions/ID/release',
  '__ds/subscriptions/ID/other',
  '__ds/keys',
  '__ds/gateways',
] as const

const ids: Weighted<Make> = [
  [3, () => 'jobs'],
  [2, word],
  [2, (random) => random.pick(SEGMENTS)],
  [1, (random) => 'i'.repeat(random.between(200, 2000))],
]

const reserved: Make = (random) =>
  random
    .pick(RESERVED)
    .replace('ID', () => random.weighted(ids)(random))
    .replace('NAME', () =>
      random.weighted<Make>([
        [1, name],
        [1, trick],
      ])(random),
    )

const long: Make = (random) => {
  const part = random.pick(['a', '/a', '%61', '%', '/', '../', '%2e%2e/', '*', '~', '%f0%9f%92%a9'])
  return part.repeat(Math.ceil(random.between(400, 7000) / part.length))
}

/** Queries that mean something, and those that almost do. */
const OFFSETS = [
  '-1',
  'now',
  '0',
  '',
  '00',
  '-2',
  '1e9',
  'NaN',
  'null',
  '0000000000000000_0000000000000000',
  '0000000000000000_0000000000000001',
  '0000000000000000_0000000000000003',
  '0000000000000000_9007199254740993',
  '9999999999999999_9999999999999999',
  '0000000000000001_0000000000000000',
  'a,b&c',
  '%00',
  '%ff',
  '__proto__',
] as const

const PARAMETERS: Weighted<Make> = [
  [8, (random) => `offset=${random.pick(OFFSETS)}`],
  [2, (random) => `offset=${random.text(random.between(1, 300), PRINTABLE)}`],
  [2, (random) => `live=${random.pick(['long-poll', 'sse', 'true', '', 'ws', 'SSE', 'sse%00'])}`],
  [2, (random) => `cursor=${random.pick(['1', '0', '-1', '1e400', '9'.repeat(400), '%', ''])}`],
  [2, (random) => `rk=rk_${random.text(random.between(0, 60), WORD)}`],
  [2, (random) => `ticket=${random.text(random.between(0, 400), `${WORD}.`)}`],
  [1, (random) => `${random.text(random.between(0, 5), PRINTABLE)}=${random.pick(SEGMENTS)}`],
  [1, () => 'offset[]=-1&offset[a]=now&__proto__[x]=1&constructor=1'],
  [1, () => 'offset=-1&offset=now'],
  [1, (random) => `x=${'y'.repeat(random.between(1000, 6000))}`],
  [1, (random) => 'a=1&'.repeat(random.between(50, 1200))],
]

const query: Make = (random) => {
  const parameters = Array.from({ length: random.between(1, 4) }, () =>
    random.weighted(PARAMETERS)(random),
  )
  return `?${parameters.join(random.chance(0.97) ? '&' : ';')}`
}

/** Live reads in the one form that the fast lane takes. */
const live: Make = (random) => {
  const stream = random.weighted<Make>([
    [3, prepared],
    [1, word],
  ])(random)
  const offset = random.pick(['-1', 'now', '0000000000000000_0000000000000001', '7'])
  return `${PREFIX}${stream}?offset=${offset}&live=${random.pick(['sse', 'long-poll'])}`
}

const elsewhere: Make = (random) =>
  random.pick([
    '/',
    '//',
    '/v1',
    '/v1/stream',
    '/v1/stream/',
    '/v1/streams/acme/a',
    '/V1/stream/acme/a',
    '/v1//stream/acme/a',
    '/v1/./stream/acme/a',
    '/x/../v1/stream/acme/a',
    '/v1%2fstream%2facme%2fa',
    '/%76%31/stream/acme/a',
    '/healthz/',
    '/healthz%00',
    '/healthz?x=/v1/stream/acme/a',
    '/readyz',
    '/metrics',
    '/.env',
    '/.git/config',
    '/index.php?s=/../../etc/passwd',
    '/cgi-bin/.%2e/%2e%2e/bin/sh',
    '/v1/estuary/x',
    '/v1/config',
    '/__proto__',
    '/constructor',
  ])

/** Other forms of a target than a path (RFC 9112 §3.2). */
const otherForm: Make = (random) => {
  const path = `${PREFIX}${name(random)}`
  return random.pick([
    `http://localhost${path}`,
    `https://localhost${path}`,
    `HTTP://user:pass@evil.example:99999${path}`,
    `http://[::1]:80${path}?offset=-1`,
    `http://${'a'.repeat(300)}${path}`,
    `//evil.example${path}`,
    'http://x?y',
    '*',
    '*/x',
    `*${path}`,
    `${path}#fragment`,
    `${path}?a#b`,
  ])
}

/** Of no form at all: nothing behind it is understood. */
export const noTarget: Make = (random) =>
  random.pick(['x', '?', '#', 'localhost:80', 'ftp://x/', 'http://', 'http://x', '%2f'])

/** Sent as it is, without a space or anything that would end the request line. */
export const target: Make = (random) =>
  random.weighted<Make>([
    [20, () => `${PREFIX}${name(random)}`],
    [12, () => `${PREFIX}${name(random)}${query(random)}`],
    [18, () => `${PREFIX}${trick(random)}${random.chance(0.2) ? query(random) : ''}`],
    [8, () => `${PREFIX}${escaped(random)}${random.chance(0.2) ? query(random) : ''}`],
    [12, () => `${PREFIX}${reserved(random)}`],
    [1, live],
    [5, elsewhere],
    [4, otherForm],
    [1, () => `${PREFIX}${long(random)}`],
    [1, () => `${PREFIX}${random.text(random.between(1, 60), PRINTABLE)}`],
  ])(random)

/** The path of a stream that is there, or of one that is not. */
export const streamTarget: Make = (random) =>
  `${PREFIX}${random.weighted<Make>([
    [3, prepared],
    [1, word],
  ])(random)}`
