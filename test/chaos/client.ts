/** What every client of a run has: its choices, its stream, and gateways to pick from. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Cluster } from './cluster.ts'
import type { Failure, Operation, Recorder } from './history.ts'
import { send } from './http.ts'
import type { Answer, Sending } from './http.ts'
import { randomOf } from './plan.ts'
import type { ClientPlan, Plan, Random, StreamPlan } from './plan.ts'

/** Longer than a gateway takes for an answer, most of the time. */
const PATIENCE_MS = 3_000
/** Of requests that their client gives up at any moment. */
const HASTE = 0.02
const HASTE_MS = 40

export type World = {
  readonly plan: Plan
  readonly cluster: Cluster
  readonly recorder: Recorder
  /** No more new work: what is under way is brought to its end. */
  isFinishing(): boolean
  /** Nobody needs the readers any more. */
  isOver(): boolean
}

/** Who asked whom, and when: what all operations have. */
export type Exchange = {
  readonly client: string
  readonly gateway: number
  readonly stream: string
  readonly start: number
  readonly end: number
}

export class Client {
  readonly name: string
  readonly stream: StreamPlan
  readonly random: Random
  readonly world: World

  constructor(world: World, { name, stream }: Pick<ClientPlan, 'name' | 'stream'>) {
    this.world = world
    this.name = name
    this.stream = stream
    this.random = randomOf(`${world.plan.seed} ${name}`)
  }

  async pause(low: number, high: number): Promise<void> {
    await sleep(this.random.between(low, high))
  }

  anyGateway(): number {
    return this.random.between(0, this.world.cluster.gateways.length)
  }

  url(gateway: number, query = ''): string {
    const root = this.world.cluster.gateways[gateway]?.url ?? ''
    return `${root}/v1/stream/${this.stream.name}${query}`
  }

  /** Sends a request to a gateway. Now and then it hangs up while that is at work. */
  async ask(
    gateway: number,
    { query, ...sending }: Omit<Sending, 'patienceMs'> & { readonly query?: string },
  ): Promise<{ readonly exchange: Exchange; readonly answer: Answer | Failure }> {
    const isHasty = this.random.chance(HASTE) && !this.world.isFinishing()
    const patienceMs = isHasty ? this.random.between(1, HASTE_MS) : PATIENCE_MS
    const start = this.world.recorder.now()
    const answer = await send(this.url(gateway, query), { ...sending, patienceMs })
    const end = this.world.recorder.now()
    const exchange = { client: this.name, gateway, stream: this.stream.name, start, end }
    return { exchange, answer }
  }

  record<T extends Operation>(operation: T): T {
    this.world.recorder.add(operation)
    return operation
  }
}
