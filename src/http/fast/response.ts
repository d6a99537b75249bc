/**
 * Heads of responses as bytes, as Node's server writes them; what that one refuses to write is an
 * error here, too.
 */
import { STATUS_CODES, validateHeaderValue } from 'node:http'
import type { Clock } from '../../clock.ts'
import { withCommon } from '../cors.ts'
import type { Headers, Rendered } from '../render.ts'

/** Bodies up to this are copied behind their heads: one write of one buffer is the quickest. */
const MAX_JOINED_BYTES = 64 * 1024

/** The body, if there is one, follows its head. */
export type Whole = { readonly head: Buffer; readonly body?: Buffer }

export class ResponseHeads {
  readonly #clock: Clock
  readonly #keepAlive: string
  #second = NaN
  #date = ''
  /** Those of this second, by what is common and their own: readers come together. */
  #chunked = new WeakMap<Headers, WeakMap<Headers, Buffer>>()

  constructor(clock: Clock, keepAliveMs: number) {
    this.#clock = clock
    this.#keepAlive = `Connection: keep-alive\r\nKeep-Alive: timeout=${Math.floor(keepAliveMs / 1000)}\r\n`
  }

  /**
   * The head of a response that comes in chunks. The same headers should be the same objects,
   * those `common` to all answers to a request and those of its `own`.
   */
  chunked(own: Headers, common: Headers): Buffer {
    this.#tick()
    const known = this.#chunked.get(common)
    const same = known?.get(own)
    if (same !== undefined) return same
    const head = this.#head(200, withCommon(common, own), 'Transfer-Encoding: chunked\r\n')
    if (known === undefined) this.#chunked.set(common, new WeakMap([[own, head]]))
    else known.set(own, head)
    return head
  }

  /** A whole response; `isLast` on its connection. A small body is in one piece with its head. */
  whole(
    { status, headers, body }: Omit<Rendered, 'cache'>,
    common: Headers,
    isLast = false,
  ): Whole {
    const all = withCommon(common, headers)
    if (body === undefined || status === 204 || status === 304) {
      return { head: this.#head(status, all, '', isLast) }
    }
    const framing = `content-length: ${body.length}\r\n`
    const head = this.#head(status, all, framing, isLast)
    if (body.length > MAX_JOINED_BYTES) return { head, body }
    return { head: Buffer.concat([head, body]) }
  }

  #head(status: number, headers: Headers, framing: string, isLast = false): Buffer {
    this.#tick()
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    const text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines.join('')}${framing}`
    for (const [name, value] of Object.entries(headers)) validateHeaderValue(name, value)
    const connection = isLast ? 'Connection: close\r\n' : this.#keepAlive
    return Buffer.from(`${text}Date: ${this.#date}\r\n${connection}\r\n`, 'latin1')
  }

  #tick(): void {
    const second = Math.floor(this.#clock.now() / 1000)
    if (second === this.#second) return
    this.#second = second
    this.#date = new Date(second * 1000).toUTCString()
    this.#chunked = new WeakMap()
  }
}
