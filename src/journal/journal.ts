/**
 * One event-sourced log as this gateway knows it: the state folded so far, the way to bring it up
 * to the tail, and the queue of commands that want to change it. What the records mean is for the
 * rules to say.
 *
 * Holds nothing the log can't give back. Several of these for one log, in one process or many,
 * are as right as one: every write is conditional on the state it was judged by.
 */
import { breathe, sleep } from '../clock.ts'
import type { Clock } from '../clock.ts'
import { AppendInterruptedError, invariant } from '../errors.ts'
import { LOG_LIMITS, placed } from '../log/log.ts'
import type { AppendBatch, DurableLog, LogRecord } from '../log/log.ts'
import type { Scopes } from '../tracing/tracing.ts'
import { CommandQueue } from './command-queue.ts'
import type { QueuedCommand } from './command-queue.ts'
import type { Command, Decision } from './command.ts'
import { compose } from './compose.ts'
import type { ComposedGroup, Composition } from './compose.ts'
import { Flight } from './flight.ts'
import type { Load, Loss } from './flight.ts'
import { composeAbort } from './group.ts'
import { KnownState } from './known-state.ts'
import type { Sightings } from './lease.ts'
import { lockToken } from './lock.ts'
import type { Lock } from './lock.ts'
import { News } from './news.ts'
import { longestOperation, nextOperation, writerOf } from './operations.ts'
import { OwnGroups } from './own-groups.ts'
import { Recovery, certain } from './recovery.ts'
import { Slots } from './slots.ts'
import type { LogState, Rules } from './state.ts'
import { Turns } from './turns.ts'

export type JournalOptions = {
  readonly log: DurableLog
  readonly clock: Clock
  /** A command that has no certain outcome after this is answered as it stands. In ms. */
  readonly commandTimeoutMs: number
  /** Unique in the world: prefix of operation ids. */
  readonly gatewayId: string
  /** A group that another gateway has begun and not gone on with for as long is ended. In ms. */
  readonly lockLeaseMs?: number
  /** For the groups that are being made, of all logs: no bound when left out. */
  readonly groupSlots?: Slots
  /** When the open groups of all logs were seen to get on: this log's own when left out. */
  readonly sightings?: Sightings
  /** Has to know for whom the log is read and written; nobody when left out. */
  readonly scopes?: Scopes | undefined
}

/** What is gone through to judge commands before everybody else has a turn: two batches' worth. */
const MAX_JUDGED_BYTES = 2 * LOG_LIMITS.maxBatchBytes
/** How often to look whether another gateway's group has ended, in ms. */
const LOOK_EVERY_MS = 50
/** A batch that no command waits for. */
const NOBODY = { items: [], decisions: [], blocked: [] } as const

/** A queued command of any log. */
type Queued = QueuedCommand<never>
type Plan<Life> = Composition<Life> & { readonly operation: string }
type GroupPlan<Life> = Pick<Load<Life>, 'items' | 'decisions'> & {
  readonly operation: string
  readonly leaveSlot: () => void
}

export class Journal<Life> {
  /** The log's name of the stream that holds the records. */
  readonly name: string
  readonly #rules: Rules<Life>
  readonly #options: JournalOptions
  readonly #queue: CommandQueue<Life>
  readonly #state: KnownState<Life>
  readonly #turns: Turns
  readonly #news: News<Life>
  readonly #flight: Flight<Life>
  readonly #tasks = new Map<string, Promise<unknown>>()
  /** The state that the batches in flight will leave; undefined while a group is being made. */
  #ahead: LogState<Life> | undefined
  readonly #groups: OwnGroups
  readonly #recovery: Recovery<Life>
  readonly #groupSlots: Slots
  /** Gives back the slot that was taken for the group that comes next. */
  #leaveSlot: (() => void) | undefined
  /** Whether commands did not fit in the latest batch. */
  #hasMore = false
  #isPumping = false
  /** When the latest command came. */
  #usedAt = -Infinity
  /** What was gone through since others had a turn. */
  #judgedBytes = 0

