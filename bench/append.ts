/**
 * Appends to one stream by idempotent producers: what an acknowledged append costs the gateway,
 * beside servers that do nothing with the same POST, and how many a second there are.
 *
 * `npm run bench:append`; `README.md` says how to read it. Linux only.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { startS2Lite } from '../test/support/s2-lite.ts'
import { startGateway } from './support/gateway.ts'
import { FULL, number, rounded } from './support/figures.ts'
import { measure, medians } from './support/measurement.ts'
import type { Measurement, Round } from './support/measurement.ts'
import {
  BOTH_CORES,
  exitOnSignals,
  pinThisProcess,
  runPinned,
  script,
  startServer,
} from './support/processes.ts'
import type { Server } from './support/processes.ts'

const PRODUCERS = (process.env['PRODUCERS'] ?? '100,400').split(',').map(Number)
const ROUNDS = number('ROUNDS', 3)
const SETTINGS = {
  bytes: number('BYTES', 200),
  warmUpMs: number('WARM_UP_SECONDS', 6) * 1000,
  measureMs: number('SECONDS', 4) * 1000,
}
/** Rows whose name holds this text; all by default. The yardstick is always there. */
const ONLY = process.env['ONLY'] ?? ''
const YARDSTICK = 'bare Fastify'

type Row = { readonly name: string; readonly run: (round: Round) => Promise<Measurement> }

exitOnSignals()
pinThisProcess()
const directory = await mkdtemp(join(tmpdir(), 'ds-bench-'))
const s2 = await startS2Lite()

const onS2 = (cores?: string): Promise<Server> =>
  startGateway({ S2_ENDPOINT: s2.url }, cores === undefined ? {} : { cores })
const three = (cores?: string): readonly Promise<Server>[] => [1, 2, 3].map(() => onS2(cores))

const rows: readonly Row[] = [
  {
    name: 'bare node:http',
    run: (round) => measureFresh([startServer(script('bare-http.ts'))], round),
  },
  {
    name: YARDSTICK,
    run: (round) => measureFresh([startServer(script('bare-fastify.ts'))], round),
  },
  {
    name: 'gateway, embedded log',
    run: (round) => measureFresh([startGateway({ DATA_DIR: directory })], round),
  },
  {
    name: 'gateway, s2-lite in memory',
    run: (round) => measureFresh([onS2()], { ...round, batches }),
  },
  {
    name: 'three gateways on one core, s2-lite in memory',
    run: (round) => measureFresh(three(), { ...round, batches }),
  },
  {
    name: 'three gateways on both cores, s2-lite in memory',
    run: (round) => measureFresh(three(BOTH_CORES), { ...round, batches }),
  },
  { name: 'SDK append session, s2-lite in memory', run: measureSession },
]

async function measureFresh(
  starting: readonly Promise<Server>[],
  round: Round,
): Promise<Measurement> {
  const servers = await Promise.all(starting)
  const measured = await measure(servers, round)
  await Promise.all(servers.map((server) => server.stop()))
  return measured
}

async function measureSession({
  producers,
  bytes,
  warmUpMs,
  measureMs,
}: Round): Promise<Measurement> {
  const settings = [s2.url, producers, bytes, warmUpMs, measureMs].map(String)
  const printed = await runPinned(script('append-session.ts', ...settings))
  return { ...(JSON.parse(printed) as Measurement), recordsPerBatch: 1 }
}

/** How many batches s2-lite has got, those that it refused included. */
async function batches(): Promise<number> {
  const metrics = await (await fetch(`${s2.url}/metrics`)).text()
  return Number(/^s2_append_batch_records_count (\d+)$/m.exec(metrics)?.[1] ?? 0)
}

function show(measured: Measurement, yardstick: number): Record<string, unknown> {
  const { loadCore = 0 } = measured
  return {
    'acks/s': rounded(measured.appendsPerSecond, 0),
    'CPU µs/ack': rounded(measured.cpuUsPerAppend, 1),
    'to Fastify': rounded(measured.cpuUsPerAppend / yardstick, 2),
    'p50 ms': rounded(measured.p50Ms, 1),
    'p99 ms': rounded(measured.p99Ms, 1),
    'longest ms': rounded(measured.longestMs, 0),
    'acks/batch': rounded(measured.recordsPerBatch, 1),
    'load core %': rounded(loadCore * 100, 0),
  }
}

async function compare(producers: number): Promise<void> {
  const round = { ...SETTINGS, producers }
  const chosen = rows.filter(({ name }) => name === YARDSTICK || name.includes(ONLY))
  const rounds = new Map<string, Measurement[]>(chosen.map(({ name }) => [name, []]))
  for (let count = 0; count < ROUNDS; count += 1) {
    // Side by side: what else the machine does hits all of them.
    for (const { name, run } of chosen) rounds.get(name)?.push(await run(round))
  }
  const yardstick = medians(rounds.get(YARDSTICK) ?? []).cpuUsPerAppend
  const results = [...rounds].map(([name, measured]) => ({ name, ...medians(measured) }))
  console.log(`\n${producers} producers`)
  console.table(Object.fromEntries(results.map((result) => [result.name, show(result, yardstick)])))
  const bound = results.filter(({ loadCore = 0 }) => loadCore >= FULL).map(({ name }) => name)
  if (bound.length === 0) return
  console.log(`The load was the bottleneck; more appends could be had of: ${bound.join('; ')}`)
}

console.log(
  `Node ${process.version}, ${cpus()[0]?.model ?? ''}, ${SETTINGS.bytes} bytes, ` +
    `medians of ${ROUNDS} rounds`,
)
for (const producers of PRODUCERS) await compare(producers)
await s2.stop()
await rm(directory, { recursive: true })
