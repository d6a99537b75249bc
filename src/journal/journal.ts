/**
 * One event-sourced log as this gateway knows it: the state folded so far, the way to bring it up
 * to the tail, and the queue of commands that want to change it. What the records mean is for the
 * rules to say.
 *
 * Holds nothing the log can't give back. Several of these for one log, in one process or many,
 * are as right as one: every write is conditional on the state it was judged by.
 */
import { backoffMs, sleep } from '../clock.ts'
import type { Clock } from '../clock.ts'
import {
  AppendInterruptedError,
  AppendOutcomeUnknownError,
  LogUnavailableError,
  invariant,
} from '../errors.ts'
import { LOG_LIMITS, placed } from '../log/log.ts'
import type { AppendBatch, DurableLog, LogRecord } from '../log/log.ts'
import { CommandQueue } from './command-queue.ts'
import type { QueuedCommand } from './command-queue.ts'
import type { Command, Decision } from './command.ts'
import { compose } from './compose.ts'
import type { Composition } from './compose.ts'
import { Flight } from './flight.ts'
import type { Load, Loss } from './flight.ts'
import { composeAbort } from './group.ts'
import { KnownState } from './known-state.ts'
import { Lease } from './lease.ts'
import { lockToken } from './lock.ts'
import type { Lock } from './lock.ts'
import { News } from './news.ts'
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
}

/** The wait before a stream that was missing is created and written to again. */
const BACKOFF = { firstMs: 50, longestMs: 1000 }

/** Longer than an append that has to be tried again, shorter than a command may wait. */
const LOCK_LEASE_MS = 5000
/** How often to look whether another gateway's group has ended, in ms. */
const LOOK_EVERY_MS = 50
/** How often to try to end a lost group of our own. */
const RELEASE_ATTEMPTS = 10
/** Each attempt at a group that others write into is as much in the log for nothing. */
const GROUP_ATTEMPTS = 4
/** A batch that no command waits for. */
const NOBODY = { items: [], decisions: [], blocked: [] } as const

/** A queued command of any log. */
type Queued = QueuedCommand<never>
type Plan<Life> = Composition<Life> & { readonly operation: string }

