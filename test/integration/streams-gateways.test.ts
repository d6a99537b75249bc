/**
 * Several gateways over one flaky log: whatever the network does, what was acknowledged holds.
 *
 * Virtual time: a seed decides everything, and a failure names it. `SEED=17` repeats one run.
 */
import { describe, expect, test } from 'vitest'
import {
  AppendOutcomeUnknownError,
  LogUnavailableError,
  ProducerGapError,
  StreamClosedError,
  StreamNotFoundError,
} from '../../src/errors.ts'
import { openEmbeddedLog } from '../../src/log/embedded-log.ts'
import type { AppendSession } from '../../src/log/log.ts'
import type { AppendRequest } from '../../src/protocol/requests.ts'
import { StreamService } from '../../src/streams/service.ts'
import { dyingLog } from '../support/dying-log.ts'
import type { Death } from '../support/dying-log.ts'
import { FlakyLog, NO_FAULTS, seededRandom } from '../support/flaky-log.ts'
import { ManualClock } from '../support/manual-clock.ts'

const STREAM = 'chaos'
const GATEWAYS = 3
const SEEDS = process.env['SEED'] === undefined ? range(60) : [Number(process.env['SEED'])]
const FAULTS = { unavailable: 0.05, lostAnswer: 0.08, lostRequest: 0.05, late: 0.08, delayMs: 10 }
/** A log that is some way off, and all is well. */
const NETWORK = { ...NO_FAULTS, delayMs: 20 }

/** What a client goes on after. */
const REFUSALS = [LogUnavailableError, StreamNotFoundError, ProducerGapError]

type Result = 'acked' | 'unknown' | 'refused'
/** One append as its client saw it, in virtual time; `tail` as acknowledged. */
type Attempt = {
  readonly text: string
  readonly result: Result
  readonly begun: number
  readonly ended: number
  readonly tail: number
}

/** Counts the appends of sessions that are on their way at the same time. */
class CountingLog extends FlakyLog {
  mostInFlight = 0
  #inFlight = 0

  override openAppendSession(stream: string): AppendSession {
    const session = super.openAppendSession(stream)
    return {
      get isOpen() {
        return session.isOpen
      },
      append: async (batch) => {
        this.#inFlight += 1
        this.mostInFlight = Math.max(this.mostInFlight, this.#inFlight)
        return session.append(batch).finally(() => (this.#inFlight -= 1))
      },
      close: () => session.close(),
    }
  }
}

class World {
  readonly clock: ManualClock
  readonly random: () => number
  readonly log: CountingLog
  readonly gateways: readonly StreamService[]
  readonly attempts: Attempt[] = []
  readonly background: unknown[] = []
  #instant = 0

  private constructor(
    log: CountingLog,
    clock: ManualClock,
    random: () => number,
    death: Death | undefined,
  ) {
    this.clock = clock
    this.random = random
    this.log = log
    this.gateways = range(GATEWAYS).map(
      (gateway) =>
        new StreamService({
          log: gateway === 0 && death !== undefined ? dyingLog(log, death) : log,
          clock,
          gatewayId: `g${gateway}`,
          commandTimeoutMs: 2_000,
          chunkCacheBytes: 1024 * 1024,
          maxOpenStreams: 10,
          lockLeaseMs: 500,
          maxAppendMessages: 100_000,
          maxProducers: 100,
          onBackgroundError: (_task, error) => this.background.push(error),
        }),
    )
  }

  /** `death` is that of the first gateway. */
  static async open(seed: number, death?: Death): Promise<World> {
    const random = seededRandom(seed)
    const clock = new ManualClock({ random })
    const now = (): number => Math.floor(clock.now())
    const inner = await openEmbeddedLog({ location: { kind: 'memory' }, now })
    return new World(new CountingLog(inner, NO_FAULTS, { clock, random }), clock, random, death)
  }

  /** Orders events that happen at the same millisecond. */
  instant(): number {
    return this.#instant++
  }

  any(): StreamService {
    return this.gateways[Math.floor(this.random() * GATEWAYS)]!
  }

  async pause(longestMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      this.clock.after(Math.floor(this.random() * longestMs), resolve)
    })
  }

  /** Appends once through any gateway and notes what the client learnt. */
  async append(
    text: string,
    more: Partial<AppendRequest> = {},
    gateway = this.any(),
  ): Promise<Result | 'closed'> {
    const begun = this.instant()
    const note = (result: Result, tail = 0): Result => {
      this.attempts.push({ text, result, begun, ended: this.instant(), tail })
      return result
    }
    try {
      const answer = await gateway.append(STREAM, request(text, more))
      return note('acked', answer.kind === 'appended' ? answer.dataTail : 0)
    } catch (error) {
      if (error instanceof AppendOutcomeUnknownError) return note('unknown')
      note('refused')
      if (error instanceof StreamClosedError) return 'closed'
      if (!REFUSALS.some((kind) => error instanceof kind)) throw error
      return 'refused'
    }
  }

  /** Creates it, whatever it takes. */
  async create(): Promise<void> {
    const expiry = { kind: 'never' } as const
    const wanted = {
      contentType: 'text/plain',
      expiry,
      body: new Uint8Array(0),
      close: false,
      isPublic: false,
      fork: undefined,
    }
    await this.insist(() => this.any().create(STREAM, wanted))
  }

  async insist<T>(call: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await call()
      } catch (error) {
        if (!isTransient(error)) throw error
        await this.pause(50)
      }
    }
  }

  /** The whole stream as one gateway serves it; undefined when it says there is none. */
  async contents(gateway: StreamService): Promise<Contents | undefined> {
    try {
      const records: Contents['records'][number][] = []
      for (let next: number | undefined; ;) {
        const page = await gateway.read(
          STREAM,
          next === undefined
            ? { kind: 'beginning' }
            : { kind: 'position', position: { depth: 0, seqNum: next } },
        )
        for (const { seqNum, body } of page.records) {
          records.push({ tail: seqNum + 1, text: Buffer.from(body).toString() })
        }
        next = page.next
        if (page.upToDate) return { records, closed: page.view.closed, start: page.view.start }
      }
    } catch (error) {
      if (error instanceof StreamNotFoundError) return undefined
      throw error
    }
  }

  /** What all gateways that live agree on at the end. */
  async agreed(living = this.gateways): Promise<Contents | undefined> {
    this.log.faults = NO_FAULTS
    const [first, ...others] = await Promise.all(living.map((each) => this.contents(each)))
    for (const other of others) expect(other).toEqual(first)
    return first
  }
}

