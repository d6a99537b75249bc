/** Many who poll for the same: all get it, at once, and a cache asks the gateway but once. */
import { fail, inWords, ok, warn } from '../check.ts'
import type { Check, Verdict } from '../check.ts'
import type { Answer, Context } from '../context.ts'
import type { ScratchStream } from '../scratch.ts'
import { cacheUse } from '../sightings.ts'
import { WireError } from '../wire.ts'

const READERS = 50
/** Time for all of them to be on their way before there is something to tell. */
const SETTLE_MS = 500
/** What a person would notice. Caches wake those who wait up to half a second late. */
const SLOW_MS = 2000

/** What one poll got; a text where it got no answer. */
export type PollEnd = Pick<Answer, 'status' | 'headers' | 'body' | 'headAt'> | string

export type CollapsingSeen = {
  readonly expected: string
  readonly polls: readonly PollEnd[]
  /** The append that they wait for: its answer, and when that came. */
  readonly append: { readonly status: number; readonly headAt: number }
  /** Who asked for the same afterwards, with its cursor. */
  readonly late: PollEnd
  /** Who polled on from the answer, for what was appended next. */
  readonly next: PollEnd
  readonly nextExpected: string
  /** Status of the same poll once the stream had been deleted: 200 is of a cache. */
  readonly afterDelete: number
  readonly keepsHistory: boolean | undefined
}

export function judgeCollapsing(seen: CollapsingSeen): Verdict {
  const { polls, expected, late, next, nextExpected } = seen
  const wrong = polls.filter((poll) => !isAnswer(poll, expected))
  const example = wrong.find(isRefused) ?? wrong[0]
  if (example !== undefined) {
    const { status } = seen.append
    const append = status < 300 ? '' : `; an append meanwhile was answered ${status}`
    return fail(
      `${wrong.length} of ${polls.length} polls for the same got, as one did, ${told(example)}${append}`,
      { remedy: 'collapsing' },
    )
  }
  const answers = polls.filter((poll) => typeof poll !== 'string')
  const ways = new Set(answers.map(({ headers }) => positionOf(headers)))
  if (ways.size > 1) {
    return fail(`polls for the same got ${ways.size} different answers`, { remedy: 'collapsing' })
  }
  // Without a cache on the way a late one gets what has come since, too.
  if (typeof late === 'string' || late.status !== 200 || !late.body.startsWith(expected)) {
    return fail(`who asked for the same later got ${told(late)}`, { remedy: 'collapsing' })
  }
  if (!isAnswer(next, nextExpected)) {
    return fail(`who polled on from there got ${told(next)}`, { remedy: 'cacheKey' })
  }
  return judgeSharing(seen, answers)
}

function judgeSharing(
  { append, late, afterDelete, keepsHistory }: CollapsingSeen,
  answers: readonly Exclude<PollEnd, string>[],
): Verdict {
  const lastMs = Math.max(0, ...answers.map(({ headAt }) => headAt - append.headAt))
  const uses = answers.map(({ headers }) => cacheUse(headers))
  const hits = uses.filter((use) => use === 'hit').length
  const isKept =
    afterDelete === 200 || (typeof late !== 'string' && cacheUse(late.headers) === 'hit')
  const measured = { readers: answers.length, lastMs, hits, sharedCache: isKept || hits > 0 }
  const all = `${answers.length} polls got the same answer within ${inWords(lastMs)}`
  if (lastMs > SLOW_MS) return warn(`late: ${all}`, { remedy: 'collapsing', measured })
  if (isKept || hits > 0) {
    const share = uses.includes('unknown') ? '' : `, ${hits} of them from it`
    return ok(`${all}; a shared cache keeps it for late ones${share}`, measured)
  }
  if (keepsHistory === true) {
    return warn(`${all}; a shared cache keeps history, but not these: each is a request`, {
      remedy: 'collapsing',
      measured,
    })
  }
  return ok(`${all}; no shared cache seen`, measured)
}

function isAnswer(poll: PollEnd, expected: string): boolean {
  return typeof poll !== 'string' && poll.status === 200 && poll.body === expected
}

const positionOf = (headers: Answer['headers']): string =>
  `${headers['stream-next-offset'] ?? ''} ${headers['stream-cursor'] ?? ''}`

function isRefused(poll: PollEnd): boolean {
  return typeof poll === 'string' || poll.status >= 400
}

function told(poll: PollEnd): string {
  if (typeof poll === 'string') return `no answer: ${poll}`
  return `${poll.status} ${JSON.stringify(poll.body.slice(0, 80))}`
}

export const collapsing: Check = {
  id: 'collapsing',
  title: 'fifty polls for the same are all answered, and those who come late',
  run: async (context) => judgeCollapsing(await measure(context)),
}

async function measure(context: Context): Promise<CollapsingSeen> {
  const stream = await context.streams.create()
  await stream.append('first')
  const start = await stream.read({ live: 'long-poll', offset: '-1' })
  const url = nextPoll(stream, start)
  const polling = Promise.all(Array.from({ length: READERS }, () => poll(context, url)))
  // Whoever awaits it gets the failure.
  polling.catch(() => undefined)
  await context.sleep(SETTLE_MS)
  const append = await stream.post('second')
  // Also if that was refused: until they are over there may be no room for the next check.
  const polls = await polling
  await stream.post('third')
  const late = await poll(context, url)
  const answer = polls.find((end) => typeof end !== 'string')
  const next =
    answer === undefined ? 'nobody was answered' : await poll(context, nextPoll(stream, answer))
  await stream.delete()
  const { status: afterDelete } = await context.call(url)
  return {
    expected: 'second',
    polls,
    append,
    late,
    next,
    nextExpected: 'third',
    afterDelete,
    keepsHistory: context.keepsHistory,
  }
}

function nextPoll(stream: ScratchStream, { headers }: Pick<Answer, 'headers'>): string {
  return stream.sharedUrl({
    cursor: headers['stream-cursor'] ?? '1',
    live: 'long-poll',
    offset: headers['stream-next-offset'] ?? '-1',
  })
}

async function poll(context: Context, url: string): Promise<PollEnd> {
  try {
    return await context.call(url)
  } catch (error) {
    if (error instanceof WireError && error.code !== 'ABORTED') return error.message
    throw error
  }
}
