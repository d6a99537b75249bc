/**
 * Forks whose gateway dies between two appends, and forks that race with deletions.
 *
 * Virtual time: a seed decides everything, and a failure names it. `SEED=17` repeats one run.
 */
import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { GatewayError, LogUnavailableError, AppendOutcomeUnknownError } from '../../src/errors.ts'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { DurableLog } from '../../src/log/log.ts'
import type { OffsetRequest } from '../../src/protocol/offset.ts'
import type { CreateRequest } from '../../src/protocol/requests.ts'
import { offsetOf } from '../../src/streams/lineage.ts'
import { StreamService } from '../../src/streams/service.ts'
import { parseOffset } from '../../src/protocol/offset.ts'
import { dyingLog } from '../support/dying-log.ts'
import { FlakyLog, NO_FAULTS, seededRandom } from '../support/flaky-log.ts'
import { ManualClock } from '../support/manual-clock.ts'

const SEEDS = process.env['SEED'] === undefined ? range(80) : [Number(process.env['SEED'])]
const FAULTS = { unavailable: 0.04, lostAnswer: 0.06, lostRequest: 0.04, late: 0.05, delayMs: 10 }
/** Longer than a creation under way keeps its reference from being collected. */
const GRACE_MS = 31_000

function range(length: number): number[] {
  return Array.from({ length }, (_, index) => index)
}

function put(body = '', more: Partial<CreateRequest> = {}): CreateRequest {
  return {
    contentType: 'text/plain',
    expiry: { kind: 'never' },
    body: Buffer.from(body),
    close: false,
    isPublic: false,
    fork: undefined,
    ...more,
  }
}

const FORK = put('', { contentType: undefined })

function serviceOver(log: DurableLog, clock: ManualClock): StreamService {
  return new StreamService({
    log,
    clock,
    gatewayId: randomBytes(9).toString('base64url'),
    commandTimeoutMs: 2_000,
    chunkCacheBytes: 1024 * 1024,
    maxOpenStreams: 10,
    lockLeaseMs: 500,
    maxAppendMessages: 100_000,
    maxProducers: 100,
    onBackgroundError: () => undefined,
  })
}

async function memory() {
  const clock = new ManualClock()
  const log = await openEmbeddedLog({ location: { kind: 'memory' }, now: () => clock.now() })
  return { clock, log, fresh: () => serviceOver(log, clock) }
}

function pause(clock: ManualClock, ms: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(ms, resolve)
  })
}

async function contents(service: StreamService, name: string): Promise<string> {
  let text = ''
  let offset: OffsetRequest = { kind: 'beginning' }
  for (;;) {
    const page = await service.read(name, offset)
    text += page.records.map(({ body }) => Buffer.from(body).toString()).join('')
    if (page.upToDate) return text
    offset = parseOffset(offsetOf(page.view, page.next))
  }
}

/** `there`, or the code of what a client is told. */
async function standing(service: StreamService, name: string): Promise<string> {
  try {
    await service.describe(name)
    return 'there'
  } catch (error) {
    if (error instanceof GatewayError) return error.code
    throw error
  }
}

/** What a client that asks now and then is told in the end. */
async function inTheEnd(service: StreamService, name: string, clock: ManualClock) {
  for (let look = 0; look < 5; look += 1) {
    await standing(service, name)
    await pause(clock, GRACE_MS)
  }
  return standing(service, name)
}

const DEATHS = range(5).flatMap((appends) =>
  [false, true].map((lastIsStored) => ({ appends, lastIsStored })),
)

