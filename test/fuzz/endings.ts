/** What a connection ends with: bytes of which nobody can say beforehand what requests they are. */
import { brokenChunks, doubtfulBody, withLength } from './grammar/bodies.ts'
import type { Framed } from './grammar/bodies.ts'
import { noTarget, streamTarget, target } from './grammar/targets.ts'
import type { Random, Weighted } from './random.ts'
import { soundRequest } from './requests.ts'
import type { Arms, Question, Request } from './requests.ts'

/**
 * What the client does once all is sent: waits for the server to close, says that nothing more
 * comes, or is gone, with a reset, while answers may be on their way.
 */
export type Leave = 'wait' | 'half-close' | 'reset'

export type Ending = {
  /** As latin1. */
  readonly text: string
  readonly leave: Leave
  /** What every answer to it is judged by: it may have become anything. */
  readonly question: Question
}

type Make = (random: Random, arms: Arms) => string

const LEAVES: Weighted<Leave> = [
  [1, 'wait'],
  [90, 'half-close'],
  [20, 'reset'],
]

export function endingOf(random: Random, arms: Arms): Ending {
  const text = random.weighted(ENDINGS)(random, arms)
  const { readToken } = arms
  const isStranger = readToken !== undefined && !text.includes(readToken)
  const question = { text, isHead: false, isSafe: true, isStranger, isProbe: false }
  return { text, leave: random.weighted(LEAVES), question }
}

/**
 * A request to be spoiled. Not HEAD: of answers to what is left of it nobody could say whether they
 * have a body.
 */
function plainRequest(random: Random, arms: Arms): Request {
  for (;;) {
    const request = soundRequest(random, arms)
    if (!request.isHead) return request
  }
}

const SPECIAL = [
  '\r',
  '\n',
  '\r\n',
  '\r\n\r\n',
  '\0',
  ' ',
  '\t',
  ':',
  '%',
  '\x0b',
  '\x7f',
  '\x80',
  '\xff',
  ',',
  ';',
  '?',
  '#',
  '/',
  'HTTP/1.1',
  'HTTP/1.0',
  'Host: x\r\n',
  'Content-Length: 3\r\n',
  'Transfer-Encoding: chunked\r\n',
]

/** Some of its bytes changed, lost, doubled, moved, or others put in. */
const mutated: Make = (random, arms) => {
  let { text } = plainRequest(random, arms)
  for (let left = random.between(1, 6); left > 0; left -= 1) {
    const at = random.below(text.length + 1)
    const [before, after] = [text.slice(0, at), text.slice(at)]
    text = random.weighted<() => string>([
      [3, () => before + random.bytes(1) + after.slice(1)],
      [2, () => before + after.slice(random.between(1, 8))],
      [4, () => before + random.pick(SPECIAL) + after],
      [1, () => before + after.slice(0, 10) + after],
      [1, () => before + after.toUpperCase()],
      [1, () => after + before],
    ])()
  }
  return text
}

function withBody(random: Random, arms: Arms, { fields, bytes }: Framed): string {
  const method = arms.mayWrite ? random.pick(['POST', 'PUT', 'GET', 'DELETE']) : 'GET'
  const lines = [`${method} ${streamTarget(random)} HTTP/1.1`, 'Host: h', ...fields]
  return `${lines.join('\r\n')}\r\n\r\n${bytes}`
}

/** Lines of a head that are none. */
const LINES: Weighted<(random: Random) => string> = [
  [2, () => 'X-Folded: a\r\n b\r\n\tc'],
  [1, () => ' X-First: folded'],
  [1, () => 'no colon'],
  [1, () => ': no name'],
  [1, () => 'X Space: a'],
  [1, () => 'X-Space : a'],
  [1, () => 'X-Nul: a\0b'],
  [1, () => 'X-Del: \x7f\x01\x1f'],
  [1, () => 'X-Cr: a\rb'],
  [1, () => 'X-Lf: a\nInjected: 1'],
  [1, () => 'X-\xe9: a'],
  [1, () => 'Host: other'],
  [1, () => `X: ${'a'.repeat(20_000)}`],
  [1, () => `${'N'.repeat(20_000)}: a`],
  [1, () => Array.from({ length: 3000 }, (_, at) => `H${at}: x`).join('\r\n')],
  [1, (random) => `X: ${random.bytes(50)}`],
  [1, (random) => random.bytes(20)],
]

