/** Refusals: their status, headers and body are for programs, and must come through. */
import { fail, ok, skip, warn } from '../check.ts'
import type { Check, Verdict } from '../check.ts'
import type { Answer, Context } from '../context.ts'

const PROBLEM = 'application/problem+json'

export type Refusal = {
  readonly what: string
  readonly wanted: {
    readonly status: number
    readonly code: string
    readonly headers: readonly string[]
  }
  readonly got: Pick<Answer, 'status' | 'headers' | 'body'>
}

export function judgeRefusals(refusals: readonly Refusal[]): Verdict {
  const faults = refusals.flatMap((refusal) => faultsOf(refusal))
  if (faults.length > 0) return fail(faults.join('; '), { remedy: 'errorPages' })
  return ok(
    `${refusals.map(({ wanted }) => wanted.status).join(', ')} came through, as problems with a code`,
  )
}

function faultsOf({ what, wanted, got }: Refusal): readonly string[] {
  if (got.status !== wanted.status) {
    return [`${what} was answered ${got.status}, not ${wanted.status}`]
  }
  const type = got.headers['content-type'] ?? 'none'
  if (!type.startsWith(PROBLEM)) return [`the ${got.status} of ${what} is ${type}, not a problem`]
  if (!got.body.includes(`"${wanted.code}"`))
    return [`the ${got.status} of ${what} has another body`]
  const missing = wanted.headers.filter((name) => got.headers[name] === undefined)
  if (missing.length > 0) return [`the ${got.status} of ${what} lacks ${missing.join(', ')}`]
  return []
}

export const refusals: Check = {
  id: 'refusals',
  title: 'refusals come through as they are',
  run: async (context) => judgeRefusals(await measure(context)),
}

async function measure(context: Context): Promise<readonly Refusal[]> {
  const stream = await context.streams.create()
  await stream.append('last')
  await stream.close()
  const position = ['stream-closed', 'stream-next-offset']
  return [
    {
      what: 'a read of no stream',
      wanted: { status: 404, code: 'stream_not_found', headers: [] },
      got: await context.call(context.streams.newPath()),
    },
    {
      what: 'a read of no offset',
      wanted: { status: 400, code: 'invalid_offset', headers: [] },
      got: await stream.read({ offset: 'none' }),
    },
    {
      what: 'an append to a closed stream',
      wanted: { status: 409, code: 'stream_closed', headers: position },
      got: await stream.post('more'),
    },
    {
      what: 'a method that there is not',
      wanted: { status: 405, code: 'method_not_allowed', headers: ['allow'] },
      got: await context.call(stream.path, { method: 'PATCH' }),
    },
  ]
}

/** The limit on creations is announced so: `"subject-creates";q=100;w=1`. */
const CREATES = /"[\w-]*creates";q=(\d+);w=1/g
/** More would be a burden. */
const MAX_BURST = 500
const BURST_FACTOR = 3
const RECOVERY_MS = 1500
const TEXT = 'text/plain'

export type Burst = {
  /** How many there may be in a second. */
  readonly quota: number
  /** How many to send. */
  readonly size: number
}

/** Too many PUTs for a second, as announced; undefined where nothing is, or only of many. */
export function burstFor(policy = ''): Burst | undefined {
  const quotas = [...policy.matchAll(CREATES)].map(([, quota]) => Number(quota))
  const quota = Math.min(...quotas)
  const size = Math.ceil(quota * BURST_FACTOR) + 1
  return size <= MAX_BURST ? { quota, size } : undefined
}

/** Whether so many are more than there may be in that time: a second's worth may come at once. */
export function isTooMany({ quota, size }: Burst, tookMs: number): boolean {
  return size > quota * (1 + tookMs / 1000)
}

export type Waits = {
  /** Answers of 429 and 503, and how many of them did not say when to come back. */
  readonly refused: number
  readonly withoutWait: number
  /** Requests of which some had to be refused. */
  readonly provoked: number
}

export function judgeWaits({ refused, withoutWait, provoked }: Waits): Verdict {
  const measured = { refused, withoutWait, provoked }
  if (withoutWait > 0) {
    return fail(`${withoutWait} of ${refused} answers of 429 or 503 had no Retry-After`, {
      remedy: 'retryAfter',
      measured,
    })
  }
  if (refused > 0) return ok(`${refused} answers of 429 or 503, all with Retry-After`, measured)
  if (provoked > 0) {
    return warn(`${provoked} creations in a second, more than announced, and none was refused`, {
      remedy: 'retryAfter',
      measured,
    })
  }
  return skip('nothing was refused for now, and no limit is announced that could be tried')
}

export const retryAfter: Check = {
  id: 'retry-after',
  title: 'who is refused for now is told when to come back',
  run: async (context) => {
    const provoked = await provoke(context)
    const { refused, refusedWithoutWait: withoutWait } = context.sightings
    return judgeWaits({ refused, withoutWait, provoked })
  },
}

/**
 * Creates one stream more often in a second than the token may. It uses up what the token's subject
 * has for creations, for a second.
 */
async function provoke(context: Context): Promise<number> {
  const stream = await context.streams.create()
  const { headers } = await stream.create()
  const burst = burstFor(headers['ratelimit-policy'])
  if (burst === undefined) return 0
  const again = { method: 'PUT', headers: { 'content-type': TEXT }, once: true } as const
  const startedAt = performance.now()
  await Promise.all(Array.from({ length: burst.size }, () => context.call(stream.path, again)))
  const tookMs = performance.now() - startedAt
  // So that the next check has what it takes.
  await context.sleep(RECOVERY_MS)
  return isTooMany(burst, tookMs) ? burst.size : 0
}
