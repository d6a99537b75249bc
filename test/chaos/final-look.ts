/** The streams when everything has healed: as all gateways show them once nothing moves any more. */
import { setTimeout as sleep } from 'node:timers/promises'
import { Client } from './client.ts'
import type { World } from './client.ts'
import type { FinalView, History, Offset, Operation, Seen } from './history.ts'
import { parseId } from './payload.ts'
import type { MessageId } from './payload.ts'
import { GATEWAYS } from './plan.ts'
import type { StreamPlan } from './plan.ts'
import { append, read } from './requests.ts'

/** An append that was given up may still come; it must not take longer than this. */
const STILL_MS = 20_000
/** Sessions are opened again after 2 s at most, dead connections found after some time-outs. */
const ARRIVAL_MS = 20_000
const POLL_MS = 50
/** Of the appends that are sent again; those of the run have smaller numbers. */
const FIRST_ATTEMPT = 1000

type End = Pick<History, 'final' | 'liveReaders'>

export async function lookAtTheEnd(world: World): Promise<End> {
  const ends = await Promise.all(world.plan.streams.map((stream) => lookAt(world, stream)))
  const liveReaders = world.plan.clients
    .filter(({ role }) => role === 'long-poll' || role === 'sse')
    .map(({ name, stream }) => ({ client: name, stream: stream.name }))
  await arrival(world, ends.flat(), liveReaders)
  return { final: ends.flat(), liveReaders }
}

/** Looks again until nothing was written while it looked. */
async function lookAt(world: World, stream: StreamPlan): Promise<readonly FinalView[]> {
  const deadline = performance.now() + STILL_MS
  const gateways = Array.from({ length: GATEWAYS }, (_, gateway) => gateway)
  for (let attempt = FIRST_ATTEMPT; ; attempt += GATEWAYS) {
    const looks = gateways.map((gateway) => viewOf(world, stream, gateway, attempt + gateway))
    const views = (await Promise.all(looks)).filter((view) => view !== undefined)
    const isComplete = views.length === GATEWAYS
    if (isComplete && (await isStill(world, stream, views))) return views
    if (performance.now() > deadline) {
      world.recorder.alarm('stuck', stream.name, 'the stream does not come to rest')
      return views
    }
    await sleep(POLL_MS)
  }
}

/** Whether the stream is where it was; what gateways differ in is for the checker. */
async function isStill(
  world: World,
  stream: StreamPlan,
  views: readonly FinalView[],
): Promise<boolean> {
  const client = new Client(world, { name: 'final', stream })
  const { outcome } = await read(client, { mode: 'head', from: 'now' }, 0)
  const isSame = ({ next, closed }: FinalView): boolean =>
    outcome.kind === 'ok' && outcome.next === next && outcome.closed === closed
  return views[0] !== undefined && isSame(views[0]) && !views.some(hasWritten)
}

/** What a producer sent before the stream's last deletion is new to the stream that came after. */
function hasWritten({ producers }: FinalView): boolean {
  return Object.values(producers).some((answer) => answer.startsWith('200'))
}

async function viewOf(
  world: World,
  stream: StreamPlan,
  gateway: number,
  attempt: number,
): Promise<FinalView | undefined> {
  const client = new Client(world, { name: `final@${gateway}`, stream })
  const head = await read(client, { mode: 'head', from: 'now' }, gateway)
  if (head.outcome.kind !== 'ok') return undefined
  const messages: MessageId[] = []
  let page: Seen | undefined
  for (let from: Offset = '-1'; page?.upToDate !== true; from = page.next) {
    const { outcome } = await read(client, { mode: 'page', from }, gateway)
    if (outcome.kind !== 'ok') return undefined
    page = outcome
    messages.push(...outcome.messages)
  }
  if (page.next !== head.outcome.next) return undefined
  const producers = await producersOf(world, client, gateway, attempt)
  const { next, closed } = page
  return { stream: stream.name, gateway, next, closed, messages, producers }
}

/** Sends again what each producer had acknowledged last: it changes nothing. */
async function producersOf(
  world: World,
  client: Client,
  gateway: number,
  attempt: number,
): Promise<Record<string, string>> {
  const { name } = client.stream
  const last = new Map<string, string>()
  for (const operation of world.recorder.operations) {
    if (operation.kind !== 'append' || operation.stream !== name) continue
    if (operation.by !== 'idempotent' || operation.client.startsWith('final')) continue
    if (operation.outcome.kind !== 'ok' || operation.close) continue
    const { writer } = parseId(operation.append)
    last.set(writer, operation.append)
  }
  const answers: Record<string, string> = {}
  for (const [writer, id] of last) {
    const { epoch, seq } = parseId(id)
    // No other attempt has this number: if it is stored after all, it is seen, and by when.
    const claim = { writer, epoch, seq, attempt }
    const { outcome } = await append(client, { by: 'idempotent', claim, count: 1 }, gateway)
    answers[writer] =
      outcome.kind === 'ok'
        ? `${outcome.status} seq ${outcome.producerSeq ?? ''}`
        : outcome.kind === 'refused'
          ? outcome.code
          : outcome.why
  }
  return answers
}

/** Waits until live readers are where the streams end. The checker finds those that are not. */
async function arrival(
  { recorder }: World,
  final: readonly FinalView[],
  readers: End['liveReaders'],
): Promise<void> {
  const deadline = performance.now() + ARRIVAL_MS
  for (;;) {
    const isThere = readers.every(({ client, stream }) => {
      const next = final.find((view) => view.stream === stream)?.next
      const last = recorder.operations.findLast((operation) => isSight(operation, client))
      return last?.outcome.kind === 'ok' && 'next' in last.outcome && last.outcome.next === next
    })
    if (isThere || performance.now() > deadline) return
    await sleep(POLL_MS)
  }
}

function isSight({ kind, client, outcome }: Operation, reader: string): boolean {
  return kind === 'read' && client === reader && outcome.kind === 'ok'
}
