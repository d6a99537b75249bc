/**
 * `RateLimit-Policy` and `RateLimit` (draft-ietf-httpapi-ratelimit-headers-10): lists of structured
 * fields, an item for each limit that a request was judged by. PURE.
 */
import type { LimitStanding, Standing } from '../errors.ts'

const RATE_LIMIT_POLICY = 'RateLimit-Policy'
const RATE_LIMIT = 'RateLimit'

/** Of the draft's registry; what is left out is `requests`. */
const QUOTA_UNIT: { readonly [Counts in LimitStanding['counts']]?: string } = {
  bytes: 'content-bytes',
  connections: 'concurrent-requests',
}

/** The headers that say what the limits are, and what is left of them. */
export function renderStanding(standing: Standing): Readonly<Record<string, string>> {
  return {
    [RATE_LIMIT_POLICY]: standing.map(policyOf).join(', '),
    [RATE_LIMIT]: standing.map(leftOf).join(', '),
  }
}

/** Rates are by the second; what is counted at the same time has no window. */
function policyOf({ policy, quota, counts }: LimitStanding): string {
  const unit = QUOTA_UNIT[counts]
  const window = counts === 'connections' ? '' : ';w=1'
  return `"${policy}";q=${quota}${unit === undefined ? '' : `;qu="${unit}"`}${window}`
}

/** `t`: seconds until there is room, or more of it. Nobody knows it of connections. */
function leftOf({ policy, left, counts, waitMs = 0 }: LimitStanding): string {
  const seconds = Math.max(1, Math.ceil(waitMs / 1000))
  return `"${policy}";r=${left}${counts === 'connections' ? '' : `;t=${seconds}`}`
}