const badHead: Make = (random) => {
  const lines = [`GET ${target(random)} HTTP/1.1`, 'Host: h']
  lines.splice(random.between(1, 2), 0, random.weighted(LINES)(random))
  return `${lines.join('\r\n')}\r\n\r\n`
}

const REQUEST_LINES: Weighted<(path: string, random: Random) => string> = [
  [1, (path) => `get ${path} HTTP/1.1`],
  [1, (path) => `GeT ${path} HTTP/1.1`],
  [1, (path) => `FOO ${path} HTTP/1.1`],
  [1, (path) => `GETGET ${path} HTTP/1.1`],
  [1, (path) => `GET  ${path}  HTTP/1.1`],
  [1, (path) => `GET\t${path}\tHTTP/1.1`],
  [1, (path) => ` GET ${path} HTTP/1.1`],
  [1, (path) => `GET ${path}`],
  [1, (path) => `GET ${path} HTTP/0.9`],
  [1, (path) => `GET ${path} HTTP/2.0`],
  [1, (path) => `GET ${path} HTTP/1.9`],
  [1, (path) => `GET ${path} HTTP/11`],
  [1, (path) => `GET ${path} http/1.1`],
  [1, (path) => `GET ${path} HTTP/1.1 x`],
  [1, (path) => `GET ${path} ICE/1.0`],
  [1, (path) => `GET ${path} RTSP/1.0`],
  [1, (path) => `GET ${path}\0 HTTP/1.1`],
  [1, (path) => `GET ${path}\xe9 HTTP/1.1`],
  [1, (path) => `GET ${path.slice(1)} HTTP/1.1`],
  [1, (path) => `SOURCE ${path} HTTP/1.1`],
  [2, (_path, random) => `GET ${noTarget(random)} HTTP/1.1`],
  [2, () => 'CONNECT localhost:80 HTTP/1.1'],
  [1, () => 'CONNECT /v1/stream/acme/a HTTP/1.1'],
  [1, (path, random) => `GET ${path}/${'a'.repeat(random.between(15_000, 40_000))} HTTP/1.1`],
  [1, (path, random) => `${'A'.repeat(random.between(1, 20_000))} ${path} HTTP/1.1`],
]

const badLine: Make = (random) => {
  const line = random.weighted(REQUEST_LINES)(target(random), random)
  return `${line}\r\nHost: h\r\n\r\n`
}

const NO_HTTP: readonly ((random: Random) => string)[] = [
  // A TLS hello, as a browser begins that was given https by mistake.
  (random) => `\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03${random.bytes(509)}`,
  () => '\x16\x03\x01',
  () => 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0\0\x03\0\0\0\x64',
  () => 'SSH-2.0-OpenSSH_9.6\r\n',
  () => '\x05\x01\x00',
  () => 'USER anonymous\r\nPASS x\r\n',
  () => '*1\r\n$4\r\nPING\r\n',
  () => '\r\n'.repeat(5000),
  () => '\n',
  () => '\0'.repeat(1000),
  () => 'A'.repeat(30_000),
  () => 'HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n',
  () => '',
  (random) => random.bytes(random.between(1, 3000)),
]

const noHttp: Make = (random) => random.pick(NO_HTTP)(random)

const half: Make = (random, arms) => {
  const { text } = plainRequest(random, arms)
  return text.slice(0, random.below(text.length))
}

/** A body that is shorter than was said. */
const broken: Make = (random, arms) => {
  const { fields, bytes } = withLength(random)
  const announced = fields.map((line) => `${line}${random.below(10)}`)
  return withBody(random, arms, { fields: announced, bytes })
}

const ENDINGS: Weighted<Make> = [
  [6, mutated],
  [3, badHead],
  [3, badLine],
  [2, noHttp],
  [2, half],
  [1, broken],
  [4, (random, arms) => withBody(random, arms, doubtfulBody(random))],
  [2, (random, arms) => withBody(random, arms, brokenChunks(random))],
  // With another one behind it, which it may have swallowed.
  [
    2,
    (random, arms) =>
      withBody(random, arms, doubtfulBody(random)) + plainRequest(random, arms).text,
  ],
]
