/** How limits and trusted proxies are written in the environment. */
import { isIPv4, isIPv6 } from 'node:net'
import { z } from 'zod'

const QUOTAS = ['requests', 'appends', 'bytes', 'connections', 'creates'] as const

/** What one caller may have in a second; of connections, at the same time. */
export type QuotaConfig = { readonly [Name in (typeof QUOTAS)[number]]?: number }

/** Far above any need, and few enough digits for a header (RFC 9651 §3.3.1: fifteen). */
const MAX_QUOTA = 1_000_000_000_000

/**
 * Reads limits: `requests=1000 bytes=10485760`, in any order, each at most once. What is not
 * named is not limited; `none` limits nothing.
 */
export function quotas(text: string, context: z.RefinementCtx): QuotaConfig | undefined {
  const words = text.split(/[\s,]+/).filter((word) => word !== '')
  if (words.length === 1 && words[0] === 'none') return undefined
  const read: { -readonly [Name in keyof QuotaConfig]: QuotaConfig[Name] } = {}
  for (const word of words) {
    const [, name, value] = /^([a-z]+)=(\d+)$/.exec(word) ?? []
    const quota = QUOTAS.find((known) => known === name)
    const number = Number(value)
    if (quota === undefined || number < 1 || number > MAX_QUOTA) {
      context.addIssue(`has ${named(word)}, which is none of ${EXPECTED}`)
    } else if (read[quota] !== undefined) {
      context.addIssue(`has ${quota} twice`)
    } else {
      read[quota] = number
    }
  }
  if (words.length === 0) context.addIssue(`must be none, or some of ${EXPECTED}`)
  return context.issues.length > 0 ? z.NEVER : read
}

const EXPECTED = `${QUOTAS.map((name) => `${name}=<n>`).join(' ')}, n from 1 to ${MAX_QUOTA}`

/** The word that is wrong, or that there is one: what looks like no word of ours may be a secret. */
function named(word: string): string {
  return /^[a-z]{1,16}=?[\w.+-]{0,16}$/i.test(word) ? `'${word}'` : 'a word'
}

/** Which peers' `X-Forwarded-For` is believed: so many hops, or those at these addresses. */
export type ProxyConfig = number | readonly string[]

const MAX_HOPS = 100

/** Reads `2`, or `10.0.0.0/8, 192.0.2.7, 2001:db8::/32`. */
export function proxies(text: string, context: z.RefinementCtx): ProxyConfig {
  if (/^\d+$/.test(text)) {
    const hops = Number(text)
    if (hops >= 1 && hops <= MAX_HOPS) return hops
    context.addIssue(`must be 1 to ${MAX_HOPS} hops, or addresses`)
    return z.NEVER
  }
  const addresses = text.split(/[\s,]+/).filter((word) => word !== '')
  const wrong = addresses.find((address) => !isNetwork(address))
  if (wrong !== undefined || addresses.length === 0) {
    context.addIssue(
      `must be a number of hops, or IP addresses and networks such as 10.0.0.0/8${
        wrong === undefined ? '' : `, and not '${wrong.slice(0, 50)}'`
      }`,
    )
    return z.NEVER
  }
  return addresses
}

/** An address, or a network of them. All addresses there are would be nobody to distrust. */
function isNetwork(text: string): boolean {
  const [, address = '', bits] = /^([^/%]+)(?:\/(\d{1,3}))?$/.exec(text) ?? []
  const longest = isIPv4(address) ? 32 : isIPv6(address) ? 128 : 0
  return longest > 0 && (bits === undefined || (Number(bits) >= 1 && Number(bits) <= longest))
}
