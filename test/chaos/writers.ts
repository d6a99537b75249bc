/** Clients that append: each sends one request after the other, to any gateway. */
import type { Client } from './client.ts'
import type { AppendOperation } from './history.ts'
import { append } from './requests.ts'
import type { AppendRequest } from './requests.ts'
import type { Random } from './plan.ts'

/** Of idempotent appends that are sent to two gateways at the same moment. */
const TWICE = 0.1
/** Of unknown outcomes after which a producer begins a new epoch, as if it had restarted. */
const NEW_EPOCH = 0.2
/** Attempts at one append once there are no faults any more: it must succeed long before. */
const LAST_ATTEMPTS = 100

type Content = Pick<AppendRequest, 'count' | 'padding'>

function content(random: Random): Content {
  if (random.chance(0.03)) {
    return random.chance(0.5)
      ? { count: random.between(1_001, 2_500), padding: 0 }
      : { count: random.between(20, 40), padding: 64 * 1024 }
  }
  if (random.chance(0.05)) return { count: random.between(20, 200), padding: 0 }
  if (random.chance(0.05)) return { count: 1, padding: random.between(5_000, 60_000) }
  return { count: random.between(1, 5), padding: random.between(0, 200) }
}

/** Exactly once: the same claim again until the answer is certain (PROTOCOL §5.2.1). */
export async function idempotent(client: Client): Promise<void> {
  const { random, world } = client
  for (let epoch = 0, seq = 0; !world.isFinishing();) {
    const end = await claimUntilCertain(client, epoch, seq)
    if (end === 'stored') seq += 1
    if (end === 'stored' && !random.chance(0.02)) {
      await client.pause(5, 60)
      continue
    }
    epoch += 1
    seq = 0
  }
}

/** Whether it was stored; else the producer has to begin a new epoch. */
async function claimUntilCertain(
  client: Client,
  epoch: number,
  seq: number,
): Promise<'stored' | 'given up'> {
  const { name: writer, random, world } = client
  const what = content(random)
  let last = LAST_ATTEMPTS
  for (let attempt = 0; ; attempt += 1) {
    const claim = { writer, epoch, seq, attempt }
    const request = { by: 'idempotent', claim, ...what } as const
    const requests = [append(client, request)]
    if (random.chance(TWICE)) {
      attempt += 1
      requests.push(append(client, { ...request, claim: { ...claim, attempt } }))
    }
    const outcomes = (await Promise.all(requests)).map(({ outcome }) => outcome)
    if (outcomes.some(({ kind }) => kind === 'ok')) return 'stored'
    if (outcomes.some(({ kind }) => kind === 'unknown') && random.chance(NEW_EPOCH)) {
      return 'given up'
    }
    // A new incarnation knows nothing of this producer; and a rival epoch is our own.
    if (outcomes.some((outcome) => isCode(outcome, 'producer_gap', 'stale_epoch'))) {
      return 'given up'
    }
    const isGone = outcomes.some((outcome) => isCode(outcome, 'stream_closed', 'stream_not_found'))
    if (world.isFinishing() && (isGone || (last -= 1) === 0)) return 'given up'
    await (isGone ? client.pause(50, 250) : client.pause(20, 120))
  }
}

/** At most once: each text is sent once and forgotten. */
export async function plain(client: Client): Promise<void> {
  for (let seq = 0; !client.world.isFinishing(); seq += 1) {
    const claim = { writer: client.name, epoch: 0, seq, attempt: 0 }
    const { outcome } = await append(client, { by: 'plain', claim, ...content(client.random) })
    await (outcome.kind === 'ok' ? client.pause(5, 60) : client.pause(50, 250))
  }
}

/** At least once: without a claim, what is sent again may be stored again. */
export async function retrying(client: Client): Promise<void> {
  for (let seq = 0; !client.world.isFinishing(); seq += 1) {
    await untilCertain(client, (attempt) => ({
      by: 'retrying',
      claim: { writer: client.name, epoch: 0, seq, attempt },
      ...content(client.random),
    }))
    await client.pause(5, 60)
  }
}

/** Numbers that the `Stream-Seq` writers of a stream share, as they share its sequence. */
export type StreamSeqs = { next: number }

/** In order whatever happens: a number that is not above the last one is refused. */
export async function streamSeq(client: Client, seqs: StreamSeqs): Promise<void> {
  for (; !client.world.isFinishing();) {
    const seq = seqs.next
    seqs.next += 1
    await untilCertain(client, (attempt) => ({
      by: 'stream-seq',
      claim: { writer: client.name, epoch: 0, seq, attempt },
      streamSeq: String(seq).padStart(8, '0'),
      ...content(client.random),
    }))
    await client.pause(10, 80)
  }
}

/** Sends it again as long as nobody knows what became of it, or the gateway could not take it. */
export async function untilCertain(
  client: Client,
  request: (attempt: number) => AppendRequest,
): Promise<AppendOperation> {
  let last = LAST_ATTEMPTS
  for (let attempt = 0; ; attempt += 1) {
    const operation = await append(client, request(attempt))
    const { outcome } = operation
    if (outcome.kind === 'ok') return operation
    if (outcome.kind === 'refused' && outcome.status >= 400 && outcome.status < 500) {
      await client.pause(50, 250)
      return operation
    }
    if (client.world.isFinishing() && (last -= 1) === 0) return operation
    await client.pause(20, 120)
  }
}

export function isCode(
  outcome: { readonly kind: string; readonly code?: string },
  ...codes: readonly string[]
): boolean {
  return outcome.code !== undefined && codes.includes(outcome.code)
}
