/** Bodies, and the ways to say how long they are. */
import type { Random, Weighted } from '../random.ts'

type Make = (random: Random) => string

/** What the gateway of this suite takes for a stream; some bodies are a little more. */
export const MAX_BODY_BYTES = 64 * 1024

const SUBSCRIPTIONS = [
  '{"type":"pull-wake","pattern":"**","wake_stream":"acme/a"}',
  '{"type":"webhook","pattern":"*","webhook":{"url":"http://127.0.0.1:1/"}}',
  '{"type":"webhook","pattern":"*","webhook":{"url":"https://169.254.169.254/"}}',
  '{"worker":"me"}',
  '{"stream":"acme/a","scope":"manage"}',
  '{"stream":["acme/a"],"scope":{}}',
  '{"streams":["../x","acme/a"]}',
  '{"wake_id":"x","acks":[{"path":"acme/a","offset":"-1"}]}',
  '{"__proto__":{"admin":true}}',
] as const

const content: Make = (random) =>
  random.weighted<Make>([
    [4, () => ''],
    [4, () => 'x'],
    [3, () => random.bytes(random.between(1, 300))],
    [3, () => random.pick(SUBSCRIPTIONS)],
    [2, () => random.pick(['{"a":1}', '[1,2,3]', '[]', 'null', '{', '"\ud800"', '[1,]', '1e999'])],
    // What would be a request of its own, if anybody lost count of the bytes.
    [2, () => 'GET /v1/stream/smuggled HTTP/1.1\r\nHost: h\r\n\r\n'],
    [1, () => '\xff\xfe\xc0\x80\xed\xa0\x80'],
    [0.3, () => nested(random)],
    [0.1, () => 'z'.repeat(MAX_BODY_BYTES + random.between(-2, 2000))],
  ])(random)

/** Deep, for whoever parses by calling itself. */
function nested(random: Random): string {
  const depth = random.between(100, 20_000)
  const [open, close] = random.pick([
    ['[', ']'],
    ['{"a":', '}'],
    ['[{"a":[', ']}]'],
  ] as const)
  const isWhole = random.chance(0.5)
  return `${open.repeat(depth)}1${isWhole ? close.repeat(depth) : ''}`
}

/** Header lines that say where a body ends, and the body as it is sent. */
export type Framed = { readonly fields: readonly string[]; readonly bytes: string }

const NONE: Framed = { fields: [], bytes: '' }

/** A body whose end is beyond doubt. */
export function soundBody(random: Random): Framed {
  return random.weighted<(random: Random) => Framed>([
    [1, () => NONE],
    [4, withLength],
    [2, inChunks],
  ])(random)
}

export function withLength(random: Random): Framed {
  const bytes = content(random)
  return { fields: [`Content-Length: ${bytes.length}`], bytes }
}

function inChunks(random: Random): Framed {
  const body = content(random)
  let bytes = ''
  for (let at = 0; at < body.length;) {
    const size = random.between(1, Math.max(1, Math.ceil(body.length / 3)))
    const chunk = body.slice(at, at + size)
    bytes += `${chunkHead(chunk.length, random)}\r\n${chunk}\r\n`
    at += size
  }
  const trailer = random.chance(0.1) ? 'Authorization: Bearer x\r\nStream-Closed: true\r\n' : ''
  return {
    fields: [`${random.pick(['Transfer-Encoding', 'transfer-encoding'])}: chunked`],
    bytes: `${bytes}0\r\n${trailer}\r\n`,
  }
}

function chunkHead(length: number, random: Random): string {
  const hex = length.toString(16)
  const size = random.pick([hex, hex.toUpperCase(), hex.padStart(8, '0')])
  return random.chance(0.1) ? `${size};name="va;lue";x=y` : size
}

const DOUBTFUL: Weighted<(random: Random, length: number) => readonly string[]> = [
  [1, (_random, length) => [`Content-Length: ${length}`, `Content-Length: ${length}`]],
  [1, (_random, length) => [`Content-Length: ${length}`, `Content-Length: ${length + 3}`]],
  [1, (_random, length) => [`Content-Length: ${length}`, 'Transfer-Encoding: chunked']],
  [1, (_random, length) => ['Transfer-Encoding: chunked', `Content-Length: ${length}`]],
  [1, () => ['Transfer-Encoding: chunked', 'Transfer-Encoding: identity']],
  [1, () => ['Transfer-Encoding: chunked', 'Transfer-Encoding: chunked']],
  [
    4,
    (random, length) => [
      `Content-Length: ${random.pick(['-1', '+3', '0x5', '5e3', '', '3,3', '3 3', '\t3', '3;', '3.0', `00${length}`, '9'.repeat(30), '18446744073709551617', String(length + 50)])}`,
    ],
  ],
  [
    4,
    (random) => [
      `Transfer-Encoding:${random.pick([' xchunked', ' chunked, identity', ' gzip, chunked', ' gzip', '\tchunked', ' CHUNKED', ' "chunked"', ' chunked\x0b', '', ' chunked;q=1', ' identity', ' chu', ' ,chunked,'])}`,
    ],
  ],
  [1, (_random, length) => [`Content-Length : ${length}`]],
  [1, (_random, length) => [`Content_Length: ${length}`, 'Transfer_Encoding: chunked']],
  [1, (_random, length) => [`Content-Length: ${length}`, ' continued']],
]

/** A body whose end two servers would see at different places, or one at none. */
export function doubtfulBody(random: Random): Framed {
  const { bytes } = random.chance(0.5) ? inChunks(random) : withLength(random)
  return { fields: random.weighted(DOUBTFUL)(random, bytes.length), bytes }
}

/** Chunks that are none. */
export function brokenChunks(random: Random): Framed {
  const bytes = random.pick([
    'zz\r\nabc\r\n0\r\n\r\n',
    '-1\r\na\r\n',
    '3\r\nabcde\r\n0\r\n\r\n',
    '3\nabc\n0\n\n',
    '3\rabc\r0\r\r',
    ' 3\r\nabc\r\n0\r\n\r\n',
    '0x3\r\nabc\r\n0\r\n\r\n',
    'ffffffffffffffff\r\nabc',
    '10000000000000003\r\nabc\r\n0\r\n\r\n',
    '7fffffff\r\nabc',
    '\r\n\r\n',
    '3\r\nab',
    '0\r\n',
    '0\r\nA: b\r\n c: d\r\n\r\n',
    '0\r\nno colon\r\n\r\n',
    `3;${'x'.repeat(20_000)}\r\nabc\r\n0\r\n\r\n`,
    `0\r\n${'A: b\r\n'.repeat(4000)}\r\n`,
    '1\r\na\r\n'.repeat(2000),
    random.bytes(200),
  ])
  return { fields: ['Transfer-Encoding: chunked'], bytes }
}
