/** The tests' own broken networks: they must not allow what a real one could not do. */
import { describe, expect, test } from 'vitest'
import { AppendOutcomeUnknownError, LogUnavailableError } from '../../src/errors.ts'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { AppendAck, DurableLog } from '../../src/log/log.ts'
import { dyingLog } from '../support/dying-log.ts'
import { FlakyLog, seededRandom, type Faults } from '../support/flaky-log.ts'
import { ManualClock } from '../support/manual-clock.ts'

const ALL = { maxRecords: 1000, maxBytes: 1024 * 1024 }
const COUNT = 12

async function openMemoryLog(): Promise<DurableLog> {
  const log = await openEmbeddedLog({ location: { kind: 'memory' } })
  await log.createStream('a')
  return log
}

const appendAll = (log: DurableLog): Promise<PromiseSettledResult<AppendAck>[]> => {
  const session = log.openAppendSession('a')
  const appends = Array.from({ length: COUNT }, (_, matchSeqNum) =>
    session.append({
      records: [{ kind: 'data', headers: [], body: Buffer.from(`r${matchSeqNum}`) }],
      matchSeqNum,
      fencingToken: '',
    }),
  )
  return Promise.allSettled(appends)
}

/** How many records the log holds, all of them in their order. */
async function stored(log: DurableLog): Promise<number> {
  const tail = await log.checkTail('a')
  if (tail === 0) return 0
  const records = await log.read('a', { seqNum: 0 }, ALL)
  for (const record of records) {
    expect(record).toMatchObject({ body: new Uint8Array(Buffer.from(`r${record.seqNum}`)) })
  }
  return tail
}

const acknowledged = (results: readonly PromiseSettledResult<AppendAck>[]): number =>
  results.findIndex(({ status }) => status === 'rejected')

describe('a flaky append session', () => {
  const none = { unavailable: 0, lostAnswer: 0, lostRequest: 0, late: 0, delayMs: 3 }

  async function run(seed: number, faults: Partial<Faults>) {
    const inner = await openMemoryLog()
    const clock = new ManualClock()
    const flaky = new FlakyLog(inner, { ...none, ...faults }, { clock, random: seededRandom(seed) })
    const running = appendAll(flaky)
    let results: PromiseSettledResult<AppendAck>[] | undefined
    void running.then((settled) => (results = settled))
    while (results === undefined) {
      clock.advance(1)
      await new Promise((resolve) => setImmediate(resolve))
    }
    const atOnce = await stored(inner)
    clock.advance(1_000)
    await new Promise((resolve) => setImmediate(resolve))
    return { results, atOnce, later: await stored(inner) }
  }

  test('applies a row of appends, of which it acknowledges the beginning', async () => {
    const seen = { more: 0, later: 0, nothing: 0 }
    for (let seed = 0; seed < 200; seed += 1) {
      const faults = { unavailable: 0.05, lostAnswer: 0.05, lostRequest: 0.05, late: 0.05 }
      const { results, atOnce, later } = await run(seed, faults)
      const count = acknowledged(results)
      if (count === -1) continue
      expect(atOnce).toBeGreaterThanOrEqual(count)
      if (atOnce > count + 1) seen.more += 1
      if (later > atOnce) seen.later += 1
      const [failed, ...behind] = results.slice(count) as PromiseRejectedResult[]
      if (failed?.reason instanceof LogUnavailableError) {
        expect(later).toBe(count)
        seen.nothing += 1
      }
      for (const { status, reason } of behind) {
        expect(status).toBe('rejected')
        expect(reason).toBeInstanceOf(AppendOutcomeUnknownError)
      }
    }
    expect(Math.min(...Object.values(seen))).toBeGreaterThan(0)
  })
})

test.each([
  { lastIsStored: false, expected: 5 },
  { lastIsStored: true, expected: 6 },
])('a session of a dying log stores $expected', async ({ lastIsStored, expected }) => {
  const inner = await openMemoryLog()
  const results = await appendAll(dyingLog(inner, { appends: 5, lastIsStored }))
  expect(acknowledged(results)).toBe(5)
  expect(await stored(inner)).toBe(expected)
})