type Contents = {
  readonly records: readonly { readonly tail: number; readonly text: string }[]
  readonly closed: boolean
  readonly start: number
}

function request(text: string, more: Partial<AppendRequest>): AppendRequest {
  const body = Buffer.from(text)
  return {
    contentType: 'text/plain',
    body,
    close: false,
    producer: undefined,
    streamSeq: undefined,
    ...more,
  }
}

function isTransient(error: unknown): boolean {
  return error instanceof AppendOutcomeUnknownError || error instanceof LogUnavailableError
}

function range(length: number): number[] {
  return Array.from({ length }, (_, index) => index)
}

async function runSeed(
  seed: number,
  scenario: (world: World) => Promise<void>,
  death?: Death,
): Promise<void> {
  const world = await World.open(seed, death)
  await world.clock.runUntil(scenario(world))
}

type Habits = {
  /** Where it sends to; anywhere by default. */
  readonly gateway?: StreamService | undefined
  readonly pauseMs?: number
}

/** Retries every message until it is certain, as an idempotent producer does. */
async function idempotentProducer(
  world: World,
  id: string,
  messages: number,
  { gateway, pauseMs = 20 }: Habits = {},
): Promise<void> {
  for (const seq of range(messages)) {
    for (;;) {
      const producer = { id, epoch: 0, seq }
      const result = await world.append(`${id}/${seq}`, { producer }, gateway)
      if (result === 'acked') break
      if (result === 'closed') return
      await world.pause(30)
    }
    await world.pause(pauseMs)
  }
}

/** Eight or so fill a batch of the log. */
const BULK = '.'.repeat(120_000)

/** As {@link idempotentProducer}, with several long messages on their way at a time. */
async function pipeliningProducer(
  world: World,
  id: string,
  messages: number,
  habits: Habits,
): Promise<void> {
  const window = range(4)
  const send = async (lane: number): Promise<void> => {
    for (let seq = lane; seq < messages; seq += window.length) {
      const producer = { id, epoch: 0, seq }
      const text = `${id}/${seq}/${BULK}`
      while ((await world.append(text, { producer }, habits.gateway)) !== 'acked') {
        await world.pause(30)
      }
      await world.pause(habits.pauseMs ?? 20)
    }
  }
  await Promise.all(window.map(send))
}

/** More than one batch of the log. */
const LARGE = '.'.repeat(1_100_000)

/** As {@link idempotentProducer}, with appends that take two batches; gives up when its gateway is dead. */
async function largeProducer(
  world: World,
  id: string,
  messages: number,
  gateway?: StreamService,
): Promise<void> {
  for (const seq of range(messages)) {
    for (let attempt = 0; gateway === undefined || attempt < 5; attempt += 1) {
      const producer = { id, epoch: 0, seq }
      const result = await world.append(`${id}/${seq}${LARGE}|`, { producer }, gateway)
      if (result === 'acked') break
      await world.pause(30)
    }
  }
}

