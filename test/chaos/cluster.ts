/** The real thing: an s2-lite on disk, and gateways that reach it through proxies of their own. */
import { join } from 'node:path'
import { freePort } from '../support/free-port.ts'
import { listening, spawnGateway, statusOf } from '../support/gateway-process.ts'
import type { Exit, GatewayProcess } from '../support/gateway-process.ts'
import { startS2Lite } from '../support/s2-lite.ts'
import type { S2Lite } from '../support/s2-lite.ts'
import { Relay } from '../support/s2-proxy.ts'
import { GATEWAYS } from './plan.ts'
import type { Plan } from './plan.ts'

/** A gateway that has all it needs is ready at once; the rest is for a busy machine. */
const READY_TIMEOUT_MS = 20_000
const POLL_MS = 50
/** Well above `SHUTDOWN_GRACE_MS`. */
const LEAVE_TIMEOUT_MS = 10_000

export class Gateway {
  readonly url: string
  readonly relay: Relay
  readonly #environment: Readonly<Record<string, string>>
  #process: GatewayProcess | undefined
  #outputs: string[] = []
  /** Starts and stops, one after the other: a fault may come while the one before is healing. */
  #last: Promise<unknown> = Promise.resolve()

  constructor(port: number, relay: Relay, environment: Readonly<Record<string, string>>) {
    this.url = `http://127.0.0.1:${port}`
    this.relay = relay
    this.#environment = { ...environment, PORT: String(port) }
  }

  /** Starts it, unless it runs. It need not reach S2 for that. */
  start(): Promise<void> {
    return this.#then(async () => {
      this.#process ??= await listening(spawnGateway(this.#environment), { ready: false })
    })
  }

  kill(): Promise<void> {
    return this.#then(async () => {
      await this.#end('SIGKILL')
    })
  }

  /** Asks it to leave, and makes it if it does not. What was wrong with how it left, if anything. */
  terminate(): Promise<string | undefined> {
    return this.#then(async () => {
      const timer = setTimeout(() => this.#process?.kill('SIGKILL'), LEAVE_TIMEOUT_MS)
      const exit = await this.#end('SIGTERM')
      clearTimeout(timer)
      if (exit === undefined || exit.code === 0) return undefined
      return `left with ${exit.signal ?? exit.code ?? 'nothing'}`
    })
  }

  /** `SIGSTOP` and `SIGCONT`, to a process that stays. */
  signal(signal: NodeJS.Signals): void {
    this.#process?.kill(signal)
  }

  /** Whether it reaches S2, within the bound. */
  async isReady(): Promise<boolean> {
    const deadline = performance.now() + READY_TIMEOUT_MS
    while ((await statusOf(`${this.url}/readyz`)) !== 200) {
      if (performance.now() > deadline) return false
      await new Promise((resolve) => setTimeout(resolve, POLL_MS))
    }
    return true
  }

  /** What all its processes have said, for a report. */
  get output(): string {
    const running = this.#process
    return [...this.#outputs, running && running.stdout() + running.stderr()].join('\n')
  }

  async #end(signal: NodeJS.Signals): Promise<Exit | undefined> {
    const running = this.#process
    const exit = await running?.stop(signal)
    this.#process = undefined
    if (running !== undefined) this.#outputs.push(running.stdout() + running.stderr())
    return exit
  }

  #then<T>(step: () => Promise<T>): Promise<T> {
    const result = this.#last.then(step)
    this.#last = result.catch(() => undefined)
    return result
  }
}

export class Cluster {
  readonly s2: S2Lite
  readonly gateways: readonly Gateway[]

  private constructor(s2: S2Lite, gateways: readonly Gateway[]) {
    this.s2 = s2
    this.gateways = gateways
  }

  /** Call it inside a test, which ends the gateways. `directory` outlives the cluster. */
  static async start(plan: Plan, directory: string): Promise<Cluster> {
    const s2 = await startS2Lite({ localRoot: join(directory, 's2') })
    const gateways: Gateway[] = []
    for (let index = 0; index < GATEWAYS; index += 1) {
      const relay = new Relay(s2.port)
      await relay.listen()
      const environment = {
        ...plan.gatewayEnvironment,
        S2_ENDPOINT: `http://127.0.0.1:${relay.port}`,
        AUTH: 'none',
      }
      gateways.push(new Gateway(await freePort(), relay, environment))
    }
    await Promise.all(gateways.map((gateway) => gateway.start()))
    const cluster = new Cluster(s2, gateways)
    if (!(await cluster.areReady()).every(Boolean)) throw new Error('the cluster did not start')
    return cluster
  }

  areReady(): Promise<boolean[]> {
    return Promise.all(this.gateways.map((gateway) => gateway.isReady()))
  }

  async stop(): Promise<void> {
    await Promise.all(this.gateways.map((gateway) => gateway.kill()))
    await this.s2.stop('SIGKILL')
    for (const { relay } of this.gateways) {
      relay.cut()
      await relay.refuse()
    }
  }
}
