/** Large appends: no limit on the way may be below the gateway's own. */
import { fail, inWords, ok, warn } from '../check.ts'
import type { Check, Verdict } from '../check.ts'
import type { Answer } from '../context.ts'
import { WireError } from '../wire.ts'

const MIB = 1024 * 1024
const BINARY = 'application/octet-stream'

/** The answer to an append of 1 MiB, or why there was none. */
export type LargeAppend = Pick<Answer, 'status' | 'headers' | 'body'> | string

export function judgeLargeAppend(seen: LargeAppend, tookMs: number): Verdict {
  if (typeof seen === 'string') {
    return fail(`an append of 1 MiB got no answer: ${seen}`, { remedy: 'bodySize' })
  }
  const { status, headers, body } = seen
  if (status === 200 || status === 204) {
    return ok(`1 MiB was appended in ${inWords(tookMs)}`, { tookMs })
  }
  const isOurs = (headers['content-type'] ?? '').startsWith('application/problem+json')
  if (status === 413) {
    return isOurs
      ? warn('an append of 1 MiB is too large for the gateway itself', { remedy: 'bodySize' })
      : fail('an append of 1 MiB was refused on the way (413)', { remedy: 'bodySize' })
  }
  return fail(`an append of 1 MiB was answered ${status}: ${body.slice(0, 200)}`, {
    remedy: 'bodySize',
  })
}

export const bodySize: Check = {
  id: 'body-size',
  title: 'appends of 1 MiB come through',
  run: async (context) => {
    const stream = await context.streams.create(BINARY)
    const startedAt = performance.now()
    const seen = await stream.post(new Uint8Array(MIB)).catch((error: unknown) => {
      // Who refuses a body may close the connection while it is still being sent.
      if (error instanceof WireError && error.code !== 'ABORTED') return error.message
      throw error
    })
    return judgeLargeAppend(seen, performance.now() - startedAt)
  },
}
