/**
 * Which URLs may be webhooks (PROTOCOL §6.2, §12.8).
 *
 * The platform's URL parser is trusted to undo odd spellings of hosts, since the connection is made
 * from the same parsed URL: nothing here looks at the text that was given.
 */
import { isIP, isIPv4 } from 'node:net'
import { isLoopbackAddress, isPublicAddress, systemLookup } from './webhook-address.ts'
import type { Lookup } from './webhook-address.ts'

/** `reason` completes "the webhook's URL …" and never says what a name resolves to. */
export type WebhookUrlVerdict =
  | { readonly kind: 'allowed'; readonly url: URL }
  | { readonly kind: 'refused'; readonly reason: string }

/** What most of the web takes as the longest URL. */
const MAX_URL_LENGTH = 2048

/** Who creates a subscription waits for it; the delivery has its own time, and looks again. */
const LOOKUP_TIMEOUT_MS = 2_000

/** Names that mean a machine or a network of ours, whatever a resolver says (RFC 6761, 6762). */
const LOCAL_SUFFIX = /\.(?:localhost|local|internal)$/

/** Wider than the rules for host names by the underscore, which is in use. */
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/
const MAX_NAME_LENGTH = 253

/**
 * Checks the form of a webhook's URL, and what it names if it is an address. The URL of the verdict
 * is the one to keep and to connect to: `allowLocalhost` is for development only, and covers
 * `localhost` and 127.0.0.0/8 by these names.
 */
export function judgeWebhookUrl(
  text: string,
  options: { readonly allowLocalhost: boolean },
): WebhookUrlVerdict {
  if (text.length > MAX_URL_LENGTH) return refused(`is longer than ${MAX_URL_LENGTH} characters`)
  if (!URL.canParse(text)) return refused('is not an absolute URL')
  const url = new URL(text)
  // `example.com.` is the same host, but no certificate has the dot. A dot is all that is cut.
  url.hostname = url.hostname.replace(/\.$/, '')
  const problem = formProblem(url) ?? hostProblem(url, options.allowLocalhost)
  return problem === undefined ? { kind: 'allowed', url } : refused(problem)
}

/**
 * Also resolves the host's name: refused if any of its addresses is. A name that can't be resolved
 * in time is allowed, since an outage of the DNS says nothing about the URL: delivery looks again.
 */
export async function judgeWebhookTarget(
  text: string,
  options: { readonly allowLocalhost: boolean; readonly lookup?: Lookup },
): Promise<WebhookUrlVerdict> {
  const verdict = judgeWebhookUrl(text, options)
  if (verdict.kind === 'refused' || isAddress(verdict.url)) return verdict
  const { hostname } = verdict.url
  const addresses = await resolveInTime(hostname, options.lookup ?? systemLookup)
  const mayAll = addresses.every((address) => mayReach(hostname, address, options.allowLocalhost))
  return mayAll ? verdict : refused('has a host with an address that is not public')
}

/**
 * Whether a connection to a host that was allowed may go to this address of it. Made-up names of
 * loopback stay forbidden in development: what they name can change.
 */
export function mayReach(hostname: string, address: string, allowLocalhost: boolean): boolean {
  const isOurs = allowLocalhost && hostname === 'localhost'
  return isOurs ? isLoopbackAddress(address) : isPublicAddress(address)
}

const refused = (reason: string): WebhookUrlVerdict => ({ kind: 'refused', reason })

const isAddress = ({ hostname }: URL): boolean => isIP(bare(hostname)) !== 0

/** A URL has IPv6 addresses in brackets. */
const bare = (hostname: string): string => hostname.replace(/^\[(.*)\]$/, '$1')

function formProblem({ protocol, username, password, href }: URL): string | undefined {
  if (protocol !== 'https:' && protocol !== 'http:') return 'must use https'
  if (username !== '' || password !== '') return 'must not have credentials'
  if (href.includes('#')) return 'must not have a fragment'
  // Escapes are three times as long as what they stand for.
  if (href.length > MAX_URL_LENGTH) return `is longer than ${MAX_URL_LENGTH} characters`
  return undefined
}

function hostProblem(url: URL, allowLocalhost: boolean): string | undefined {
  const { hostname } = url
  const isLocalhost = hostname === 'localhost' || (isIPv4(hostname) && isLoopbackAddress(hostname))
  if (isLocalhost && allowLocalhost) return undefined
  if (url.protocol !== 'https:') return 'must use https'
  if (isAddress(url)) {
    return isPublicAddress(bare(hostname)) ? undefined : 'has an address that is not public'
  }
  return nameProblem(hostname)
}

function nameProblem(hostname: string): string | undefined {
  const labels = hostname.split('.')
  if (hostname.length > MAX_NAME_LENGTH || !labels.every((label) => LABEL.test(label))) {
    return 'has no proper host name'
  }
  // A single label is looked up in the search domains of this machine: it names what is near us,
  // and there are no public hosts of that kind.
  if (labels.length === 1 || LOCAL_SUFFIX.test(hostname))
    return 'has a host name that is not public'
  return undefined
}

/** Nothing if the name has no addresses, or none in time. */
async function resolveInTime(hostname: string, lookup: Lookup): Promise<readonly string[]> {
  let timer: NodeJS.Timeout | undefined
  const timeout = new Promise<readonly string[]>((resolve) => {
    timer = setTimeout(resolve, LOOKUP_TIMEOUT_MS, [])
  })
  try {
    return await Promise.race([lookup(hostname), timeout])
  } catch {
    // Unknown names and failing resolvers look the same from here.
    return []
  } finally {
    clearTimeout(timer)
  }
}
