/**
 * kill -9 of a gateway at every write that a fork's creation and its deletion make, over a real S2:
 * another gateway goes on, nothing that was acknowledged is lost, and nothing is left over.
 *
 * A reference whose fork is not there is given up 30 s after it was taken. Not to wait for that,
 * most tests ask a gateway whose clock is ahead; the last one waits, if the others took less.
 *
 * `SEED=17` repeats one run of the random test, as far as the kernel lets it.
 */
import { randomUUID } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { CleanUps } from '../support/clean-ups.ts'
import { seededRandom } from '../support/flaky-log.ts'
import { startGatewayProcess } from '../support/gateway-process.ts'
import type { Environment, GatewayProcess } from '../support/gateway-process.ts'
import { appendJson, call, claim, readJson } from '../support/http-calls.ts'
import { findS2Lite, startS2Lite } from '../support/s2-lite.ts'
import type { S2Lite } from '../support/s2-lite.ts'
import { WriteGate } from '../support/write-gate.ts'

/** Longer than a reference is kept for a creation under way. */
const AHEAD_MS = 31_000
const SURE_TO_BE_COLLECTED_MS = AHEAD_MS
const AHEAD = `const now = Date.now; Date.now = () => now() + ${AHEAD_MS}`
/** A look at what is left is taken every 5 s at most, and one may find what the one before freed. */
const COLLECTED_MS = 15_000

/** A victim writes what it is to die at long before. */
const WRITE_MS = 10_000

/** S2 has refused it. */
const REFUSED = 400

/** What becomes of the write that is under way when its gateway dies. */
const DEATHS = [
  /** S2 never gets it. */
  'unsent',
  /** It is stored. */
  'unanswered',
  /** S2 gets it when the survivor has seen to what was under way. */
  'late',
  /** S2 gets it when everything is gone, mostly with something new in its place. */
  'later',
] as const
type Death = (typeof DEATHS)[number]

/** The victim dies at its `nth` write. */
type Point = { readonly nth: number; readonly death: Death }

/** What a fork's creation writes where no stream was before: S2 refuses the first `created`. */
const CREATION = ['append source', 'append fork', 'create fork', 'append fork']
const CREATED = CREATION.length
const CREATION_POINTS: readonly Point[] = [
  ...pointsAt(1),
  ...pointsAt(2, ['unsent', 'unanswered']),
  ...pointsAt(3, ['unsent', 'unanswered']),
  ...pointsAt(CREATED),
]
/** What the deletion of the last fork of a chain writes: tombstone, `fork-removed`, and so on. */
const CASCADE = ['append fork', 'append middle', 'append middle', 'append source', 'append source']

function pointsAt(nth: number, deaths: readonly Death[] = DEATHS): readonly Point[] {
  return deaths.map((death) => ({ nth, death }))
}

const SEEDS = process.env['SEED'] === undefined ? [1, 2, 3, 4] : [Number(process.env['SEED'])]

type Stream = {
  readonly source?: string
  readonly body?: string
  readonly type?: string
  readonly ttl?: number
}

async function put(
  gateway: GatewayProcess,
  name: string,
  { source, body = '', type, ttl }: Stream,
): Promise<number> {
  const headers = {
    ...(type !== undefined && { 'content-type': type }),
    ...(source !== undefined && { 'stream-forked-from': `/v1/stream/${source}` }),
    ...(ttl !== undefined && { 'stream-ttl': String(ttl) }),
  }
  return (await call(gateway.stream(name), { method: 'PUT', headers, body })).status
}

async function remove(gateway: GatewayProcess, name: string): Promise<number> {
  return (await call(gateway.stream(name), { method: 'DELETE' })).status
}

async function standing(gateway: GatewayProcess, name: string): Promise<number> {
  return (await call(gateway.stream(name), { method: 'HEAD' })).status
}

function within<T>(ms: number, promise: Promise<T>): Promise<T> {
  const tooLate = sleep(ms, undefined, { ref: false }).then(() => {
    throw new Error(`nothing within ${ms} ms`)
  })
  return Promise.race([promise, tooLate])
}

/** A stream that nobody had in mind before. */
const OTHER = { type: 'text/plain', body: 'other' }

