/**
 * Streams of the doctor's own, with names that nobody else has. All are deleted in the end; those
 * that could not be, expire by themselves.
 */
import type { Answer, Call, Context } from './context.ts'
import { encodeName } from './target.ts'
import { WireError, isUnheard } from './wire.ts'
import type { Headers } from './wire.ts'

const TEXT = 'text/plain'
/** Longer than any run, so that nothing of a run that was killed stays for long. */
const TTL_S = 3600
/** More than one answer of the gateway carries: the first one ends before the tail. */
const HISTORY_MESSAGES = 1500
const DELETES_AT_ONCE = 8
const DELETE_ATTEMPTS = 3
const DELETE_PAUSE_MS = 1000
/** May have been said by a proxy that had passed the request on. */
const REQUEST_TIMEOUT = 408
const DELETED: ReadonlySet<number> = new Set([200, 202, 204, 404, 410])

type Caller = Pick<Context, 'options' | 'call' | 'sleep'>

/** The deployment does not let the doctor create streams. */
export class CreateError extends Error {
  readonly status: number

  constructor({ status, headers, body }: Answer) {
    const { location } = headers
    const where = status >= 300 && status < 400 && location !== undefined ? ` to ${location}` : ''
    super(`PUT was answered ${status}${where}${body === '' ? '' : `: ${body.slice(0, 300)}`}`)
    this.status = status
  }

  /** Whether it is certain that there is no stream. */
  get isFinal(): boolean {
    return this.status >= 300 && this.status < 500 && this.status !== REQUEST_TIMEOUT
  }
}

export class ScratchStreams {
  readonly #context: Caller
  readonly #run: string
  readonly #paths = new Set<string>()
  #count = 0

  constructor(context: Caller, run: string) {
    this.#context = context
    this.#run = run
  }

  /** The path of a stream that does not exist. It is deleted in the end, if it may exist by then. */
  newPath(suffix = ''): string {
    const { target, streamPrefix } = this.#context.options
    this.#count += 1
    const path = `${target.streams}${encodeName(`${streamPrefix}${this.#run}-${this.#count}${suffix}`)}`
    this.#paths.add(path)
    return path
  }

  /** A stream that is not created yet. */
  uncreated(suffix = '', type = TEXT): ScratchStream {
    const path = this.newPath(suffix)
    return new ScratchStream(this.#context, path, type, () => this.#paths.delete(path))
  }

  /**
   * Creates a stream.
   *
   * @throws CreateError it was refused
   */
  async create(type = TEXT): Promise<ScratchStream> {
    const stream = this.uncreated('', type)
    await stream.create()
    return stream
  }

  /** Creates a stream of JSON with so many messages that its first chunk ends before the tail. */
  async createWithHistory(): Promise<ScratchStream> {
    const stream = await this.create('application/json')
    await stream.append(JSON.stringify(Array.from({ length: HISTORY_MESSAGES }, (_, n) => n)))
    return stream
  }

  /** Deletes all, by the way of another context if that is given. Returns the paths that stay. */
  async deleteAll(context: Caller = this.#context): Promise<readonly string[]> {
    const paths = [...this.#paths]
    const left: string[] = []
    const next = async (): Promise<void> => {
      for (let path = paths.pop(); path !== undefined; path = paths.pop()) {
        if (await isDeleted(context, path)) this.#paths.delete(path)
        else left.push(path)
      }
    }
    await Promise.all(Array.from({ length: DELETES_AT_ONCE }, next))
    return left
  }
}

async function isDeleted(context: Caller, path: string): Promise<boolean> {
  for (let attempt = 1; attempt <= DELETE_ATTEMPTS; attempt += 1) {
    try {
      const { status } = await context.call(path, { method: 'DELETE' })
      if (DELETED.has(status)) return true
      // There may be no room just now; anything else stays as it is.
      if (status !== 503) return false
      await context.sleep(DELETE_PAUSE_MS)
    } catch {
      return false // told as one that stays
    }
  }
  return false
}

/** Whether a PUT that failed so has certainly created no stream. */
function hasCreatedNothing(error: unknown): boolean {
  if (error instanceof CreateError) return error.isFinal
  return error instanceof WireError && isUnheard(error)
}

export class ScratchStream {
  readonly path: string
  readonly #context: Caller
  readonly #type: string
  readonly #forget: () => void
  #exists = false
  /** What lets shared caches keep answers of a private stream (`rk`), if it has one. */
  readerKey: string | undefined

  /** `forget` is called when it is certain that there is no such stream. */
  constructor(context: Caller, path: string, type: string, forget: () => void) {
    this.#context = context
    this.path = path
    this.#type = type
    this.#forget = forget
  }

  /** @throws CreateError it was refused */
  async create(headers: Headers = {}): Promise<Answer> {
    const all = { 'content-type': this.#type, 'stream-ttl': String(TTL_S), ...headers }
    try {
      const answer = await this.#context.call(this.path, { method: 'PUT', headers: all })
      const isCreated = answer.status === 201 || answer.status === 200
      // A site that answers all it is asked with its page is no gateway.
      const isPage = (answer.headers['content-type'] ?? '').startsWith('text/html')
      if (!isCreated || isPage) throw new CreateError(answer)
      this.#exists = true
      this.readerKey = answer.headers['stream-reader-key']
      return answer
    } catch (error) {
      if (!this.#exists && hasCreatedNothing(error)) this.#forget()
      throw error
    }
  }

  /** @throws WireError it was refused */
  async append(body: Uint8Array | string, headers: Headers = {}): Promise<Answer> {
    const answer = await this.post(body, headers)
    if (answer.status === 200 || answer.status === 204) return answer
    throw new WireError(`an append was answered ${answer.status}: ${answer.body.slice(0, 300)}`)
  }

  /** An append, whatever becomes of it. */
  post(body: Uint8Array | string, headers: Headers = {}): Promise<Answer> {
    const all = { 'content-type': this.#type, ...headers }
    return this.#context.call(this.path, { method: 'POST', headers: all, body })
  }

  close(): Promise<Answer> {
    return this.#context.call(this.path, { method: 'POST', headers: { 'stream-closed': 'true' } })
  }

  delete(): Promise<Answer> {
    return this.#context.call(this.path, { method: 'DELETE' })
  }

  read(query: Headers = {}, call: Call = {}): Promise<Answer> {
    return this.#context.call(this.url(query), call)
  }

  /** Path and query, whose keys are in order as caches like them. */
  url(query: Headers = {}): string {
    const pairs = Object.entries(query).sort(([a], [b]) => (a < b ? -1 : 1))
    return pairs.length === 0 ? this.path : `${this.path}?${String(new URLSearchParams(pairs))}`
  }

  /** A URL that shared caches may keep answers for. */
  sharedUrl(query: Headers): string {
    return this.url(this.readerKey === undefined ? query : { ...query, rk: this.readerKey })
  }
}
