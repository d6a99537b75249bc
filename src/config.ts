/**
 * What the environment may say: names, defaults, bounds and reasons, parsed once.
 *
 * README.md holds the same table; a test compares the two.
 */
import { z } from 'zod'
import { authConfig, authProblems, authVariables, saysWhoMay } from './config-auth.ts'
import type { AuthConfig } from './config-auth.ts'
import { corsVariables, impossibleCors, originPolicy } from './config-cors.ts'
import { proxies, quotas } from './config-limits.ts'
import { impossibleMetrics, metricsVariables } from './config-metrics.ts'
import { isTracingOn, tracingProblems } from './config-tracing.ts'
import {
  KIB,
  LOOPBACK,
  MIB,
  endpoint,
  flag,
  integer,
  isLoopback,
  milliseconds,
  text,
  withoutSlash,
} from './config-values.ts'
import type { OriginPolicy } from './protocol/origins.ts'
import { ProjectRule, gatewayBasin } from './protocol/project.ts'

const limits = (fallback: string) => z.string().prefault(fallback).transform(quotas)

const LOG_LEVELS = ['fatal', 'error', 'warn', 'info', 'debug', 'trace', 'silent'] as const

const variables = z.object({
  HOST: text(LOOPBACK),
  PORT: integer(4437, 0, 65_535),
  DATA_DIR: text('./data'),
  S2_ENDPOINT: z.string().transform(endpoint).optional(),
  S2_ACCESS_TOKEN: z.string().optional(),
  S2_BASIN: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{6,46}[a-z0-9]$/, 'must be 8 to 48 of a-z, 0-9 and inner hyphens')
    .optional(),
  /** `project`: the first segment of a name is a project, and each has a basin of its own. */
  TENANCY: z.enum(['single', 'project'], 'must be single or project').default('single'),
  /** The rest of a basin's name, 48 characters at most, is for the project, or for us: `-gateway`. */
  S2_BASIN_PREFIX: z
    .string()
    .regex(/^[a-z0-9][a-z0-9-]{0,39}$/, 'must be 1 to 40 of a-z, 0-9 and hyphens, which come later')
    .optional(),
  /**
   * Of managed S2 each has connections of its own: at three or so they are 3,000 descriptors, and
   * fewer than clients have by default.
   */
  MAX_OPEN_PROJECTS: integer(1000, 1, 1_000_000),
  LOG_LEVEL: z.enum(LOG_LEVELS, `must be one of ${LOG_LEVELS.join(', ')}`).default('info'),

  // Who may do what.
  ...authVariables,

  /**
   * Off: of a trace nothing is kept with what is appended in it. It takes 68 bytes of each append
   * that is a part of one, and of what its readers are sent.
   */
  TRACE_RECORDS: z.enum(['on', 'off'], 'must be on or off').default('on'),

  // Live reads.
  HUB_IDLE_MS: milliseconds(60_000),
  LONG_POLL_TIMEOUT_MS: milliseconds(20_000),
  /** Proxies commonly cut connections that are silent for 30 to 60 s. */
  SSE_HEARTBEAT_MS: milliseconds(15_000),
  /** PROTOCOL §5.8 asks for about 60 s, so that CDNs can collapse readers. */
  SSE_LIFETIME_MS: milliseconds(60_000),
  /** A phone that changes networks is back by then; a longer lifetime needs it. */
  SSE_STALL_TIMEOUT_MS: milliseconds(30_000),
  /** Off: live reads go through Node's HTTP server like everything else, at more memory and CPU. */
  FAST_LANE: z.enum(['on', 'off'], 'must be on or off').default('on'),
  /** A reader further behind than the ring reads the log through the shared chunk cache. */
  MAX_RING_RECORDS: integer(4096, 1, 1_000_000),
  MAX_RING_BYTES: integer(4 * MIB, KIB, 1024 * MIB),

  /** Each is a read session with S2 and a ring. */
  MAX_HUBS: integer(10_000, 1, 1_000_000),
  /** What all rings hold together before no further stream is followed. */
  MAX_HUBS_BYTES: integer(512 * MIB, MIB, 1024 * 1024 * MIB),

  // Appends.
  /** An append of more than one S2 batch, 1 MiB, locks its stream while it is written. */
  MAX_APPEND_BYTES: integer(16 * MIB, 1, 64 * MIB),
  /** In JSON mode, where each is a record: a hundred S2 batches. */
  MAX_APPEND_MESSAGES: integer(100_000, 1, 1_000_000),
  /**
   * No shorter than one attempt at S2, so that no living writer is cut off. It should be shorter
   * than APPEND_TIMEOUT_MS too: then whoever waits for a dead one still gets a turn.
   */
  APPEND_LOCK_MS: milliseconds(5_000),
  /** Longer than two attempts at S2; after it a client learns what is known. */
  APPEND_TIMEOUT_MS: milliseconds(10_000),
  /** Bodies on their way in or to the log: slow clients and a slow log must not fill the memory. */
  MAX_BUFFERED_APPEND_BYTES: integer(64 * MIB, MIB, 64 * 1024 * MIB),
  /** Producers a new stream remembers; all must fit in one checkpoint record of 1 MiB. */
  MAX_PRODUCERS: integer(2000, 1, 3000),

  // Reads and memory.
  MAX_CHUNK_CACHE_BYTES: integer(64 * MIB, MIB, 64 * 1024 * MIB),
  /** A state is about 1 KiB, and some 150 bytes for each producer. */
  MAX_OPEN_STREAMS: integer(10_000, 1, 10_000_000),

  // Subscriptions.
  SUBSCRIPTIONS: z.enum(['on', 'off'], 'must be on or off').default('on'),
  /** Some seconds of pauses and slow appends must not make a gateway seem dead. */
  SUBSCRIPTION_TAKEOVER_MS: integer(10_000, 1000, 10 * 60 * 1000),
  /** With names of usual length they fit in one checkpoint record of 1 MiB. */
  MAX_SUBSCRIPTION_STREAMS: integer(5000, 1, 10_000),
  /** As long as the default lease: a shorter lease makes it shorter. */
  WEBHOOK_TIMEOUT_MS: milliseconds(30_000),
  /** All that is read of an answer is whether it says `done`. */
  MAX_WEBHOOK_RESPONSE_BYTES: integer(64 * KIB, KIB, MIB),
  /** A slow receiver must not hold all connections, nor be flooded. */
  MAX_WEBHOOKS_PER_HOST: integer(8, 1, 1000),
  ALLOW_LOCAL_WEBHOOKS: flag('false'),
  PUBLIC_URL: z.string().transform(endpoint).transform(withoutSlash).optional(),

  // Pages of other origins.
  ...corsVariables,

  // HTTP and S2.
  /** At some 10 KiB for each: 200 MiB. */
  MAX_CONNECTIONS: integer(20_000, 1, 10_000_000),
  /** One core takes about as many in, if it has nothing else to do. */
  MAX_CONNECTS_PER_S: integer(10_000, 1, 1_000_000),
  /** Who is a second late at each turn serves nobody well; less may be its neighbours' doing. */
  MAX_EVENT_LOOP_DELAY_MS: milliseconds(1000),
  S2_TIMEOUT_MS: milliseconds(4_000),
  MAX_HEADER_BYTES: integer(16 * KIB, KIB, MIB),
  /** RFC 9110 §4.1 asks for 8000 at least; of ours the longest are some 3 KiB, tickets included. */
  MAX_URL_BYTES: integer(8 * KIB, 256, MIB),
  /** A storm of reconnecting readers must not be dropped by the kernel before we see it. */
  LISTEN_BACKLOG: integer(4096, 1, 65_535),
  /** For the head of a request, and again for its body; live responses are not bounded by it. */
  REQUEST_TIMEOUT_MS: milliseconds(30_000),
  /** A large body has a second more for as many bytes that came: 256 kbit/s are a slow line. */
  MIN_UPLOAD_BYTES_PER_S: integer(32 * KIB, 1, 1024 * MIB),
  SHUTDOWN_GRACE_MS: milliseconds(10_000),

  // What can be seen from outside.
  ...metricsVariables,

  // Limits.
  /** A subject may be a server that speaks for thousands: a quarter of what a gateway can do. */
  LIMITS_SUBJECT: limits('requests=2500 appends=1000 bytes=33554432 connections=5000 creates=100'),
  /** One tenant's mistake must leave something to the others: three quarters of it. */
  LIMITS_PROJECT: limits(
    'requests=7500 appends=3000 bytes=100663296 connections=15000 creates=300',
  ),
  /** None: behind a proxy everybody has one address, unless TRUST_PROXY says whom to believe. */
  LIMITS_ADDRESS: limits('none'),
  TRUST_PROXY: z.string().transform(proxies).optional(),
})

