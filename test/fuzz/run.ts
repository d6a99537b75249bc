/** One run: prepares a gateway, lets hostile requests come, and says what is not as it should be. */
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { startGatewayProcess } from '../support/gateway-process.ts'
import type { GatewayProcess } from '../support/gateway-process.ts'
import { converse } from './client.ts'
import type { Outcome } from './client.ts'
import { makeConversation } from './conversation.ts'
import type { Conversation } from './conversation.ts'
import { complaintsOf, Pulse, takeVitals } from './vitals.ts'
import type { Vitals } from './vitals.ts'
import { changesOf, makeWorld, prepare, readLog, readStreams } from './world.ts'
import type { Auth, World } from './world.ts'

export type Plan = {
  readonly auth: Auth
  readonly seed: number
  readonly requests: number
  /** The longest that `/healthz` may take, in ms. */
  readonly patienceMs: number
  /** For hubs to be idle and connections to be closed, before memory is looked at. In ms. */
  readonly pauseMs: number
  readonly logLevel: string
  /** Only this conversation. */
  readonly only: number | undefined
}

export type Failure = { readonly conversation: Conversation; readonly outcome: Outcome }

export type Result = {
  readonly requests: number
  readonly answers: number
  readonly conversations: number
  /** How often each status came. */
  readonly statuses: ReadonlyMap<number, number>
  readonly ms: number
  readonly vitals: { readonly before: Vitals; readonly after: Vitals }
  readonly pulse: { readonly longestMs: number; readonly failures: number }
  readonly failures: readonly Failure[]
  /** What is wrong, conversations apart; empty when nothing is. */
  readonly findings: readonly string[]
}

/** Connections at the same time. */
const CLIENTS = 24
/** How much of it comes before memory is first looked at: what is kept once is kept by then. */
const WARM_UP = 0.1
/** More of them say nothing new. */
const MAX_FAILURES = 20

/**
 * After a collection of garbage: what a million requests leave behind. Code that is compiled late
 * is a few MiB, and a leak of 16 bytes for each request would be as much.
 */
const MAX_HEAP_GROWTH = 12 * 1024 * 1024
/** The kernel's view: how full the heap was between collections is a part of it. */
const MAX_RSS_GROWTH = 96 * 1024 * 1024
/** A descriptor of the log's own may come late. */
const MAX_MORE_DESCRIPTORS = 4

/** Call it inside a test. Nothing may use the directory but this. */
export async function fuzz(plan: Plan, directory: string): Promise<Result> {
  const world = await makeWorld(plan.auth, directory, Math.floor(Date.now() / 1000))
  const env = { ...world.env, LOG_LEVEL: plan.logLevel }
  const first = await startGatewayProcess(env)
  await prepare(first, world)
  const seen = await readStreams(first, world)
  await first.stop()
  const image = await readLog(world)

  const gateway = await startGatewayProcess(env)
  const attack = new Attack(gateway, plan, world)
  const result = await attack.run()
  const findings = [...result.findings]
  if (!isDeepStrictEqual(await readStreams(gateway, world), seen)) {
    findings.push('the streams are not as they were')
  }
  const { code, signal } = await gateway.stop()
  if (code !== 0) findings.push(`the gateway ended with ${code ?? signal}`)
  findings.push(...changesOf(image, await readLog(world)), ...whatWasSaid(gateway, world))
  return { ...result, findings }
}

class Attack {
  readonly #gateway: GatewayProcess
  readonly #plan: Plan
  readonly #world: World
  readonly #statuses = new Map<number, number>()
  readonly #failures: Failure[] = []
  #requests = 0
  #answers = 0
  #conversations = 0

  constructor(gateway: GatewayProcess, plan: Plan, world: World) {
    this.#gateway = gateway
    this.#plan = plan
    this.#world = world
  }

  async run(): Promise<Result> {
    const { requests, pauseMs } = this.#plan
    const begun = performance.now()
    const pulse = new Pulse(this.#gateway)
    await this.#send(requests * WARM_UP)
    await sleep(pauseMs)
    const before = await takeVitals(this.#gateway)
    await this.#send(requests)
    await sleep(pauseMs)
    await pulse.stop()
    const after = await takeVitals(this.#gateway)
    const result = {
      requests: this.#requests,
      answers: this.#answers,
      conversations: this.#conversations,
      statuses: this.#statuses,
      ms: performance.now() - begun,
      vitals: { before, after },
      pulse: { longestMs: pulse.longestMs, failures: pulse.failures },
      failures: this.#failures,
    }
    return { ...result, findings: [...this.#healthFindings(pulse), ...growth(before, after)] }
  }

  /** Until so many requests are sent in all. */
  async #send(until: number): Promise<void> {
    const { only } = this.#plan
    if (only !== undefined) return this.#converse(only)
    await Promise.all(
      Array.from({ length: CLIENTS }, async () => {
        while (this.#requests < until && this.#failures.length < MAX_FAILURES) {
          await this.#converse((this.#conversations += 1))
        }
      }),
    )
  }

  async #converse(number: number): Promise<void> {
    const conversation = makeConversation(this.#plan.seed, number, this.#world.arms)
    const outcome = await converse(Number(new URL(this.#gateway.url).port), conversation)
    for (const status of outcome.statuses) {
      this.#statuses.set(status, (this.#statuses.get(status) ?? 0) + 1)
    }
    this.#answers += outcome.statuses.length
    // What follows the last answer of a connection is not heard, and does not count.
    this.#requests += outcome.statuses.length + (conversation.ending === undefined ? 0 : 1)
    if (outcome.complaint !== undefined) this.#failures.push({ conversation, outcome })
  }

  #healthFindings(pulse: Pulse): string[] {
    const findings: string[] = []
    if (pulse.failures > 0) findings.push(`/healthz failed ${pulse.failures} times`)
    if (pulse.longestMs > this.#plan.patienceMs) {
      findings.push(`/healthz took ${Math.round(pulse.longestMs)} ms`)
    }
    return findings
  }
}

function growth(before: Vitals, after: Vitals): string[] {
  const findings: string[] = []
  const mib = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(1)} MiB`
  if (after.heap - before.heap > MAX_HEAP_GROWTH) {
    findings.push(`the heap has grown by ${mib(after.heap - before.heap)}`)
  }
  if (after.rss - before.rss > MAX_RSS_GROWTH) {
    findings.push(`the process has grown by ${mib(after.rss - before.rss)}`)
  }
  const more = after.descriptors - before.descriptors
  if (more > MAX_MORE_DESCRIPTORS) findings.push(`${more} descriptors more than before`)
  return findings
}

/** The level of `error` in the log's lines. */
const ERROR_LEVEL = 50
/** How every token begins, and what every header has for a credential. */
const SECRETS = /eyJ|Bearer/

function whatWasSaid(gateway: GatewayProcess, { arms }: World): string[] {
  const findings: string[] = []
  const complaints = complaintsOf(gateway)
  if (complaints !== '') findings.push(`on standard error: ${complaints.slice(0, 2000)}`)
  const lines = gateway.stdout().split('\n')
  const errors = lines.filter((line) => {
    const level = /^\{"level":(\d+),/.exec(line)?.[1]
    return level !== undefined && Number(level) >= ERROR_LEVEL
  })
  findings.push(...errors.slice(0, MAX_FAILURES).map((line) => `an error in the log: ${line}`))
  const told = arms.mayWrite ? lines.filter((line) => SECRETS.test(line)) : []
  findings.push(...told.slice(0, MAX_FAILURES).map((line) => `a token in the log: ${line}`))
  return findings
}
