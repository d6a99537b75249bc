import { describe, expect, test } from 'vitest'
import { sleep } from '../../../src/clock.ts'
import { Turns } from '../../../src/journal/turns.ts'
import { seededRandom } from '../../support/flaky-log.ts'
import { ManualClock } from '../../support/manual-clock.ts'

/** What it takes to make an append durable, and to get to the log or back, in ms on average. */
const APPEND_MS = 8
const HOP_MS = 1
/** What news take over a connection whose other side waits for an acknowledgement. */
const LATE_MS = 40
/** Batches without a pause of a writer that is alone. */
const STREAK = 16
const CONTENDED_MS = 1000
/** How many append times a rival is waited for that does not write. */
const TURN = 3

type Batch = { readonly writer: string; readonly at: number }

/** A log as far as rivals see it: who comes first has the place, the others hear so when it is done. */
class SharedLog {
  readonly clock: ManualClock
  readonly winners: Batch[] = []
  readonly #followers: (() => void)[] = []
  readonly #late: number
  #taken = 0
  #durableAt = 0

  /** `late` is the share of news that take so long that nobody waits for them. */
  constructor(seed: number, late = 0) {
    this.clock = new ManualClock({ now: 0, random: seededRandom(seed) })
    this.#late = late
  }

  async append(writer: string, place: number): Promise<boolean> {
    await this.#about(HOP_MS)
    const isFirst = this.#taken === place
    if (isFirst) {
      this.#taken += 1
      this.#durableAt = this.clock.now() + this.#chance(APPEND_MS)
    }
    await sleep(this.clock, Math.max(0, this.#durableAt - this.clock.now()))
    if (isFirst) {
      this.winners.push({ writer, at: this.clock.now() })
      for (const tell of this.#followers) {
        const isLate = this.clock.random() < this.#late
        void this.#about(isLate ? LATE_MS : HOP_MS).then(tell)
      }
    }
    await this.#about(HOP_MS)
    return isFirst
  }

  async tail(): Promise<number> {
    await this.#about(HOP_MS)
    const tail = this.winners.length
    await this.#about(HOP_MS)
    return tail
  }

  /** From now on `tell` is called soon after a batch is durable. */
  follow(tell: () => void): void {
    this.#followers.push(tell)
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
  const turns = new Turns(clock, name)
  let known = 0
  const learn = (tail: number): void => {
    for (; known < tail; known += 1) {
      const { writer, at } = log.winners[known]!
      turns.saw(writer, at)
    }
  }
  let isFollowing = false
  while (!isOver()) {
    const [begun, place] = [clock.now(), known]
    const isFirst = await log.append(name, place)
    if (isFirst) {
      turns.won(clock.now() - begun)
      known = Math.max(known, log.winners.length)
      if (restMs > 0) await sleep(clock, restMs)
    } else {
      turns.lost()
      if (!isFollowing) log.follow(() => learn(log.winners.length))
      isFollowing = true
    }
    const look = async () => learn(await log.tail())
    const pauseMs = turns.takePause()
    const rested = pauseMs > 0 ? await turns.rest(pauseMs, look) : 'heard'
    if (rested === 'over' || (!isFirst && known === place)) await look()
  }
}

/** A writer that knows of nobody else. */
const lone = () => {
  const clock = new ManualClock({ now: 0 })
  return { clock, turns: new Turns(clock, 'own') }
}

/** One batch after the other without a rest, each as slow as is said. */
const win = ({ clock, turns }: ReturnType<typeof lone>, times: number, ms = APPEND_MS): number => {
  let pauses = 0
  for (let time = 0; time < times; time += 1) {
    if (turns.takePause() > 0) pauses += 1
    clock.advance(ms)
    turns.won(ms)
  }
  return pauses
}

describe('Turns', () => {
  test('let a writer that is alone go on for a streak, and then pause once', () => {
    const writer = lone()
    win(writer, 100)
    const before = writer.clock.now()
    expect(win(writer, 10 * STREAK)).toBeGreaterThanOrEqual(8)
    expect(win(lone(), STREAK)).toBe(0)
    expect(writer.clock.now() - before).toBe(10 * STREAK * APPEND_MS)
  })

  test('count a streak in time, however many batches are in flight', () => {
    const { clock, turns } = lone()
    const batches = (count: number) =>
      Array.from({ length: count }, () => {
        clock.advance(APPEND_MS / 8)
        turns.won(APPEND_MS)
        return turns.takePause()
      }).filter((pause) => pause > 0)
    batches(100)
    const [pauses, expected] = [batches(8 * 8 * STREAK).length, 8]
    expect(Math.abs(pauses - expected)).toBeLessThanOrEqual(1)
  })

  test('take a time without anything to write for the pause', () => {
    const writer = lone()
    win(writer, 100)
    writer.clock.advance(2 * APPEND_MS + 1)
    expect(win(writer, STREAK)).toBe(0)
    expect(win(writer, 2)).toBe(1)
  })

  const paced = (idle: number, isIdle: boolean): number => {
    const { clock, turns } = lone()
    const pauses = Array.from({ length: 20 * STREAK }, () => {
      clock.advance(APPEND_MS)
      turns.won(APPEND_MS)
      clock.advance(idle * APPEND_MS)
      return turns.takePause({ isIdle })
    })
    return pauses.filter((pause) => pause > 0).length
  }

  test.each([1.1, 1.5, 1.9])(
    'are never paused for by who is idle for %f appends behind each of its own',
    (idle) => expect(paced(idle, true)).toBe(0),
  )

  test('are paused for by who is idle for less than an append', () => {
    expect(paced(0.9, true)).toBeGreaterThanOrEqual(20)
  })

  test('do not take an append that is on its way for a time without one', () => {
    expect(paced(1.5, false)).toBeGreaterThanOrEqual(20)
  })

  test('are not for a log that nobody else may write', () => {
    const clock = new ManualClock({ now: 0 })
    const turns = new Turns(clock, 'own', { isShared: false })
    expect(win({ clock, turns }, 10 * STREAK)).toBe(0)
  })

  test('pause for about two appends, as they have been lately', () => {
    const pauseAfter = (ms: number): number => {
      const { clock, turns } = lone()
      for (;;) {
        const pause = turns.takePause()
        if (pause > 0 && clock.now() > 100 * ms) return pause
        clock.advance(ms)
        turns.won(ms)
      }
    }
    expect(pauseAfter(30)).toBeCloseTo(60)
    expect(pauseAfter(3)).toBeCloseTo(6)
  })

  test('take no outage for the time of an append', () => {
    const { clock, turns } = lone()
    for (let time = 0; time < 100; time += 1) turns.won(60_000)
    turns.lost()
    clock.advance(CONTENDED_MS - 1)
    expect(turns.takePause()).toBeLessThanOrEqual(400)
  })

  test.each([0, 0.25, 0.999])('pause by chance after a conflict: %d', (random) => {
    const clock = new ManualClock({ now: 0, random: () => random })
    const turns = new Turns(clock, 'own')
    for (let time = 0; time < 100; time += 1) turns.won(APPEND_MS)
    turns.lost()
    expect(turns.takePause()).toBeCloseTo(random * 2 * APPEND_MS)
    clock.advance(CONTENDED_MS - 1)
    expect([turns.takePause(), turns.isContended()]).toEqual([
      expect.closeTo(random * 2 * APPEND_MS),
      true,
    ])
  })

  test('wait for those that come between the last writer and itself', () => {
    const clock = new ManualClock({ now: 0, random: () => 0 })
    const turns = new Turns(clock, 'b')
    for (let time = 0; time < 100; time += 1) turns.won(APPEND_MS)
    turns.lost()
    const pauseAfter = (writer: string): number => {
      turns.saw(writer, clock.now())
      return turns.takePause() / APPEND_MS
    }
    for (const rival of ['c', 'd']) turns.saw(rival, clock.now())
    expect(pauseAfter('a')).toBe(0)
    expect(pauseAfter('d')).toBeCloseTo(TURN)
    expect(pauseAfter('c')).toBeCloseTo(2 * TURN)
    turns.won(APPEND_MS)
    expect(turns.takePause() / APPEND_MS).toBeCloseTo(3 * TURN)
    // The others were silent for long, and who wrote long ago is no rival.
    clock.advance(CONTENDED_MS)
    turns.lost()
    turns.saw('e', clock.now() - CONTENDED_MS)
    expect(pauseAfter('a')).toBe(0)
    turns.won(APPEND_MS)
    expect(turns.takePause() / APPEND_MS).toBeCloseTo(TURN)
  })

  test('are not confused for long by a clock that is set back', () => {
    const { clock, turns } = lone()
    turns.lost()
    turns.won(-3_600_000)
    clock.set(clock.now() - 3_600_000)
    expect(turns.isContended()).toBe(false)
    expect(turns.takePause()).toBeGreaterThanOrEqual(0)
  })

  test('end a streak also after the clock was set back', () => {
    const writer = lone()
    win(writer, 100)
    writer.clock.set(writer.clock.now() - 3_600_000)
    expect(win(writer, 10 * STREAK)).toBeGreaterThanOrEqual(8)
  })

  test('reckon with nobody once the last conflict is long over', () => {
    const writer = lone()
    writer.turns.lost()
    expect(writer.turns.takePause()).toBeGreaterThan(0)
    writer.clock.advance(CONTENDED_MS)
    expect(writer.turns.isContended()).toBe(false)
    expect(win(writer, STREAK / 2)).toBe(0)
  })

  const crowds = [2, 3, 5, 8].flatMap((count) => [0, 0.3].map((late) => [count, late] as const))
  test.each(crowds)(
    'give each of %i rivals about its share, with %f of news late',
    async (count, late) => {
      const rounds = 400 * count
      const log = new SharedLog(count, late)
      const names = Array.from({ length: count }, (_, index) => `g${index}`)
      const isOver = () => log.winners.length >= rounds
      await log.clock.runUntil(Promise.all(names.map((name) => rival(name, log, isOver))))
      const shares = names.map((name) => log.winners.filter(({ writer }) => writer === name).length)
      const fair = log.winners.length / count
      const isFair = (share: number) => share > 0.7 * fair && share < 1.4 * fair
      expect({ shares, fair: shares.every(isFair) }).toEqual({ shares, fair: true })
      // One that is alone takes 10 ms, with the time to the log and back.
      const lateMs = late * 1.5 * APPEND_MS
      expect(log.clock.now() / log.winners.length).toBeLessThan(
        1.3 * (APPEND_MS + 2 * HOP_MS) + lateMs,
      )
    },
  )

  const newcomers = [1, 2, 3, 4, 5].flatMap((seed) =>
    [1, 2, 4].flatMap((incumbents) =>
      [0, 0.04, 0.3, 0.6, 1.2, 1.8].map((rest) => ({ seed, incumbents, restMs: rest * APPEND_MS })),
    ),
  )
  test.each(newcomers)(
    'let a newcomer in after two streaks of each that was there: %o',
    async ({ seed, incumbents, restMs }) => {
      const log = new SharedLog(seed)
      const run = { isOver: false }
      const names = Array.from({ length: incumbents }, (_, index) => `old${index}`)
      const old = names.map((name) => rival(name, log, () => run.isOver, restMs))
      const newcomer = async (): Promise<number> => {
        await sleep(log.clock, 500 + 17 * seed)
        const before = log.winners.length
        const place = (): number => log.winners.findIndex(({ writer }) => writer === 'new')
        await rival('new', log, () => place() >= 0 || log.winners.length > before + 1000)
        run.isOver = true
        return place() < 0 ? Infinity : place() - before
      }
      const [waited] = await log.clock.runUntil(Promise.all([newcomer(), ...old]))
      expect(waited).toBeLessThanOrEqual(2 * (STREAK + 2) * incumbents)
    },
  )
})