/** The messages in a text of large ones and small ones, without what only makes them large. */
function messagesOf({ records }: Contents): string[] {
  const text = records.map((record) => record.text).join('')
  return [...text.matchAll(/([a-z]+(?:-\d)?\/\d+)/g)].map(([, message = '']) => message)
}

/** What is in the stream that is no whole message. */
function tornMessages({ records }: Contents): string[] {
  const text = records.map((record) => record.text).join('')
  const rest = text.replaceAll(`${LARGE}|`, '').replaceAll(/small\/\d|(large-\d|dying)\/\d/g, '')
  return rest === '' ? [] : [`${rest.slice(0, 40)} (${rest.length})`]
}

/** Never retries. */
async function plainProducer(
  world: World,
  id: string,
  messages: number,
  pauseMs = 20,
): Promise<void> {
  for (const seq of range(messages)) {
    if ((await world.append(`${id}/${seq}`)) === 'closed') return
    await world.pause(pauseMs)
  }
}

/** Looks at the stream over and over: never sees less than was acknowledged before it asked. */
async function reader(world: World, looks: number): Promise<void> {
  for (let look = 0; look < looks; look += 1) {
    const acknowledged = Math.max(0, ...world.attempts.map(({ tail }) => tail))
    const view = await world.insist(() => world.any().describe(STREAM))
    expect(view.dataTail).toBeGreaterThanOrEqual(acknowledged)
    await world.pause(40)
  }
}

function expectStored({ attempts }: World, { records, start }: Contents): void {
  const counts = new Map<string, number>()
  for (const { text } of records) counts.set(text, (counts.get(text) ?? 0) + 1)
  const texts = new Map<string, Attempt[]>()
  for (const attempt of attempts) {
    texts.set(attempt.text, [...(texts.get(attempt.text) ?? []), attempt])
  }
  // Nothing is stored twice, and nothing that nobody sent.
  for (const [text, count] of counts)
    expect([text, count, texts.has(text)]).toEqual([text, 1, true])
  for (const { text, result, tail } of attempts) {
    // In an earlier life of the stream: gone.
    if (result === 'acked' && tail > 0 && tail <= start) continue
    if (result === 'acked') expect([text, counts.get(text)]).toEqual([text, 1])
    // Where the acknowledgement said it is.
    if (tail > 0) expect(records.find((record) => record.tail === tail)?.text).toBe(text)
  }
  for (const [text, tries] of texts) {
    // Refused every time: nobody may ever see it.
    if (tries.every(({ result }) => result === 'refused'))
      expect([text, counts.get(text)]).toEqual([text, undefined])
  }
}

/** What was acknowledged before another append began comes before it. */
function expectRealTimeOrder({ attempts }: World): void {
  const acked = attempts.filter(({ tail }) => tail > 0).sort((a, b) => a.begun - b.begun)
  for (const later of acked) {
    for (const earlier of acked) {
      if (earlier.ended < later.begun) expect(earlier.tail).toBeLessThan(later.tail)
    }
  }
}

function expectProducerOrder({ records }: Contents): void {
  const last = new Map<string, number>()
  for (const { text } of records) {
    const [id = '', seq] = text.split('/')
    expect(Number(seq)).toBeGreaterThan(last.get(id) ?? -1)
    last.set(id, Number(seq))
  }
}

