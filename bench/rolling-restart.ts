/**
 * Three gateways over one s2-lite are replaced one after the other under thousands of readers:
 * who misses something, how long anybody waits, and how many come back in a second.
 *
 * `npm run bench:rolling-restart`; `README.md` says how to read it. Linux only.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { CountingPublisher } from '../test/support/counting-publisher.ts'
import { JSON_TYPE, call } from '../test/support/http-calls.ts'
import { ReconnectingReader } from '../test/support/reconnecting-reader.ts'
import { Rotation } from '../test/support/rotation.ts'
import { startS2Lite } from '../test/support/s2-lite.ts'
import { number } from './support/figures.ts'
import { startGateway } from './support/gateway.ts'
import { BOTH_CORES, exitOnSignals } from './support/processes.ts'
import type { Server } from './support/processes.ts'

const READERS = number('READERS', 10_000)
/** So many connect at the same time before it begins, as this process has to take them all in. */
const BATCH = 200
const EVERY_MS = number('EVERY_MS', 1000)
const GRACE_S = number('GRACE_SECONDS', 30)

exitOnSignals()
const s2 = await startS2Lite()
const start = (): Promise<Server> => {
  const env = { S2_ENDPOINT: s2.url, SHUTDOWN_GRACE_MS: `${GRACE_S * 1000}` }
  return startGateway(env, { cores: BOTH_CORES })
}
const gateways = await Promise.all([start(), start(), start()])
const rotation = new Rotation()
const route = (): void => rotation.route(gateways.map(({ url }) => url))
route()
const stream = (): string => rotation.stream('s')
await call(stream(), { method: 'PUT', headers: JSON_TYPE })

const readers: ReconnectingReader[] = []
const publisher = new CountingPublisher(stream, EVERY_MS)
while (readers.length < READERS) {
  for (let count = 0; count < BATCH; count += 1) readers.push(new ReconnectingReader(stream))
  while (readers.some(({ next }) => next === 0)) await sleep(20)
}
for (const reader of readers) reader.longestGapMs = 0

let mostConnects = 0
let connectsBefore = connects()
const counting = setInterval(() => {
  const now = connects()
  mostConnects = Math.max(mostConnects, now - connectsBefore)
  connectsBefore = now
}, 1000)
const begunAt = performance.now()
for (const leaving of [...gateways]) {
  // As a platform does: what is about to leave gets no new connections.
  gateways.splice(gateways.indexOf(leaving), 1)
  route()
  await leaving.stop()
  gateways.push(await start())
  route()
}
const seconds = (performance.now() - begunAt) / 1000
const messages = await publisher.stop()
const deadline = performance.now() + 30_000
while (readers.some(({ next }) => next < messages) && performance.now() < deadline) await sleep(50)
clearInterval(counting)

const worst = (of: (reader: ReconnectingReader) => number): number =>
  readers.reduce((most, reader) => Math.max(most, of(reader)), 0)
console.table({
  'three gateways, s2-lite in memory': {
    readers: readers.length,
    messages,
    seconds: Math.round(seconds),
    'have missed something': readers.filter(isShort).length,
    'longest gap ms': Math.round(worst(({ longestGapMs }) => longestGapMs)) - EVERY_MS,
    'most connects/s': mostConnects,
    refusals: readers.reduce((sum, { refusals }) => sum + refusals, 0),
  },
})
for (const reader of readers) reader.stop()
for (const gateway of gateways) await gateway.stop()
await s2.stop()

function connects(): number {
  return readers.reduce((sum, reader) => sum + reader.connects, 0)
}

function isShort({ next, problems }: ReconnectingReader): boolean {
  return next !== messages || problems.length > 0
}
