/** What answers tell of the way that they came: proxies, caches, refusals. */
import type { Where } from './remedies.ts'
import type { Headers } from './wire.ts'

export type CacheUse = 'hit' | 'miss' | 'unknown'

/** What is on the way, by the marks that it leaves in headers. */
const MARKS: readonly { readonly where: Where; readonly isOf: (headers: Headers) => boolean }[] = [
  { where: 'nginx', isOf: ({ server = '' }) => /nginx|openresty|tengine/i.test(server) },
  { where: 'Caddy', isOf: ({ server = '', via = '' }) => /caddy/i.test(server + via) },
  {
    where: 'Envoy',
    isOf: (headers) =>
      /envoy/i.test(headers['server'] ?? '') || 'x-envoy-upstream-service-time' in headers,
  },
  {
    where: 'Varnish',
    isOf: (headers) => 'x-varnish' in headers || /varnish/i.test(headers['via'] ?? ''),
  },
  { where: 'Cloudflare', isOf: (headers) => 'cf-ray' in headers },
  { where: 'CloudFront', isOf: (headers) => 'x-amz-cf-id' in headers },
  { where: 'HAProxy', isOf: ({ server = '', via = '' }) => /haproxy/i.test(server + via) },
  { where: 'Traefik', isOf: ({ server = '', via = '' }) => /traefik/i.test(server + via) },
]

const STATUS_HEADERS = ['cache-status', 'x-cache', 'x-cache-status', 'cf-cache-status'] as const

/** Whether a shared cache gave the answer, as far as it says so. */
export function cacheUse(headers: Headers): CacheUse {
  for (const name of STATUS_HEADERS) {
    const value = headers[name]
    if (value === undefined) continue
    if (/\bhit\b|\bstale\b|\bupdating\b/i.test(value)) return 'hit'
    if (value !== '') return 'miss'
  }
  if (Number(headers['age'] ?? 0) > 0) return 'hit'
  // Varnish names two requests in what it had already: this one, and the one that fetched it.
  if (/^\d+ \d+$/.test(headers['x-varnish'] ?? '')) return 'hit'
  if ('x-varnish' in headers) return 'miss'
  return 'unknown'
}

/** The headers that caches write, for people. */
export function cacheMarks(headers: Headers): string {
  const names = ['cache-control', 'age', ...STATUS_HEADERS, 'x-varnish']
  return names
    .filter((name) => headers[name] !== undefined)
    .map((name) => `${name}: ${headers[name] ?? ''}`)
    .join(', ')
}

/** Gathers what all answers of a run have shown. */
export class Sightings {
  readonly #proxies = new Set<Where>()
  /** Answers of 429 and 503, which should say when to come back. */
  refused = 0
  refusedWithoutWait = 0

  take(status: number, headers: Headers): void {
    for (const { where, isOf } of MARKS) if (isOf(headers)) this.#proxies.add(where)
    if (status !== 429 && status !== 503) return
    this.refused += 1
    if (headers['retry-after'] === undefined) this.refusedWithoutWait += 1
  }

  get proxies(): readonly Where[] {
    return [...this.#proxies]
  }
}
