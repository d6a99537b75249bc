/**
 * One gateway among those over the same S2: what it knows of the directory, what it has in hand,
 * and what it takes over from others that are gone.
 *
 * All rests on one time, `takeoverMs`. A gateway that has something in hand and that others have
 * not seen write for as long is gone. So it acts on its marks only while its last record is
 * younger than half of that, and looks for news when its knowledge is older than half of that.
 */
import { backoffMs, sleep } from '../clock.ts'
import type { Clock } from '../clock.ts'
import { LogUnavailableError, invariant } from '../errors.ts'
import type { Command } from '../journal/command.ts'
import { followJournal } from '../journal/follow.ts'
import { Journal } from '../journal/journal.ts'
import type { DurableLog, SeqNum } from '../log/log.ts'
import {
  adoptOrphansCommand,
  aliveCommand,
  leaveCommand,
  markCommand,
  subscribeCommand,
  takeOverCommand,
  unsubscribeCommand,
} from './directory-commands.ts'
import type { EntryChange } from './directory-commands.ts'
import { DIRECTORY_RULES, EMPTY_DIRECTORY } from './directory-state.ts'
import type { Directory, Mark, Member } from './directory-state.ts'
import { Silences } from './silences.ts'
import type { Silent } from './silences.ts'

/** Name of the directory's log. */
const DIRECTORY_STREAM = '__ds/directory'

/** A record that took long to write is old when it is there. */
const HOLD_ATTEMPTS = 3
/** Longest wait between two looks for gateways that do not know a new subscription yet. */
const LOOK_EVERY_MS = 100
/** The wait before the directory is tried again at the start. */
const JOIN_RETRY = { firstMs: 100, longestMs: 5000 }
/** Beats in `takeoverMs` of a gateway that has something in hand. */
const BEATS = 4
/**
 * A gateway with nothing in hand is missed by nobody but who makes a subscription, and would wait
 * for it. It shows that it lives this many times less often.
 */
const IDLE_FACTOR = 20

export type MembershipOptions = {
  readonly log: DurableLog
  readonly clock: Clock
  /** Unique in the world, and new for each process. */
  readonly gatewayId: string
  readonly commandTimeoutMs: number
  /** After this long without a record of it, a gateway is gone. In ms. */
  readonly takeoverMs: number
  /** What others had in hand and this gateway has to look after from here on. */
  readonly onInherited: (marks: readonly Mark[]) => void
  readonly onBackgroundError: (task: string, error: unknown) => void
}

export class Membership {
  readonly #options: MembershipOptions
  readonly #journal: Journal<Directory>
  /** Marks that some part of this gateway looks after, or is about to. */
  readonly #inHand = new Set<Mark>()
  /** Marks that nobody here needs any more: to go with the next record, or going. */
  readonly #drops = new Set<Mark>()
  readonly #dropping = new Set<Mark>()
  readonly #silences: Silences
  readonly #underWay = new Set<string>()
  /** When the last look at the directory began that has succeeded. */
  #lookedAt = -Infinity
  /** When the last record of this gateway was sent that is durable. */
  #wroteAt = -Infinity
  #phase: 'new' | 'running' | 'stopped' = 'new'
  #stopFollowing = (): void => undefined
  #cancelTick = (): void => undefined

  constructor(options: MembershipOptions) {
    this.#options = options
    this.#journal = new Journal(DIRECTORY_STREAM, DIRECTORY_RULES, options)
    const { takeoverMs } = options
    this.#silences = new Silences({ takeoverMs, idleMs: takeoverMs * IDLE_FACTOR })
  }

  /** Joins in the background and goes on until {@link stop}. */
  start(): void {
    invariant(this.#phase === 'new', 'a membership is started once')
    this.#phase = 'running'
    const { log, clock } = this.#options
    this.#background('join', async () => {
      await this.#join()
      if (this.#phase !== 'running') return
      const onChange = (): void => this.#onChange()
      this.#stopFollowing = followJournal(this.#journal, { log, clock, onChange })
    })
    this.#tick()
  }

