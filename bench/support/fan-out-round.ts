/** One round: a fresh server, a fresh load, one workload. */
import { setTimeout as sleep } from 'node:timers/promises'
import { withLoad } from './load.ts'
import type { Delivered, LoadOptions, Turns } from './load.ts'
import { makeStreams, mediaType, PATIENCE } from './peers.ts'
import type { Peer } from './peers.ts'
import { LOAD_CORE, SERVER_CORE, socketMemoryKb, watchCore } from './processes.ts'
import type { Server } from './processes.ts'
import { turnsOf } from './workloads.ts'
import type { Workload } from './workloads.ts'

export type Settings = {
  readonly bytes: number
  readonly warmUpSeconds: number
  readonly seconds: number
  readonly idleSeconds: number
  readonly stallSeconds: number
  readonly inFlight: number
}

/** Figures that a workload does not have are left out. */
export type FanOut = {
  readonly seconds?: number
  readonly deliveriesPerSecond?: number
  readonly cpuUsPerDelivery?: number
  /** Of a message that nobody reads; and of a delivery without its share of that. */
  readonly cpuUsPerMessage?: number
  readonly cpuUsPerReader?: number
  readonly p50Ms?: number
  readonly p99Ms?: number
  readonly p999Ms?: number
  readonly connectsPerSecond?: number
  readonly cpuUsPerConnect?: number
  readonly kbPerReader?: number
  /** Of a core, 0 to 1, as all shares here. */
  readonly idleCore?: number
  readonly rssMb: number
  /** Before readers stall, the highest while they do, and the highest while they catch up. */
  readonly rssBeforeMb?: number
  readonly rssStalledMb?: number
  readonly rssCatchingUpMb?: number
  readonly grownMb?: number
  /** What a ring may hold. */
  readonly ringMb?: number
  /** What was posted while readers stalled, and what the kernel has taken of it for each. */
  readonly postedMb?: number
  readonly kernelKbPerReader?: number
  readonly serverBusy?: number
  /** What the generator used of its core while readers connected, or deliveries were outstanding. */
  readonly loadBusy?: number
  /** What others used of the servers' core, and of the generator's when that is to be its own. */
  readonly others: number
  readonly othersOfLoad?: number
  /** What was used of the load's core, by whomever, where the generator is not alone on it. */
  readonly loadCore?: number
  /** Deliveries that did not come, came twice, or were damaged; connections lost; refusals. */
  readonly faults: number
}

const MIB = 1024 * 1024
/** Readers of what goes before and is not measured: a JIT compiler has seen its code then. */
const WARM_UP_READERS = 10
/** Messages, one by one, that some readers get first: what a JIT compiler has to see is posting. */
const WARM_UP_MESSAGES = 3000
/** How a history is posted, which is not measured. */
const MESSAGES_OF_TURN = 100
/** A server that uses less than this of a core has nothing left to do. */
const QUIET = 0.05
const QUIET_WINDOW_MS = 300
const SETTLE_MS = 10_000
/** Small against a ring, so that a stalled reader's data stays with the server. */
const STALLED_RCVBUF = 16 * 1024
const WATCH_RSS_MS = 500
/** One stream's messages stay in order; many streams do not wait for each other. */
const PUBLISHERS = 16

type Bench = {
  readonly peer: Peer
  readonly workload: Workload
  readonly settings: Settings
  readonly server: Server
}

/** Starts the peer in a directory, and stops it again. */
export async function runRound(
  peer: Peer,
  workload: Workload,
  settings: Settings,
  directory: string,
): Promise<FanOut> {
  const server = await peer.start(directory, workload.kind === 'stalled' ? PATIENCE : {})
  try {
    await makeStreams(peer, server.url, workload.streams)
    return await measure({ peer, workload, settings, server })
  } finally {
    await server.stop()
  }
}

async function measure(bench: Bench): Promise<FanOut> {
  switch (bench.workload.kind) {
    case 'live':
      return measureLive(bench, bench.workload)
    case 'connect':
      return measureConnect(bench)
    case 'catch-up':
      return measureCatchUp(bench, bench.workload.history)
    case 'stalled':
      return measureStalled(bench, bench.workload)
  }
}

