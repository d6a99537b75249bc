/** Reads that reach the tail, or nothing: a cache must never answer them by itself. */
import { fail, ok } from '../check.ts'
import type { Check, Verdict } from '../check.ts'
import type { Context } from '../context.ts'
import type { ScratchStream } from '../scratch.ts'
import { cacheMarks } from '../sightings.ts'
import type { Headers } from '../wire.ts'

const ROUNDS = 3
const QUERIES: readonly Headers[] = [{}, { offset: '-1' }]

/** One read at the tail, and what it should have had. */
export type TailRead = {
  readonly what: string
  readonly expected: string
  readonly got: string
  readonly headers: Headers
}

export function judgeTail(reads: readonly TailRead[]): Verdict {
  const stale = reads.find(({ expected, got }) => expected !== got)
  if (stale !== undefined) {
    const { what, expected, got, headers } = stale
    const marks = cacheMarks(headers)
    return fail(
      `${what}: got ${got || 'nothing'}, not ${expected || 'nothing'}${marks === '' ? '' : ` (${marks})`}`,
      { remedy: 'staleTail' },
    )
  }
  const stored = reads.find(({ headers }) => isStorable(headers['cache-control']))
  if (stored !== undefined) {
    return fail(
      `a read at the tail says "${stored.headers['cache-control'] ?? ''}": something rewrites it, and caches of browsers will keep it`,
      { remedy: 'staleTail' },
    )
  }
  return ok(`${reads.length} reads, each just after a change, and each saw it`)
}

/** Whether a cache may answer with it without asking. */
function isStorable(cacheControl = ''): boolean {
  if (/\b(no-cache|no-store)\b/i.test(cacheControl)) return false
  return Number(/\b(?:s-maxage|max-age)=(\d+)/i.exec(cacheControl)?.[1] ?? 0) > 0
}

export const tail: Check = {
  id: 'tail',
  title: 'a read sees what was appended before it',
  run: async (context) => {
    const stream = await context.streams.create()
    const reads: TailRead[] = []
    let expected = ''
    for (let round = 0; round < ROUNDS; round += 1) {
      // Twice: what a cache keeps of the first answer is the second.
      for (let n = 0; n < 2; n += 1) {
        reads.push(...(await readAll(stream, expected, 'a read after an append')))
      }
      await stream.append(`${round}`)
      expected += `${round}`
      reads.push(...(await readAll(stream, expected, 'a read after an append')))
    }
    await stream.close()
    reads.push(...(await readClosed(stream)))
    return judgeTail(reads)
  },
}

async function readAll(
  stream: ScratchStream,
  expected: string,
  what: string,
): Promise<readonly TailRead[]> {
  const reads: TailRead[] = []
  for (const query of QUERIES) {
    const { status, body, headers } = await stream.read(query)
    const got = status === 200 ? quoted(body) : `status ${status}`
    reads.push({ what, expected: quoted(expected), got, headers })
  }
  return reads
}

const quoted = (text: string): string => JSON.stringify(text)

async function readClosed(stream: ScratchStream): Promise<readonly TailRead[]> {
  const reads: TailRead[] = []
  for (const query of QUERIES) {
    const { headers } = await stream.read(query)
    const got = headers['stream-closed'] === 'true' ? 'a closed stream' : 'an open stream'
    reads.push({ what: 'a read after the close', expected: 'a closed stream', got, headers })
  }
  return reads
}

/** Statuses of reads of one URL, one after the other: what they are and what they should be. */
export type Existence = { readonly what: string; readonly wanted: number; readonly status: number }

export function judgeExistence(reads: readonly Existence[]): Verdict {
  const wrong = reads.find(({ wanted, status }) => wanted !== status)
  if (wrong === undefined) return ok('404 before it is created, 200 then, 404 once it is deleted')
  return fail(`${wrong.what} was answered ${wrong.status}, not ${wrong.wanted}`, {
    remedy: wrong.what.startsWith('DELETE') ? 'methods' : 'staleTail',
  })
}

export const existence: Check = {
  id: 'existence',
  title: 'that a stream is there, or is not, is seen at once',
  run: async (context) => judgeExistence(await lifeOf(context)),
}

async function lifeOf(context: Context): Promise<readonly Existence[]> {
  const stream = context.streams.uncreated()
  const reads: Existence[] = []
  const readBoth = async (what: string, wanted: number): Promise<void> => {
    for (const query of QUERIES) {
      reads.push({ what, wanted, status: (await stream.read(query)).status })
    }
  }
  await readBoth('a read of a stream that does not exist', 404)
  await readBoth('a second read of a stream that does not exist', 404)
  await stream.create()
  await readBoth('a read of a stream that has just been created', 200)
  const { status } = await stream.delete()
  reads.push({ what: 'DELETE', wanted: 204, status })
  await readBoth('a read of a stream that has been deleted', 404)
  return reads
}
