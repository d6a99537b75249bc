/**
 * One gateway among those over the same S2: what it knows of the directory, what it has in hand,
 * and what it takes over from others that are gone.
 *
 * All rests on one time, `takeoverMs`. A gateway that others have not seen write for as long is
 * gone. So it acts on its marks only while its last record is younger than half of that, and
 * takes no look at the directory for news older than half of that.
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

/** Name of the directory's log. */
export const DIRECTORY_STREAM = '__ds/directory'

/** Longest wait between two looks for gateways that do not know a new subscription yet. */
const LOOK_EVERY_MS = 100
/** A record that took long to write is old when it is there. */
const HOLD_ATTEMPTS = 3
/** The wait before the directory is tried again at the start. */
const JOIN_RETRY = { firstMs: 100, longestMs: 5000 }

export type MembershipOptions = {
  readonly log: DurableLog
  readonly clock: Clock
  /** Unique in the world, and new for each process. */
  readonly gatewayId: string
  readonly commandTimeoutMs: number
  /** After this long without a record of it, a gateway is gone. In ms. */
  readonly takeoverMs: number
  /** What others had in hand and this gateway has to look after now. */
  readonly onInherited: (marks: readonly Mark[]) => void
  readonly onBackgroundError: (task: string, error: unknown) => void
}

export class Membership {
  readonly #options: MembershipOptions
  readonly #journal: Journal<Directory>
  /** Marks that stand in the log and are to go, or on their way. */
  readonly #drops = new Set<Mark>()
  readonly #dropping = new Set<Mark>()
  readonly #silences = new Map<string, { readonly seen: SeqNum; readonly since: number }>()
  /** When the last look at the directory began that has succeeded. */
  #lookedAt = -Infinity
  /** When the last record of this gateway was sent that is durable. */
  #wroteAt = -Infinity
  #phase: 'new' | 'running' | 'stopped' = 'new'
  #stopFollowing = (): void => undefined
  #cancelTick = (): void => undefined
  readonly #underWay = new Set<string>()

