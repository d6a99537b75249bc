/** The clock of the deployment: tokens and caches go by it. */
import { fail, ok, skip, warn } from '../check.ts'
import type { Check, Verdict } from '../check.ts'

/** `Date` has whole seconds, and is written somewhere between request and answer. */
const RESOLUTION_MS = 1000
const NOTICEABLE_MS = 5000
/** The default of `JWT_CLOCK_TOLERANCE_S`. */
const TOLERATED_MS = 30_000

export type ClockSeen = {
  readonly date: string | undefined
  /** Of the local clock, in ms since 1970. */
  readonly sentAt: number
  readonly answeredAt: number
}

/** How far the remote clock is ahead, at least; undefined when `Date` is no date. */
export function skewOf({ date, sentAt, answeredAt }: ClockSeen): number | undefined {
  const remote = Date.parse(date ?? '')
  if (Number.isNaN(remote)) return undefined
  if (remote > answeredAt) return remote - answeredAt
  const latest = remote + RESOLUTION_MS
  return latest < sentAt ? latest - sentAt : 0
}

export function judgeClock(seen: ClockSeen): Verdict {
  const skewMs = skewOf(seen)
  if (skewMs === undefined) return skip(`answers have no Date (${seen.date ?? 'none'})`)
  const measured = { skewMs }
  const amount = Math.abs(skewMs)
  if (amount <= NOTICEABLE_MS) return ok('as the clock here, within 5 s', measured)
  const seenWords = `its clock is ${Math.round(amount / 1000)} s ${skewMs > 0 ? 'ahead of' : 'behind'} the one here`
  return amount > TOLERATED_MS
    ? fail(`${seenWords}: tokens are refused, or accepted too long`, { remedy: 'clock', measured })
    : warn(seenWords, { remedy: 'clock', measured })
}

export const clock: Check = {
  id: 'clock',
  title: 'its clock is right',
  run: async (context) => {
    // Never kept by a cache, whose Date would be that of the first answer.
    const path = context.streams.newPath()
    const sentAt = Date.now()
    const { headers } = await context.call(path, { method: 'HEAD' })
    return judgeClock({ date: headers['date'], sentAt, answeredAt: Date.now() })
  },
}
