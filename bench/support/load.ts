/** The load generator, `c/load.c`: a process of its own that holds readers and posts messages. */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Interface } from 'node:readline'
import { build } from './native.ts'

const SOURCES = ['load.c', 'loop.c', 'tally.c', 'response.c', 'readers.c', 'publisher.c']

export type LoadOptions = {
  readonly port: number
  readonly readers: number
  readonly streams: number
  /** Paths, in which `{i}` is the number of the stream and `{offset}` a long-poll's position. */
  readonly get: string
  readonly post: string
  /** The media type of what is posted. */
  readonly type: string
  /** 1: a response that ends is followed by the next request. */
  readonly poll: 0 | 1
  /** 1: the messages of a turn are posted as one JSON array. */
  readonly json: 0 | 1
  /** Of one message. */
  readonly bytes: number
  /** Messages that each stream has before anybody reads it. */
  readonly history: number
  /** Connections at most that wait for their first byte. */
  readonly inFlight: number
  /** 1: it never sleeps while something is to come. For one that has its core for itself. */
  readonly spin: 0 | 1
  /** Connections that messages are posted over. */
  readonly publishers: number
  /** What the kernel may keep for a reader that does not take it; 0: as much as it likes. */
  readonly rcvbuf: number
}

export type Turns = {
  readonly turns: number
  /** Messages that a turn posts at once. */
  readonly messages: number
  readonly intervalMs: number
}

export type Connected = {
  readonly seconds: number
  /** The share of it that the generator had something to do, and had its core. */
  readonly busy: number
  readonly had: number
}

export type Delivered = {
  readonly seconds: number
  readonly deliveries: number
  readonly missing: number
  readonly duplicates: number
  readonly malformed: number
  readonly closed: number
  readonly refused: number
  readonly p50Us: number
  readonly p99Us: number
  readonly p999Us: number
  /**
   * For how long deliveries were outstanding, and the share of it that the generator had something
   * to do, and had its core.
   */
  readonly activeSeconds: number
  readonly busy: number
  readonly had: number
}

/** Starts a load for this work, and ends it however the work does. */
export async function withLoad<Result>(
  options: LoadOptions,
  work: (load: Load) => Promise<Result>,
): Promise<Result> {
  const load = new Load(options)
  try {
    return await work(load)
  } finally {
    await load.stop()
  }
}

export class Load {
  readonly #child: ChildProcess
  readonly #lines: Interface
  readonly #ended: Promise<unknown>

  constructor(options: LoadOptions) {
    const args = Object.entries(options).map(([name, value]) => `${name}=${value}`)
    this.#child = spawn(build('load', SOURCES), args, { stdio: ['pipe', 'pipe', 'inherit'] })
    this.#ended = once(this.#child, 'exit')
    // What is not listened to any more may end as it likes.
    this.#child.stdin?.on('error', () => undefined)
    if (this.#child.stdout === null) throw new Error('the load has no stdout')
    this.#lines = createInterface({ input: this.#child.stdout })
  }

  /** Connects all readers; says how long it took until each had its first byte. */
  async connect(): Promise<Connected> {
    const connected = (await this.#ask('connect')) as Connected & { readonly closed: number }
    const { closed } = connected
    if (closed > 0) throw new Error(`${closed} connections were refused or ended at once`)
    return connected
  }

  /** Posts messages and waits until every reader has them all. */
  async publish({ turns, messages, intervalMs }: Turns): Promise<Delivered> {
    const intervalNs = Math.max(1, Math.round(intervalMs * 1e6))
    return (await this.#ask(`publish ${turns} ${messages} ${intervalNs}`)) as Delivered
  }

  /** Waits until every reader has what there was before it came. */
  async receive(): Promise<Delivered> {
    return (await this.#ask('receive')) as Delivered
  }

  /** Readers take nothing any more; messages that are posted wait for none of them. */
  async stall(): Promise<void> {
    await this.#ask('stall')
  }

  /** They go on; `receive` waits until each has what it has missed. */
  async resume(): Promise<void> {
    await this.#ask('resume')
  }

  async stop(): Promise<void> {
    this.#child.stdin?.end()
    await this.#ended
  }

  async #ask(command: string): Promise<unknown> {
    const line = once(this.#lines, 'line')
    const ended = this.#ended.then(() => {
      throw new Error(`the load ended in the middle of: ${command}`)
    })
    this.#child.stdin?.write(`${command}\n`)
    const [answer] = (await Promise.race([line, ended])) as [string]
    return JSON.parse(answer)
  }
}
