/** That requests reach the gateway as they were sent, and answers come back so. */
import { fail, ok, warn } from '../check.ts'
import type { Check, Verdict } from '../check.ts'
import type { Context } from '../context.ts'
import type { Remedy } from '../remedies.ts'
import { CreateError } from '../scratch.ts'
import type { ScratchStream } from '../scratch.ts'
import type { Headers } from '../wire.ts'

/** Letters, a space, a percent sign and more, each of which some proxies decode or double. */
const ODD_NAME = '/caf\u00e9 100%25 a+b&c=d;e'

export type UrlsSeen = {
  readonly sent: string
  /** Of the answer to PUT, as it came. */
  readonly location: string | undefined
  /** Where the deployment is, as the user says. */
  readonly origin: string
}

export function judgeUrls({ sent, location, origin }: UrlsSeen): Verdict {
  if (location === undefined) {
    return warn('the answer to PUT has no Location', { remedy: 'responseHeaders' })
  }
  const url = URL.canParse(location, origin) ? new URL(location, origin) : undefined
  // As it was written: a URL would be normalised.
  const path = location.replace(/^[a-z]+:\/\/[^/]*/i, '')
  if (path !== sent) {
    return sent.endsWith(path)
      ? warn(`Location is ${location}: it lacks the base path of the deployment`, {
          remedy: 'location',
        })
      : fail(`${sent} reached the gateway as ${path}`, { remedy: 'urls' })
  }
  if (url?.origin !== origin) {
    return warn(
      `paths come through, but Location names ${url?.origin ?? location}, not ${origin}`,
      {
        remedy: 'location',
      },
    )
  }
  return ok('escaped names come through, and Location is where the stream is')
}

export const urls: Check = {
  id: 'urls',
  title: 'paths come through as they were sent',
  run: async (context) => {
    const stream = context.streams.uncreated(ODD_NAME)
    const created = await stream.create().catch(refusalOf)
    if (created instanceof CreateError) {
      return fail(`a name with escaped characters was refused: ${created.message}`, {
        remedy: 'urls',
      })
    }
    const { headers } = created
    const { origin } = context.options.target.origin
    return judgeUrls({ sent: stream.path, location: headers['location'], origin })
  },
}

function refusalOf(error: unknown): CreateError {
  if (error instanceof CreateError) return error
  throw error
}

/** What did not come through, by name. */
export type Lost = { readonly what: string; readonly remedy: Remedy }

export function judgeHeaders(lost: readonly Lost[]): Verdict {
  const [first] = lost
  if (first === undefined) {
    return ok('Last-Event-ID, Producer-*, Stream-TTL and Stream-Next-Offset come through')
  }
  return fail(lost.map(({ what }) => what).join('; '), { remedy: first.remedy })
}

export const headers: Check = {
  id: 'headers',
  title: 'headers come through, both ways',
  run: async (context) => {
    const stream = await context.streams.create()
    const lost = [
      ...(await answersOf(stream)),
      ...(await producerOf(stream)),
      ...(await lastEventIdOf(context, stream)),
    ]
    return judgeHeaders(lost)
  },
}

const REQUEST = 'requestHeaders'
const RESPONSE = 'responseHeaders'

async function answersOf(stream: ScratchStream): Promise<readonly Lost[]> {
  const appended = await stream.append('first')
  const read = await stream.read()
  const head = await stream.read({}, { method: 'HEAD' })
  const lacking = (what: string, answer: { readonly headers: Headers }, names: readonly string[]) =>
    names
      .filter((name) => answer.headers[name] === undefined)
      .map((name) => ({ what: `the answer to ${what} lacks ${name}`, remedy: RESPONSE }) as const)
  const lost: Lost[] = [
    ...lacking('POST', appended, ['stream-next-offset']),
    ...lacking('GET', read, ['stream-next-offset', 'stream-up-to-date', 'etag']),
    ...lacking('HEAD', head, ['stream-next-offset', 'content-type']),
    ...lacking('GET', read, ['x-content-type-options']),
  ]
  if (head.headers['stream-ttl'] === undefined) {
    lost.push({ what: 'Stream-TTL of a PUT is lost, or that of HEAD', remedy: REQUEST })
  }
  return lost
}

/** The same claim twice: 200 for what is new, 204 for what is there (PROTOCOL §5.2.1). */
async function producerOf(stream: ScratchStream): Promise<readonly Lost[]> {
  const claim = { 'producer-id': 'doctor', 'producer-epoch': '0', 'producer-seq': '0' }
  const first = await stream.post('second', claim)
  const again = await stream.post('second', claim)
  if (first.status === 200 && again.status === 204) return []
  return [
    {
      what: `a producer's append, sent twice, was answered ${first.status} and ${again.status}, not 200 and 204`,
      remedy: REQUEST,
    },
  ]
}

/** Who comes back to a stream, as `EventSource` does, must not begin again. */
async function lastEventIdOf(context: Context, stream: ScratchStream): Promise<readonly Lost[]> {
  const { headers: at } = await stream.append('known')
  await stream.append('unknown')
  const offset = at['stream-next-offset']
  if (offset === undefined) return []
  const reader = await context.eventsInTime(stream.url({ live: 'sse', offset: '-1' }), {
    headers: { 'last-event-id': offset },
  })
  if (reader === undefined) return []
  try {
    const { timeoutMs } = context.options
    await reader.until(({ data }) => data.length > 0, timeoutMs)
    const [first] = reader.data
    if (first?.data === 'unknown') return []
    const got = first === undefined ? 'nothing' : JSON.stringify(first.data)
    return [
      { what: `a reader with Last-Event-ID got ${got}, not what comes after it`, remedy: REQUEST },
    ]
  } finally {
    reader.leave()
  }
}
