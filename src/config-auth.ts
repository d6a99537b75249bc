/** What the environment may say about who may do what. A part of `config.ts`. */
import { z } from 'zod'
import { flag, integer, isLoopback, listOf, milliseconds, text } from './config-values.ts'
import { RequestError } from './errors.ts'
import { parseGlob } from './protocol/glob.ts'
import type { Glob } from './protocol/glob.ts'

/** Secrets for other algorithms than HMAC are none, so these stand in no list of PEM files. */
const PEM_ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
] as const
type PemAlgorithm = (typeof PEM_ALGORITHMS)[number]

const HOUR_MS = 60 * 60 * 1000

/** A list may have a new secret before an old one. RFC 7518 §3.2 says how long they are. */
const secrets = (minBytes: number) =>
  z.string().transform((text, context): readonly string[] => {
    const found = listOf(text, /[\s,]+/)
    if (found.length > 0 && found.every((secret) => Buffer.byteLength(secret) >= minBytes)) {
      return found
    }
    context.addIssue(
      `must be secrets of at least ${minBytes} bytes each, separated by commas or white space`,
    )
    return z.NEVER
  })

type PemFile = { readonly path: string; readonly alg: PemAlgorithm | undefined }

function pemFiles(text: string, context: z.RefinementCtx): readonly PemFile[] {
  const files = listOf(text).map((entry) => {
    const [, prefix, rest = entry] = /^([A-Za-z]{2,5}\d*):(.*)$/.exec(entry) ?? []
    return { path: rest, alg: PEM_ALGORITHMS.find((alg) => alg === prefix), prefix }
  })
  if (files.length === 0 || files.some(({ path, alg, prefix }) => prefix !== alg || path === '')) {
    context.addIssue(`must be PATH or ALG:PATH, with one of ${PEM_ALGORITHMS.join(', ')}`)
    return z.NEVER
  }
  return files.map(({ path, alg }) => ({ path, alg }))
}

/** Who can change an answer on its way can sign tokens. */
function jwksUrl(text: string, context: z.RefinementCtx): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isSafe =
    url?.protocol === 'https:' || (url?.protocol === 'http:' && isLoopback(url.hostname))
  if (isSafe && url.username + url.password === '') return text
  context.addIssue('must be an https URL without credentials; http only on loopback')
  return z.NEVER
}

function globs(text: string, context: z.RefinementCtx): readonly Glob[] {
  try {
    return listOf(text).map(parseGlob)
  } catch (error) {
    if (!(error instanceof RequestError)) throw error
    context.addIssue(`must be names or patterns, separated by commas: ${error.message}`)
    return z.NEVER
  }
}