async function expectOther(gateway: GatewayProcess, name: string): Promise<void> {
  const { status, body } = await call(gateway.stream(name))
  expect([name, status, body]).toEqual([name, 200, OTHER.body])
}

async function expectMessages(
  gateways: readonly GatewayProcess[],
  name: string,
  messages: readonly unknown[],
): Promise<void> {
  for (const gateway of gateways) {
    expect([name, await readJson(gateway.stream(name))]).toEqual([name, messages])
  }
}

type Cluster = {
  readonly basin: string
  readonly survivor: GatewayProcess
  /** One whose clock is {@link AHEAD_MS} ahead. */
  readonly ahead: GatewayProcess
  readonly start: (env?: Environment) => Promise<GatewayProcess>
}

/** Waits until streams are gone, those that inherit first. */
async function untilGone({ ahead }: Cluster, names: readonly string[]): Promise<void> {
  for (const name of names) {
    await vi.waitFor(async () => expect([name, await standing(ahead, name)]).toEqual([name, 404]), {
      timeout: COLLECTED_MS,
      interval: 50,
    })
  }
}

/** The same, and puts others in their places. */
async function allGone(shared: Cluster, names: readonly string[]): Promise<void> {
  const { survivor } = shared
  await untilGone(shared, names)
  for (const name of names) {
    expect([name, await standing(survivor, name)]).toEqual([name, 404])
    expect([name, await put(survivor, name, OTHER)]).toEqual([name, 201])
  }
}