  constructor(name: string, rules: Rules<Life>, options: JournalOptions) {
    const longest = lockToken(longestOperation(options.gatewayId))
    const fits = Buffer.byteLength(longest) <= LOG_LIMITS.maxTokenBytes
    invariant(fits, 'the id of a gateway leaves room for the rest of a fencing token')
    this.name = name
    this.#rules = rules
    this.#options = options
    this.#turns = new Turns(options.clock, options.gatewayId, options.log)
    this.#news = new News(this, { ...options, isWanted: () => this.#wantsNews })
    const onBatch = (operation: string, timestamp: number): void => {
      this.#turns.saw(writerOf(operation), timestamp)
      this.#groups.saw(operation)
    }
    const { log, clock, scopes } = options
    this.#groupSlots = options.groupSlots ?? new Slots(1)
    this.#state = new KnownState({ log, name, rules, onBatch })
    this.#queue = new CommandQueue(clock, options.commandTimeoutMs)
    const { gatewayId: owner, lockLeaseMs: leaseMs, sightings } = options
    this.#groups = new OwnGroups({ clock, owner, leaseMs, isShared: log.isShared, sightings })
    const { state, turns, news } = { state: this.#state, turns: this.#turns, news: this.#news }
    this.#recovery = new Recovery({ log, name, clock, state, turns, news })
    this.#flight = new Flight<Life>({
      log,
      stream: name,
      clock,
      scopes,
      onApplied: (load, timestamp, ms) => this.#applied(load, timestamp, ms),
      onLost: (loads, loss) => this.#lost(loads, loss),
    })
  }

  /** As {@link KnownState.known}: may be behind the tail. */
  known(): Promise<LogState<Life>> {
    return this.#state.known()
  }

  /** As {@link KnownState.peek}. */
  peek(): LogState<Life> | undefined {
    return this.#state.peek()
  }

  /** As {@link KnownState.refresh}: at the tail. */
  refresh(): Promise<LogState<Life>> {
    return this.#state.refresh()
  }

  /** As {@link KnownState.absorb}. */
  absorb(records: readonly LogRecord[]): void {
    this.#state.absorb(records)
  }

  /**
   * Has a command decided and its records made durable, in order with the others of this log.
   * `bytes` is what it has to go through for its decision.
   *
   * @throws GatewayError the command's refusal, judged on the state at the tail
   * @throws LogUnavailableError nothing was written
   * @throws AppendOutcomeUnknownError the command's records may or may not be stored
   */
  execute<Answer>(command: Command<Life, Answer>, bytes = 0): Promise<Answer> {
    this.#usedAt = this.#options.clock.now()
    const answer = this.#queue.push(command, bytes, this.#options.scopes?.current())
    void this.#pump()
    return answer
  }

  /** As {@link execute}, but joins the same task when it is under way. */
  executeOnce<Answer>(task: string, command: Command<Life, Answer>): Promise<Answer> {
    const underWay = this.#tasks.get(task)
    // A task always runs the same command, and so has the same kind of answer.
    if (underWay !== undefined) return underWay as Promise<Answer>
    const run = this.execute(command).finally(() => this.#tasks.delete(task))
    this.#tasks.set(task, run)
    return run
  }

  /** Rivals may write for ever: who has nothing to write himself need not hear of it. */
  get #wantsNews(): boolean {
    const { clock, commandTimeoutMs } = this.#options
    // Whatever came before that has been answered.
    const isUsed = Math.abs(clock.now() - this.#usedAt) <= commandTimeoutMs
    return isUsed && this.#turns.isContended()
  }

  async #pump(): Promise<void> {
    if (this.#isPumping) return
    this.#isPumping = true
    while (!this.#queue.isEmpty) {
      const turn = await this.#turn()
      const leaveSlot = this.#leaveSlot
      await this.#stepFor(this.#queue.first(1)[0], turn)
      // No group came of it: whoever wanted it was refused, or has given up.
      if (leaveSlot !== undefined && this.#leaveSlot === leaveSlot) this.#giveSlotBack()
      if (this.#judgedBytes < MAX_JUDGED_BYTES) continue
      this.#judgedBytes = 0
      await breathe(this.#options.clock)
    }
    this.#giveSlotBack()
    this.#isPumping = false
  }

  /** Waits for this gateway's turn. Answers whether others may have had theirs without a word. */
  async #turn(): Promise<boolean> {
    const { isEmpty: isIdle } = this.#flight
    const ms = this.#recovery.takeRest() ? 0 : this.#turns.takePause({ isIdle })
    if (ms === 0) {
      await this.#flight.room({ behind: this.#hasMore })
      return false
    }
    await this.#flight.drained()
    // What this can't see shows when a batch is refused.
    return (await this.#turns.rest(ms, () => this.#state.tryRefresh())) === 'over'
  }

  /** The first of those that wait is the one for whom the log is looked at. */
  #stepFor(item: QueuedCommand<Life> | undefined, othersWentFirst: boolean): Promise<void> {
    const { scopes } = this.#options
    const step = (): Promise<void> => this.#step(othersWentFirst)
    return scopes === undefined ? step() : scopes.within([item?.scope], step)
  }

  /** Judges the commands that wait; sends what they write, or answers them. */
  async #step(othersWentFirst: boolean): Promise<void> {
    let items = this.#first()
    try {
      // With nothing in flight, what is known counts; else what those in flight will leave.
      const ahead = this.#flight.isEmpty ? undefined : this.#ahead
      if (ahead === undefined) await this.#flight.drained()
      const state = ahead ?? (await (othersWentFirst ? this.refresh() : this.known()))
      // Anew: whoever timed out meanwhile was told that nothing was written.
      items = this.#first()
      const plan = this.#plan(state, items, { isAhead: ahead !== undefined })
      if (writes(plan)) await this.#write(plan)
      else if (ahead === undefined) await this.#answer(items)
      // What they would be told, or begin with, rests on batches that are not durable yet.
      else await this.#flight.drained()
    } catch (error) {
      for (const item of items) item.fail(error)
    }
  }

  /** What writes nothing proves nothing: it is judged by a look that began after it came. */
  async #answer(asked: readonly QueuedCommand<Life>[]): Promise<void> {
    const latest = await this.refresh()
    const items = asked.filter(({ phase }) => phase === 'waiting')
    const plan = this.#plan(latest, items, { isAhead: false })
    if (writes(plan)) return this.#write(plan)
    settleAll(items, plan.decisions)
    const isHeldUp = plan.decisions.length < items.length
    if (isHeldUp && latest.lock !== undefined) await this.#unlock(latest, latest.lock)
  }

  #first(): readonly QueuedCommand<Life>[] {
    return this.#queue.first(LOG_LIMITS.maxBatchRecords, MAX_JUDGED_BYTES)
  }

  #plan(
    state: LogState<Life>,
    items: readonly QueuedCommand<Life>[],
    { isAhead }: { readonly isAhead: boolean },
  ): Plan<Life> {
    const { clock, gatewayId: owner } = this.#options
    const operation = nextOperation(owner)
    for (const { bytes } of items) this.#judgedBytes += bytes
    if (items.length === 0) return { batch: undefined, decisions: [], after: state, operation }
    const commands = items.map(({ command }) => command)
    const options = { now: clock.now(), operation, owner, isAhead }
    return { ...compose(this.#rules, state, commands, options), operation }
  }

  /**
   * Sends what was composed just now for the first commands that wait. A group needs a slot: when
   * it has none yet, it gets one now, and is judged anew.
   */
  async #write(plan: Plan<Life>): Promise<void> {
    const leaveSlot = this.#leaveSlot
    if (plan.group !== undefined && leaveSlot === undefined) {
      this.#leaveSlot = await this.#groupSlots.take()
      return
    }
    const { batch, group, decisions, operation, after } = plan
    const items = this.#queue.send(decisions.length + (group === undefined ? 0 : 1))
    // They did not fit. Where rivals write too, what is sent behind a batch is in vain.
    this.#hasMore = !this.#queue.isEmpty && !this.#turns.isContended()
    if (group !== undefined && leaveSlot !== undefined) {
      this.#leaveSlot = undefined
      this.#ahead = undefined
      this.#groups.begun(operation)
      this.#flight.sendAll(this.#loads(group, { operation, items, decisions, leaveSlot }))
    } else if (batch !== undefined) {
      this.#ahead = after
      // A batch may hold nothing but the checkpoint that the first command has to wait for.
      const blocked = items.length === 0 ? this.#queue.first(1) : []
      this.#flight.send([{ batch, items, decisions, blocked }], { more: this.#hasMore })
    }
  }

  #giveSlotBack(): void {
    this.#leaveSlot?.()
    this.#leaveSlot = undefined
  }

  /** The batches of a group, each made when it is asked for. */
  *#loads(
    { batches, decide }: ComposedGroup<Life>,
    { operation: group, items, decisions, leaveSlot }: GroupPlan<Life>,
  ): Generator<Load<Life>, void, void> {
    const load = { group, items, decisions: [], blocked: [] }
    try {
      for (const { batch, end } of batches) {
        if (end === undefined) {
          yield { ...load, batch }
        } else {
          this.#ahead = end.after
          yield { ...load, batch, decisions: [...decisions, decide(end)] }
        }
      }
    } catch (error) {
      // It can't be made to its end: what is in the log of it counts for nothing.
      for (const item of items) item.fail(error)
      this.#release(group)
    } finally {
      leaveSlot()
    }
  }

  /** Waits for another gateway's group to get on, or ends one that nobody goes on with. */
  async #unlock(state: LogState<Life>, lock: Lock): Promise<void> {
    const { clock, gatewayId } = this.#options
    const patienceMs = this.#groups.patienceMs(lock)
    if (patienceMs > 0) return sleep(clock, Math.min(patienceMs, LOOK_EVERY_MS))
    const operation = nextOperation(gatewayId)
    const batch = composeAbort(this.#rules, state, { now: clock.now(), operation })
    const load = { batch, ...NOBODY, blocked: this.#queue.first(1) }
    this.#flight.send([load], { more: false })
    await this.#flight.drained()
  }

  async #applied(
    { batch, group, items, decisions }: Load<Life>,
    timestamp: number | undefined,
    ms: number,
  ): Promise<void> {
    this.#recovery.succeeded()
    this.#turns.won(ms)
    try {
      await this.#follow(batch, timestamp)
    } catch {
      // The batch stands, whatever keeps this gateway from folding it: the next look will show it.
      this.#state.forget()
    }
    if (group !== undefined && decisions.length > 0) this.#groups.ended(group)
    settleAll(items, decisions)
  }

  async #lost(loads: readonly Load<Life>[], loss: Loss): Promise<void> {
    const items = loads.flatMap((load) => load.items)
    this.#ahead = undefined
    // It is certain that nothing was written, also to those that time out before it is known why.
    if (loss.kind !== 'failed') this.#queue.takeBack(items)
    try {
      await this.#recovery.learn(loads[0]?.batch, loss)
      if (loss.kind === 'conflict') this.#countInterruption(loads[0])
    } catch (error) {
      for (const item of items) item.fail(error)
      for (const item of loads.flatMap((load) => load.blocked)) item.fail(certain(error))
    }
    for (const group of new Set(loads.map((load) => load.group))) {
      if (group !== undefined) this.#release(group)
    }
    void this.#pump()
  }

  /** Whoever keeps writing into a group keeps it from ever being whole. */
  #countInterruption(load: Load<Life> | undefined): void {
    const { group, batch, items = [] } = load ?? {}
    // Before its first batch, others only came first.
    if (group === undefined || batch?.fencingToken !== lockToken(group)) return
    const item = items.at(-1)
    if (item === undefined || this.#groups.mayBeginAgain(item)) return
    item.fail(new AppendInterruptedError())
  }

  #release(group: string): void {
    void this.#groups.release<Life>(group, (command) => this.execute(command))
  }

  /** Brings the state behind a batch of its own that is now in the log. */
  async #follow({ records, matchSeqNum }: AppendBatch, timestamp: number | undefined) {
    if (timestamp !== undefined) {
      this.#state.absorb(
        records.map((record, index) => placed(record, matchSeqNum + index, timestamp)),
      )
      return
    }
    // The batch stands whatever this look finds.
    await this.#state.tryRefresh()
  }
}

function writes<Life>({ batch, group }: Plan<Life>): boolean {
  return batch !== undefined || group !== undefined
}

function settleAll(items: readonly Queued[], decisions: readonly Decision<unknown>[]): void {
  decisions.forEach((decision, index) => items[index]?.settle(decision))
}