async function measureLive(
  bench: Bench,
  workload: Extract<Workload, { kind: 'live' }>,
): Promise<FanOut> {
  const { server, settings } = bench
  await warmUp(bench)
  const figures = await withLoad(optionsOf(bench), async (load) => {
    await load.connect()
    await settled(server)
    await load.publish(turnsOf(workload, settings.warmUpSeconds))
    await settled(server)
    const used = watch(bench)
    const delivered = await load.publish(turnsOf(workload, settings.seconds))
    const { cpuMs, ...cores } = used()
    return {
      ...deliveries(delivered, cpuMs),
      p50Ms: delivered.p50Us / 1000,
      p99Ms: delivered.p99Us / 1000,
      p999Ms: delivered.p999Us / 1000,
      rssMb: server.rssKb() / 1024,
      ...cores,
    }
  })
  const cpuUsPerMessage = await measurePosting(bench, turnsOf(workload, settings.seconds))
  const readersOfEach = workload.readers / workload.streams
  const cpuUsPerReader = figures.cpuUsPerDelivery - cpuUsPerMessage / readersOfEach
  return { ...figures, cpuUsPerMessage, cpuUsPerReader }
}

/** What a message costs that nobody reads, in µs of CPU time. */
async function measurePosting(bench: Bench, turns: Turns): Promise<number> {
  await settled(bench.server)
  return withLoad({ ...optionsOf(bench), readers: 0 }, async (load) => {
    const used = watch(bench)
    await load.publish(turns)
    return (used().cpuMs * 1000) / (turns.turns * turns.messages)
  })
}

async function warmUp(bench: Bench): Promise<void> {
  const options = { ...optionsOf(bench), readers: WARM_UP_READERS }
  await withLoad(options, async (load) => {
    await load.connect()
    await load.publish({ turns: WARM_UP_MESSAGES, messages: 1, intervalMs: 1 })
  })
  await settled(bench.server)
}

async function measureConnect(bench: Bench): Promise<FanOut> {
  const { server, workload, settings } = bench
  const { readers } = workload
  await settled(server)
  const rssBefore = server.rssKb()
  return withLoad(optionsOf(bench), async (load) => {
    const used = watch(bench)
    const { seconds, busy, had } = await load.connect()
    const { cpuMs, ...cores } = used()
    await settled(server)
    const idle = watch(bench)
    await sleep(settings.idleSeconds * 1000)
    const rssKb = server.rssKb()
    return {
      seconds,
      connectsPerSecond: readers / seconds,
      cpuUsPerConnect: (cpuMs * 1000) / readers,
      kbPerReader: (rssKb - rssBefore) / readers,
      idleCore: idle().cpuMs / (settings.idleSeconds * 1000),
      rssMb: rssKb / 1024,
      loadBusy: busy,
      othersOfLoad: 1 - had,
      ...cores,
      faults: 0,
    }
  })
}

async function measureCatchUp(bench: Bench, history: number): Promise<FanOut> {
  const { server, peer } = bench
  const turns = { turns: history / MESSAGES_OF_TURN, messages: MESSAGES_OF_TURN, intervalMs: 1 }
  await withLoad({ ...optionsOf(bench), readers: 0 }, (load) => load.publish(turns))
  const options = { ...optionsOf(bench), get: peer.paths.all, history }
  await readAll({ ...options, readers: WARM_UP_READERS })
  await settled(server)
  const used = watch(bench)
  const delivered = await readAll(options)
  const { cpuMs, ...cores } = used()
  const { seconds } = delivered
  return { ...deliveries(delivered, cpuMs), seconds, rssMb: server.rssKb() / 1024, ...cores }
}

