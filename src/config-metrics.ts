/** What the environment may say on metrics and prices: a part of config.ts. */
import { z } from 'zod'
import { port } from './config-values.ts'
import { FREE, PRICE_KINDS, S2_LIST } from './metrics/prices.ts'
import type { PriceKind, Prices } from './metrics/prices.ts'

export const metricsVariables = {
  METRICS: z.enum(['on', 'off'], 'must be on or off').default('on'),
  /** Metrics are nothing for the public: a port of their own can be left out of what it reaches. */
  METRICS_PORT: port.optional(),
  METRICS_HOST: z.string().optional(),
  S2_PRICES: z.string().prefault('list').transform(prices),
}

/** A dollar for one is a slip of the pen, but for a GiB. */
const MAX_PRICE = 1000

/**
 * Reads prices in USD: `append=0.0000001 read_gib=0.02`, in any order, each at most once. What is
 * not named has the price of S2's list; `list` alone changes none of it, and with `none` nothing
 * costs anything.
 */
export function prices(text: string, context: z.RefinementCtx): Prices {
  const words = text.split(/[\s,]+/).filter((word) => word !== '')
  if (words.length === 1 && words[0] === 'none') return FREE
  if (words.length === 1 && words[0] === 'list') return S2_LIST
  const read = new Map<PriceKind, number>()
  for (const word of words) {
    const [, name, value] = /^([a-z_]+)=(\d+(?:\.\d+)?(?:e-?\d+)?)$/.exec(word) ?? []
    const kind = PRICE_KINDS.find((known) => known === name)
    const price = Number(value)
    if (kind === undefined || !(price <= MAX_PRICE)) {
      context.addIssue(`has ${named(word)}, which is none of ${EXPECTED}`)
    } else if (read.has(kind)) {
      context.addIssue(`has ${kind} twice`)
    } else {
      read.set(kind, price)
    }
  }
  if (words.length === 0) context.addIssue(`must be list, none, or some of ${EXPECTED}`)
  if (context.issues.length > 0) return z.NEVER
  return { ...S2_LIST, ...Object.fromEntries(read) }
}

const EXPECTED = `${PRICE_KINDS.map((kind) => `${kind}=<usd>`).join(' ')}, at most ${MAX_PRICE}`

/** The word that is wrong, or that there is one: what looks like no word of ours may be a secret. */
function named(word: string): string {
  return /^[a-z_]{1,24}=?[\d.e+-]{0,16}$/i.test(word) ? `'${word}'` : 'a word'
}

type MetricsVariables = {
  readonly METRICS_PORT?: number | undefined
  readonly METRICS_HOST?: string | undefined
  readonly HOST: string
  readonly PORT: number
}

/** What is well-formed, and would never work. */
export function* impossibleMetrics(config: MetricsVariables): Generator<string> {
  const { METRICS_PORT, METRICS_HOST, HOST, PORT } = config
  if (METRICS_HOST !== undefined && METRICS_PORT === undefined) {
    yield 'METRICS_HOST is set, but METRICS_PORT is not'
  }
  const isSame = METRICS_PORT === PORT && PORT !== 0 && (METRICS_HOST ?? HOST) === HOST
  if (isSame) yield 'METRICS_PORT must not be PORT: unset, metrics are on that port'
}
