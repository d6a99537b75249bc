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
import { AppendOutcomeUnknownError, LogUnavailableError } from '../errors.ts'
import { LOG_LIMITS } from '../log/log.ts'
import type { AppendBatch, DurableLog, LogRecord } from '../log/log.ts'
import { CommandQueue } from './command-queue.ts'
import type { QueuedCommand } from './command-queue.ts'
import type { Command, Decision } from './command.ts'
import { compose } from './compose.ts'
import type { Composition } from './compose.ts'
import type { MarkedBatch } from './draft.ts'
import { composeAbort } from './group.ts'
import { KnownState } from './known-state.ts'
import { appendSettled } from './settle.ts'
import type { LogState, Rules } from './state.ts'
import { Turns } from './turns.ts'

export type JournalOptions = {
  readonly log: DurableLog
  readonly clock: Clock
  /** A command that has no certain outcome after this is answered as it stands. In ms. */
  readonly commandTimeoutMs: number
  /** Unique in the world: prefix of operation ids. */
  readonly gatewayId: string
}

/** The wait before an append of unknown outcome, or to a missing stream, is tried again. */
const BACKOFF = { firstMs: 50, longestMs: 1000 }

type Outcome = 'done' | 'again' | 'lost'
/** A queued command of any log. */
type Queued = QueuedCommand<never>

let operations = 0

export class Journal<Life> {
  /** The log's name of the stream that holds the records. */
  readonly name: string
  readonly #rules: Rules<Life>
  readonly #options: JournalOptions
  readonly #queue: CommandQueue<Life>
  readonly #state: KnownState<Life>
  readonly #turns: Turns
  readonly #tasks = new Map<string, Promise<unknown>>()
  #pumping = false

  constructor(name: string, rules: Rules<Life>, options: JournalOptions) {
    this.name = name
    this.#rules = rules
    this.#options = options
    this.#state = new KnownState({ log: options.log, name, rules })
    this.#queue = new CommandQueue(options.clock, options.commandTimeoutMs)
    this.#turns = new Turns(options.clock)
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
    if (this.#pumping) return
    this.#pumping = true
    let missing = 0
    while (!this.#queue.isEmpty) {
      const outcome = await this.#step(await this.#pause())
      missing = outcome === 'again' ? missing + 1 : 0
      if (missing > 1) await this.#backoff(missing)
    }
    this.#pumping = false
  }

  /** Lets other gateways go first, if it is their turn. Answers whether it was. */
  async #pause(): Promise<boolean> {
    const ms = this.#turns.takePause()
    if (ms > 0) await sleep(this.#options.clock, ms)
    return ms > 0
  }

  /** Answers the next commands. After `again` and `lost` they are judged anew. */
  async #step(othersWentFirst: boolean): Promise<Outcome> {
    let items = this.#queue.first(LOG_LIMITS.maxBatchRecords)
    try {
      const state = othersWentFirst ? await this.refresh() : await this.known()
      if (state.lock !== undefined) return await this.#unlock(state)
      // Anew: whoever timed out meanwhile was told that nothing was written.
      items = this.#queue.first(LOG_LIMITS.maxBatchRecords)
      let plan = this.#plan(state, items)
      if (plan.batches.length === 0) {
        // What writes nothing proves nothing: it is judged by a look that began after it came.
        const latest = await this.refresh()
        if (latest.lock !== undefined) return await this.#unlock(latest)
        items = items.filter(isUnanswered)
        plan = this.#plan(latest, items)
      }
      if (plan.batches.length > 0) return await this.#write(plan, items)
      settleAll(items, plan.decisions)
    } catch (error) {
      failTaken(items, error)
    }
    return 'done'
  }

  #plan(state: LogState<Life>, items: readonly QueuedCommand<Life>[]): Composition {
    if (items.length === 0) return { batches: [], decisions: [] }
    const { clock, gatewayId: owner } = this.#options
    const commands = items.map(({ command }) => command)
    const options = { now: clock.now(), operation: nextOperation(owner), owner }
    return compose(this.#rules, state, commands, options)
  }

  async #write(
    { batches, decisions }: Composition,
    items: readonly QueuedCommand<Life>[],
  ): Promise<Outcome> {
    const taken = items.slice(0, decisions.length)
    for (const item of taken) item.phase = 'writing'
    // A batch may hold nothing but the checkpoint that the first command has to wait for.
    const waiting = taken.length > 0 ? taken : items
    const isWanted = (): boolean => waiting.some(isUnanswered)
    let outcome: Outcome = 'done'
    for (const batch of batches) {
      outcome = await this.#append(batch, isWanted)
      if (outcome !== 'done') break
    }
    if (outcome === 'done') settleAll(taken, decisions)
    else for (const item of taken.filter(isUnanswered)) item.phase = 'waiting'
    return outcome
  }

  /** Ends a group that nobody goes on with. */
  async #unlock(state: LogState<Life>): Promise<Outcome> {
    // engine
    const { clock, gatewayId } = this.#options
    const options = { now: clock.now(), operation: nextOperation(gatewayId) }
    return this.#append(composeAbort(this.#rules, state, options), () => true)
  }

  async #append(batch: MarkedBatch, isWanted: () => boolean): Promise<Outcome> {
    const { log, clock } = this.#options
    const begun = clock.now()
    const { operation } = batch
    const settled = await appendSettled(log, this.name, batch, {
      operation,
      backoff: (attempt) => this.#backoff(attempt),
      isWanted,
    })
    switch (settled.kind) {
      case 'applied':
        this.#turns.won(clock.now() - begun)
        await this.#follow(batch, settled.timestamp)
        return 'done'
      case 'missing':
        this.#state.reset()
        if (batch.matchSeqNum === 0) await log.createStream(this.name)
        return 'again'
      case 'conflict':
        this.#turns.lost()
        await this.#state.learn(batch, settled.conflict)
        return 'lost'
    }
  }

  /** Brings the state behind a batch of its own that is now in the log. */
  async #follow({ records, matchSeqNum }: AppendBatch, timestamp: number | undefined) {
    if (timestamp !== undefined) {
      this.absorb(
        records.map((record, index) => ({ ...record, seqNum: matchSeqNum + index, timestamp })),
      )
      return
    }
    try {
      await this.refresh()
    } catch {
      // The batch stands whatever this look finds, and the next one will find it.
    }
  }

  /** Waits a random time below a bound that doubles with each attempt, so that rivals spread. */
  #backoff(attempt: number): Promise<void> {
    const { clock } = this.#options
    return sleep(clock, backoffMs(clock, attempt, BACKOFF))
  }
}

function nextOperation(gatewayId: string): string {
  operations += 1
  return `${gatewayId}-${operations.toString(36)}`
}

function isUnanswered({ phase }: Queued): boolean {
  return phase !== 'answered'
}

function settleAll(items: readonly Queued[], decisions: readonly Decision<unknown>[]): void {
  decisions.forEach((decision, index) => items[index]?.settle(decision))
}

/** Those that were not part of the failed batch get their own try, unless there was no batch. */
function failTaken(items: readonly Queued[], error: unknown): void {
  const taken = items.filter(({ phase }) => phase === 'writing')
  for (const item of taken) item.fail(error)
  if (taken.length > 0) return
  // Of these nothing was on its way, whatever became of a checkpoint before them.
  const certain =
    error instanceof AppendOutcomeUnknownError ? new LogUnavailableError(error) : error
  for (const item of items) item.fail(certain)
}
