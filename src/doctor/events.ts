/** Reads one response of Server-Sent Events, and notes when each came. It does not reconnect. */
import { pipeline } from 'node:stream'
import type { Readable } from 'node:stream'
import { StringDecoder } from 'node:string_decoder'
import zlib from 'node:zlib'
import type { Incoming } from './wire.ts'

export type TimedEvent = {
  readonly at: number
  readonly event: string
  readonly data: string
  readonly id: string
}

/** How a response ended: as it should, or cut off. */
export type End = { readonly at: number; readonly isWhole: boolean }

/** Of one event. What is longer is none: all that the doctor appends to streams it follows is short. */
const MAX_EVENT_CHARS = 1024 * 1024

export class EventReader {
  readonly incoming: Incoming
  readonly events: TimedEvent[] = []
  /** When comments came: heartbeats. */
  readonly comments: number[] = []
  /** When bytes came last, or the head if none did. */
  lastByteAt: number
  end: End | undefined
  readonly #watchers = new Set<() => void>()
  readonly #text = new StringDecoder('utf8')
  readonly #leave: () => void
  #rest = ''

  /** `leave` is what breaks the exchange off. */
  constructor(incoming: Incoming, leave: () => void) {
    this.incoming = incoming
    this.lastByteAt = incoming.headAt
    this.#leave = leave
    incoming.body.on('data', () => (this.lastByteAt = performance.now()))
    const plain = decoded(incoming.body, incoming.headers['content-encoding'])
    // What was compressed may come out of its decoder when all bytes have come.
    plain.once('close', () => {
      this.end = { at: performance.now(), isWhole: incoming.isWhole() }
      this.#tell()
    })
    plain.on('data', (bytes: Buffer) => this.#take(this.#text.write(bytes)))
    // It shows in how the response ended.
    plain.on('error', () => undefined)
  }

  get controls(): readonly TimedEvent[] {
    return this.events.filter(({ event }) => event === 'control')
  }

  get data(): readonly TimedEvent[] {
    return this.events.filter(({ event }) => event === 'data')
  }

  /** The first data event that has the text, if it came. */
  carrying(text: string): TimedEvent | undefined {
    return this.data.find(({ data }) => data.includes(text))
  }

  /** Resolves with true once the condition holds; with false when the response ends, or after `ms`. */
  until(condition: (reader: this) => boolean, ms: number): Promise<boolean> {
    return new Promise((resolve) => {
      const settle = (holds: boolean): void => {
        clearTimeout(timer)
        this.#watchers.delete(watch)
        resolve(holds)
      }
      const watch = (): void => {
        if (condition(this)) settle(true)
        else if (this.end !== undefined) settle(false)
      }
      const timer = setTimeout(() => settle(false), ms)
      this.#watchers.add(watch)
      watch()
    })
  }

  leave(): void {
    this.#leave()
  }

  #take(text: string): void {
    const blocks = (this.#rest + text).split(/\r\n\r\n|\n\n|\r\r/)
    this.#rest = blocks.pop() ?? ''
    for (const block of blocks) this.#takeBlock(block)
    if (this.#rest.length > MAX_EVENT_CHARS) this.#leave()
    this.#tell()
  }

  #takeBlock(block: string): void {
    const fields = { id: '', event: '', data: '' }
    for (const line of block.split(/\r\n|\n|\r/)) {
      const [, name = '', value = ''] = /^([^:]*):? ?(.*)$/s.exec(line) ?? []
      if (name === '') this.comments.push(performance.now())
      else if (name === 'id' || name === 'event') fields[name] = value
      else if (name === 'data') fields.data += value
    }
    if (fields.event !== '') this.events.push({ at: performance.now(), ...fields })
  }

  #tell(): void {
    for (const watch of [...this.#watchers]) watch()
  }
}

const DECODERS = {
  gzip: () => zlib.createGunzip(),
  br: () => zlib.createBrotliDecompress(),
  deflate: () => zlib.createInflate(),
} as const

/** What was compressed, as far as it has come. */
function decoded(body: Readable, encoding: string | undefined): Readable {
  if (encoding !== 'gzip' && encoding !== 'br' && encoding !== 'deflate') return body
  return pipeline(body, DECODERS[encoding](), () => undefined)
}