let operations = 0

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
  /** The state that the batches in flight will leave. */
  #ahead: LogState<Life> | undefined
  /** The groups that were sent from here and have not ended, by their operations. */
  readonly #groups = new Set<string>()
  /** How often the group of a command was begun in vain. */
  readonly #interruptions = new WeakMap<Queued, number>()
  readonly #lease: Lease
  /** How often in a row the log had no such stream. */
  #missing = 0
  /** Whether the turn that comes next was waited for already. */
  #isRested = false
  /** Whether commands did not fit in the latest batch. */
  #hasMore = false
  #isPumping = false

  constructor(name: string, rules: Rules<Life>, options: JournalOptions) {
    const longest = lockToken(operationId(options.gatewayId, Number.MAX_SAFE_INTEGER))
    const fits = Buffer.byteLength(longest) <= LOG_LIMITS.maxTokenBytes
    invariant(fits, 'the id of a gateway leaves room for the rest of a fencing token')
    this.name = name
    this.#rules = rules
    this.#options = options
    this.#turns = new Turns(options.clock, options.gatewayId)
    this.#news = new News(this, { ...options, isWanted: () => this.#turns.isContended })
    const onBatch = (operation: string, timestamp: number): void => {
      this.#turns.saw(writerOf(operation), timestamp)
      this.#lease.saw(operation)
    }
    this.#state = new KnownState({ log: options.log, name, rules, onBatch })
    this.#queue = new CommandQueue(options.clock, options.commandTimeoutMs)
    this.#lease = new Lease(options.clock, options.lockLeaseMs ?? LOCK_LEASE_MS)
    this.#flight = new Flight<Life>({
      log: options.log,
      stream: name,
      clock: options.clock,
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
   *
   * @throws GatewayError the command's refusal, judged on the state at the tail
   * @throws LogUnavailableError nothing was written
   * @throws AppendOutcomeUnknownError the command's records may or may not be stored
   */
  execute<Answer>(command: Command<Life, Answer>): Promise<Answer> {
    const answer = this.#queue.push(command)
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

  async #pump(): Promise<void> {
    if (this.#isPumping) return
    this.#isPumping = true
    while (!this.#queue.isEmpty) await this.#step(await this.#turn())
    this.#isPumping = false
  }

  /** Waits for this gateway's turn. Answers whether others may have had theirs without a word. */
  async #turn(): Promise<boolean> {
    const ms = this.#isRested ? 0 : this.#turns.takePause()
    this.#isRested = false
    if (ms === 0) {
      await this.#flight.room({ behind: this.#hasMore })
      return false
    }
    await this.#flight.drained()
    return (await this.#turns.rest(ms)) === 'over'
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
      if (plan.batches.length > 0) this.#send(plan)
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
    if (plan.batches.length > 0) {
      this.#send(plan)
      return
    }
    settleAll(items, plan.decisions)
    const isHeldUp = plan.decisions.length < items.length
    if (isHeldUp && latest.lock !== undefined) await this.#unlock(latest, latest.lock)
  }

  #first(): readonly QueuedCommand<Life>[] {
    return this.#queue.first(LOG_LIMITS.maxBatchRecords)
  }

  #plan(
    state: LogState<Life>,
    items: readonly QueuedCommand<Life>[],
    { isAhead }: { readonly isAhead: boolean },
  ): Plan<Life> {
    const { clock, gatewayId: owner } = this.#options
    const operation = nextOperation(owner)
    if (items.length === 0) return { batches: [], decisions: [], after: state, operation }
    const commands = items.map(({ command }) => command)
    const options = { now: clock.now(), operation, owner, isAhead }
    return { ...compose(this.#rules, state, commands, options), operation }
  }

  /** Sends what was composed just now for the first commands that wait. */
  #send({ batches, decisions, operation, after }: Plan<Life>): void {
    const items = this.#queue.send(decisions.length)
    // A batch may hold nothing but the checkpoint that the first command has to wait for.
    const blocked = items.length === 0 ? this.#queue.first(1) : []
    const last = batches.length - 1
    const group = last > 0 ? operation : undefined
    const loads = batches.map((batch, index) =>
      index === last ? { batch, group, items, decisions, blocked } : { batch, group, ...NOBODY },
    )
    this.#ahead = after
    if (group !== undefined) this.#groups.add(group)
    // They did not fit. Where rivals write too, what is sent behind a batch is in vain.
    this.#hasMore = !this.#queue.isEmpty && !this.#turns.isContended
    this.#flight.send(loads, { more: this.#hasMore })
  }

  /** Waits for another gateway's group to get on, or ends one that nobody goes on with. */
  async #unlock(state: LogState<Life>, lock: Lock): Promise<void> {
    const { log, clock, gatewayId } = this.#options
    // Nothing is in flight: a group of our own is one that was given up. And where nobody else can
    // write, one of another gateway is of a process that is gone.
    const isOver = this.#groups.has(lock.id) || (!log.isShared && lock.owner !== gatewayId)
    const patienceMs = isOver ? 0 : this.#lease.left(lock)
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
    this.#missing = 0
    this.#turns.won(ms)
    try {
      await this.#follow(batch, timestamp)
    } catch {
      // The batch stands, whatever keeps this gateway from folding it: the next look will show it.
      this.#state.forget()
    }
    // The last one of a group has its command.
    if (group !== undefined && decisions.length > 0) this.#groups.delete(group)
    settleAll(items, decisions)
  }

  async #lost(loads: readonly Load<Life>[], loss: Loss): Promise<void> {
    const items = loads.flatMap((load) => load.items)
    this.#ahead = undefined
    try {
      await this.#learn(loads[0]?.batch, loss)
      if (loss.kind === 'conflict') this.#countInterruption(interrupted(loads))
      this.#queue.takeBack(items)
    } catch (error) {
      for (const item of items) item.fail(error)
      for (const item of loads.flatMap((load) => load.blocked)) item.fail(certain(error))
    }
    for (const group of new Set(loads.map((load) => load.group))) {
      if (group !== undefined) void this.#release(group)
    }
    void this.#pump()
  }

  /** Whoever keeps writing into a group keeps it from ever being whole. */
  #countInterruption(item: Queued | undefined): void {
    if (item === undefined) return
    const count = (this.#interruptions.get(item) ?? 0) + 1
    this.#interruptions.set(item, count)
    if (count >= GROUP_ATTEMPTS) item.fail(new AppendInterruptedError())
  }

  /** Ends what is in the log of a group of ours that was lost: nobody is to wait for it. */
  async #release(group: string): Promise<void> {
    const { clock } = this.#options
    for (let attempt = 0; attempt < RELEASE_ATTEMPTS; attempt += 1) {
      try {
        await this.execute(releaseCommand<Life>(group))
        this.#groups.delete(group)
        return
      } catch {
        // Others end it too, after its lease.
        await sleep(clock, backoffMs(clock, attempt, BACKOFF))
      }
    }
  }

  /** Learns why a batch is not in the log. Throws when nobody can say whether it is. */
  async #learn(batch: AppendBatch | undefined, loss: Loss): Promise<void> {
    const { log, clock } = this.#options
    switch (loss.kind) {
      case 'failed':
        throw loss.error
      case 'missing':
        this.#state.reset()
        this.#missing += 1
        if (this.#missing > 1) await sleep(clock, backoffMs(clock, this.#missing, BACKOFF))
        return batch?.matchSeqNum === 0 ? log.createStream(this.name) : undefined
      case 'conflict':
        this.#missing = 0
        this.#turns.lost()
        this.#news.begin()
        // Before the look, so that it shows what has come meanwhile too.
        await this.#turns.rest(this.#turns.takePause())
        this.#isRested = true
        return batch && this.#state.learn(batch, loss.conflict)
    }
  }

  /** Brings the state behind a batch of its own that is now in the log. */
  async #follow({ records, matchSeqNum }: AppendBatch, timestamp: number | undefined) {
    if (timestamp !== undefined) {
      this.#state.absorb(
        records.map((record, index) => placed(record, matchSeqNum + index, timestamp)),
      )
      return
    }
    try {
      await this.refresh()
    } catch {
      // The batch stands whatever this look finds, and the next one will find it.
    }
  }
}

