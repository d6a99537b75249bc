/** One request body into memory, within bounds. */
import type { Clock } from '../clock.ts'
import { RequestError } from '../errors.ts'
import type { Share } from './byte-budget.ts'

/** How slow a client may be: a body on a slow line takes its time, one that stands still does not. */
export type Pace = {
  readonly clock: Clock
  /** Every body has as long, in ms. */
  readonly timeoutMs: number
  /** And a second more for as many bytes that have come. */
  readonly bytesPerSecond: number
}

export type BodyBounds = {
  readonly share: Share
  /** What the client says it sends; NaN when it does not say. */
  readonly length: number
  readonly limit: number
  readonly pace: Pace
}

/** Called once: with the body, or with why there is none. */
export type BodyDone = (error: Error | null, body?: Buffer) => void

/**
 * Receives a body; or says `payload_too_large`, `overloaded`, `request_timeout`, `bad_request`.
 *
 * Nothing is read any more of a body that is refused: what is left of it is Node's to drop, once
 * the answer is sent.
 */
export function receiveBody(
  stream: NodeJS.ReadableStream,
  { share, length, limit, pace }: BodyBounds,
  done: BodyDone,
): void {
  const chunks: Buffer[] = []
  let received = 0
  // What comes of the stream later is no news: a client may go while its append waits for the log.
  const leave = (): void => {
    cancel()
    stream.off('data', onData).off('end', onEnd).off('error', onBroken)
  }
  const fail = (error: Error): void => {
    leave()
    done(error)
  }
  const admit = (bytes: number): boolean => {
    const refusal = bytes > limit ? tooLarge() : share.growTo(bytes)
    if (refusal !== undefined) fail(refusal)
    return refusal === undefined
  }
  const onData = (chunk: Buffer): void => {
    received += chunk.length
    if (admit(received)) chunks.push(chunk)
  }
  const onEnd = (): void => {
    leave()
    // A copy always: the chunks are parts of larger buffers.
    done(null, Buffer.concat(chunks, received))
  }
  const onBroken = (): void => fail(new RequestError('bad_request', 'the body broke off'))
  const cancel = keepPace(pace, { received: () => received, onLate: () => fail(late()) })
  if (!Number.isNaN(length) && !admit(length)) return
  stream.on('data', onData).on('end', onEnd).on('error', onBroken)
}

type Watched = { readonly received: () => number; readonly onLate: () => void }

/** Calls `onLate` when the time is over that was given and earned. Returns what ends the watch. */
function keepPace({ clock, timeoutMs, bytesPerSecond }: Pace, watched: Watched): () => void {
  let counted = 0
  const check = (): void => {
    const received = watched.received()
    const earnedMs = ((received - counted) / bytesPerSecond) * 1000
    counted = received
    if (earnedMs === 0) watched.onLate()
    else cancel = clock.after(earnedMs, check)
  }
  let cancel = clock.after(timeoutMs, check)
  return () => cancel()
}

function tooLarge(): RequestError {
  return new RequestError('payload_too_large', 'the body is larger than this server takes')
}

function late(): RequestError {
  return new RequestError('request_timeout', 'the body came too slowly')
}