type Variables = z.infer<typeof variables>

/** The variables that are set, as they are. */
type Given = { readonly [Name in keyof Variables]?: string | undefined }

/** Where the log is. */
export type LogConfig =
  | { readonly kind: 'embedded'; readonly directory: string }
  | {
      readonly kind: 's2'
      /** Undefined for managed S2. */
      readonly endpoint: string | undefined
      readonly accessToken: string
      /** With projects: where our own names are. */
      readonly basin: string
      /** Undefined: all names are in `basin`. Otherwise each project has one, named by this and it. */
      readonly basinPrefix: string | undefined
    }

export type Config = Readonly<Variables> & {
  readonly log: LogConfig
  readonly cors: OriginPolicy
  /** Undefined: everybody may do everything. */
  readonly auth: AuthConfig | undefined
  /** Whether traces are sent; where to, and which, OpenTelemetry's SDK reads by itself. */
  readonly tracing: boolean
}

/** The configuration is wrong or missing something. `message` names every problem, one a line. */
export class ConfigError extends Error {
  constructor(problems: readonly string[]) {
    super(`the configuration can't be used:\n${problems.map((line) => `  - ${line}`).join('\n')}`)
  }
}

/** s2-lite has no basin at first, and its names are nobody else's. */
const LOCAL_BASIN = 'durable-streams'

