/** Pages of other origins: that they may ask, and read what they are answered. */
import { fail, ok, skip, warn } from '../check.ts'
import type { Check, Verdict } from '../check.ts'
import type { Answer, Context } from '../context.ts'
import type { ScratchStream } from '../scratch.ts'
import type { Headers } from '../wire.ts'

/** What clients read of answers (PROTOCOL §5, §10): without these a page can't go on. */
const NEEDS_TO_READ = [
  'stream-next-offset',
  'stream-up-to-date',
  'stream-cursor',
  'stream-closed',
  'etag',
  'retry-after',
]

/** What clients send, besides what any page may. */
const NEEDS_TO_SEND = [
  'authorization',
  'content-type',
  'if-none-match',
  'last-event-id',
  'producer-epoch',
  'producer-id',
  'producer-seq',
  'stream-closed',
]

const NEEDS_METHODS = ['GET', 'HEAD', 'PUT', 'POST', 'DELETE']

const REFUSAL = 'a refusal'

/** Any page's, when none was named. */
const SOME_ORIGIN = 'https://doctor.example'

export type CorsSeen = {
  readonly origin: string
  /** Whether the origin is one that has to be able to read. */
  readonly isDemanded: boolean
  readonly preflight: Headers & { readonly status: string }
  /** Answers to GET, as headers, by what they were: `a read`, `events`, `a refusal`. */
  readonly answers: Readonly<Record<string, Headers>>
}

const listed = (text = ''): readonly string[] =>
  text.split(',').map((name) => name.trim().toLowerCase())

const missing = (needed: readonly string[], text: string | undefined): readonly string[] => {
  const names = listed(text)
  return names.includes('*') ? [] : needed.filter((name) => !names.includes(name.toLowerCase()))
}

export function judgeCors(seen: CorsSeen): Verdict {
  const { origin, isDemanded, preflight, answers } = seen
  const all = { 'the preflight': preflight, ...answers }
  const allowed = Object.entries(all).map(([name, headers]) => ({
    name,
    value: headers['access-control-allow-origin'],
  }))
  if (allowed.every(({ value }) => value === undefined)) {
    return Object.values(answers).every(({ vary = '' }) => /\borigin\b/i.test(vary))
      ? refused(origin, isDemanded)
      : fail('no answer has CORS headers: something on the way removes them', {
          remedy: 'corsStripped',
        })
  }
  const wrong = allowed.find(({ value }) => value !== '*' && value !== origin)
  if (wrong !== undefined) {
    const what = wrong.value === undefined ? 'none' : `"${wrong.value}"`
    return fail(`Access-Control-Allow-Origin of ${wrong.name} is ${what}: pages can't read it`, {
      // It is the last of them: only that of an error page is missing.
      remedy: wrong.name === REFUSAL && wrong.value === undefined ? 'errorPages' : 'corsStripped',
    })
  }
  return judgeLists(seen) ?? judgeVary(seen)
}

function refused(origin: string, isDemanded: boolean): Verdict {
  return isDemanded
    ? fail(`pages of ${origin} may not read`, { remedy: 'corsOrigin' })
    : skip('pages of any origin may not read; name the origin of yours with --origin')
}

function judgeLists({ preflight, answers }: CorsSeen): Verdict | undefined {
  const { status } = preflight
  if (status !== '204' && status !== '200') {
    return fail(`a preflight was answered ${status}`, { remedy: 'corsStripped' })
  }
  const methods = missing(NEEDS_METHODS, preflight['access-control-allow-methods'])
  const headers = missing(NEEDS_TO_SEND, preflight['access-control-allow-headers'])
  if (methods.length + headers.length > 0) {
    const what = [...methods, ...headers].join(', ')
    return fail(`the preflight does not allow ${what}`, { remedy: 'corsStripped' })
  }
  for (const [name, answer] of Object.entries(answers)) {
    const hidden = missing(NEEDS_TO_READ, answer['access-control-expose-headers'])
    if (hidden.length > 0) {
      return fail(`Access-Control-Expose-Headers of ${name} lacks ${hidden.join(', ')}`, {
        remedy: 'corsStripped',
      })
    }
  }
  return undefined
}

/** An answer for one origin must not be given to pages of another. */
function judgeVary({ origin, answers }: CorsSeen): Verdict {
  const bare = Object.entries(answers).find(
    ([, headers]) =>
      headers['access-control-allow-origin'] !== '*' &&
      !/\borigin\b|\*/i.test(headers['vary'] ?? ''),
  )
  if (bare !== undefined) {
    return warn(`${bare[0]} names ${origin} but has no Vary: Origin: caches give it to others`, {
      remedy: 'corsStripped',
    })
  }
  return ok(`pages of ${origin} may read, and see the headers that they need`)
}

export const cors: Check = {
  id: 'cors',
  title: 'pages of other origins can read',
  run: async (context) => {
    const stream = await context.streams.create()
    const { origin = SOME_ORIGIN } = context.options
    const preflight = await context.call(stream.path, {
      method: 'OPTIONS',
      // Browsers send no token with it.
      anonymous: true,
      headers: {
        origin,
        'access-control-request-method': 'POST',
        'access-control-request-headers': NEEDS_TO_SEND.join(','),
      },
    })
    return judgeCors({
      origin,
      isDemanded: context.options.origin !== undefined,
      preflight: { ...preflight.headers, status: String(preflight.status) },
      answers: await answersTo(origin, stream, context),
    })
  },
}

async function answersTo(
  origin: string,
  stream: ScratchStream,
  context: Context,
): Promise<Readonly<Record<string, Headers>>> {
  const headers = { origin }
  const read: Answer = await stream.read({}, { headers })
  const refusal = await context.call(context.streams.newPath(), { headers })
  const events = await context.eventsInTime(stream.url({ live: 'sse', offset: '-1' }), { headers })
  events?.leave()
  return {
    'a read': read.headers,
    ...(events !== undefined && { events: events.incoming.headers }),
    [REFUSAL]: refusal.headers,
  }
}