describe.skipIf(findS2Lite() === undefined)('a gateway that dies', () => {
  const cleanUps = new CleanUps()
  let s2: S2Lite

  beforeAll(async () => {
    setMaxListeners(100, process) // each of the gateways has one
    const root = await mkdtemp(join(tmpdir(), 'ds-forks-'))
    cleanUps.add(() => rm(root, { recursive: true }))
    s2 = await startS2Lite({ localRoot: root })
    cleanUps.add(() => s2.stop('SIGKILL'))
  })
  afterAll(() => cleanUps.run())

  async function cluster(basin = `forks-${randomUUID().slice(0, 8)}`): Promise<Cluster> {
    const common = { S2_BASIN: basin, AUTH: 'none' }
    const start = (env: Environment = {}): Promise<GatewayProcess> =>
      startGatewayProcess({ S2_ENDPOINT: s2.url, ...common, ...env })
    const preload = `--import data:text/javascript,${encodeURIComponent(AHEAD)}`
    const [survivor, ahead] = await Promise.all([start(), start({ NODE_OPTIONS: preload })])
    return { basin, survivor, ahead, start }
  }

  type Scenario = Cluster & {
    readonly point: Point
    /** The name of a stream that no other scenario has. */
    readonly at: (role: string) => string
    /** Has the victim do something and die of it. Its answer's status, if there was one. */
    readonly die: (run: (victim: GatewayProcess) => Promise<number>) => Promise<{
      readonly answer: number | undefined
      readonly deliver: () => Promise<number>
    }>
  }

  /** Runs a scenario for each point at once. `writes` are those that are expected of a victim. */
  async function atEach(
    points: readonly Point[],
    writes: readonly string[],
    run: (scenario: Scenario) => Promise<void>,
  ): Promise<Cluster> {
    const shared = await cluster()
    const one = async (point: Point): Promise<void> => {
      const label = `${point.nth}-${point.death}`
      const gate = await WriteGate.start(s2.port)
      // Whatever else it would write is none of this.
      const victim = await shared.start({ S2_ENDPOINT: gate.url, SUBSCRIPTIONS: 'off' })
      const die: Scenario['die'] = async (act) => {
        const part = point.death === 'unanswered' ? 'answer' : 'request'
        const held = gate.hold(point.nth, part)
        const answer = act(victim).catch(() => undefined)
        const { deliver } = await within(WRITE_MS, held)
        await victim.stop('SIGKILL')
        const seen = gate.writes.map(({ kind, stream }) => `${kind} ${stream.split('/')[1]!}`)
        expect(seen).toEqual(writes.slice(0, point.nth))
        return { answer: await answer, deliver }
      }
      try {
        await run({ ...shared, point, die, at: (role) => `${label}/${role}` })
      } catch (error) {
        throw new Error(`${label}: ${String(error)}`, { cause: error })
      }
    }
    const outcomes = await Promise.allSettled(points.map(one))
    const failures = outcomes.flatMap((outcome) =>
      outcome.status === 'rejected' ? [outcome.reason as Error] : [],
    )
    if (failures.length > 0) throw new AggregateError(failures, failures.map(String).join('\n'))
    return shared
  }

  /** A victim that nothing happens to writes what the points are about, and no more. */
  async function writesOf(
    { start }: Cluster,
    run: (gateway: GatewayProcess) => Promise<unknown>,
  ): Promise<{ readonly seen: () => readonly string[] }> {
    const gate = await WriteGate.start(s2.port)
    const gateway = await start({ S2_ENDPOINT: gate.url, SUBSCRIPTIONS: 'off' })
    await run(gateway)
    return { seen: () => gate.writes.map(({ kind, stream }) => `${kind} ${stream}`) }
  }

  async function createSource({ survivor, at }: Scenario): Promise<void> {
    const source = at('source')
    expect(await put(survivor, source, { type: 'application/json', body: '[1]' })).toBe(201)
    expect((await appendJson(survivor.stream(source), 2)).status).toBe(204)
  }

  async function createFork({ survivor, at }: Scenario, role: string, of: string): Promise<void> {
    const body = JSON.stringify([role])
    expect(await put(survivor, at(role), { source: at(of), body })).toBe(201)
  }

  /** References too many, which time alone can end. */
  type Left = { readonly basin: string; readonly names: readonly string[]; readonly at: number }
  let left: Left | undefined

  async function leaveReferences(): Promise<Left> {
    const points = [...pointsAt(1, ['unanswered']), ...pointsAt(CREATED, ['unsent'])]
    const names: string[] = []
    const { basin } = await atEach(points, CREATION, async (scenario) => {
      const { survivor, at, die } = scenario
      const source = at('source')
      await createSource(scenario)
      await die((victim) => put(victim, at('fork'), { source }))
      expect(await remove(survivor, source)).toBe(204)
      expect(await standing(survivor, source)).toBe(410)
      names.push(at('fork'), source)
    })
    return { basin, names, at: Date.now() }
  }

  test('while it creates a fork leaves a reference, for now', async () => {
    left = await leaveReferences()
  })

  test('writes what the tests below let it die at', async () => {
    const shared = await cluster()
    const { survivor } = shared
    await put(survivor, 'source', JSON_SOURCE)
    const creation = await writesOf(shared, (gateway) => put(gateway, 'fork', FORK))
    expect(creation.seen()).toEqual(CREATION)
    await put(survivor, 'source2', JSON_SOURCE)
    await put(survivor, 'middle', { source: 'source2' })
    await put(survivor, 'last', { source: 'middle' })
    for (const name of ['source2', 'middle']) expect(await remove(survivor, name)).toBe(204)
    const deletion = await writesOf(shared, (gateway) => remove(gateway, 'last'))
    const expected = CASCADE.map((w) => w.replace('source', 'source2').replace('fork', 'last'))
    await vi.waitFor(() => expect(deletion.seen()).toEqual(expected))
    await sleep(200)
    expect(deletion.seen()).toEqual(expected)
  })

  test('while it creates a fork: the same request makes or finds it, and all can go', async () => {
    await atEach(CREATION_POINTS, CREATION, async (scenario) => {
      const { survivor, ahead, point, at, die } = scenario
      const both = [survivor, ahead]
      const [source, fork] = [at('source'), at('fork')]
      const request = { source, body: '["own"]' }
      await createSource(scenario)
      const { answer, deliver } = await die((victim) => put(victim, fork, request))
      expect(answer).toBeUndefined()
      await expectMessages([survivor], source, [1, 2])

      const isCreated = point.nth === CREATED && point.death === 'unanswered'
      expect(await put(survivor, fork, request)).toBe(isCreated ? 200 : 201)
      if (point.death === 'late') expect(await deliver()).toBeGreaterThanOrEqual(REFUSED)
      expect(await put(survivor, fork, { ...request, ttl: 1_000 })).toBe(409)
      expect((await appendJson(survivor.stream(source), 3)).status).toBe(204)
      expect((await appendJson(survivor.stream(fork), 'more')).status).toBe(204)
      await expectMessages(both, source, [1, 2, 3])
      await expectMessages(both, fork, [1, 2, 'own', 'more'])

      expect(await remove(survivor, source)).toBe(204)
      for (const gateway of both) expect(await standing(gateway, source)).toBe(410)
      await sleep(300) // for the one that is ahead to give up what nobody needs
      for (const gateway of both) expect(await standing(gateway, source)).toBe(410)
      expect(await put(survivor, source, OTHER)).toBe(409)
      expect(await put(survivor, fork, request)).toBe(200)
      await expectMessages(both, fork, [1, 2, 'own', 'more'])

      expect(await remove(survivor, fork)).toBe(204)
      expect(await put(survivor, fork, OTHER)).toBe(201)
      await allGone(scenario, [source])
      if (point.death === 'later') expect(await deliver()).toBeGreaterThanOrEqual(REFUSED)
      for (const name of [fork, source]) await expectOther(survivor, name)
    })
  })

  test('while it creates a fork that nobody asks for again: its source can go', async () => {
    await atEach(CREATION_POINTS, CREATION, async (scenario) => {
      const { survivor, ahead, point, at, die } = scenario
      const [source, fork] = [at('source'), at('fork')]
      const both = [survivor, ahead]
      await createSource(scenario)
      const { deliver } = await die((victim) => put(victim, fork, { source, body: '["own"]' }))
      await expectMessages(both, source, [1, 2])

      expect(await remove(survivor, source)).toBe(204)
      const isReferred = point.nth > 1 || point.death === 'unanswered'
      expect(await standing(survivor, source)).toBe(isReferred ? 410 : 404)
      if (isReferred) expect(await put(survivor, source, OTHER)).toBe(409)
      // A fork that comes late comes in time, as long as its reference is there.
      if (point.death === 'late') {
        const status = await deliver()
        if (point.nth === CREATED) expect(status).toBe(200)
        else expect(status).toBeGreaterThanOrEqual(REFUSED)
      }
      const isCreated = point.nth === CREATED && ['unanswered', 'late'].includes(point.death)
      if (isCreated) {
        await standing(ahead, source)
        await sleep(300) // for it to give up what nobody needs
        for (const gateway of both) expect(await standing(gateway, source)).toBe(410)
        await expectMessages(both, fork, [1, 2, 'own'])
        expect(await put(survivor, fork, OTHER)).toBe(409)
        expect(await remove(survivor, fork)).toBe(204)
      }
      await untilGone(scenario, [fork, source])
      // Its reference has been given up: it must not come to be any more.
      if (point.death === 'later') expect(await deliver()).toBeGreaterThanOrEqual(REFUSED)
      await allGone(scenario, [fork, source])
      for (const name of [fork, source]) await expectOther(survivor, name)
    })
  })

  /** From the death of a deletion of `fork` to the end of everything. */
  async function finishDeletion(
    scenario: Scenario,
    { inherited, ancestors }: { inherited: readonly unknown[]; ancestors: readonly string[] },
  ): Promise<void> {
    const { survivor, point, at, die } = scenario
    const fork = at('fork')
    const { answer, deliver } = await die((victim) => remove(victim, fork))
    expect(answer).toBe(point.nth === 1 ? undefined : 204)
    const isDeleted = point.nth > 1 || point.death === 'unanswered'
    if (isDeleted) expect(await standing(survivor, fork)).toBe(404)
    else await expectMessages([survivor], fork, [...inherited, 'fork'])

    expect(await remove(survivor, fork)).toBe(isDeleted ? 404 : 204)
    expect(await put(survivor, fork, OTHER)).toBe(201)
    if (point.death === 'late') {
      const status = await deliver()
      if (isDeleted) expect(status).toBe(200)
      else expect(status).toBeGreaterThanOrEqual(REFUSED)
    }
    if (ancestors.length > 0) await allGone(scenario, ancestors)
    if (point.death === 'later' && ancestors.length > 0) {
      expect(await deliver()).toBeGreaterThanOrEqual(REFUSED)
    }
    for (const name of [fork, ...ancestors]) await expectOther(survivor, name)
  }

  test('while it deletes the last of a chain: all of the chain goes', async () => {
    const points = CASCADE.flatMap((_, index) => pointsAt(index + 1))
    await atEach(points, CASCADE, async (scenario) => {
      const { survivor, at } = scenario
      await createSource(scenario)
      await createFork(scenario, 'middle', 'source')
      await createFork(scenario, 'fork', 'middle')
      for (const role of ['source', 'middle']) expect(await remove(survivor, at(role))).toBe(204)
      const ancestors = [at('middle'), at('source')]
      for (const name of ancestors) expect(await standing(survivor, name)).toBe(410)
      await finishDeletion(scenario, { inherited: [1, 2, 'middle'], ancestors })
    })
  })

  test('while it deletes one of two forks: the other one keeps its data', async () => {
    const writes = CASCADE.slice(0, 4)
    const points = writes.flatMap((_, index) => pointsAt(index + 1, ['unsent', 'unanswered']))
    await atEach(points, writes, async (scenario) => {
      const { survivor, ahead, at } = scenario
      await createSource(scenario)
      await createFork(scenario, 'middle', 'source')
      await createFork(scenario, 'sibling', 'source')
      await createFork(scenario, 'fork', 'middle')
      for (const role of ['source', 'middle']) expect(await remove(survivor, at(role))).toBe(204)
      await finishDeletion(scenario, { inherited: [1, 2, 'middle'], ancestors: [] })
      await allGone(scenario, [at('middle')])
      const [source, sibling] = [at('source'), at('sibling')]
      await standing(ahead, source)
      await sleep(300) // for it to give up what nobody needs
      for (const gateway of [survivor, ahead]) {
        expect(await standing(gateway, source)).toBe(410)
        await expectMessages([gateway], sibling, [1, 2, 'sibling'])
      }
      expect(await remove(survivor, sibling)).toBe(204)
      await allGone(scenario, [sibling, source])
    })
  })

  test('while it deletes a fork of a stream that is in use: that loses nothing', async () => {
    const writes = ['append fork', 'append source']
    await atEach([...pointsAt(1), ...pointsAt(2)], writes, async (scenario) => {
      const { survivor, ahead, point, at, die } = scenario
      const [source, fork] = [at('source'), at('fork')]
      await createSource(scenario)
      await createFork(scenario, 'fork', 'source')
      const { deliver } = await die((victim) => remove(victim, fork))
      const isDeleted = point.nth > 1 || point.death === 'unanswered'
      expect(await remove(survivor, fork)).toBe(isDeleted ? 404 : 204)
      if (point.death === 'late' && point.nth === 2) expect(await deliver()).toBe(200)
      await createFork(scenario, 'fork', 'source')
      await expectMessages([survivor, ahead], source, [1, 2])
      await expectMessages([survivor, ahead], fork, [1, 2, 'fork'])
      expect((await appendJson(survivor.stream(source), 3)).status).toBe(204)
      expect(await remove(survivor, source)).toBe(204)
      if (point.death === 'later') expect(await deliver()).toBeGreaterThanOrEqual(REFUSED)
      await expectMessages([survivor, ahead], fork, [1, 2, 'fork'])
      expect(await remove(survivor, fork)).toBe(204)
      await allGone(scenario, [fork, source])
    })
  })

  test('while it deletes a source: that is kept for its fork, and goes with it', async () => {
    await atEach(pointsAt(1), ['append source'], async (scenario) => {
      const { survivor, ahead, point, at, die } = scenario
      const [source, fork] = [at('source'), at('fork')]
      await createSource(scenario)
      await createFork(scenario, 'fork', 'source')
      const { answer, deliver } = await die((victim) => remove(victim, source))
      expect(answer).toBeUndefined()
      expect(await remove(survivor, source)).toBe(point.death === 'unanswered' ? 410 : 204)
      if (point.death === 'late') expect(await deliver()).toBeGreaterThanOrEqual(REFUSED)
      for (const gateway of [survivor, ahead]) {
        expect(await standing(gateway, source)).toBe(410)
        await expectMessages([gateway], fork, [1, 2, 'fork'])
      }
      expect(await remove(survivor, fork)).toBe(204)
      await allGone(scenario, [fork, source])
      if (point.death === 'later') expect(await deliver()).toBeGreaterThanOrEqual(REFUSED)
      for (const name of [fork, source]) await expectOther(survivor, name)
    })
  })

  test('before the tombstone of a stream that no fork needs: its place can be taken', async () => {
    const points = [
      ...pointsAt(2, ['unanswered']),
      ...pointsAt(3, ['unsent', 'late']),
      ...pointsAt(4, ['unanswered']),
      ...pointsAt(5, ['unsent', 'late']),
    ]
    await atEach(points, CASCADE, async (scenario) => {
      const { survivor, point, at, die } = scenario
      await createSource(scenario)
      await createFork(scenario, 'middle', 'source')
      await createFork(scenario, 'fork', 'middle')
      for (const role of ['source', 'middle']) expect(await remove(survivor, at(role))).toBe(204)
      const { deliver } = await die((victim) => remove(victim, at('fork')))
      const taken = point.nth < 4 ? 'middle' : 'source'
      // A fork of another stream, or nothing of the kind.
      expect(await put(survivor, 'elsewhere', { type: 'application/json' })).toBeLessThan(300)
      const request = point.death === 'late' ? { source: 'elsewhere' } : OTHER
      expect(await put(survivor, at(taken), request)).toBe(201)
      if (point.death === 'late') expect(await deliver()).toBeGreaterThanOrEqual(REFUSED)
      expect(await put(survivor, at(taken), request)).toBe(200)
      // The cascade goes on where it stopped, and nobody has to wait for a collection.
      if (taken === 'middle') {
        await vi.waitFor(async () => expect(await standing(survivor, at('source'))).toBe(404))
      }
      expect(await remove(survivor, at(taken))).toBe(204)
      await allGone(scenario, ['fork', 'middle', 'source'].map(at))
    })
  })

  describe('at any moment, while others create and delete forks of one stream', () => {
    test.each(SEEDS)('seed %i', async (seed) => {
      const shared = await cluster()
      const { survivor, ahead, start } = shared
      const victim = await start()
      const random = seededRandom(seed)
      const round = new Round({ survivor, victim, random })
      await round.run()

      for (const branch of round.branches) {
        if (branch.messages === undefined) continue
        await expectMessages([survivor, ahead], branch.name, branch.messages)
      }
      for (const name of round.names) {
        expect([name, await remove(survivor, name)]).toEqual([
          name,
          expect.toBeOneOf(ABSENT_OR_GONE),
        ])
      }
      await allGone(shared, round.names)
      for (const name of round.names) await expectOther(ahead, name)
    })
  })

  test('while it creates a fork leaves a reference for 30 s, and no longer', async () => {
    const { basin, names, at } = (left ??= await leaveReferences())
    const { survivor } = await cluster(basin)
    await sleep(at + SURE_TO_BE_COLLECTED_MS - Date.now())
    for (const name of names) {
      await vi.waitFor(async () =>
        expect([name, await standing(survivor, name)]).toEqual([name, 404]),
      )
      expect([name, await put(survivor, name, OTHER)]).toEqual([name, 201])
    }
  }, 60_000)
})

