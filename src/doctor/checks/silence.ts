/** Live reads that have nothing to say: they have to survive it. */
import { NO_EVENTS, fail, inWords, ok, skip, warn } from '../check.ts'
import type { Check, Verdict } from '../check.ts'
import type { Context } from '../context.ts'
import type { EventReader } from '../events.ts'
import type { ScratchStream } from '../scratch.ts'
import { WireError } from '../wire.ts'

/** The gateway says where a reader stands just before it ends its connection. */
const FAREWELL_MS = 2000
/** Clients that see several connections as short as this give up on events. */
const SHORT_MS = 1000

export type SseSilence = {
  readonly idleMs: number
  /** Connections that lived, one after the other, as long as it took; the last one not to its end. */
  readonly connections: readonly {
    readonly livedMs: number
    /** `told`: with a control event; `silent`: properly, but without; `cut`; or `none`. */
    readonly end: 'told' | 'silent' | 'cut' | 'none'
  }[]
  readonly longestGapMs: number
  readonly heartbeats: number
}

export function judgeSseSilence(seen: SseSilence): Verdict {
  const { idleMs, connections, longestGapMs, heartbeats } = seen
  const lost = connections.find(({ end }) => end === 'cut' || end === 'silent')
  if (lost !== undefined) {
    const how = lost.end === 'cut' ? 'cut off' : 'ended without a last control event'
    return fail(`a silent connection was ${how} after ${inWords(lost.livedMs)}`, {
      remedy: 'idleTimeout',
      measured: { livedMs: lost.livedMs, heartbeats },
    })
  }
  const short = connections.find(({ end, livedMs }) => end === 'told' && livedMs < SHORT_MS)
  if (short !== undefined) {
    return fail(`a connection ended after ${inWords(short.livedMs)}: clients give up on those`, {
      remedy: 'idleTimeout',
    })
  }
  const measured = { idleMs, heartbeats, longestGapMs, connections: connections.length }
  const turns = connections.length > 1 ? `, over ${connections.length} connections` : ''
  if (heartbeats === 0) {
    return warn(`silent for ${inWords(idleMs)} and alive${turns}, but no heartbeat came`, {
      remedy: 'noHeartbeat',
      measured,
    })
  }
  return ok(
    `alive after ${inWords(idleMs)}${turns}; a heartbeat at least every ${inWords(longestGapMs)}`,
    measured,
  )
}

export const sseIdle: Check = {
  id: 'sse-idle',
  title: 'silent event streams stay open',
  isQuiet: true,
  run: async (context) => {
    const stream = await context.streams.create()
    const until = performance.now() + context.options.idleMs
    const connections: SseSilence['connections'][number][] = []
    const gaps: number[] = []
    let heartbeats = 0
    let offset = '-1'
    do {
      // By a connection of its own: beside others' requests it would not be silent.
      const url = stream.url({ live: 'sse', offset })
      const reader = await context.eventsInTime(url, { wire: context.dial() })
      if (reader === undefined) return skip(NO_EVENTS)
      try {
        await reader.until(({ end }) => end !== undefined, until - performance.now())
        connections.push({ livedMs: lifetime(reader), end: endOf(reader) })
        gaps.push(...gapsOf(reader))
        heartbeats += reader.comments.length
        offset = reader.events.at(-1)?.id ?? offset
      } finally {
        reader.leave()
      }
    } while (performance.now() < until && connections.at(-1)?.end === 'told')
    const longestGapMs = Math.max(0, ...gaps)
    return judgeSseSilence({
      idleMs: context.options.idleMs,
      connections,
      longestGapMs,
      heartbeats,
    })
  },
}

function lifetime({ end, incoming }: EventReader): number {
  return (end?.at ?? performance.now()) - incoming.headAt
}

function endOf({ end, controls }: EventReader): 'told' | 'silent' | 'cut' | 'none' {
  if (end === undefined) return 'none'
  if (!end.isWhole) return 'cut'
  const last = controls.at(-1)
  return last !== undefined && controls.length > 1 && end.at - last.at < FAREWELL_MS
    ? 'told'
    : 'silent'
}

/** The times between what came, heartbeats included. */
function gapsOf({ incoming, comments, events }: EventReader): readonly number[] {
  const times = [incoming.headAt, ...comments, ...events.map(({ at }) => at)].sort((a, b) => a - b)
  return times.slice(1).map((at, i) => at - (times[i] ?? at))
}

export type PollSilence = {
  readonly waitedMs: number
  /** The status of the answer; undefined while there is none. */
  readonly status: number | undefined
  /** What went wrong, if it was cut off. */
  readonly problem?: string
}

export function judgePollSilence({ waitedMs, status, problem }: PollSilence): Verdict {
  const after = `after ${inWords(waitedMs)}`
  if (problem !== undefined) {
    return fail(`a long-poll without data was cut off ${after}: ${problem}`, {
      remedy: 'pollTimeout',
    })
  }
  if (status === undefined) return ok(`still waiting ${after}: no time-out on the way is shorter`)
  if (status === 204) return ok(`answered 204 ${after}, as the gateway has it`, { waitedMs })
  return fail(`a long-poll without data was answered ${status} ${after}, not 204`, {
    remedy: 'pollTimeout',
    measured: { waitedMs, status },
  })
}

/** The default of `LONG_POLL_TIMEOUT_MS`, and some seconds for the way. */
const USUAL_POLL_MS = 25_000

export const pollIdle: Check = {
  id: 'long-poll-idle',
  title: 'long-polls without data are answered by the gateway',
  isQuiet: true,
  run: async (context) => {
    const stream = await context.streams.create()
    return judgePollSilence(await silentPoll(context, stream))
  },
}

async function silentPoll(context: Context, stream: ScratchStream): Promise<PollSilence> {
  const withinMs = Math.max(context.options.idleMs, USUAL_POLL_MS)
  const startedAt = performance.now()
  const waited = () => performance.now() - startedAt
  try {
    const query = { live: 'long-poll', offset: '-1' }
    const { status } = await stream.read(query, { withinMs, wire: context.dial() })
    return { waitedMs: waited(), status }
  } catch (error) {
    if (!(error instanceof WireError) || error.code === 'ABORTED') throw error
    if (error.code === 'TIMEOUT') return { waitedMs: waited(), status: undefined }
    return { waitedMs: waited(), status: undefined, problem: error.message }
  }
}