async function measureStalled(
  bench: Bench,
  workload: Extract<Workload, { kind: 'stalled' }>,
): Promise<FanOut> {
  const { server, settings } = bench
  // What appends alone make a server grow by is there before.
  await warmUp(bench)
  const options = { ...optionsOf(bench), bytes: workload.bytes, rcvbuf: STALLED_RCVBUF }
  return withLoad(options, async (load) => {
    await load.connect()
    await load.publish(turnsOf(workload, settings.warmUpSeconds))
    await settled(server)
    const [rssBeforeMb, socketsBefore] = [server.rssKb() / 1024, socketMemoryKb()]
    const turns = turnsOf(workload, settings.stallSeconds)
    await load.stall()
    const stalled = watchRss(server)
    const posted = await load.publish(turns)
    const rssStalledMb = stalled()
    const kernelKb = socketMemoryKb() - socketsBefore
    await settled(server)
    const used = watch(bench)
    const catchingUp = watchRss(server)
    await load.resume()
    const delivered = await load.receive()
    const { cpuMs, ...cores } = used()
    const figures = deliveries(delivered, cpuMs)
    return {
      ...figures,
      // What is missing of it then is what it is about.
      faults: figures.faults + posted.closed + posted.refused,
      seconds: delivered.seconds,
      rssBeforeMb,
      rssStalledMb,
      grownMb: rssStalledMb - rssBeforeMb,
      rssCatchingUpMb: catchingUp(),
      rssMb: server.rssKb() / 1024,
      postedMb: (turns.turns * turns.messages * workload.bytes) / MIB,
      kernelKbPerReader: kernelKb / workload.readers,
      ringMb: (bench.peer.ringBytes ?? NaN) / MIB,
      ...cores,
    }
  })
}

function readAll(options: LoadOptions): Promise<Delivered> {
  return withLoad(options, async (load) => {
    await load.connect()
    return load.receive()
  })
}

/** What every workload with deliveries has. */
type Counted = Required<
  Pick<FanOut, 'deliveriesPerSecond' | 'cpuUsPerDelivery' | 'serverBusy' | 'loadBusy'>
> &
  Pick<FanOut, 'othersOfLoad' | 'faults'>

function deliveries(delivered: Delivered, cpuMs: number): Counted {
  const { missing, duplicates, malformed, closed, refused } = delivered
  return {
    deliveriesPerSecond: delivered.deliveries / delivered.seconds,
    cpuUsPerDelivery: (cpuMs * 1000) / delivered.deliveries,
    serverBusy: cpuMs / (delivered.seconds * 1000),
    loadBusy: delivered.busy,
    othersOfLoad: 1 - delivered.had,
    faults: missing + duplicates + malformed + closed + refused,
  }
}

function optionsOf({ peer, workload, settings, server }: Bench): LoadOptions {
  const isPoll = workload.kind === 'live' && workload.transport === 'long-poll'
  return {
    port: Number(new URL(server.url).port),
    readers: workload.readers,
    streams: workload.streams,
    get: (isPoll ? peer.paths.poll : undefined) ?? peer.paths.live,
    post: peer.paths.post,
    type: mediaType(peer),
    poll: isPoll ? 1 : 0,
    json: peer.posts === 'json' ? 1 : 0,
    bytes: settings.bytes,
    history: 0,
    inFlight: settings.inFlight,
    spin: peer.sharesLoadCore === true ? 0 : 1,
    publishers: Math.min(PUBLISHERS, workload.streams),
    rcvbuf: 0,
  }
}

type Use = Pick<FanOut, 'others' | 'loadCore'> & { readonly cpuMs: number }

/** What is used of the cores from now on. */
function watch({ server, peer }: Bench): () => Use {
  const [begunAt, before] = [performance.now(), server.cpuMs()]
  const [serverCore, loadCore] = [watchCore(SERVER_CORE), watchCore(LOAD_CORE)]
  return () => {
    const cpuMs = server.cpuMs() - before
    const others = serverCore() - cpuMs / (performance.now() - begunAt)
    return peer.sharesLoadCore === true
      ? { cpuMs, others, loadCore: loadCore() }
      : { cpuMs, others }
  }
}

/** The highest RSS from now on, in MiB. */
function watchRss(server: Server): () => number {
  let highest = server.rssKb()
  const look = (): void => {
    highest = Math.max(highest, server.rssKb())
  }
  const timer = setInterval(look, WATCH_RSS_MS)
  return () => {
    clearInterval(timer)
    look()
    return highest / 1024
  }
}

/** Waits until the server has done what it was asked; one that never rests is measured as it is. */
async function settled(server: Server): Promise<void> {
  const deadline = performance.now() + SETTLE_MS
  while (performance.now() < deadline) {
    const before = server.cpuMs()
    await sleep(QUIET_WINDOW_MS)
    if (server.cpuMs() - before <= QUIET * QUIET_WINDOW_MS) return
  }
}