const JSON_SOURCE = { type: 'application/json', body: '[1]' }
const FORK = { source: 'source' }
const ABSENT_OR_GONE = [204, 404, 410]
const GONE = [404, 410]

const FAMILIES = 5
const KILL_AFTER_MS = [100, 1_200] as const
const AFTER_KILL_MS = 600
const GAP_MS = 15
/** How long a client tries again what a release under way is in the way of. */
const PATIENCE = 5

type Outcome = {
  readonly status: number
  /** An attempt before may have had an effect. */
  readonly isRetry: boolean
}

/** A fork with one client only, which knows what it must hold. */
class Branch {
  readonly name: string
  readonly source: string
  /** Undefined while it is not there. */
  messages: unknown[] | undefined
  /** What follows the inherited messages. */
  generation = 0
  appends = 0

  constructor(name: string, source: string) {
    this.name = name
    this.source = source
  }
}

type RoundOptions = {
  readonly survivor: GatewayProcess
  readonly victim: GatewayProcess
  readonly random: () => number
}

/** Clients that work with one source through two gateways, of which one is killed. */
class Round {
  readonly branches: Branch[] = []
  readonly #options: RoundOptions
  #isVictimThere = true
  /** Requests that the victim has not answered. */
  #underWay = 0
  #isOver = false
  /** Numbers in the source: those that are acknowledged, and those that were sent. */
  #acknowledged = 0
  #sent = 0
  #isSourceDeleted = false

