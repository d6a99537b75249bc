/** Breaks the cluster as planned, and heals it. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Cluster, Gateway } from './cluster.ts'
import type { Recorder } from './history.ts'
import type { Fault } from './plan.ts'

/** What was done and when, for a report. */
export type Incident = { readonly fault: Fault; readonly from: number; readonly to: number }

/** Carries out all faults at their times and resolves when each is over. */
export async function breakAsPlanned(
  cluster: Cluster,
  faults: readonly Fault[],
  recorder: Recorder,
): Promise<readonly Incident[]> {
  const begin = recorder.now()
  return Promise.all(
    faults.map(async (fault) => {
      await sleep(fault.atMs - (recorder.now() - begin))
      const from = recorder.now()
      const complaint = await inject(cluster, fault)
      if (complaint !== undefined) recorder.alarm('stuck', '-', complaint)
      return { fault, from, to: recorder.now() }
    }),
  )
}

/** What a gateway has done wrong, if anything. */
async function inject(cluster: Cluster, fault: Fault): Promise<string | undefined> {
  const gateway = cluster.gateways[fault.gateway]
  if (gateway === undefined) throw new Error(`no gateway ${fault.gateway}`)
  if (fault.kind === 'kill s2') {
    await cluster.s2.stop('SIGKILL')
    await sleep(fault.forMs)
    await cluster.s2.restart()
  } else if (fault.kind === 'pause all') {
    for (const { relay } of cluster.gateways) relay.setPaused(true)
    await sleep(fault.forMs)
    for (const { relay } of cluster.gateways) relay.setPaused(false)
  } else if (fault.kind === 'terminate gateway') {
    const complaint = await gateway.terminate()
    await sleep(fault.forMs)
    await gateway.start()
    return complaint && `gateway ${fault.gateway} ${complaint}`
  } else {
    await injectInto(gateway, fault)
  }
  return undefined
}

async function injectInto(gateway: Gateway, { kind, forMs }: Fault): Promise<void> {
  const { relay } = gateway
  switch (kind) {
    case 'kill gateway':
      await gateway.kill()
      await sleep(forMs)
      await gateway.start()
      break
    case 'freeze gateway':
      gateway.signal('SIGSTOP')
      await sleep(forMs)
      gateway.signal('SIGCONT')
      break
    case 'pause':
      relay.setPaused(true)
      await sleep(forMs)
      relay.setPaused(false)
      break
    case 'mute':
      relay.setMuted(true)
      await sleep(forMs)
      relay.setMuted(false)
      break
    case 'delay':
      // Half-way through, so that it stays below the time-outs more often than not.
      relay.setDelay(forMs / 10)
      await sleep(forMs)
      relay.setDelay(0)
      break
    case 'refuse':
      await relay.refuse()
      relay.cut()
      await sleep(forMs)
      await relay.listen()
      break
    case 'strand':
      relay.strand()
      break
    case 'lose answers':
      relay.setMuted(true)
      // Within the time-outs: S2 does what it is asked, and all the gateway hears is a reset.
      await sleep(forMs / 5)
      relay.cut()
      relay.setMuted(false)
      break
    case 'cut':
      relay.cut()
      break
    default:
  }
}
