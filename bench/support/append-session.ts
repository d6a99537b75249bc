/**
 * What the SDK does by itself: one append session, pipelined, batches of one record that each say
 * where they belong. Runs on the core of the servers, and prints a {@link Measurement}.
 */
import { AppendInput, AppendRecord, S2 } from '@s2-dev/streamstore'
import { setTimeout as sleep } from 'node:timers/promises'
import { summarize } from './measurement.ts'

const [endpoint = '', inFlight, bytes, warmUpMs, measureMs] = process.argv.slice(2)
const s2 = new S2({ accessToken: 'none', endpoints: { account: endpoint, basin: endpoint } })
const basin = `bench-${process.pid}-session`
await s2.basins.create({ basin })
await s2.basin(basin).streams.create({ stream: 'session' })
const stream = s2.basin(basin).stream('session')
const session = await stream.appendSession({ maxInflightBatches: Number(inFlight) })

const body = new Uint8Array(Number(bytes)).fill(120)
let latencies: number[] = []
let isOver = false

async function append(matchSeqNum: number): Promise<void> {
  const record = AppendRecord.bytes({ body })
  const begunAt = performance.now()
  // Waits while as many are in flight as there would be producers.
  const ticket = await session.submit(AppendInput.create([record], { matchSeqNum }))
  void ticket.ack().then(() => latencies.push(performance.now() - begunAt))
}

async function appendAll(): Promise<void> {
  for (let seqNum = 0; !isOver; seqNum += 1) await append(seqNum)
}

const appending = appendAll()
await sleep(Number(warmUpMs))
latencies = []
const [begunAt, cpuBefore] = [performance.now(), process.cpuUsage()]
await sleep(Number(measureMs))
const cpu = process.cpuUsage(cpuBefore)
const ms = performance.now() - begunAt
const measured = summarize(latencies, { ms, cpuMs: (cpu.user + cpu.system) / 1000, longestMs: 0 })
process.stdout.write(`${JSON.stringify(measured)}\n`)
isOver = true
await appending
process.exit(0)
