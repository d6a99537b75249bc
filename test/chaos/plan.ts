/** Everything a seed decides: the streams, the clients, the faults and when. PURE. */
import { seededRandom } from '../support/flaky-log.ts'
import type { WriterKind } from './history.ts'

export const GATEWAYS = 3
/** How long clients work while there are faults. */
export const DURATION_MS = 6_500
/** The first fault: everybody has begun by then. */
const QUIET_MS = 300

/**
 * `steady` streams are open all the time, `closing` ones end once, and `cycling` ones are closed,
 * deleted and created again, over and over.
 */
export type Life = 'steady' | 'closing' | 'cycling'

export type StreamPlan = {
  readonly name: string
  readonly contentType: string
  readonly life: Life
  /** When a closing stream is closed. */
  readonly closeAtMs: number
}

export type ReaderKind = 'catch-up' | 'tail' | 'long-poll' | 'sse'

export type ClientPlan = {
  readonly name: string
  readonly stream: StreamPlan
  readonly role: WriterKind | ReaderKind | 'keeper'
}

export type Fault = {
  readonly kind:
    | 'kill gateway'
    | 'terminate gateway'
    | 'freeze gateway'
    | 'pause'
    | 'mute'
    | 'strand'
    | 'cut'
    | 'lose answers'
    | 'refuse'
    | 'delay'
    | 'kill s2'
    | 'pause all'
  readonly atMs: number
  /** How long it lasts, at least. */
  readonly forMs: number
  /** The gateway, or the way between it and S2. */
  readonly gateway: number
}

export type Plan = {
  readonly seed: number
  readonly streams: readonly StreamPlan[]
  readonly clients: readonly ClientPlan[]
  readonly faults: readonly Fault[]
  readonly gatewayEnvironment: Readonly<Record<string, string>>
}

export function makePlan(seed: number): Plan {
  const random = randomOf(`${seed}`)
  const streams = makeStreams(random)
  return {
    seed,
    streams,
    clients: streams.flatMap(clientsOf),
    faults: makeFaults(random),
    gatewayEnvironment: environment(random),
  }
}

/** A generator of its own for each name, so that clients do not disturb each other's choices. */
export function randomOf(name: string): Random {
  let seed = 2_166_136_261
  for (const char of name) seed = Math.imul(seed ^ char.charCodeAt(0), 16_777_619)
  return new Random(seededRandom(seed))
}

export class Random {
  readonly #next: () => number

  constructor(next: () => number) {
    this.#next = next
  }

  chance(probability: number): boolean {
    return this.#next() < probability
  }

  /** From the first up to but not the second. */
  between(low: number, high: number): number {
    return Math.floor(low + this.#next() * (high - low))
  }

  pick<T>(choices: readonly T[]): T {
    const choice = choices[this.between(0, choices.length)]
    if (choice === undefined) throw new Error('nothing to pick from')
    return choice
  }

  shuffled<T>(things: readonly T[]): readonly T[] {
    const keyed = things.map((thing) => ({ thing, key: this.#next() }))
    return keyed.sort((a, b) => a.key - b.key).map(({ thing }) => thing)
  }
}

const CONTENT_TYPES = ['text/plain', 'application/json', 'application/octet-stream']

function makeStreams(random: Random): readonly StreamPlan[] {
  const [first, second, third] = random.shuffled(CONTENT_TYPES)
  const lives = ['steady', 'closing', 'cycling', 'cycling'] as const
  const types = [first, second, third, 'application/json']
  return lives.map((life, index) => ({
    name: `${life}-${index}`,
    contentType: types[index] ?? 'text/plain',
    life,
    closeAtMs: random.between(DURATION_MS / 2, DURATION_MS),
  }))
}

const ROLES: readonly ClientPlan['role'][] = [
  'keeper',
  'idempotent',
  'idempotent',
  'plain',
  'retrying',
  'stream-seq',
  'stream-seq',
  'catch-up',
  'tail',
  'tail',
  'long-poll',
  'sse',
  'sse',
]

function clientsOf(stream: StreamPlan): readonly ClientPlan[] {
  return ROLES.map((role, index) => ({ name: `${role}${index}-${stream.name}`, stream, role }))
}

const FAULTS: readonly Fault['kind'][] = [
  'kill gateway',
  'kill gateway',
  'terminate gateway',
  'freeze gateway',
  'pause',
  'mute',
  'mute',
  'mute',
  'strand',
  'cut',
  'lose answers',
  'refuse',
  'delay',
  'kill s2',
  'pause all',
]

/** Nobody can do anything while these last: one of each is enough for a run. */
const FOR_ALL: ReadonlySet<Fault['kind']> = new Set(['kill s2', 'pause all'])

/** Faults overlap, but a gateway has one at a time: the next would hide the one before. */
function makeFaults(random: Random): readonly Fault[] {
  const faults: Fault[] = []
  const freeAt = Array.from({ length: GATEWAYS }, () => 0)
  for (let at = QUIET_MS; at < DURATION_MS - 500; at += random.between(150, 900)) {
    const kind = random.pick(FAULTS)
    const gateway = random.between(0, GATEWAYS)
    const forMs = random.between(50, FOR_ALL.has(kind) ? 700 : 1_500)
    const isTaken = FOR_ALL.has(kind)
      ? faults.some((fault) => fault.kind === kind)
      : (freeAt[gateway] ?? 0) > at
    if (isTaken) continue
    if (!FOR_ALL.has(kind)) freeAt[gateway] = at + forMs
    faults.push({ kind, atMs: at, forMs, gateway })
  }
  return faults
}

/** Short times, so that faults matter within seconds, and small memories, so that they are left. */
function environment(random: Random): Readonly<Record<string, string>> {
  return {
    S2_TIMEOUT_MS: String(random.pick([400, 600, 1_000])),
    APPEND_TIMEOUT_MS: String(random.pick([1_000, 1_500, 2_000])),
    LONG_POLL_TIMEOUT_MS: String(random.pick([300, 1_000])),
    SSE_LIFETIME_MS: String(random.pick([800, 3_000])),
    SSE_HEARTBEAT_MS: '500',
    HUB_IDLE_MS: String(random.pick([50, 500])),
    SHUTDOWN_GRACE_MS: '1000',
    MAX_RING_RECORDS: String(random.pick([8, 64, 4096])),
    MAX_OPEN_STREAMS: String(random.pick([2, 100])),
    SUBSCRIPTIONS: random.pick(['on', 'off']),
  }
}
