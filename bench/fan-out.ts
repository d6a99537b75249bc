/**
 * Live reads by the thousand: what a delivery costs the gateway and how late it comes, beside
 * servers that do the same, and one that does no more than the machine asks for.
 *
 * `npm run bench:fan-out`; `README.md` says how to read it. Linux only.
 */
import { execFileSync } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { findS2Lite, startS2Lite } from '../test/support/s2-lite.ts'
import { runRound } from './support/fan-out-round.ts'
import type { FanOut, Settings } from './support/fan-out-round.ts'
import { showRows } from './support/fan-out-table.ts'
import { number } from './support/figures.ts'
import { FLOOR, NCHAN, peers } from './support/peers.ts'
import type { Peer } from './support/peers.ts'
import { exitOnSignals, pinThisProcess } from './support/processes.ts'
import { scaled, WORKLOADS } from './support/workloads.ts'
import type { Workload } from './support/workloads.ts'

const ROUNDS = number('ROUNDS', 3)
const SCALE = number('SCALE', 1)
const SETTINGS: Settings = {
  bytes: number('BYTES', 200),
  warmUpSeconds: number('WARM_UP_SECONDS', 3),
  seconds: number('SECONDS', 6),
  idleSeconds: number('IDLE_SECONDS', 20),
  stallSeconds: number('STALL_SECONDS', 60),
  inFlight: number('IN_FLIGHT', 400),
}
/** Rows and workloads whose name holds one of these texts; all by default. */
const ONLY = (process.env['ONLY'] ?? '').split(',')
const CHOSEN = (process.env['WORKLOADS'] ?? '').split(',')
/** What all others are compared with is always there. */
const YARDSTICKS = [NCHAN, FLOOR]

exitOnSignals()
pinThisProcess()
const directory = await mkdtemp(join(tmpdir(), 'ds-bench-'))
const s2 = findS2Lite() === undefined ? undefined : await startS2Lite()
const isChosen = (name: string, texts: readonly string[]): boolean =>
  texts.some((text) => name.includes(text))

const all = peers(s2?.url).filter(({ name }) => YARDSTICKS.includes(name) || isChosen(name, ONLY))
for (const { name, missing } of all) {
  if (missing !== undefined) console.log(`Not installed, so left out: ${name} (${missing})`)
}

function canRun({ missing, only, paths, holdsStalled }: Peer, workload: Workload): boolean {
  const isPoll = workload.kind === 'live' && workload.transport === 'long-poll'
  const isFor = only === undefined || only.includes(workload.name)
  const holds = workload.kind !== 'stalled' || holdsStalled === true
  return missing === undefined && isFor && holds && (!isPoll || paths.poll !== undefined)
}

async function compare(workload: Workload): Promise<void> {
  const rows = all.filter((peer) => canRun(peer, workload))
  const rounds = new Map<string, FanOut[]>(rows.map(({ name }) => [name, []]))
  for (let round = 0; round < ROUNDS; round += 1) {
    // Side by side: what else the machine does hits all of them.
    for (const [index, peer] of rows.entries()) {
      const own = join(directory, `${workload.name}-${round}-${index}`)
      try {
        rounds.get(peer.name)?.push(await runRound(peer, workload, SETTINGS, own))
      } catch (error) {
        // The other rows are worth as much without it.
        console.error(`${workload.name}, ${peer.name}:`, error)
        process.exitCode = 1
      }
    }
  }
  showRows(workload, rounds)
}

const commit = execFileSync('git', ['rev-parse', '--short', 'HEAD'], { encoding: 'utf8' }).trim()
console.log(
  `${commit}, Node ${process.version}, ${cpus()[0]?.model ?? ''}, ${SETTINGS.bytes} bytes, ` +
    `medians of ${ROUNDS} rounds${SCALE === 1 ? '' : `, ${SCALE} of the readers`}`,
)
for (const workload of WORKLOADS) {
  if (isChosen(workload.name, CHOSEN)) await compare(scaled(workload, SCALE))
}
await s2?.stop()
await rm(directory, { recursive: true })