  constructor(options: RoundOptions) {
    this.#options = options
  }

  /** Of all streams, those that inherit first. */
  get names(): readonly string[] {
    const own = this.branches.map(({ name }) => name).reverse()
    return ['shared', ...own, 'source']
  }

  async run(): Promise<void> {
    const { survivor, victim, random } = this.#options
    const status = await put(survivor, 'source', { type: 'application/json' })
    expect(status).toBe(201)
    const families = Array.from({ length: FAMILIES }, (_, index) => {
      const fork = new Branch(`fork-${index}`, 'source')
      return [fork, new Branch(`grandchild-${index}`, fork.name)] as const
    })
    this.branches.push(...families.flat())
    const clients = [
      this.#write(),
      ...families.map(([fork, grandchild]) => this.#work(fork, grandchild)),
      this.#compete(),
      this.#compete(),
      ...(random() < 0.5 ? [this.#deleteSource()] : []),
    ]
    const settled = Promise.all(clients).finally(() => (this.#isOver = true))
    settled.catch(() => undefined) // it is awaited below
    const [earliest, latest] = KILL_AFTER_MS
    await Promise.race([sleep(earliest + random() * (latest - earliest)), settled])
    // Otherwise it would only have left.
    await vi.waitFor(() => expect(this.#underWay).toBeGreaterThan(0), { interval: 1 })
    await victim.stop('SIGKILL')
    await sleep(AFTER_KILL_MS)
    this.#isOver = true
    await settled
  }

  /** Through any gateway, until there is an answer that says what became of it. */
  async #insist(request: (gateway: GatewayProcess) => Promise<number>): Promise<Outcome> {
    const { survivor, victim, random } = this.#options
    for (let isRetry = false; ; isRetry = true) {
      const gateway = this.#isVictimThere && random() < 0.5 ? victim : survivor
      const isVictims = gateway === victim
      if (isVictims) this.#underWay += 1
      try {
        const status = await request(gateway)
        if (status !== 503) return { status, isRetry }
        await sleep(GAP_MS)
      } catch (error) {
        if (gateway === survivor) throw error
        this.#isVictimThere = false
      } finally {
        if (isVictims) this.#underWay -= 1
      }
    }
  }

  #pause(): Promise<void> {
    return sleep(this.#options.random() * GAP_MS)
  }

  async #write(): Promise<void> {
    while (!this.#isOver) {
      const number = this.#sent
      this.#sent += 1
      const headers = claim('writer', 0, number)
      const { status } = await this.#insist(
        async (gateway) => (await appendJson(gateway.stream('source'), number, { headers })).status,
      )
      if (this.#isSourceDeleted && GONE.includes(status)) return
      expect([200, 204]).toContain(status)
      this.#acknowledged = this.#sent
      await this.#pause()
    }
  }

  async #deleteSource(): Promise<void> {
    await sleep(this.#options.random() * KILL_AFTER_MS[1])
    this.#isSourceDeleted = true
    const { status, isRetry } = await this.#insist((gateway) => remove(gateway, 'source'))
    expect(isRetry ? ABSENT_OR_GONE : [204]).toContain(status)
  }

  async #work(fork: Branch, grandchild: Branch): Promise<void> {
    while (!this.#isOver) {
      await this.#step(fork, grandchild)
      await this.#pause()
    }
  }

  async #step(fork: Branch, grandchild: Branch): Promise<void> {
    const { random } = this.#options
    const branch = random() < 0.5 ? fork : grandchild
    if (branch.messages !== undefined) {
      const choice = random()
      if (choice < 0.4) await this.#append(branch)
      else if (choice < 0.7) await this.#check(branch)
      else await this.#delete(branch, branch === fork && grandchild.messages !== undefined)
      return
    }
    const isKept = branch === fork && grandchild.messages !== undefined
    if (isKept) await this.#expectKept(fork)
    else if (branch === fork || fork.messages !== undefined) await this.#create(branch, fork)
  }

  async #expectKept({ name, source }: Branch): Promise<void> {
    const found = await this.#insist((gateway) => standing(gateway, name))
    expect([name, found.status]).toEqual([name, 410])
    const created = await this.#insist((gateway) => put(gateway, name, { source }))
    expect([name, created.status]).toEqual([name, 409])
  }

  async #create(branch: Branch, fork: Branch): Promise<void> {
    const { name, source } = branch
    const marker = `${name} ${(branch.generation += 1)}`
    const request = { source, body: JSON.stringify([marker]), ttl: 1_000 + branch.generation }
    const acknowledged = this.#acknowledged
    const { status, isRetry } = await this.#tryToCreate(branch, request)
    // Its source is gone, or a reference that nobody has given up yet keeps what it was.
    if (status === undefined) return
    expect([name, status]).toEqual([name, expect.toBeOneOf(isRetry ? [200, 201] : [201])])
    const found = await readJson(this.#options.survivor.stream(name))
    const inherited = found.slice(0, -1)
    expect([name, found.at(-1)]).toEqual([name, marker])
    if (branch === fork) {
      expect([name, inherited]).toEqual([name, inherited.map((_, index) => index)])
      expect(inherited.length).toBeGreaterThanOrEqual(acknowledged)
      expect(inherited.length).toBeLessThanOrEqual(this.#sent)
    } else expect([name, inherited]).toEqual([name, fork.messages])
    branch.messages = found
    branch.appends = 0
  }

  /** Status undefined: what was there before is in the way, or there is no source any more. */
  async #tryToCreate(
    { name, source }: Branch,
    request: Stream,
  ): Promise<{ readonly status: number | undefined; readonly isRetry: boolean }> {
    for (let attempt = 0; attempt < PATIENCE && !this.#isOver; attempt += 1) {
      const outcome = await this.#insist((gateway) => put(gateway, name, request))
      if (outcome.status < 300) return outcome
      const sourceIsGone = source === 'source' && this.#isSourceDeleted
      if (outcome.status === 404) expect([name, sourceIsGone]).toEqual([name, true])
      expect([name, outcome.status]).toEqual([name, expect.toBeOneOf([404, 409])])
      const found = await this.#insist((gateway) => standing(gateway, name))
      expect([name, found.status]).toEqual([name, expect.toBeOneOf(GONE)])
      if (sourceIsGone) return { status: undefined, isRetry: false }
      // Only what may have had forks of its own can still be there.
      expect([name, source]).toEqual([name, 'source'])
      await sleep(GAP_MS)
    }
    return { status: undefined, isRetry: false }
  }

  async #append(branch: Branch): Promise<void> {
    const { name, messages, appends, generation } = branch
    const message = `${name} ${generation}.${appends}`
    const headers = claim('client', 0, appends)
    const { status } = await this.#insist(
      async (gateway) => (await appendJson(gateway.stream(name), message, { headers })).status,
    )
    expect([name, status]).toEqual([name, expect.toBeOneOf([200, 204])])
    branch.appends += 1
    messages?.push(message)
  }