describe('gateways over one flaky log', () => {
  test.each(SEEDS)('keep what they acknowledged, in order and once (seed %i)', (seed) =>
    runSeed(seed, async (world) => {
      await world.create()
      world.log.faults = FAULTS
      await Promise.all([
        ...range(3).map((n) => idempotentProducer(world, `idempotent-${n}`, 12)),
        ...range(3).map((n) => plainProducer(world, `plain-${n}`, 12)),
        ...range(2).map(() => reader(world, 10)),
      ])
      const contents = (await world.agreed())!
      expectStored(world, contents)
      expectRealTimeOrder(world)
      expectProducerOrder(contents)
      const idempotent = contents.records.filter(({ text }) => text.startsWith('idempotent'))
      expect(idempotent).toHaveLength(3 * 12)
      expect(contents.closed).toBe(false)
    }),
  )

  test.each(SEEDS)('keep what they acknowledged while one is busy (seed %i)', (seed) =>
    runSeed(seed, async (world) => {
      await world.create()
      // Through one gateway comes more than one batch holds, so that its batches are sent one
      // behind the other; in time other gateways come between them.
      world.log.faults = NETWORK
      const [gateway, other] = world.gateways
      const late = async (run: () => Promise<void>): Promise<void> => {
        await new Promise<void>((resolve) => void world.clock.after(300, resolve))
        world.log.faults = { ...FAULTS, delayMs: NETWORK.delayMs }
        await run()
      }
      await Promise.all([
        ...range(3).map((n) => pipeliningProducer(world, `busy-${n}`, 24, { gateway, pauseMs: 8 })),
        late(() => plainProducer(world, 'plain', 5, 400)),
        late(() => idempotentProducer(world, 'rival', 5, { gateway: other, pauseMs: 400 })),
        reader(world, 10),
      ])
      const contents = (await world.agreed())!
      expectStored(world, contents)
      expectRealTimeOrder(world)
      expectProducerOrder(contents)
      const idempotent = contents.records.filter(({ text }) => !text.startsWith('plain'))
      expect(idempotent).toHaveLength(3 * 24 + 5)
      expect(world.log.mostInFlight).toBeGreaterThan(1)
    }),
  )

  // The first gateway dies at any of the appends of a group, or between two groups.
  test.each(SEEDS)('store large appends whole or not at all (seed %i)', (seed) =>
    runSeed(
      seed,
      async (world) => {
        await world.insist(() => world.create())
        world.log.faults = { ...FAULTS, delayMs: 3 }
        const [first, second] = world.gateways
        const torn: string[] = []
        const looks = async (): Promise<void> => {
          for (let look = 0; look < 8; look += 1) {
            const seen = await world.insist(() => world.contents(second!))
            torn.push(...tornMessages(seen!))
            await world.pause(60)
          }
        }
        await Promise.all([
          ...range(2).map((n) => largeProducer(world, `large-${n}`, 4)),
          largeProducer(world, 'dying', 2, first),
          idempotentProducer(world, 'small', 10),
          looks(),
        ])
        const contents = (await world.agreed(world.gateways.slice(1)))!
        expect([...torn, ...tornMessages(contents)]).toEqual([])
        const found = messagesOf(contents).filter((id) => !id.startsWith('dying'))
        const expected = [
          ['large-0', 4],
          ['large-1', 4],
          ['small', 10],
        ] as const
        const all = expected.flatMap(([id, count]) => range(count).map((seq) => `${id}/${seq}`))
        expect(found.toSorted()).toEqual(all.toSorted())
        expectProducerOrder({
          ...contents,
          records: messagesOf(contents).map((text) => ({ tail: 0, text })),
        })
      },
      { appends: 1 + (seed % 6), lastIsStored: seed % 2 === 0 },
    ),
  )

  test.each(SEEDS)('store nothing after a closure (seed %i)', (seed) =>
    runSeed(seed, async (world) => {
      await world.create()
      world.log.faults = FAULTS
      const close = async (): Promise<number> => {
        await world.pause(300)
        const end = { body: new Uint8Array(0), contentType: undefined, close: true }
        const answer = await world.insist(() => world.any().append(STREAM, request('', end)))
        return answer.dataTail
      }
      const [finalTail] = await Promise.all([
        close(),
        ...range(3).map((n) => idempotentProducer(world, `idempotent-${n}`, 20)),
        ...range(3).map((n) => plainProducer(world, `plain-${n}`, 20)),
      ])
      const contents = (await world.agreed())!
      expectStored(world, contents)
      expectProducerOrder(contents)
      expect(contents.closed).toBe(true)
      expect(contents.records.at(-1)?.tail ?? contents.start).toBe(finalTail)
    }),
  )

  test.each(SEEDS)('tell the lives of a stream apart (seed %i)', (seed) =>
    runSeed(seed, async (world) => {
      await world.create()
      world.log.faults = FAULTS
      const deleter = async (): Promise<void> => {
        for (let round = 0; round < 4; round += 1) {
          await world.pause(120)
          await world.insist(() => world.any().delete(STREAM)).catch(ifMissing)
        }
      }
      const recreator = async (): Promise<void> => {
        for (let round = 0; round < 6; round += 1) {
          await world.pause(100)
          await world.create()
        }
      }
      await Promise.all([
        deleter(),
        recreator(),
        recreator(),
        ...range(4).map((n) => plainProducer(world, `plain-${n}`, 20)),
      ])
      const contents = await world.agreed()
      if (contents !== undefined) {
        expectStored(world, contents)
        expectProducerOrder(contents)
      }
      expectRealTimeOrder(world)
      await world.create()
      expect((await world.agreed())?.closed).toBe(false)
    }),
  )
})

function ifMissing(error: unknown): void {
  if (!(error instanceof StreamNotFoundError)) throw error
}
