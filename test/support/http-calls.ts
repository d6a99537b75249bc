/** Plain HTTP for tests that care about connections: one call, one SSE reader, one poller. */
import http from 'node:http'
import { once } from 'node:events'

export type Answer = {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  readonly body: string
}

export type Call = {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  readonly agent?: http.Agent
}

/** One request and its whole answer. Rejects when the connection breaks before its end. */
export function call(url: string, options: Call = {}): Promise<Answer> {
  const { method = 'GET', headers = {}, body, agent } = options
  return new Promise((resolve, reject) => {
    const request = http.request(url, { method, headers, ...(agent && { agent }) })
    request.once('error', reject)
    request.once('response', (response) => void readAnswer(response).then(resolve, reject))
    request.end(body)
  })
}

export const JSON_TYPE = { 'content-type': 'application/json' }

/** Creates a JSON stream. */
export async function createJsonStream(url: string): Promise<void> {
  const { status, body } = await call(url, { method: 'PUT', headers: JSON_TYPE })
  if (status !== 201) throw new Error(`not created: ${status} ${body}`)
}

/** Appends one JSON message or an array of them. */
export function appendJson(url: string, message: unknown, options: Call = {}): Promise<Answer> {
  return call(url, {
    ...options,
    method: 'POST',
    headers: { ...JSON_TYPE, ...options.headers },
    body: JSON.stringify(message),
  })
}

/** The headers by which an idempotent producer claims a seq (PROTOCOL §5.2.1). */
export function claim(id: string, epoch: number, seq: number): Record<string, string> {
  return { 'producer-id': id, 'producer-epoch': String(epoch), 'producer-seq': String(seq) }
}

/** Every message of a JSON stream, by catch-up reads up to its tail. */
export async function readJson(url: string, from = '-1'): Promise<unknown[]> {
  const messages: unknown[] = []
  for (let offset = from; ;) {
    const { status, headers, body } = await call(`${url}?offset=${offset}`)
    if (status !== 200) throw new Error(`not read: ${status} ${body}`)
    messages.push(...(JSON.parse(body) as unknown[]))
    offset = String(headers['stream-next-offset'])
    if (headers['stream-up-to-date'] === 'true') return messages
  }
}

async function readAnswer(response: http.IncomingMessage): Promise<Answer> {
  let body = ''
  response.setEncoding('utf8')
  for await (const chunk of response) body += String(chunk)
  if (!response.complete) throw new Error('the connection broke in the middle of an answer')
  return { status: response.statusCode ?? 0, headers: response.headers, body }
}

export type SseEvent = { readonly event: string; readonly data: string }

export type SseControl = {
  readonly streamNextOffset: string
  readonly upToDate?: true
  readonly streamClosed?: true
}

/** How a reader's response ended: by its last chunk, or broken off. */
export type SseEnd = 'complete' | 'broken'

/** A reader of one SSE response of a JSON stream. It does not reconnect. */
export class SseReader {
  /** Messages in the order in which they came. */
  readonly messages: unknown[] = []
  lastEvent: SseEvent | undefined
  lastControl: SseControl | undefined
  end: SseEnd | undefined
  readonly ended: Promise<SseEnd>
  readonly #response: http.IncomingMessage
  #rest = ''

  /** Resolves with the response's head, which must be a 200. */
  static async open(url: string, offset = '-1', agent?: http.Agent): Promise<SseReader> {
    const request = http.get(`${url}?offset=${offset}&live=sse`, { ...(agent && { agent }) })
    const [response] = (await once(request, 'response')) as [http.IncomingMessage]
    if (response.statusCode === 200) return new SseReader(response)
    const { status, body } = await readAnswer(response)
    throw new Error(`no SSE: ${status} ${body}`)
  }

  private constructor(response: http.IncomingMessage) {
    this.#response = response
    response.setEncoding('utf8')
    response.on('data', (text: string) => this.#take(text))
    // It shows as an early `close`.
    response.on('error', () => undefined)
    this.ended = new Promise((resolve) => {
      response.once('close', () => {
        this.end = response.complete ? 'complete' : 'broken'
        resolve(this.end)
      })
    })
  }

  leave(): void {
    this.#response.destroy()
  }

  #take(text: string): void {
    const events = (this.#rest + text).split('\n\n')
    this.#rest = events.pop() ?? ''
    for (const lines of events) this.#dispatch(parseEvent(lines))
  }

  #dispatch(event: SseEvent): void {
    if (event.event === '') return
    this.lastEvent = event
    if (event.event === 'data') this.messages.push(...(JSON.parse(event.data) as unknown[]))
    else this.lastControl = JSON.parse(event.data) as SseControl
  }
}

function parseEvent(text: string): SseEvent {
  let event = ''
  const data: string[] = []
  for (const line of text.split('\n')) {
    if (line.startsWith('event:')) event = line.slice(6).trim()
    else if (line.startsWith('data:')) data.push(line.slice(5))
  }
  return { event, data: data.join('\n') }
}

/** Polls a JSON stream one long-poll after the other until it leaves or gets a wrong answer. */
export class LongPoller {
  readonly messages: unknown[] = []
  /** Answers without data: time was up, or the gateway leaves. */
  emptyAnswers = 0
  /** Resolves when the poller left, and rejects on anything but 200 and 204. */
  readonly done: Promise<void>
  readonly #url: string
  readonly #agent: http.Agent
  #left = false

  constructor(url: string, offset: string, agent: http.Agent) {
    this.#url = url
    this.#agent = agent
    this.done = this.#poll(offset)
    // Whoever waits for it gets the failure; until then it is no unhandled one.
    this.done.catch(() => undefined)
  }

  leave(): void {
    this.#left = true
    this.#request?.destroy()
  }

  #request: http.ClientRequest | undefined

  async #poll(from: string): Promise<void> {
    let query = `offset=${from}&live=long-poll`
    while (!this.#left) {
      const answer = await this.#once(`${this.#url}?${query}`)
      if (answer === undefined) return
      if (answer.status === 200) this.messages.push(...(JSON.parse(answer.body) as unknown[]))
      else if (answer.status === 204) this.emptyAnswers += 1
      else throw new Error(`long-poll: ${answer.status} ${answer.body}`)
      const { 'stream-next-offset': next, 'stream-cursor': cursor } = answer.headers
      query = `offset=${String(next)}&live=long-poll&cursor=${String(cursor)}`
    }
  }

  async #once(url: string): Promise<Answer | undefined> {
    try {
      const request = http.get(url, { agent: this.#agent })
      this.#request = request
      const [response] = (await once(request, 'response')) as [http.IncomingMessage]
      return await readAnswer(response)
    } catch (error) {
      if (this.#left) return undefined
      throw error
    }
  }
}