describe.each(DEATHS)('a gateway that dies after %o', (death) => {
  test('while it creates a fork: the retry ends right, and nothing is left over', async () => {
    const { clock, log, fresh } = await memory()
    await clock.runUntil(
      (async () => {
        await fresh().create('source', put('abc'))
        const dying = serviceOver(dyingLog(log, death), clock)
        await dying.create('fork', FORK, 'source').catch(() => undefined)
        const service = fresh()
        const { kind } = await service.create('fork', FORK, 'source')
        expect(['created', 'exists']).toContain(kind)
        expect(await contents(service, 'fork')).toBe('abc')
        await service.delete('source')
        expect(await inTheEnd(service, 'source', clock)).toBe('stream_gone')
        expect(await contents(service, 'fork')).toBe('abc')
        await service.delete('fork')
        expect(await inTheEnd(service, 'source', clock)).toBe('stream_not_found')
        expect(await service.create('source', put('new'))).toMatchObject({ kind: 'created' })
      })(),
    )
  })

  test('while it creates a fork that nobody asks for again: its source can go', async () => {
    const { clock, log, fresh } = await memory()
    await clock.runUntil(
      (async () => {
        await fresh().create('source', put('abc'))
        const dying = serviceOver(dyingLog(log, death), clock)
        await dying.create('fork', FORK, 'source').catch(() => undefined)
        const service = fresh()
        const exists = (await standing(service, 'fork')) === 'there'
        await service.delete('source')
        const left = exists ? 'stream_gone' : 'stream_not_found'
        expect(await inTheEnd(service, 'source', clock)).toBe(left)
        if (exists) expect(await contents(service, 'fork')).toBe('abc')
      })(),
    )
  })

  test('while it deletes a chain of forks: the retry ends right, and all of it goes', async () => {
    const { clock, log, fresh } = await memory()
    await clock.runUntil(
      (async () => {
        const before = fresh()
        await before.create('source', put('abc'))
        await before.create('middle', FORK, 'source')
        await before.create('fork', FORK, 'middle')
        const dying = serviceOver(dyingLog(log, death), clock)
        for (const name of ['source', 'middle', 'fork']) {
          await dying.delete(name).catch(() => undefined)
          await pause(clock, 1)
        }
        const service = fresh()
        for (const name of ['source', 'middle', 'fork']) {
          await service.delete(name).catch((error: unknown) => {
            expect(['stream_gone', 'stream_not_found']).toContain((error as GatewayError).code)
          })
        }
        for (const name of ['fork', 'middle', 'source']) {
          expect([name, await inTheEnd(service, name, clock)]).toEqual([name, 'stream_not_found'])
          expect(await service.create(name, put())).toMatchObject({ kind: 'created' })
        }
      })(),
    )
  })
})

describe('gateways that race over a flaky log', () => {
  test.each(SEEDS)('seed %i: a fork has all its data, or does not exist', async (seed) => {
    const random = seededRandom(seed)
    const clock = new ManualClock({ random })
    const now = (): number => clock.now()
    const inner = await openEmbeddedLog({ location: { kind: 'memory' }, now })
    const log = new FlakyLog(inner, NO_FAULTS, { clock, random })
    const gateways = range(3).map(() => serviceOver(log, clock))
    const any = (): StreamService => gateways[Math.floor(random() * gateways.length)]!
    /** Does it after a while, until the outcome is certain; what is refused is refused. */
    const insist = async (run: (service: StreamService) => Promise<unknown>): Promise<void> => {
      await pause(clock, Math.floor(random() * 120))
      for (;;) {
        try {
          await run(any())
          return
        } catch (error) {
          const again =
            error instanceof LogUnavailableError || error instanceof AppendOutcomeUnknownError
          if (!again) {
            expect(error).toBeInstanceOf(GatewayError)
            return
          }
          await pause(clock, 30)
        }
      }
    }
    await clock.runUntil(
      (async () => {
        await gateways[0]!.create('source', put('abc'))
        log.faults = FAULTS
        await Promise.all([
          insist((service) => service.create('f1', FORK, 'source')),
          insist((service) => service.create('f1', FORK, 'source')),
          insist((service) => service.create('f2', FORK, 'f1')),
          insist((service) => service.delete('source')),
          insist((service) => service.delete('f1')),
          ...(seed % 2 === 0 ? [insist((service) => service.delete('f2'))] : []),
        ])
        log.faults = NO_FAULTS
        await pause(clock, GRACE_MS)
        const service = serviceOver(log, clock)
        // Each look may collect what the one before has freed.
        const found: Record<string, string> = {}
        for (const name of ['f2', 'f1', 'source']) {
          found[name] = await inTheEnd(service, name, clock)
        }
        const reads: Record<string, string> = {}
        for (const name of ['f1', 'f2']) {
          if (found[name] === 'there') reads[name] = await contents(service, name)
        }
        for (const text of Object.values(reads)) expect(text).toBe('abc')
        // What a fork needs is there or kept; what nobody needs is gone.
        const needed = (fork: string): boolean => found[fork] !== 'stream_not_found'
        if (found['f1'] !== 'there') {
          expect(found['f1']).toBe(needed('f2') ? 'stream_gone' : 'stream_not_found')
        }
        if (found['source'] !== 'there') {
          expect(found['source']).toBe(needed('f1') ? 'stream_gone' : 'stream_not_found')
        }
      })(),
    )
  })
})
