/**
 * Several gateways over one key log, which may be flaky: they agree on who signs.
 *
 * Virtual time: a seed decides everything, and a failure names it. `SEED=17` repeats one run.
 */
import { describe, expect, test } from 'vitest'
import { AppendOutcomeUnknownError, LogUnavailableError } from '../../src/errors.ts'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { LogRecord } from '../../src/log/log.ts'
import { KEY_LOG, KeyRing } from '../../src/subscriptions/key-ring.ts'
import { KEY_TIMES } from '../../src/subscriptions/keys-state.ts'
import { FlakyLog, NO_FAULTS, seededRandom } from '../support/flaky-log.ts'
import { ManualClock } from '../support/manual-clock.ts'

const GATEWAYS = 5
const SEEDS =
  process.env['SEED'] === undefined
    ? Array.from({ length: 30 }, (_, seed) => seed)
    : [Number(process.env['SEED'])]
const FAULTS = { unavailable: 0.1, lostAnswer: 0.15, lostRequest: 0.1, late: 0.1, delayMs: 10 }
const { rotationMs, publishMs, retireMs } = KEY_TIMES

class World {
  readonly clock: ManualClock
  readonly log: FlakyLog
  rings: readonly KeyRing[] = []
  #started = 0

  private constructor(log: FlakyLog, clock: ManualClock) {
    this.clock = clock
    this.log = log
    this.restart()
  }

  static async open(seed: number): Promise<World> {
    const random = seededRandom(seed)
    const clock = new ManualClock({ random })
    const now = (): number => clock.now()
    const inner = await openEmbeddedLog({ location: { kind: 'memory' }, now })
    return new World(new FlakyLog(inner, NO_FAULTS, { clock, random }), clock)
  }

  /** New processes, which know nothing. */
  restart(): void {
    const { log, clock } = this
    this.rings = Array.from({ length: GATEWAYS }, () => {
      this.#started += 1
      const gatewayId = `g${this.#started}`
      return new KeyRing({ log, clock, commandTimeoutMs: 2000, gatewayId })
    })
  }

  /** Has every gateway do the same at the same time, again and again while the log fails it. */
  all<T>(what: (ring: KeyRing) => Promise<T>): Promise<T[]> {
    return this.clock.runUntil(Promise.all(this.rings.map((ring) => persistently(ring, what))))
  }

  signers(): Promise<string[]> {
    return this.all(async (ring) => (await ring.signing()).kid)
  }

  async published(): Promise<string[][]> {
    const sets = await this.all((ring) => ring.jwks())
    return sets.map(({ keys }) => keys.map(({ kid }) => kid))
  }

  /** The kinds of all records of the key log. */
  async kinds(): Promise<string[]> {
    this.log.faults = NO_FAULTS
    const page = { maxRecords: 1000, maxBytes: 1024 * 1024 }
    const records = await this.clock.runUntil(this.log.read(KEY_LOG, { seqNum: 0 }, page))
    return records.map(kindOf)
  }
}

async function persistently<T>(ring: KeyRing, what: (ring: KeyRing) => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await what(ring)
    } catch (error) {
      const isExpected =
        error instanceof LogUnavailableError || error instanceof AppendOutcomeUnknownError
      if (!isExpected) throw error
    }
  }
}

const kindOf = (record: LogRecord): string =>
  record.kind === 'data' ? (record.headers[0]?.[1] ?? '') : record.kind
const same = <T>(value: T): T[] => Array.from({ length: GATEWAYS }, () => value)

async function live(world: World): Promise<void> {
  const { clock } = world
  const [first = ''] = await world.signers()
  expect(await world.signers(), 'one first key').toEqual(same(first))
  expect(await world.published()).toEqual(same([first]))

  world.restart()
  expect(await world.signers(), 'the same after a restart').toEqual(same(first))

  clock.advance(rotationMs - publishMs)
  await world.all((ring) => ring.maintain())
  await world.all((ring) => ring.maintain())
  clock.advance(1000)
  const [[, second = ''] = []] = await world.published()
  expect(await world.published(), 'one successor, published').toEqual(same([first, second]))
  expect(await world.signers(), 'which does not sign yet').toEqual(same(first))

  clock.advance(publishMs)
  expect(await world.signers(), 'and then does').toEqual(same(second))

  clock.advance(retireMs)
  await world.all((ring) => ring.maintain())
  clock.advance(1000)
  expect(await world.published(), 'and then is alone').toEqual(same([second]))

  world.restart()
  expect(await world.signers()).toEqual(same(second))
  expect(await world.kinds()).toEqual(['fence', 'created', 'key-added', 'key-removed'])
}

describe('gateways over one key log', () => {
  test('agree on one first key, one successor, and when it signs', async () => {
    await live(await World.open(1))
  })

  test.each(SEEDS)('agree whatever the log does to them, seed %i', async (seed) => {
    const world = await World.open(seed)
    world.log.faults = FAULTS
    await live(world)
  })
})
