/** One seed: builds the world, lets clients work while it breaks, heals it, and looks at the end. */
import { setTimeout as sleep } from 'node:timers/promises'
import { check } from './checker/check.ts'
import { Client } from './client.ts'
import type { World } from './client.ts'
import { Cluster } from './cluster.ts'
import { breakAsPlanned } from './faults.ts'
import type { Incident } from './faults.ts'
import { lookAtTheEnd } from './final-look.ts'
import { Recorder } from './history.ts'
import type { History, Violation } from './history.ts'
import { Keeper } from './keepers.ts'
import { DURATION_MS, makePlan } from './plan.ts'
import type { ClientPlan, Plan } from './plan.ts'
import { catchUp, longPoll, sse, tail } from './readers.ts'
import { idempotent, plain, retrying, streamSeq } from './writers.ts'
import type { StreamSeqs } from './writers.ts'

export type Result = {
  readonly plan: Plan
  readonly incidents: readonly Incident[]
  readonly history: History
  readonly violations: readonly Violation[]
  /** What each gateway has said. */
  readonly outputs: readonly string[]
}

/** Everything that is under way has ended by then, if nothing is stuck. */
const FINISH_MS = 30_000

/** Call it inside a test. Nothing may use the directory but this. */
export async function runSeed(seed: number, directory: string): Promise<Result> {
  const plan = makePlan(seed)
  const cluster = await Cluster.start(plan, directory)
  try {
    return await runOn(cluster, plan)
  } finally {
    await cluster.stop()
  }
}

async function runOn(cluster: Cluster, plan: Plan): Promise<Result> {
  const recorder = new Recorder()
  const phase = { isFinishing: false, isOver: false }
  const world: World = {
    plan,
    cluster,
    recorder,
    isFinishing: () => phase.isFinishing,
    isOver: () => phase.isOver,
  }
  const seqs = new Map(plan.streams.map(({ name }) => [name, { next: 0 }]))
  const keepers = plan.clients
    .filter(({ role }) => role === 'keeper')
    .map((client) => new Keeper(new Client(world, client)))
  await Promise.all(keepers.map((keeper) => keeper.create()))

  const reading = Promise.all(plan.clients.map((client) => follow(world, client)))
  const writing = Promise.all([
    ...keepers.map((keeper) => keeper.keep()),
    ...plan.clients.map((client) => write(world, client, seqs.get(client.stream.name))),
  ])
  const [incidents] = await Promise.all([
    breakAsPlanned(cluster, plan.faults, recorder),
    sleep(DURATION_MS),
  ])
  phase.isFinishing = true
  const ready = await cluster.areReady()
  ready.forEach((isReady, gateway) => {
    if (!isReady) recorder.alarm('stuck', '-', `gateway ${gateway} has not recovered`)
  })
  if (!(await isDone(writing))) recorder.alarm('stuck', '-', 'a writer does not come to an end')
  // A deletion that nobody waited for may have come after the last creation.
  const created = Promise.all(keepers.map((keeper) => keeper.create()))
  if (!(await isDone(created))) recorder.alarm('stuck', '-', 'a stream can not be created')

  const { final, liveReaders } = await lookAtTheEnd(world)
  phase.isOver = true
  if (!(await isDone(reading))) recorder.alarm('stuck', '-', 'a reader does not come to an end')
  const { operations, alarms } = recorder
  const history = { operations, final, liveReaders, alarms }
  const outputs = cluster.gateways.map(({ output }) => output)
  return { plan, incidents, history, violations: check(history), outputs }
}

async function follow(world: World, plan: ClientPlan): Promise<void> {
  const client = new Client(world, plan)
  switch (plan.role) {
    case 'catch-up':
      return catchUp(client)
    case 'tail':
      return tail(client)
    case 'long-poll':
      return longPoll(client)
    case 'sse':
      return sse(client)
    default:
  }
}

async function write(
  world: World,
  plan: ClientPlan,
  seqs: StreamSeqs = { next: 0 },
): Promise<void> {
  const client = new Client(world, plan)
  switch (plan.role) {
    case 'idempotent':
      return idempotent(client)
    case 'plain':
      return plain(client)
    case 'retrying':
      return retrying(client)
    case 'stream-seq':
      return streamSeq(client, seqs)
    default:
  }
}

function isDone(work: Promise<unknown>): Promise<boolean> {
  const done = work.then(() => true)
  return Promise.race([done, sleep(FINISH_MS, false, { ref: false })])
}
