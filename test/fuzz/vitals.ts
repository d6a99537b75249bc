/** How a gateway process is doing, seen from outside: memory, descriptors, and whether it answers. */
import { readFile, readdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'undici'
import type { GatewayProcess } from '../support/gateway-process.ts'

export type Vitals = {
  /** What the process keeps, after a collection of its garbage. In bytes. */
  readonly heap: number
  /** What the kernel gives it. In bytes. */
  readonly rss: number
  /** Descriptors: files and sockets. */
  readonly descriptors: number
}

/** Has the process listen for {@link takeVitals}: only its inspector can tell garbage from a leak. */
export const INSPECTABLE = { NODE_OPTIONS: '--inspect=127.0.0.1:0' }

/** What the inspector itself says on standard error. */
const OF_INSPECTOR = /^(?:Debugger |For help, see: https:\/\/nodejs\.org).*\n?/gm

/** What the process has said on standard error without being asked. */
export function complaintsOf(gateway: GatewayProcess): string {
  return gateway.stderr().replace(OF_INSPECTOR, '')
}

type Reply = { readonly id: number; readonly result: { readonly result?: { value: unknown } } }

export async function takeVitals(gateway: GatewayProcess): Promise<Vitals> {
  const { pid } = gateway
  const heap = await heapOf(gateway)
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  const rss = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024
  return { heap, rss, descriptors: (await readdir(`/proc/${pid}/fd`)).length }
}

async function heapOf(gateway: GatewayProcess): Promise<number> {
  const url = /^Debugger listening on (ws:\S+)$/m.exec(gateway.stderr())?.[1]
  if (url === undefined) throw new Error('the gateway was not started to be inspected')
  const socket = new WebSocket(url)
  await new Promise((resolve, reject) => {
    socket.addEventListener('open', resolve)
    socket.addEventListener('error', () => reject(new Error('the inspector can not be reached')))
  })
  let calls = 0
  const ask = async (method: string, params: object): Promise<Reply['result']> => {
    const id = (calls += 1)
    const reply = new Promise<Reply>((resolve) => {
      socket.addEventListener('message', ({ data }: { data: unknown }) => {
        const message = JSON.parse(String(data)) as Reply
        if (message.id === id) resolve(message)
      })
    })
    socket.send(JSON.stringify({ id, method, params }))
    return (await reply).result
  }
  // Twice: what finalizers let go of is garbage only then.
  await ask('HeapProfiler.collectGarbage', {})
  await sleep(100)
  await ask('HeapProfiler.collectGarbage', {})
  const expression = 'JSON.stringify(process.memoryUsage())'
  const { result } = await ask('Runtime.evaluate', { expression })
  socket.close()
  const usage = JSON.parse(String(result?.value)) as NodeJS.MemoryUsage
  // `external` counts array buffers, too.
  return usage.heapUsed + usage.external
}

/** Asks again and again whether the process lives, on connections of its own. */
export class Pulse {
  readonly #url: string
  #isOver = false
  readonly #watching: Promise<void>
  /** The longest that an answer took, in ms. */
  longestMs = 0
  /** Answers that were none. */
  failures = 0

  constructor(gateway: GatewayProcess) {
    this.#url = `${gateway.url}/healthz`
    this.#watching = this.#watch()
  }

  async stop(): Promise<void> {
    this.#isOver = true
    await this.#watching
  }

  async #watch(): Promise<void> {
    while (!this.#isOver) {
      const begun = performance.now()
      if (!(await this.#isAlive())) this.failures += 1
      this.longestMs = Math.max(this.longestMs, performance.now() - begun)
      await sleep(100)
    }
  }

  async #isAlive(): Promise<boolean> {
    try {
      const response = await fetch(this.#url, { signal: AbortSignal.timeout(10_000) })
      await response.arrayBuffer()
      return response.status === 200
    } catch {
      return false // hung up on, or too late
    }
  }
}
