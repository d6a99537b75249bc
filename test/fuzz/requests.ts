/** Requests whose beginning and end are beyond doubt, however strange they are otherwise. */
import { soundBody } from './grammar/bodies.ts'
import { hostileCredentials, otherFields } from './grammar/fields.ts'
import { streamTarget, target } from './grammar/targets.ts'
import { temptingWrite } from './grammar/writes.ts'
import type { HostileTokens } from './grammar/tokens.ts'
import type { Random, Weighted } from './random.ts'

/** What requests are made with. */
export type Arms = {
  /** Whether they may ask for writes: nothing but their credentials keeps them from it. */
  readonly mayWrite: boolean
  readonly tokens: HostileTokens
  /** A credential that lets its bearer read; undefined where nobody needs one. */
  readonly readToken: string | undefined
}

/** What an answer is judged by. */
export type Question = {
  /** The request as latin1; all that is sent where nobody can say where it begins. */
  readonly text: string
  /** HEAD has no body in its answer. */
  readonly isHead: boolean
  /** Of no method that changes anything by itself (RFC 9110 §9.2.1). */
  readonly isSafe: boolean
  /** Nobody may see what is private by it. */
  readonly isStranger: boolean
  /** One whose answer is known: it shows whose answer is whose. */
  readonly isProbe: boolean
}

export type Request = Question

const SAFE_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS', 'TRACE'])

const READS: Weighted<string> = [
  [12, 'GET'],
  [3, 'HEAD'],
  [2, 'OPTIONS'],
]

const METHODS: Weighted<string> = [
  ...READS,
  [5, 'PUT'],
  [6, 'POST'],
  [4, 'DELETE'],
  [0.3, 'PATCH'],
  [0.2, 'TRACE'],
  [0.2, 'PROPFIND'],
  [0.2, 'QUERY'],
  [0.2, 'MKCOL'],
  [0.2, 'M-SEARCH'],
]

/** Who asks, with credentials that are none or with such that are good for reading only. */
function credentials(random: Random, { tokens, readToken }: Arms) {
  const isStranger = readToken !== undefined
  if (random.chance(0.25)) return { fields: [], isStranger }
  if (isStranger && random.chance(0.2)) {
    return { fields: [`Authorization: Bearer ${readToken}`], isStranger: false }
  }
  return { fields: hostileCredentials(random, tokens), isStranger }
}

const PROBE: Request = {
  text: 'GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n',
  isHead: false,
  isSafe: true,
  isStranger: true,
  isProbe: true,
}

/** What the answer to a probe is, whatever is sent beside it. */
export const PROBE_BODY = '{"status":"alive"}'

export function soundRequest(random: Random, arms: Arms): Request {
  if (random.chance(0.04)) return PROBE
  if (arms.mayWrite && random.chance(0.12)) return tempting(random, arms)
  const method = random.weighted(arms.mayWrite ? METHODS : READS)
  const isSafe = SAFE_METHODS.has(method)
  const { fields, isStranger } = credentials(random, arms)
  const body = random.chance(isSafe ? 0.03 : 0.9) ? soundBody(random) : undefined
  const version = random.chance(0.01) ? '1.0' : '1.1'
  const lines = [
    `${method} ${isSafe || random.chance(0.6) ? target(random) : streamTarget(random)} HTTP/${version}`,
    `Host: ${random.chance(0.97) ? 'localhost' : random.pick(HOSTS)}`,
    ...fields,
    ...otherFields(random),
    ...(body?.fields ?? []),
    ...(random.chance(0.005) ? ['Connection: close'] : []),
  ]
  const text = `${lines.join('\r\n')}\r\n\r\n${body?.bytes ?? ''}`
  return { text, isHead: method === 'HEAD', isSafe, isStranger, isProbe: false }
}

function tempting(random: Random, arms: Arms): Request {
  const { method, path, fields, body } = temptingWrite(random)
  const { fields: own, isStranger } = credentials(random, arms)
  const lines = [
    `${method} /v1/stream/${path} HTTP/1.1`,
    'Host: localhost',
    ...own,
    ...fields,
    `Content-Length: ${body.length}`,
  ]
  const text = `${lines.join('\r\n')}\r\n\r\n${body}`
  return { text, isHead: false, isSafe: false, isStranger, isProbe: false }
}

const HOSTS = ['', 'evil.example', 'a:b:c', '[::1', '@', 'x'.repeat(300), '127.0.0.1:1', '%00']
