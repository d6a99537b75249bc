/** One SSE response, from its request to its end. */
import http from 'node:http'
import { SseClient } from '../support/sse-client.ts'
import type { WireControl, WireEvent } from '../support/sse-client.ts'
import type { Client } from './client.ts'
import type { Failure, Offset, ReadOperation } from './history.ts'
import { decode } from './requests.ts'

/** How often a reader that hears nothing thinks about leaving. */
const IDLE_MS = { low: 50, high: 60 }
/** It leaves after a time of its own, whatever comes. */
const STAY_MS = { low: 200, high: 4_000 }

/** Whether a reader has to begin again: the stream it read is gone. */
export function isGone(outcome: ReadOperation['outcome']): boolean {
  return outcome.kind === 'refused' && (outcome.status === 404 || outcome.status === 410)
}

/** Where to go on; undefined when the stream is gone. */
export async function follow(client: Client, from: Offset): Promise<Offset | undefined> {
  const following = new Following(client, from)
  const response = await following.open()
  if (response === undefined) return following.isLost ? undefined : from
  const leaveAt = client.world.recorder.now() + client.random.between(STAY_MS.low, STAY_MS.high)
  for (let taken = 0; ;) {
    for (const event of response.events.slice(taken)) following.take(event)
    taken = response.events.length
    const { isOver, recorder } = client.world
    if (response.complete !== undefined || isOver() || recorder.now() > leaveAt) {
      response.leave()
      return following.at
    }
    const heard = response.until(({ events }) => events.length > taken).catch(() => undefined)
    await Promise.race([heard, client.pause(IDLE_MS.low, IDLE_MS.high)])
  }
}

class Following {
  /** The offset after the last data that is whole. */
  at: Offset
  isLost = false
  readonly #client: Client
  readonly #gateway: number
  readonly #start: number
  #isBase64 = false
  #body = ''

  constructor(client: Client, from: Offset) {
    this.#client = client
    this.#gateway = client.anyGateway()
    this.#start = client.world.recorder.now()
    this.at = from
  }

  /** The response, if it is one to follow. */
  async open(): Promise<SseClient | undefined> {
    const url = this.#client.url(this.#gateway, `?offset=${this.at}&live=sse`)
    // A connection of its own, which ends with it.
    const opening = SseClient.open(url, {}, new http.Agent())
    const response = await opening.catch((error: unknown) => error as NodeJS.ErrnoException)
    if (response instanceof Error) {
      this.#record({ kind: 'unknown', why: response.code ?? response.message })
      return undefined
    }
    this.#isBase64 = response.headers['stream-sse-data-encoding'] === 'base64'
    if (response.status === 200) return response
    this.isLost = isGone(this.#record(refusal(response)).outcome)
    return undefined
  }

  take({ event, data }: WireEvent): void {
    if (event === 'data') {
      this.#body += this.#isBase64 ? Buffer.from(data, 'base64').toString() : data
      return
    }
    const control = JSON.parse(data) as WireControl
    const closed = control.streamClosed === true
    const seen = decode(this.#client, this.#body, {
      kind: 'ok',
      next: control.streamNextOffset,
      upToDate: control.upToDate === true || closed,
      closed,
    })
    if (seen === undefined) return
    this.#body = ''
    this.#record(seen)
    if (seen.kind === 'ok') this.at = seen.next
  }

  #record(outcome: ReadOperation['outcome']): ReadOperation {
    const { name, stream, world } = this.#client
    return this.#client.record({
      kind: 'read',
      client: name,
      gateway: this.#gateway,
      stream: stream.name,
      start: this.#start,
      end: world.recorder.now(),
      mode: 'sse',
      from: this.at,
      outcome,
    })
  }
}

const CODES: Readonly<Record<number, string>> = {
  404: 'stream_not_found',
  410: 'offset_gone',
  503: 'log_unavailable',
}

/** The code is in a body that an SSE client does not read. */
function refusal(response: SseClient): Failure {
  const { status } = response
  response.leave()
  return { kind: 'refused', status, code: CODES[status] ?? String(status) }
}