export const authVariables = {
  AUTH: z.enum(['none', 'jwt'], 'must be none or jwt').optional(),

  // Which keys sign tokens.
  JWT_HS256_SECRETS: secrets(32).optional(),
  JWT_HS384_SECRETS: secrets(48).optional(),
  JWT_HS512_SECRETS: secrets(64).optional(),
  JWT_PEM_FILES: z.string().transform(pemFiles).optional(),
  JWT_JWKS_FILE: z.string().optional(),
  JWT_JWKS_URL: z.string().transform(jwksUrl).optional(),

  // Which tokens are accepted, and what they are for.
  JWT_ISSUER: z.string().optional(),
  JWT_AUDIENCE: z.string().optional(),
  /** Clocks that are kept at all differ by less. */
  JWT_CLOCK_TOLERANCE_S: integer(30, 0, 300),
  AUTH_PROJECT_CLAIM: text('sub'),
  AUTH_WRITE_MAY_CREATE: flag('false'),
  /** Browsers take a cookie of such a name only over TLS (RFC 6265bis §4.1.3). */
  AUTH_COOKIE: z
    .string()
    .regex(
      /^__Secure-[\w!#$%&'*+.^`|~-]+$/,
      'must be the name of a cookie that begins with __Secure-',
    )
    .optional(),
  PUBLIC_STREAMS: z.string().transform(globs).prefault(''),

  // What gateways sign themselves.
  GATEWAY_SECRETS: secrets(32).optional(),
  /** `EventSource` reconnects with the same URL, so a ticket is for more than one request. */
  TICKET_TTL_MS: milliseconds(30_000, HOUR_MS),
  READER_KEY_EPOCH: integer(0, 0, 1_000_000_000),
}

type AuthVariables = z.infer<z.ZodObject<typeof authVariables>>
type Given = { readonly [Name in keyof AuthVariables]?: string | undefined }

const KEY_SOURCES = [
  'JWT_HS256_SECRETS',
  'JWT_HS384_SECRETS',
  'JWT_HS512_SECRETS',
  'JWT_PEM_FILES',
  'JWT_JWKS_FILE',
  'JWT_JWKS_URL',
] as const
/** What means nothing where everybody may do everything: who says it does not mean that. */
const TOKEN_RULES = [
  'JWT_ISSUER',
  'JWT_AUDIENCE',
  'JWT_CLOCK_TOLERANCE_S',
  'AUTH_PROJECT_CLAIM',
  'AUTH_WRITE_MAY_CREATE',
  'AUTH_COOKIE',
  'PUBLIC_STREAMS',
  'GATEWAY_SECRETS',
  'TICKET_TTL_MS',
  'READER_KEY_EPOCH',
] as const

/** Who verifies tokens, with which keys and by which rules. */
export type AuthConfig = {
  readonly keys: {
    readonly secrets: readonly {
      readonly alg: 'HS256' | 'HS384' | 'HS512'
      readonly secret: string
    }[]
    /** Undefined for what the kind of key is mostly for. */
    readonly pemFiles: readonly PemFile[]
    readonly jwksFile: string | undefined
    readonly jwksUrl: string | undefined
  }
  readonly rules: {
    readonly issuer: string | undefined
    readonly audience: string | undefined
    readonly toleranceS: number
    /** Undefined: tokens are for every project. */
    readonly projectClaim: string | undefined
  }
  /** Without any there are no tickets and no reader keys. */
  readonly gatewaySecrets: readonly string[]
  readonly ticketTtlMs: number
}

/** Whether it has been said who may do what: in so many words, or by keys. */
export function saysWhoMay(given: Given): boolean {
  return given.AUTH !== undefined || hasKeys(given)
}

/** What does not go together. */
export function* authProblems(given: Given): Generator<string> {
  const set = [...KEY_SOURCES, ...TOKEN_RULES].filter((name) => given[name] !== undefined)
  if (given.AUTH === 'none' && set.length > 0) {
    yield `AUTH=none lets everybody in, but ${set.join(', ')} would say who may come in`
  }
  if (given.AUTH === 'jwt' && !hasKeys(given)) {
    yield `AUTH=jwt needs keys: one or more of ${KEY_SOURCES.join(', ')}`
  }
  if (given.AUTH === undefined && set.length > 0 && !hasKeys(given)) {
    yield `${set.join(', ')} without keys: one or more of ${KEY_SOURCES.join(', ')}`
  }
}

/** Undefined: everybody may do everything. */
export function authConfig(config: AuthVariables): AuthConfig | undefined {
  if (!hasKeys(config)) return undefined
  const secrets = (['HS256', 'HS384', 'HS512'] as const).flatMap((alg) =>
    (config[`JWT_${alg}_SECRETS`] ?? []).map((secret) => ({ alg, secret })),
  )
  const { AUTH_PROJECT_CLAIM: claim } = config
  return {
    keys: {
      secrets,
      pemFiles: config.JWT_PEM_FILES ?? [],
      jwksFile: config.JWT_JWKS_FILE,
      jwksUrl: config.JWT_JWKS_URL,
    },
    rules: {
      issuer: config.JWT_ISSUER,
      audience: config.JWT_AUDIENCE,
      toleranceS: config.JWT_CLOCK_TOLERANCE_S,
      projectClaim: claim === 'none' ? undefined : claim,
    },
    gatewaySecrets: config.GATEWAY_SECRETS ?? [],
    ticketTtlMs: config.TICKET_TTL_MS,
  }
}

function hasKeys(config: Readonly<Partial<Record<keyof AuthVariables, unknown>>>): boolean {
  return KEY_SOURCES.some((name) => config[name] !== undefined)
}
