/** Private streams: what one may read, no cache may give to others. Nor may a refusal stick. */
import { fail, ok, skip, warn } from '../check.ts'
import type { Check, Verdict } from '../check.ts'
import type { Context } from '../context.ts'
import type { ScratchStream } from '../scratch.ts'

export type PrivacySeen = {
  /** What a stranger got before anybody had read: by then no cache had anything to give. */
  readonly before: number
  /** Reads by the token's owner and by strangers, in order. */
  readonly reads: readonly {
    readonly what: string
    readonly isStranger: boolean
    readonly status: number
  }[]
}

const isRefusal = (status: number): boolean => status === 401 || status === 403 || status === 404

export function judgePrivacy({ before, reads }: PrivacySeen): Verdict {
  if (before === 200) {
    return warn('streams can be read without the token: none of them is private', {
      remedy: 'openStreams',
    })
  }
  const leak = reads.find(({ isStranger, status }) => isStranger && status < 400)
  if (leak !== undefined) {
    return fail(
      `LEAK: ${leak.what} was given to one without a token, once it had been read with one`,
      {
        remedy: 'leak',
        measured: { status: leak.status },
      },
    )
  }
  const odd = reads.find(({ isStranger, status }) => isStranger && !isRefusal(status))
  if (odd !== undefined) {
    return fail(`${odd.what} without a token was answered ${odd.status}, not 401`, {
      remedy: 'errorPages',
    })
  }
  const shutOut = reads.find(({ isStranger, status }) => !isStranger && status !== 200)
  if (shutOut !== undefined) {
    return fail(
      `${shutOut.what} with the token was answered ${shutOut.status}: the refusal of another sticks`,
      { remedy: 'staleTail' },
    )
  }
  return ok('what was read with the token is refused without it, before and after')
}

export const privacy: Check = {
  id: 'private-streams',
  title: 'private streams do not leak through a cache',
  run: async (context) => {
    if (context.options.token === undefined) {
      return skip('needs a token: --token, or DOCTOR_TOKEN in the environment')
    }
    return judgePrivacy(await measure(context))
  },
}

async function measure(context: Context): Promise<PrivacySeen> {
  const stream = await context.streams.createWithHistory()
  const { status: before } = await stream.read({}, { anonymous: true })
  const reads: PrivacySeen['reads'][number][] = []
  for (const { what, url } of await urlsOf(stream)) {
    // In turns: a refusal must not stick either.
    for (const isStranger of [true, false, true, false, true]) {
      const { status } = await context.call(url, isStranger ? { anonymous: true } : {})
      reads.push({ what, isStranger, status })
    }
  }
  return { before, reads }
}

/** One of each class of answers that caches know. */
async function urlsOf(
  stream: ScratchStream,
): Promise<readonly { readonly what: string; readonly url: string }[]> {
  const { headers } = await stream.read({ offset: '-1' })
  const tail = { offset: headers['stream-next-offset'] ?? '-1' }
  return [
    { what: 'history', url: stream.url({ offset: '-1' }) },
    { what: 'the tail', url: stream.url(tail) },
    {
      what: 'a long-poll',
      url: stream.url({ cursor: '1', live: 'long-poll', offset: '-1' }),
    },
  ]
}
