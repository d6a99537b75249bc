/** The gateway under fire: how it is configured, what it holds, and whether it still holds just that. */
import { generateKeyPairSync } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { kindOf } from '../../src/journal/envelope.ts'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import { LOG_LIMITS } from '../../src/log/log.ts'
import type { DurableLog, LogRecord } from '../../src/log/log.ts'
import type { Environment, GatewayProcess } from '../support/gateway-process.ts'
import { call } from '../support/http-calls.ts'
import { MAX_BODY_BYTES } from './grammar/bodies.ts'
import { HostileTokens, signed } from './grammar/tokens.ts'
import type { Arms } from './requests.ts'
import { STREAMS } from './streams.ts'
import { INSPECTABLE } from './vitals.ts'

/** With `none` everybody may write, so that requests for writes are left out. */
export type Auth = 'none' | 'jwt'

export type World = {
  readonly env: Environment
  readonly arms: Arms
  /** For who may do everything. */
  readonly headers: Readonly<Record<string, string>>
}

const SECRET = 'known-to-the-gateway-and-to-the-suite-and-to-no-request'

/** Small, so that what is kept is full long before the end; short, so that nothing waits for long. */
const SETTINGS: Environment = {
  ...INSPECTABLE,
  MAX_APPEND_BYTES: String(MAX_BODY_BYTES),
  MAX_OPEN_STREAMS: '500',
  MAX_CHUNK_CACHE_BYTES: String(1024 * 1024),
  MAX_CONNECTS_PER_S: '1000000',
  LIMITS_SUBJECT: 'none',
  LIMITS_PROJECT: 'none',
  HUB_IDLE_MS: '500',
  LONG_POLL_TIMEOUT_MS: '50',
  SSE_LIFETIME_MS: '100',
  REQUEST_TIMEOUT_MS: '2000',
}

export async function makeWorld(auth: Auth, directory: string, now: number): Promise<World> {
  const { publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
  const publicPem = publicKey.export({ type: 'spki', format: 'pem' }).toString()
  const tokens = new HostileTokens({ secret: SECRET, publicPem }, now)
  const env = { ...SETTINGS, DATA_DIR: join(directory, 'data'), AUTH: auth }
  if (auth === 'none') {
    return { env, arms: { mayWrite: false, tokens, readToken: undefined }, headers: {} }
  }
  const pem = join(directory, 'public.pem')
  await writeFile(pem, publicPem)
  const claims = { sub: '*', exp: now + 24 * 60 * 60 }
  return {
    env: {
      ...env,
      JWT_HS256_SECRETS: SECRET,
      JWT_PEM_FILES: pem,
      GATEWAY_SECRETS: `${SECRET}-either`,
      AUTH_COOKIE: '__Secure-stream',
    },
    arms: {
      mayWrite: true,
      tokens,
      readToken: signed(SECRET, { ...claims, scope: 'read' }),
    },
    headers: { authorization: `Bearer ${signed(SECRET, { ...claims, scope: 'manage' })}` },
  }
}

/** Creates the streams, and what subscriptions keep for themselves when they are first asked. */
export async function prepare(gateway: GatewayProcess, { headers }: World): Promise<void> {
  const ask = async (path: string, method: string, options: object): Promise<void> => {
    const { status, body } = await call(gateway.stream(path), { method, ...options })
    if (status >= 300) throw new Error(`${method} ${path}: ${status} ${body}`)
  }
  for (const { name, headers: own, texts } of STREAMS) {
    const [first = '', ...others] = texts
    await ask(name, 'PUT', { headers: { ...headers, ...own }, body: first })
    const type = { 'content-type': String(own['content-type']) }
    for (const body of others) await ask(name, 'POST', { headers: { ...headers, ...type }, body })
  }
  await ask('__ds/jwks.json', 'GET', { headers })
  const subscription = { type: 'pull-wake', pattern: 'acme/none/*', wake_stream: 'acme/empty' }
  const body = JSON.stringify(subscription)
  await ask('__ds/subscriptions/jobs', 'PUT', { headers, body })
}

/** What clients see of the streams. */
export function readStreams(gateway: GatewayProcess, { headers }: World): Promise<unknown> {
  return Promise.all(
    STREAMS.map(async ({ name }) => {
      const read = await call(gateway.stream(name), { headers })
      const { status, body } = read
      const shown = ['content-type', 'stream-next-offset', 'stream-closed', 'etag']
      return { name, status, body, headers: shown.map((header) => read.headers[header]) }
    }),
  )
}

/** All that is in the log, by stream. */
export type LogImage = ReadonlyMap<string, readonly LogRecord[]>

/** Nobody else may have the log open. */
export async function readLog({ env }: World): Promise<LogImage> {
  const location = { kind: 'directory', path: String(env['DATA_DIR']) } as const
  const log = await openEmbeddedLog({ location, isShared: false })
  try {
    const image = new Map<string, readonly LogRecord[]>()
    for (let last = ''; ;) {
      const names = await log.listStreams('', last)
      for (const name of names) image.set(name, await recordsOf(log, name))
      if (names.length === 0) return image
      last = names[names.length - 1]!
    }
  } finally {
    await log.close()
  }
}

async function recordsOf(log: DurableLog, name: string): Promise<readonly LogRecord[]> {
  const { maxBatchRecords: maxRecords, maxBatchBytes: maxBytes } = LOG_LIMITS
  const tail = await log.checkTail(name)
  const records: LogRecord[] = []
  let seqNum = 0
  while (seqNum < tail) {
    const page = await log.read(name, { seqNum }, { maxRecords, maxBytes })
    if (page.length === 0) return records
    records.push(...page)
    seqNum = page[page.length - 1]!.seqNum + 1
  }
  return records
}

/** Who reads a stream that expires gives it more time, which is written. */
const RENEWED = 'acme/ttl'

/** What of the log is not as it was. */
export function changesOf(before: LogImage, after: LogImage): string[] {
  const names = [...new Set([...before.keys(), ...after.keys()])]
  return names.flatMap((name) => {
    const [old, now] = [before.get(name), after.get(name)]
    if (old === undefined) return [`the log has a new stream: ${JSON.stringify(name)}`]
    if (now === undefined) return [`the log has lost a stream: ${name}`]
    const kept = isDeepStrictEqual(now.slice(0, old.length), old)
    const isMore = now.slice(old.length).some((record) => !mayBeNew(name, record))
    if (kept && !isMore) return []
    const kinds = now.slice(old.length).map((record) => kindOf(record) ?? record.kind)
    const how = kept ? `more records: ${[...new Set(kinds)].join(', ')}` : 'other records'
    return [`${name} has ${how}`]
  })
}

/** Where gateways say that they live, or leave. */
const OF_GATEWAYS = '__ds/directory'
const KINDS_OF_GATEWAYS: readonly (string | undefined)[] = ['alive', 'left', 'marked', 'adopted']

function mayBeNew(name: string, record: LogRecord): boolean {
  if (name === OF_GATEWAYS) return KINDS_OF_GATEWAYS.includes(kindOf(record))
  return name === RENEWED && kindOf(record) === 'touch'
}