  constructor(options: MembershipOptions) {
    this.#options = options
    const { log, clock, commandTimeoutMs, gatewayId } = options
    this.#journal = new Journal(DIRECTORY_STREAM, DIRECTORY_RULES, {
      log,
      clock,
      commandTimeoutMs,
      gatewayId,
    })
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

  /** Whether appends may be judged by {@link directory}: see {@link current}. */
  get isCurrent(): boolean {
    const { clock, takeoverMs, gatewayId } = this.#options
    const isYoung = clock.now() - this.#lookedAt < takeoverMs / 2
    return isYoung && this.directory.gateways.has(gatewayId)
  }

  /**
   * Brings {@link directory} up if it could miss a subscription that is already in force: who
   * makes one waits for all gateways that are there, and `takeoverMs` for the others.
   */
  async current(): Promise<void> {
    if (this.isCurrent) return
    await this.look()
    // Nobody waits for a gateway that is not there; once it is, it knows all there was before.
    const { gatewayId } = this.#options
    if (!this.directory.gateways.has(gatewayId)) await this.#write(aliveCommand(gatewayId))
  }

  /** Brings {@link directory} up to all that was written before the call. */
  async look(): Promise<Directory> {
    const begun = this.#options.clock.now()
    await this.#journal.refresh()
    this.#lookedAt = Math.max(this.#lookedAt, begun)
    this.#onChange()
    return this.directory
  }

  /** Whether marks stand, and will for longer than it takes to act on it. */
  holds(marks: readonly Mark[]): boolean {
    const { clock, takeoverMs } = this.#options
    const isYoung = clock.now() - this.#wroteAt < takeoverMs / 2
    return isYoung && marks.every((mark) => this.#isHeld(mark))
  }

  #isHeld(mark: Mark): boolean {
    const isLeaving = this.#drops.has(mark) || this.#dropping.has(mark)
    return !isLeaving && this.#own?.marks.has(mark) === true
  }

  get #own(): Member | undefined {
    return this.directory.gateways.get(this.#options.gatewayId)
  }

  /**
   * Takes marks in hand: if this gateway is gone one day, another one looks after them.
   *
   * @throws OverloadedError the directory has no room for more
   * @throws LogUnavailableError the directory is too slow for a gateway to show that it is there
   */
  async hold(marks: readonly Mark[]): Promise<void> {
    for (let attempt = 0; ; attempt += 1) {
      for (const mark of marks) this.#drops.delete(mark)
      if (this.holds(marks)) return
      if (attempt === HOLD_ATTEMPTS) throw new LogUnavailableError()
      // Commands keep their order: what is on its way to be dropped is taken again after that.
      const add = marks.filter((mark) => !this.#isHeld(mark))
      await this.#write(markCommand(this.#options.gatewayId, { add, drop: [] }))
    }
  }

  /** Lets go of marks, with the next record of this gateway. */
  drop(marks: readonly Mark[]): void {
    for (const mark of marks) if (this.#isHeld(mark)) this.#drops.add(mark)
  }

  /** Whether a gateway is in the directory, as it is known here. */
  isGone(gateway: string): boolean {
    return !this.directory.gateways.has(gateway)
  }

  /**
   * Makes a subscription known: returns when no gateway appends any more without knowing it.
   *
   * @throws SubscriptionError `LIMIT_REACHED`
   */
  async subscribe(subscription: string, change: EntryChange): Promise<void> {
    const { clock, gatewayId, takeoverMs } = this.#options
    await this.#write(subscribeCommand(gatewayId, subscription, change))
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

  #unaware(newest: SeqNum): readonly { readonly id: string; readonly seen: SeqNum }[] {
    return [...this.directory.gateways]
      .filter(([, { seen }]) => seen < newest)
      .map(([id, { seen }]) => ({ id, seen }))
  }

  /** Makes a life of a subscription unknown. */
  async unsubscribe(subscription: string, life: string): Promise<void> {
    await this.#write(unsubscribeCommand(subscription, life))
  }

  /** Every record of ours proves that we are there, and know what was before it. */
  async #write<Answer>(command: Command<Directory, Answer>): Promise<Answer> {
    const begun = this.#options.clock.now()
    const answer = await this.#journal.execute(command)
    this.#lookedAt = Math.max(this.#lookedAt, begun)
    if (this.#own !== undefined) this.#wroteAt = Math.max(this.#wroteAt, begun)
    return answer
  }

  #onChange(): void {
    const { newest, orphans } = this.directory
    if (this.#phase !== 'running') return
    if (this.#own !== undefined && this.#own.seen < newest) {
      this.#background('announce', () => this.#announce())
    }
    if (orphans.size > 0) this.#background('adopt', () => this.#adopt())
  }

  /** Whoever makes a subscription waits for this gateway to say that it knows. */
  async #announce(): Promise<void> {
    await this.#write(aliveCommand(this.#options.gatewayId))
  }

  async #adopt(): Promise<void> {
    const { clock, takeoverMs, gatewayId } = this.#options
    // One is enough; chance decides who, but for the only one there is.
    if (this.directory.gateways.size > 1) await sleep(clock, (clock.random() * takeoverMs) / 4)
    if (this.directory.orphans.size === 0) return
    this.#inherit(await this.#write(adoptOrphansCommand(gatewayId)))
  }

  async #takeOver(silent: { readonly id: string; readonly seen: SeqNum }): Promise<void> {
    if (silent.id === this.#options.gatewayId) return
    this.#inherit(await this.#write(takeOverCommand(this.#options.gatewayId, silent)))
  }

  #inherit(marks: readonly Mark[]): void {
    if (marks.length > 0) this.#options.onInherited(marks)
  }

  /** Four times in `takeoverMs`: shows that this gateway lives, and looks whether others do. */
  #tick(): void {
    const { clock, takeoverMs } = this.#options
    this.#cancelTick = clock.after(takeoverMs / 4, () => {
      this.#tick()
      // Slow ones do not pile up.
      this.#background('beat', () => this.#beat())
      this.#background('watch', () => this.#watch())
    })
  }

  async #beat(): Promise<void> {
    const { gatewayId } = this.#options
    const drop = [...this.#drops]
    if (drop.length === 0) {
      if ((this.#own?.marks.size ?? 0) > 0) await this.#write(aliveCommand(gatewayId))
      return
    }
    this.#drops.clear()
    for (const mark of drop) this.#dropping.add(mark)
    try {
      await this.#write(markCommand(gatewayId, { add: [], drop }))
    } catch (error) {
      for (const mark of drop) this.#drops.add(mark)
      throw error
    } finally {
      for (const mark of drop) this.#dropping.delete(mark)
    }
  }

  /** Only gateways that have something in hand must show that they live. */
  async #watch(): Promise<void> {
    const { clock, takeoverMs } = this.#options
    if (!this.#others().some((id) => this.#isSilent(id))) return
    // What arrives by itself may be late: only a look shows that there was nothing.
    const begun = clock.now()
    await this.look()
    for (const id of this.#others()) {
      const silence = this.#silences.get(id)
      if (!this.#isSilent(id) || silence === undefined) continue
      if (begun - silence.since >= takeoverMs) await this.#takeOver({ id, seen: silence.seen })
    }
  }

  #others(): readonly string[] {
    const { gatewayId } = this.#options
    const { gateways } = this.directory
    for (const id of this.#silences.keys()) if (!gateways.has(id)) this.#silences.delete(id)
    return [...gateways]
      .filter(([id, { marks }]) => id !== gatewayId && marks.size > 0)
      .map(([id]) => id)
  }

  /** Counts from when its last record was first seen here. */
  #isSilent(id: string): boolean {
    const { clock, takeoverMs } = this.#options
    const seen = this.directory.gateways.get(id)?.seen ?? -1
    const silence = this.#silences.get(id)
    if (silence?.seen === seen) return clock.now() - silence.since >= takeoverMs
    this.#silences.set(id, { seen, since: clock.now() })
    return false
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