/**
 * Reads the configuration from environment variables; an empty one counts as unset.
 *
 * @throws ConfigError with all problems at once
 */
export function loadConfig(environment: Readonly<Record<string, string | undefined>>): Config {
  const set: typeof environment = Object.fromEntries(
    Object.entries(environment).filter(([, value]) => value !== undefined && value !== ''),
  )
  const given: Given = set
  const parsed = variables.safeParse(given)
  // The values are left out: one of them may be a secret.
  const malformed = parsed.error?.issues.map(({ path, message }) => `${path.join('.')} ${message}`)
  const problems = [
    ...(malformed ?? []),
    ...missing(given),
    ...impossible(parsed.data),
    ...tracingProblems(set),
  ]
  if (!parsed.success || problems.length > 0) throw new ConfigError(problems)
  const { data } = parsed
  const groups = { log: logConfig(data), cors: originPolicy(data), auth: authConfig(data) }
  return Object.freeze({ ...data, ...groups, tracing: isTracingOn(set) })
}

/** The names, for the test that compares them with the README. */
export const VARIABLE_NAMES: readonly string[] = Object.keys(variables.shape)

function usesS2({
  S2_ENDPOINT,
  S2_ACCESS_TOKEN,
}: Pick<Given, 'S2_ENDPOINT' | 'S2_ACCESS_TOKEN'>): boolean {
  return S2_ENDPOINT !== undefined || S2_ACCESS_TOKEN !== undefined
}

/** What is missing, judged by what was given: malformed or not, it shows what is meant. */
function* missing(given: Given): Generator<string> {
  const { S2_ENDPOINT, S2_BASIN, HOST = LOOPBACK } = given
  const hasProjects = given.TENANCY === 'project'
  if (usesS2(given) && S2_ENDPOINT === undefined && S2_BASIN === undefined && !hasProjects) {
    yield 'S2_BASIN is needed with managed S2: basin names are shared with all its users'
  }
  if (!usesS2(given) && S2_BASIN !== undefined) {
    yield 'S2_BASIN is set, but neither S2_ENDPOINT nor S2_ACCESS_TOKEN is'
  }
  if (hasProjects && usesS2(given) && given.S2_BASIN_PREFIX === undefined) {
    yield 'S2_BASIN_PREFIX is needed with TENANCY=project: with the project it names a basin'
  }
  if (!hasProjects && given.S2_BASIN_PREFIX !== undefined) {
    yield 'S2_BASIN_PREFIX is set, but TENANCY is not project'
  }
  if (!saysWhoMay(given) && (usesS2(given) || !isLoopback(HOST))) {
    yield 'AUTH must be set (AUTH=none lets everybody in) unless the log is embedded and HOST is loopback'
  }
  yield* authProblems(given)
}

/** What is well-formed, and would never work. */
function* impossible(config: Variables | undefined): Generator<string> {
  if (config !== undefined && config.MAX_BUFFERED_APPEND_BYTES < config.MAX_APPEND_BYTES) {
    yield 'MAX_BUFFERED_APPEND_BYTES must be at least MAX_APPEND_BYTES'
  }
  if (config !== undefined && isProjectBasin(config)) {
    yield 'S2_BASIN must not be S2_BASIN_PREFIX and a project: its clients would reach what is ours'
  }
  if (config !== undefined && usesS2(config) && config.APPEND_LOCK_MS < config.S2_TIMEOUT_MS) {
    yield 'APPEND_LOCK_MS must be at least S2_TIMEOUT_MS: one attempt may take as long'
  }
  if (config !== undefined) yield* impossibleCors(config)
  if (config !== undefined) yield* impossibleMetrics(config)
  if (config !== undefined && config.MAX_URL_BYTES > config.MAX_HEADER_BYTES) {
    yield 'MAX_URL_BYTES must be at most MAX_HEADER_BYTES: the URL is a part of the head'
  }
}

/** Our own names must not be within reach of who asks for the streams of a project. */
function isProjectBasin({ TENANCY, S2_BASIN, S2_BASIN_PREFIX: prefix }: Variables): boolean {
  if (TENANCY !== 'project' || S2_BASIN === undefined || prefix === undefined) return false
  return (
    S2_BASIN.startsWith(prefix) && new ProjectRule(prefix).allows(S2_BASIN.slice(prefix.length))
  )
}

function logConfig(config: Variables): LogConfig {
  if (!usesS2(config)) return { kind: 'embedded', directory: config.DATA_DIR }
  const basinPrefix = config.TENANCY === 'project' ? config.S2_BASIN_PREFIX : undefined
  const ownBasin = basinPrefix === undefined ? LOCAL_BASIN : gatewayBasin(basinPrefix)
  return {
    kind: 's2',
    endpoint: config.S2_ENDPOINT,
    // s2-lite takes any token, but the SDK wants one.
    accessToken: config.S2_ACCESS_TOKEN ?? 'none',
    basin: config.S2_BASIN ?? ownBasin,
    basinPrefix,
  }
}
