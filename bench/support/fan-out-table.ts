/** The tables of the fan-out benchmark, and the lines that say what not to believe. */
import type { FanOut } from './fan-out-round.ts'
import { FULL, median, rounded } from './figures.ts'
import { FLOOR, NCHAN } from './peers.ts'
import type { Workload } from './workloads.ts'

/** What others may use of the servers' core before it is worth a line. */
const MUCH = 0.1

type Figure = keyof FanOut
type Rows = ReadonlyMap<string, FanOut>
type Column = (figures: FanOut, rows: Rows) => number | string

const plain =
  (figure: Figure, digits: number, factor = 1): Column =>
  (figures) =>
    rounded((figures[figure] ?? NaN) * factor, digits)

const ratio =
  (figure: Figure, yardstick: string): Column =>
  (figures, rows) =>
    rounded((figures[figure] ?? NaN) / (rows.get(yardstick)?.[figure] ?? NaN), 2)

const PER_DELIVERY: Readonly<Record<string, Column>> = {
  'CPU µs/delivery': plain('cpuUsPerDelivery', 2),
  'to nchan': ratio('cpuUsPerDelivery', NCHAN),
  'to floor': ratio('cpuUsPerDelivery', FLOOR),
}

const SHARES: Readonly<Record<string, Column>> = {
  'RSS MB': plain('rssMb', 0),
  'server %': plain('serverBusy', 0, 100),
  'generator %': plain('loadBusy', 0, 100),
}

const COLUMNS: Readonly<Record<Workload['kind'], Readonly<Record<string, Column>>>> = {
  live: {
    'deliveries/s': plain('deliveriesPerSecond', 0),
    ...PER_DELIVERY,
    'CPU µs/message': plain('cpuUsPerMessage', 0),
    'CPU µs/reader': plain('cpuUsPerReader', 2),
    'reader to nchan': ratio('cpuUsPerReader', NCHAN),
    'reader to floor': ratio('cpuUsPerReader', FLOOR),
    'p50 ms': plain('p50Ms', 1),
    'p99 ms': plain('p99Ms', 1),
    'p99.9 ms': plain('p999Ms', 1),
    ...SHARES,
  },
  connect: {
    seconds: plain('seconds', 2),
    'connects/s': plain('connectsPerSecond', 0),
    'CPU µs/connect': plain('cpuUsPerConnect', 0),
    'to nchan': ratio('cpuUsPerConnect', NCHAN),
    'KB/reader': plain('kbPerReader', 1),
    'idle CPU %': plain('idleCore', 1, 100),
    'RSS MB': plain('rssMb', 0),
    'generator %': plain('loadBusy', 0, 100),
  },
  'catch-up': {
    seconds: plain('seconds', 2),
    'deliveries/s': plain('deliveriesPerSecond', 0),
    ...PER_DELIVERY,
    ...SHARES,
  },
  stalled: {
    'RSS MB before': plain('rssBeforeMb', 0),
    'RSS MB stalled': plain('rssStalledMb', 0),
    'grown MB': plain('grownMb', 0),
    'ring MB': plain('ringMb', 0),
    'kernel KB/reader': plain('kernelKbPerReader', 0),
    'RSS MB catching up': plain('rssCatchingUpMb', 0),
    'seconds to catch up': plain('seconds', 1),
    'deliveries/s': plain('deliveriesPerSecond', 0),
    'CPU µs/delivery': plain('cpuUsPerDelivery', 2),
    'to floor': ratio('cpuUsPerDelivery', FLOOR),
    ...SHARES,
  },
}

/** Prints the medians of each row's rounds. */
export function showRows(workload: Workload, rounds: ReadonlyMap<string, readonly FanOut[]>): void {
  const rows = new Map([...rounds].map(([name, figures]) => [name, medians(figures)]))
  const cells = [...rows].map(([name, figures]) => [
    name,
    Object.fromEntries(
      Object.entries(COLUMNS[workload.kind]).map(([title, column]) => [
        title,
        column(figures, rows),
      ]),
    ),
  ])
  console.log(`\n${title(workload)}`)
  console.table(Object.fromEntries(cells))
  warn(rows, rounds)
}

function title({ name, readers, streams, ...workload }: Workload): string {
  const who = `${name}: ${readers} readers, ${streams} ${streams === 1 ? 'stream' : 'streams'}`
  switch (workload.kind) {
    case 'live': {
      const each = workload.messages === 1 ? '' : `, ${workload.messages} messages each`
      return `${who}, ${workload.transport}, ${workload.rate} turns/s${each}`
    }
    case 'connect':
      return `${who}, sse`
    case 'catch-up':
      return `${who}, sse, ${workload.history} messages each`
    case 'stalled':
      return `${who}, sse, ${workload.rate} messages/s of ${workload.bytes} bytes`
  }
}

/** The median of each figure by itself; of faults the sum. */
function medians(rounds: readonly FanOut[]): FanOut {
  const figures = new Set(rounds.flatMap((round) => Object.keys(round) as Figure[]))
  const entries = [...figures].map((figure) => [
    figure,
    median(rounds.map((round) => round[figure] ?? NaN)),
  ])
  const faults = rounds.reduce((sum, round) => sum + round.faults, 0)
  return { ...(Object.fromEntries(entries) as FanOut), faults }
}

function warn(rows: Rows, rounds: ReadonlyMap<string, readonly FanOut[]>): void {
  const say = (what: string, isSo: (round: FanOut) => boolean): void => {
    const names = [...rounds].filter(([, of]) => of.some(isSo)).map(([name]) => name)
    if (names.length > 0) console.log(`${what}: ${names.join('; ')}`)
  }
  say('The generator was the bottleneck', ({ loadBusy = 0 }) => loadBusy >= FULL)
  say(
    "The load's core was full, so waits are longer than the server's",
    ({ loadCore = 0 }) => loadCore >= FULL,
  )
  say(
    "Others used the generator's core, so waits are longer than the server's",
    ({ othersOfLoad = 0 }) => othersOfLoad >= MUCH,
  )
  say(
    "Others used the server's core, so waits are longer and caches colder",
    ({ others }) => others >= MUCH,
  )
  say(
    'So little was posted that the ring and the kernel may have held all of it',
    ({ postedMb = Infinity, ringMb = 0, kernelKbPerReader = 0 }) =>
      postedMb <= ringMb + kernelKbPerReader / 1024,
  )
  for (const [name, { faults }] of rows) {
    if (faults > 0) console.log(`${name}: ${faults} faults (missing, twice, damaged, cut, refused)`)
  }
}
