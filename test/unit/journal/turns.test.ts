import { describe, expect, test } from 'vitest'
import { sleep } from '../../../src/clock.ts'
import { Turns } from '../../../src/journal/turns.ts'
import { seededRandom } from '../../support/flaky-log.ts'
import { ManualClock } from '../../support/manual-clock.ts'

/** What it takes to make an append durable, and to get to the log or back, in ms on average. */
const APPEND_MS = 8
const HOP_MS = 1
/** Batches without a pause of a writer that is alone. */
const STREAK = 16
const CONTENDED_MS = 1000

/** A log as far as rivals see it: who comes first has the place, the others hear so when it is done. */
class SharedLog {
  readonly clock: ManualClock
  readonly winners: string[] = []
  #taken = 0
  #durable = 0
  #durableAt = 0

  constructor(seed: number) {
    this.clock = new ManualClock({ now: 0, random: seededRandom(seed) })
  }

  async append(name: string, place: number): Promise<boolean> {
    await this.#about(HOP_MS)
    const isFirst = this.#taken === place
    if (isFirst) {
      this.#taken += 1
      this.#durableAt = this.clock.now() + this.#chance(APPEND_MS)
    }
    await sleep(this.clock, Math.max(0, this.#durableAt - this.clock.now()))
    if (isFirst) {
      this.#durable += 1
      this.winners.push(name)
    }
    await this.#about(HOP_MS)
    return isFirst
  }

  async tail(): Promise<number> {
    await this.#about(HOP_MS)
    const tail = this.#durable
    await this.#about(HOP_MS)
    return tail
  }

  #about(ms: number): Promise<void> {
    return sleep(this.clock, this.#chance(ms))
  }

  #chance(ms: number): number {
    return ms * (0.75 + this.clock.random() / 2)
  }
}

/** Writes as a journal does, with something to write again soon, until it is told to stop. */
async function rival(
  name: string,
  log: SharedLog,
  isOver: () => boolean,
  restMs = 0,
): Promise<void> {
  const { clock } = log
  const turns = new Turns(clock)
  for (let known = 0; !isOver();) {
    const begun = clock.now()
    if (await log.append(name, known)) {
      turns.won(clock.now() - begun)
      known += 1
      if (restMs > 0) await sleep(clock, restMs)
    } else {
      turns.lost()
      known = await log.tail()
    }
    const pauseMs = turns.takePause()
    if (pauseMs === 0) continue
    await sleep(clock, pauseMs)
    known = await log.tail()
  }
}

/** A writer that knows of nobody else. */
const lone = () => {
  const clock = new ManualClock({ now: 0 })
  return { clock, turns: new Turns(clock) }
}
const win = (turns: Turns, times: number, ms = APPEND_MS): void => {
  for (let time = 0; time < times; time += 1) turns.won(ms)
}

describe('Turns', () => {
  test('let a writer that is alone go on without a pause for a streak, and then pause once', () => {
    const { turns } = lone()
    const pauses = Array.from({ length: 2 * STREAK + 1 }, () => {
      turns.won(APPEND_MS)
      return turns.takePause() > 0
    })
    const isLast = (_: unknown, index: number) => (index + 1) % STREAK === 0
    expect(pauses).toEqual(Array.from(pauses, isLast))
  })

  test('take a time without anything to write for the pause', () => {
    const { clock, turns } = lone()
    win(turns, STREAK)
    clock.advance(2 * APPEND_MS + 1)
    expect(turns.takePause()).toBe(0)
    win(turns, STREAK)
    clock.advance(APPEND_MS)
    expect(turns.takePause()).toBeGreaterThan(0)
  })

  test('pause for about two appends, as they have been lately', () => {
    const { turns } = lone()
    win(turns, 100, 30)
    expect(turns.takePause()).toBeCloseTo(60)
    win(turns, 100, 3)
    expect(turns.takePause()).toBeCloseTo(6)
  })

  test('take no outage for the time of an append', () => {
    const { turns } = lone()
    win(turns, 100, 60_000)
    expect(turns.takePause()).toBeLessThanOrEqual(400)
  })

  test.each([0, 0.25, 0.999])('pause by chance after a conflict: %d', (random) => {
    const clock = new ManualClock({ now: 0, random: () => random })
    const turns = new Turns(clock)
    win(turns, 100)
    turns.lost()
    expect(turns.takePause()).toBeCloseTo(random * 2 * APPEND_MS)
    clock.advance(CONTENDED_MS - 1)
    expect(turns.takePause()).toBeCloseTo(random * 2 * APPEND_MS)
  })

  test('reckon with nobody once the last conflict is long over', () => {
    const { clock, turns } = lone()
    turns.lost()
    expect(turns.takePause()).toBeGreaterThan(0)
    clock.advance(CONTENDED_MS)
    win(turns, STREAK - 1)
    expect(turns.takePause()).toBe(0)
  })

  test.each([2, 3, 5, 8])('give each of %i rivals about its share', async (count) => {
    const rounds = 400 * count
    const log = new SharedLog(count)
    const names = Array.from({ length: count }, (_, index) => `g${index}`)
    const isOver = () => log.winners.length >= rounds
    await log.clock.runUntil(Promise.all(names.map((name) => rival(name, log, isOver))))
    const shares = names.map((name) => log.winners.filter((winner) => winner === name).length)
    const fair = log.winners.length / count
    const isFair = (share: number) => share > 0.7 * fair && share < 1.4 * fair
    expect({ shares, fair: shares.every(isFair) }).toEqual({ shares, fair: true })
  })

  test.each([1, 2, 3, 4, 5].flatMap((seed) => [0, 0.3].map((restMs) => [seed, restMs] as const)))(
    'let a newcomer in within a few dozen rounds, whatever the time: %i, resting for %d ms',
    async (seed, restMs) => {
      const log = new SharedLog(seed)
      const run = { isOver: false }
      const incumbent = rival('old', log, () => run.isOver, restMs)
      const newcomer = async (): Promise<number> => {
        await sleep(log.clock, 500 + 17 * seed)
        const before = log.winners.length
        const isIn = () => log.winners.includes('new')
        await rival('new', log, () => isIn() || log.winners.length > before + 500)
        run.isOver = true
        return isIn() ? log.winners.indexOf('new') - before : Infinity
      }
      const [waited] = await log.clock.runUntil(Promise.all([newcomer(), incumbent]))
      expect(waited).toBeLessThanOrEqual(36)
    },
  )
})
