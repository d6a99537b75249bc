/** History that never changes: it may be kept, by its whole URL, and is compared by its ETag. */
import { fail, ok, skip, warn } from '../check.ts'
import type { Check, Verdict } from '../check.ts'
import type { Answer, Context } from '../context.ts'
import type { ScratchStream } from '../scratch.ts'
import { cacheUse } from '../sightings.ts'
import type { Headers } from '../wire.ts'

export type HistorySeen = {
  /** Two reads of the same chunk, and what came between the reads of the tail. */
  readonly first: Answer
  readonly second: Answer
  /** The read that goes on where the chunk ends. */
  readonly rest: Answer
  /** Status of the first read repeated with its ETag. */
  readonly conditional: number
  /** Status of a read of the tail repeated with its ETag, before and after an append. */
  readonly tailConditional: readonly [before: number, after: number]
  /** Status of the first read, once the stream had been deleted. */
  readonly afterDelete: number
}

export function judgeHistory(seen: HistorySeen): Verdict {
  const { first, second, rest, conditional, tailConditional } = seen
  if (first.headers['stream-up-to-date'] === 'true') {
    return skip(
      'all of a long stream comes in one answer: there is no chunk that ends before the tail',
    )
  }
  if (first.body !== second.body) {
    return fail('the same part of a stream was read twice, and was not the same', {
      remedy: 'cacheKey',
    })
  }
  if (rest.body === first.body || rest.status !== 200) {
    return fail(
      'another offset was answered with the same data: the query string is not a part of what is asked for',
      { remedy: 'cacheKey' },
    )
  }
  const tags = judgeTags(first.headers, conditional, tailConditional)
  return tags ?? judgeKeeping(seen)
}

function judgeTags(
  { etag }: Headers,
  conditional: number,
  [before, after]: HistorySeen['tailConditional'],
): Verdict | undefined {
  if (etag === undefined) return fail('reads have no ETag: it is removed', { remedy: 'etag' })
  if (after === 304) {
    return fail('a read with the ETag of before was answered 304 after an append', {
      remedy: 'staleTail',
    })
  }
  if (conditional !== 304 || before !== 304) {
    return warn(`reads with If-None-Match were answered ${conditional} and ${before}, not 304`, {
      remedy: 'etag',
      measured: { etag },
    })
  }
  return undefined
}

/** Whether some cache keeps it: that is allowed, and good. */
function judgeKeeping({ first, second, afterDelete }: HistorySeen): Verdict {
  const isKept = isKeptBy(second, afterDelete)
  const rule = first.headers['cache-control'] ?? ''
  const measured = { sharedCache: isKept, cacheControl: rule }
  const who = isKept ? 'a shared cache keeps it' : 'no shared cache seen'
  return ok(
    `the same bytes each time, 304 by ETag; ${who} (${rule || 'no Cache-Control'})`,
    measured,
  )
}

function isKeptBy(second: Answer, afterDelete: number): boolean {
  return cacheUse(second.headers) === 'hit' || afterDelete === 200
}

export const history: Check = {
  id: 'history',
  title: 'history is the same for everybody, and ETags work',
  run: async (context) => {
    const seen = await measure(context)
    context.keepsHistory = isKeptBy(seen.second, seen.afterDelete)
    return judgeHistory(seen)
  },
}

async function measure(context: Context): Promise<HistorySeen> {
  const stream = await context.streams.createWithHistory()
  const url = stream.sharedUrl({ offset: '-1' })
  const first = await context.call(url)
  const second = await context.call(url)
  const next = first.headers['stream-next-offset'] ?? '-1'
  const rest = await context.call(stream.sharedUrl({ offset: next }))
  const { status: conditional } = await context.call(url, ifNoneMatch(first))
  const tailConditional = await conditionalTail(stream)
  await stream.delete()
  const { status: afterDelete } = await context.call(url)
  return { first, second, rest, conditional, tailConditional, afterDelete }
}

const ifNoneMatch = ({ headers }: Answer): { readonly headers: Headers } => ({
  headers: headers['etag'] === undefined ? {} : { 'if-none-match': headers['etag'] },
})

async function conditionalTail(
  stream: ScratchStream,
): Promise<readonly [before: number, after: number]> {
  const query = { offset: 'now' }
  const { headers } = await stream.read(query)
  const at = { offset: headers['stream-next-offset'] ?? '-1' }
  const tail = await stream.read(at)
  const before = await stream.read(at, ifNoneMatch(tail))
  await stream.append('1')
  const after = await stream.read(at, ifNoneMatch(tail))
  return [before.status, after.status]
}
