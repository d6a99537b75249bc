/** Events: that they come when they are sent, to each reader, and as they are. */
import { NO_EVENTS, fail, inWords, ok, skip, warn } from '../check.ts'
import type { Check, Verdict } from '../check.ts'
import type { Context } from '../context.ts'
import type { EventReader } from '../events.ts'
import type { ScratchStream } from '../scratch.ts'

/** What a person would notice. */
const SLOW_MS = 1000

/** What was seen of one stream and two readers; times in ms, undefined for what did not come. */
export type Delivery = {
  readonly contentType: string | undefined
  /** From the request to the first control event. */
  readonly firstMs: number | undefined
  /** The same of another reader of the same URL. */
  readonly otherFirstMs: number | undefined
  /** From the answer to an append to its event, at the last of both. */
  readonly deliveryMs: number | undefined
  /** From the answer to the close of the stream to the end of the response. */
  readonly endMs: number | undefined
  /** How long each was waited for. */
  readonly waitedMs: number
}

export function judgeDelivery(seen: Delivery): Verdict {
  const { contentType, firstMs, otherFirstMs, deliveryMs, endMs, waitedMs } = seen
  const waited = inWords(waitedMs)
  if (firstMs === undefined) {
    return fail(`no event came within ${waited}: something on the way gathers what it passes on`, {
      remedy: 'buffering',
    })
  }
  if (contentType?.startsWith('text/event-stream') !== true) {
    return fail(`the answer came as ${contentType ?? 'no type'}, not as text/event-stream`, {
      remedy: 'responseHeaders',
    })
  }
  if (otherFirstMs === undefined) {
    return fail(
      `a second reader of the same URL got nothing within ${waited}: it waits for the first`,
      {
        remedy: 'sseCollapsed',
      },
    )
  }
  if (deliveryMs === undefined) {
    return fail(`an appended record did not come within ${waited}: it is held back on the way`, {
      remedy: 'buffering',
    })
  }
  const measured = { firstMs, deliveryMs, ...(endMs !== undefined && { endMs }) }
  const times = `first event after ${inWords(firstMs)}, a record ${inWords(deliveryMs)} after its append was answered`
  if (firstMs > SLOW_MS || deliveryMs > SLOW_MS) {
    return warn(`late: ${times}`, { remedy: 'buffering', measured })
  }
  if (endMs === undefined) {
    return warn(`${times}; but a response that has ended stayed open for ${waited}`, {
      remedy: 'buffering',
      measured,
    })
  }
  return ok(times, measured)
}

const EVENTS = { live: 'sse', offset: '-1' }

/** The time of the first control event, from the request. */
async function firstEvent(
  reader: EventReader | undefined,
  ms: number,
): Promise<number | undefined> {
  if (reader === undefined) return undefined
  await reader.until(({ controls }) => controls.length > 0, ms)
  const [first] = reader.controls
  return first === undefined ? undefined : first.at - reader.incoming.sentAt
}

async function measure(context: Context): Promise<Delivery> {
  const { timeoutMs } = context.options
  const stream = await context.streams.create()
  const readers: EventReader[] = []
  const open = async () => {
    const reader = await context.eventsInTime(stream.url(EVENTS))
    if (reader !== undefined) readers.push(reader)
    return { reader, firstMs: await firstEvent(reader, timeoutMs) }
  }
  try {
    const { reader, firstMs } = await open()
    const seen = {
      contentType: reader?.incoming.headers['content-type'],
      firstMs,
      otherFirstMs: undefined,
      deliveryMs: undefined,
      endMs: undefined,
      waitedMs: timeoutMs,
    }
    if (firstMs === undefined) return seen
    const { firstMs: otherFirstMs } = await open()
    if (otherFirstMs === undefined) return seen
    const deliveryMs = await delivery(stream, readers, timeoutMs)
    const endMs = deliveryMs === undefined ? undefined : await ending(stream, readers, timeoutMs)
    return { ...seen, otherFirstMs, deliveryMs, endMs }
  } finally {
    for (const reader of readers) reader.leave()
  }
}

async function delivery(
  stream: ScratchStream,
  readers: readonly EventReader[],
  ms: number,
): Promise<number | undefined> {
  const { headAt } = await stream.append('appended')
  const came = await Promise.all(
    readers.map(async (reader) => {
      await reader.until((all) => all.carrying('appended') !== undefined, ms)
      return reader.carrying('appended')?.at
    }),
  )
  // It may come before the answer to the append.
  const late = came.map((at) => (at === undefined ? Infinity : Math.max(0, at - headAt)))
  const last = Math.max(...late)
  return Number.isFinite(last) ? last : undefined
}

async function ending(
  stream: ScratchStream,
  readers: readonly EventReader[],
  ms: number,
): Promise<number | undefined> {
  const { headAt } = await stream.close()
  await Promise.all(readers.map((reader) => reader.until(({ end }) => end !== undefined, ms)))
  const ends = readers.map(({ end }) =>
    end === undefined ? Infinity : Math.max(0, end.at - headAt),
  )
  const last = Math.max(...ends)
  return Number.isFinite(last) ? last : undefined
}

export const sseDelivery: Check = {
  id: 'sse-delivery',
  title: 'events come when they are sent',
  run: async (context) => judgeDelivery(await measure(context)),
}

const CODINGS = 'gzip, deflate, br, zstd'

export const sseCompression: Check = {
  id: 'sse-compression',
  title: 'events are not compressed on the way',
  run: async (context) => {
    const stream = await context.streams.create()
    const headers = { 'accept-encoding': CODINGS }
    // Most proxies compress only what is worth it.
    await stream.append('compressible '.repeat(200))
    const reader = await context.eventsInTime(stream.url(EVENTS), { headers })
    const plain = reader ?? (await context.eventsInTime(stream.url(EVENTS)))
    reader?.leave()
    plain?.leave()
    const coding = reader?.incoming.headers['content-encoding']
    return judgeCompression(coding, { answered: reader !== undefined, plain: plain !== undefined })
  },
}

/**
 * `coding` is what the answer was compressed with; `answered` whether there was one in time to who
 * accepts that, `plain` to who does not.
 */
export function judgeCompression(
  coding: string | undefined,
  { answered, plain }: { readonly answered: boolean; readonly plain: boolean },
): Verdict {
  if (!plain) return skip(NO_EVENTS)
  if (!answered) {
    return fail('no answer in time to who accepts compression: it is gathered to be compressed', {
      remedy: 'compression',
    })
  }
  if (coding === undefined || coding === 'identity') return ok('sent as they are')
  return fail(`compressed with ${coding}, though the answer says no-transform`, {
    remedy: 'compression',
  })
}