  async #check({ name, messages }: Branch): Promise<void> {
    let found: unknown[] = []
    await this.#insist(async (gateway) => {
      found = await readJson(gateway.stream(name))
      return 200
    })
    expect([name, found]).toEqual([name, messages])
  }

  async #delete(branch: Branch, hasFork: boolean): Promise<void> {
    const { name } = branch
    const { status, isRetry } = await this.#insist((gateway) => remove(gateway, name))
    expect([name, status]).toEqual([name, expect.toBeOneOf(isRetry ? ABSENT_OR_GONE : [204])])
    branch.messages = undefined
    const found = await this.#insist((gateway) => standing(gateway, name))
    expect([name, found.status]).toEqual([name, expect.toBeOneOf(hasFork ? [410] : GONE)])
  }

  /** One of those that create and delete the same fork. */
  async #compete(): Promise<void> {
    const request = { source: 'source', body: '["shared"]' }
    while (!this.#isOver) {
      const { status } =
        this.#options.random() < 0.6
          ? await this.#insist((gateway) => put(gateway, 'shared', request))
          : await this.#insist((gateway) => remove(gateway, 'shared'))
      const isRefused = this.#isSourceDeleted && status === 409
      if (!isRefused) expect([200, 201, 204, 404]).toContain(status)
      const { body, ...found } = await call(this.#options.survivor.stream('shared'))
      if (found.status === 200) {
        const messages = JSON.parse(body) as unknown[]
        const inherited = messages.slice(0, -1)
        expect(messages).toEqual([...inherited.map((_, index) => index), 'shared'])
      } else expect(found.status).toBe(404)
      await this.#pause()
    }
  }
}
