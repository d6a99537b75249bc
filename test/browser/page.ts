/**
 * What runs inside the browser: an application's page that reads one JSON stream, by the browser's
 * own `EventSource` or by the official client. `bundle.ts` makes one script of it.
 */
import { stream } from '@durable-streams/client'

/** What a page has seen so far. */
export type Seen = {
  /** Every message, in the order in which it came. */
  messages: unknown[]
  /** Connections that were opened, or responses that began. */
  opened: number
  /** Connections that were lost or refused. */
  failures: number
  /** What the last control event said. */
  control: { readonly upToDate?: true; readonly streamClosed?: true } | undefined
  /** Nothing more will come: the stream is closed, or the browser has given up. */
  ended: boolean
}

export type ClientOptions = {
  readonly url: string
  readonly live: 'sse' | 'long-poll'
  readonly headers?: Record<string, string>
}

/** What a request came to, as far as a page may know. */
export type Outcome =
  | { readonly status: number; readonly headers: Record<string, string>; readonly body: string }
  | { readonly error: string }

function seen(): Seen {
  return { messages: [], opened: 0, failures: 0, control: undefined, ended: false }
}

/** Reads by `EventSource`, which reconnects by itself. */
function readEvents(url: string, withCredentials = false): Seen {
  const state = seen()
  const source = new EventSource(url, { withCredentials })
  source.addEventListener('open', () => (state.opened += 1))
  source.addEventListener('data', ({ data }: MessageEvent<string>) => {
    state.messages.push(...(JSON.parse(data) as unknown[]))
  })
  source.addEventListener('control', ({ data }: MessageEvent<string>) => {
    state.control = JSON.parse(data) as Exclude<Seen['control'], undefined>
    if (state.control.streamClosed !== true) return
    // What is complete is not asked for again (PROTOCOL §5.8).
    source.close()
    state.ended = true
  })
  source.addEventListener('error', () => {
    state.failures += 1
    state.ended = source.readyState === EventSource.CLOSED
  })
  return state
}

/** Reads by the official client, which leaves a broken connection to its application. */
function readByClient(options: ClientOptions): Seen {
  const state = seen()
  void followByClient(options, state)
  return state
}

async function followByClient(options: ClientOptions, state: Seen): Promise<void> {
  let offset = '-1'
  while (!state.ended) {
    let isCurrent = true
    try {
      const response = await stream({ ...options, offset, warnOnHttp: false })
      state.opened += 1
      response.subscribeJson((batch) => {
        // The client may say that a response has failed, and hand out its last batch after that.
        if (!isCurrent) return
        state.messages.push(...batch.items)
        ;({ offset } = batch)
      })
      await response.closed
      state.ended = response.streamClosed
    } catch (error) {
      state.failures += 1
      // A refusal is final.
      state.ended = error instanceof Error && 'status' in error
    }
    isCurrent = false
  }
}

/** One request, preflighted by the browser where it has to be. */
async function request(url: string, init: RequestInit = {}): Promise<Outcome> {
  try {
    const response = await fetch(url, init)
    const headers = Object.fromEntries(response.headers)
    return { status: response.status, headers, body: await response.text() }
  } catch (error) {
    return { error: String(error) }
  }
}

declare global {
  interface Window {
    readonly readEvents: typeof readEvents
    readonly readByClient: typeof readByClient
    readonly request: typeof request
    seen: Seen
  }
}

Object.assign(window, { readEvents, readByClient, request })