  async #join(): Promise<void> {
    const { clock, gatewayId, onBackgroundError } = this.#options
    for (let attempt = 0; this.#phase === 'running'; attempt += 1) {
      try {
        await this.#write(aliveCommand(gatewayId))
        return
      } catch (error) {
        onBackgroundError('join', error)
        await sleep(clock, backoffMs(clock, attempt, JOIN_RETRY))
      }
    }
  }

  /** Leaves what is in hand to the others. */
  async stop(): Promise<void> {
    if (this.#phase !== 'running') return
    this.#phase = 'stopped'
    this.#stopFollowing()
    this.#cancelTick()
    await this.#journal.execute(leaveCommand(this.#options.gatewayId))
  }

  /** The directory as it is known here. */
  get directory(): Directory {
    return this.#journal.peek()?.incarnation ?? EMPTY_DIRECTORY
  }

  get #own(): Member | undefined {
    return this.directory.gateways.get(this.#options.gatewayId)
  }

  /** Whether appends may be judged by {@link directory}: see {@link current}. */
  get isCurrent(): boolean {
    return this.#isYoung(this.#lookedAt) && this.#own !== undefined
  }

  /** An age below 0 says that the clock was set back. */
  #isYoung(since: number): boolean {
    const age = this.#options.clock.now() - since
    return age >= 0 && age < this.#options.takeoverMs / 2
  }

  /**
   * Brings {@link directory} up if it could miss a subscription that is already in force: who
   * makes one waits for all gateways that are there, and `takeoverMs` for the others.
   */
  async current(): Promise<void> {
    if (this.isCurrent) return
    await this.look()
    // Nobody waits for a gateway that is not there; once it is, it knows all there was before.
    if (this.#own === undefined) await this.#write(aliveCommand(this.#options.gatewayId))
  }

  /** Brings {@link directory} up to all that was written before the call. */
  async look(): Promise<Directory> {
    const begun = this.#options.clock.now()
    await this.#journal.refresh()
    this.#lookedAt = begun
    this.#onChange()
    return this.directory
  }

  /** Whether marks stand, and will for longer than it takes to act on it. */
  holds(marks: readonly Mark[]): boolean {
    return this.#isYoung(this.#wroteAt) && marks.every((mark) => this.#isHeld(mark))
  }

  #isHeld(mark: Mark): boolean {
    const isLeaving = this.#drops.has(mark) || this.#dropping.has(mark)
    return !isLeaving && this.#own?.marks.has(mark) === true
  }

  /**
   * Takes marks in hand: if this gateway is gone one day, another one looks after them.
   *
   * @throws OverloadedError the directory has no room for more
   * @throws LogUnavailableError the directory is too slow for a gateway to show that it is there
   */
  async hold(marks: readonly Mark[]): Promise<void> {
    for (let attempt = 0; ; attempt += 1) {
      for (const mark of marks) {
        this.#inHand.add(mark)
        this.#drops.delete(mark)
      }
      if (this.holds(marks)) return
      if (attempt === HOLD_ATTEMPTS) throw new LogUnavailableError()
      // Commands keep their order: what is on its way to be dropped is taken again after that.
      const add = marks.filter((mark) => !this.#isHeld(mark))
      await this.#write(markCommand(this.#options.gatewayId, { add, drop: [] }))
    }
  }

  /** Lets go of marks: nobody here needs them. They go with one of the next records. */
  drop(marks: readonly Mark[]): void {
    for (const mark of marks) {
      this.#inHand.delete(mark)
      if (this.#own?.marks.has(mark) === true) this.#drops.add(mark)
    }
  }

  /** Whether a gateway is not in the directory, as it is known here. */
  isGone(gateway: string): boolean {
    return !this.directory.gateways.has(gateway)
  }

  /**
   * Makes a life of a subscription known: returns when no gateway appends any more without
   * knowing it.
   *
   * @throws SubscriptionError `LIMIT_REACHED`; `SUBSCRIPTION_NOT_FOUND` if `change` says so
   */
  async subscribe(life: string, change: EntryChange): Promise<void> {
    const { clock, gatewayId, takeoverMs } = this.#options
    await this.#write(subscribeCommand(gatewayId, life, change))
    const since = clock.now()
    const { newest } = this.directory
    for (;;) {
      const unaware = this.#unaware(newest)
      if (unaware.length === 0) return
      if (clock.now() - since >= takeoverMs) {
        for (const silent of unaware) await this.#takeOver(silent)
      }
      await sleep(clock, Math.min(LOOK_EVERY_MS, takeoverMs / 8))
      await this.look()
    }
  }

  #unaware(newest: SeqNum): readonly Silent[] {
    return [...this.directory.gateways]
      .filter(([, { seen }]) => seen < newest)
      .map(([id, { seen }]) => ({ id, seen }))
  }

  /** Makes a life of a subscription unknown. */
  async unsubscribe(life: string): Promise<void> {
    await this.#write(unsubscribeCommand(this.#options.gatewayId, life))
  }

  /** Others took this gateway for gone, and have let go of what it still has in hand. */
  async #restore(): Promise<void> {
    const isLost = (mark: Mark): boolean => this.#own?.marks.has(mark) !== true
    const lost = [...this.#inHand].filter(isLost)
    if (lost.length > 0) await this.hold(lost)
  }

  /** What is written proves that this gateway is there, and that it knows what was before. */
  async #write<Answer>(command: Command<Directory, Answer>): Promise<Answer> {
    // One that has left must not come back.
    if (this.#phase === 'stopped') throw new LogUnavailableError()
    const begun = this.#options.clock.now()
    const before = this.#own?.seen ?? -1
    const answer = await this.#journal.execute(command)
    this.#lookedAt = begun
    if ((this.#own?.seen ?? -1) > before) this.#wroteAt = begun
    return answer
  }

  #onChange(): void {
    if (this.#phase !== 'running') return
    const { newest, orphans } = this.directory
    if (this.#own !== undefined && this.#own.seen < newest) {
      this.#background('announce', () => this.#announce())
    }
    if (orphans.size > 0) this.#background('adopt', () => this.#adopt())
  }

  /** Whoever makes a subscription waits for this gateway to say that it knows. */
  async #announce(): Promise<void> {
    const isDue = (): boolean => this.#own !== undefined && this.#own.seen < this.directory.newest
    while (isDue()) await this.#write(aliveCommand(this.#options.gatewayId))
  }

  async #adopt(): Promise<void> {
    const { clock, takeoverMs, gatewayId } = this.#options
    // One is enough; chance decides who, but for the only one there is.
    if (this.directory.gateways.size > 1) await sleep(clock, (clock.random() * takeoverMs) / BEATS)
    if (this.directory.orphans.size === 0 || this.#phase !== 'running') return
    this.#inherit(await this.#write(adoptOrphansCommand(gatewayId)))
  }

  async #takeOver(silent: Silent): Promise<void> {
    const { gatewayId } = this.#options
    if (silent.id === gatewayId) return
    this.#inherit(await this.#write(takeOverCommand(gatewayId, silent)))
  }

  /**
   * What was in hand here already, too, has to be looked at: whoever had it as well may have left
   * it in the middle of something.
   */
  #inherit(marks: readonly Mark[]): void {
    if (marks.length === 0) return
    for (const mark of marks) {
      this.#inHand.add(mark)
      this.#drops.delete(mark)
    }
    this.#options.onInherited(marks)
  }

  /** Where the answer to a record was lost, marks stand here that nobody here looks after. */
  #inheritStray(): void {
    const held = [...(this.#own?.marks ?? [])]
    this.#inherit(held.filter((mark) => !this.#inHand.has(mark) && this.#isHeld(mark)))
  }

  #tick(): void {
    const { clock, takeoverMs } = this.#options
    this.#cancelTick = clock.after(takeoverMs / BEATS, () => {
      this.#tick()
      this.#inheritStray()
      this.#background('restore', () => this.#restore())
      this.#onChange()
      this.#background('beat', () => this.#beat())
      this.#background('watch', () => this.#watch())
    })
  }

  /** Lets go of what is to go, and shows that this gateway lives. */
  async #beat(): Promise<void> {
    const { gatewayId, clock, takeoverMs } = this.#options
    if (this.#dropping.size > 0) {
      // A drop has failed: only a look shows whether it is in the log all the same.
      await this.look()
      this.#dropping.clear()
    }
    if (this.#drops.size > 0) return this.#writeDrops()
    const hasMarks = (this.#own?.marks.size ?? 0) > 0
    const idleMs = (takeoverMs * IDLE_FACTOR) / BEATS
    if (hasMarks || clock.now() - this.#wroteAt >= idleMs)
      await this.#write(aliveCommand(gatewayId))
  }

  async #writeDrops(): Promise<void> {
    const drop = [...this.#drops]
    this.#drops.clear()
    for (const mark of drop) this.#dropping.add(mark)
    await this.#write(markCommand(this.#options.gatewayId, { add: [], drop }))
    this.#dropping.clear()
  }

  /** Looks for gateways that have been silent for too long, and takes over what they have. */
  async #watch(): Promise<void> {
    const { clock } = this.#options
    if (this.#silences.over(this.#others(), clock.now()).length === 0) return
    // What arrives by itself may be late: only a look shows that there was nothing.
    const begun = clock.now()
    await this.look()
    for (const silent of this.#silences.over(this.#others(), begun)) await this.#takeOver(silent)
  }

  #others(): ReadonlyMap<string, Member> {
    const others = new Map(this.directory.gateways)
    others.delete(this.#options.gatewayId)
    return others
  }

  /** Runs a task that nobody waits for, unless it is running already. */
  #background(task: string, run: () => Promise<void>): void {
    if (this.#underWay.has(task)) return
    this.#underWay.add(task)
    run()
      .catch((error: unknown) => {
        if (this.#phase === 'running') this.#options.onBackgroundError(task, error)
      })
      .finally(() => this.#underWay.delete(task))
  }
}