function nextOperation(gatewayId: string): string {
  operations += 1
  return operationId(gatewayId, operations)
}

function operationId(gatewayId: string, count: number): string {
  return `${gatewayId}-${count.toString(36)}`
}

/** Wants to write as long as the group is open, and so has it ended; writes nothing itself. */
function releaseCommand<Life>(group: string): Command<Life, undefined> {
  return ({ lock }) => {
    const answer = undefined
    return lock?.id === group ? { kind: 'write', records: [], answer } : { kind: 'answer', answer }
  }
}

/** The command of a group that others came into. Before its first batch, they only came first. */
function interrupted<Life>(loads: readonly Load<Life>[]): Queued | undefined {
  const { group, batch } = loads[0] ?? {}
  if (group === undefined || batch?.fencingToken !== lockToken(group)) return undefined
  return loads.findLast((load) => load.group === group)?.items.at(-1)
}

/** The gateway that has named a batch so. */
function writerOf(operation: string): string {
  return operation.slice(0, operation.lastIndexOf('-'))
}

/** What an error of a batch means to a command that was not in it. */
function certain(error: unknown): unknown {
  return error instanceof AppendOutcomeUnknownError ? new LogUnavailableError(error) : error
}

function settleAll(items: readonly Queued[], decisions: readonly Decision<unknown>[]): void {
  decisions.forEach((decision, index) => items[index]?.settle(decision))
}
