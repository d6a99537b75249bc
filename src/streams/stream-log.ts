/**
 * One stream as this gateway knows it: the state folded so far, the way to bring it up to the
 * tail, and the queue of commands that want to change it.
 *
 * Holds nothing the log can't give back. Several of these for one stream, in one process or many,
 * are as right as one: every write is conditional on the state it was judged by.
 */
import { sleep } from '../clock.ts'
import type { Clock } from '../clock.ts'
import { LogStreamMissingError } from '../log/log.ts'
import type { AppendBatch, AppendConflict, DurableLog, LogRecord, SeqNum } from '../log/log.ts'
import { CommandQueue } from './command-queue.ts'
import type { QueuedCommand } from './command-queue.ts'
import type { Command, Decision } from './command.ts'
import { compose } from './compose.ts'
import { StateLostError, advance, openState } from './load.ts'
import { appendSettled } from './settle.ts'
import { EMPTY_STATE, apply } from './state.ts'
import type { Incarnation, StreamState } from './state.ts'
import { viewOf } from './view.ts'
import type { StreamView } from './view.ts'

export type StreamLogOptions = {
  readonly log: DurableLog
  readonly clock: Clock
  /** A command that has no certain outcome after this is answered as it stands. In ms. */
  readonly commandTimeoutMs: number
  /** Unique in the world: prefix of operation ids. */
  readonly gatewayId: string
}

/** Bound of the first wait after another gateway was first: about one append of s2-lite. */
const LOST_BACKOFF_MS = 5
/** Bound of the first wait before an append of unknown outcome is tried again. */
const UNKNOWN_BACKOFF_MS = 50
/** Longest wait between two attempts of either kind. */
const MAX_BACKOFF_MS = 1000

let operations = 0

export class StreamLog {
  readonly name: string
  readonly #options: StreamLogOptions
  readonly #queue: CommandQueue
  #state: StreamState | undefined
  #running: Promise<StreamState> | undefined
  #next: Promise<StreamState> | undefined
  #pumping = false
  #earliest: SeqNum = 0
  readonly #tasks = new Map<string, Promise<undefined>>()

  constructor(name: string, options: StreamLogOptions) {
    this.name = name
    this.#options = options
    this.#queue = new CommandQueue(options.clock, options.commandTimeoutMs)
  }

  /** The state as far as it is known here, opened when it is not: may be behind the tail. */
  async known(): Promise<StreamState> {
    return this.#state ?? (await this.refresh())
  }

  /**
   * The state at the tail: sees every append acknowledged, by any gateway, before the call.
   *
   * Calls share a look at the log, but only one that starts after they were made.
   */
  refresh(): Promise<StreamState> {
    if (this.#running === undefined) return this.#startLook()
    this.#next ??= this.#running.then(
      () => this.#startLook(),
      () => this.#startLook(),
    )
    return this.#next
  }

  #startLook(): Promise<StreamState> {
    this.#next = undefined
    this.#running = this.#look().finally(() => {
      this.#running = undefined
    })
    return this.#running
  }

  async #look(): Promise<StreamState> {
    const { log } = this.#options
    const before = this.#state
    if (before === undefined) return this.#keep(await openState(log, this.name))
    try {
      const tail = await log.checkTail(this.name)
      const state = this.#state ?? before
      // A tail that went back means that S2 has reclaimed the stream and it began anew.
      if (tail < before.nextSeq) return this.#replace(await openState(log, this.name))
      return this.#keep(await advance(log, this.name, state, tail))
    } catch (error) {
      if (error instanceof LogStreamMissingError) return this.#replace(EMPTY_STATE)
      if (error instanceof StateLostError) return this.#replace(await openState(log, this.name))
      throw error
    }
  }

  /** Takes over a state unless a later one was folded meanwhile. */
  #keep(state: StreamState): StreamState {
    if (this.#state === undefined || state.nextSeq > this.#state.nextSeq) this.#state = state
    return this.#state
  }

  #replace(state: StreamState): StreamState {
    this.#state = state
    return state
  }

  /** What readers need to know, without what retention has been seen to take. */
  view(state: StreamState, incarnation: Incarnation): StreamView {
    const view = viewOf(this.name, state, incarnation)
    const earliest = Math.min(this.#earliest, view.dataTail)
    if (earliest <= view.start) return view
    return { ...view, base: earliest, start: earliest }
  }

  /** Remembers that the records before a seq num are gone. */
  noteEarliest(seqNum: SeqNum): void {
    this.#earliest = Math.max(this.#earliest, seqNum)
  }

  /** Folds records that somebody read anyway: those that continue the state, no others. */
  absorb(records: readonly LogRecord[]): void {
    if (this.#state === undefined) return
    let state = this.#state
    for (const record of records) if (record.seqNum === state.nextSeq) state = apply(state, record)
    this.#state = state
  }

  /**
   * Has a command decided and its records made durable, in order with the others of this stream.
   *
   * @throws GatewayError the command's refusal, judged on the state at the tail
   * @throws LogUnavailableError nothing was written
   * @throws AppendOutcomeUnknownError the command's records may or may not be stored
   */
  execute<Answer>(command: Command<Answer>): Promise<Answer> {
    const answer = this.#queue.push(command)
    void this.#pump()
    return answer
  }

  /** As {@link execute}, but joins the same task when it is under way. */
  executeOnce(task: string, command: Command<undefined>): Promise<undefined> {
    const underWay = this.#tasks.get(task)
    if (underWay !== undefined) return underWay
    const run = this.execute(command).finally(() => this.#tasks.delete(task))
    this.#tasks.set(task, run)
    return run
  }

  async #pump(): Promise<void> {
    if (this.#pumping) return
    this.#pumping = true
    let lost = 0
    for (let waiting = this.#queue.waiting(); waiting.length > 0; waiting = this.#queue.waiting()) {
      try {
        lost = (await this.#step(waiting)) === 'lost' ? lost + 1 : 0
        if (lost > 0) await this.#backoff(lost, LOST_BACKOFF_MS)
      } catch (error) {
        failTaken(waiting, error)
      }
    }
    this.#pumping = false
  }

  /** Decides and appends one batch. After `again` and `lost` its commands are judged anew. */
  async #step(waiting: readonly QueuedCommand[]): Promise<'done' | 'again' | 'lost'> {
    const state = await this.known()
    const operation = nextOperation(this.#options.gatewayId)
    const commands = waiting.map(({ command }) => command)
    const composed = compose(state, commands, { now: this.#options.clock.now(), operation })
    const { batch, decisions } = composed
    if (batch === undefined) {
      // What writes nothing proves nothing: it counts only if the state was the latest.
      if ((await this.refresh()) !== state) return 'again'
      settleAll(waiting, decisions)
      return 'done'
    }
    const taken = waiting.slice(0, decisions.length)
    for (const item of taken) item.phase = 'writing'
    const outcome = await this.#append(batch, operation)
    if (outcome === 'done') settleAll(taken, decisions)
    else for (const item of taken) item.phase = 'waiting'
    return outcome
  }

  async #append(batch: AppendBatch, operation: string): Promise<'done' | 'again' | 'lost'> {
    const { log } = this.#options
    const settled = await appendSettled(log, this.name, batch, {
      operation,
      onAmbiguous: (attempt) => this.#backoff(attempt, UNKNOWN_BACKOFF_MS),
    })
    switch (settled.kind) {
      case 'applied':
        this.absorb(sequence(batch, settled.timestamp))
        return 'done'
      case 'missing':
        this.#state = EMPTY_STATE
        if (batch.matchSeqNum === 0) await log.createStream(this.name)
        return 'again'
      case 'conflict':
        await this.#learn(batch, settled.conflict)
        return 'lost'
    }
  }

  async #learn(batch: AppendBatch, conflict: AppendConflict): Promise<void> {
    const state = await this.refresh()
    if (conflict.kind !== 'fencing_token' || state.nextSeq !== batch.matchSeqNum) return
    // Nothing new explains the token: retention or a trim took the record that set it.
    this.#state = { ...state, fencingToken: conflict.token }
  }

  /** Waits a random time below a bound that doubles with each attempt, so that rivals spread. */
  #backoff(attempt: number, firstMs: number): Promise<void> {
    const { clock } = this.#options
    const bound = Math.min(MAX_BACKOFF_MS, firstMs * 2 ** Math.min(attempt, 10))
    return sleep(clock, bound * (0.5 + clock.random() / 2))
  }
}

function nextOperation(gatewayId: string): string {
  operations += 1
  return `${gatewayId}-${operations.toString(36)}`
}

function settleAll(items: readonly QueuedCommand[], decisions: readonly Decision<unknown>[]): void {
  decisions.forEach((decision, index) => items[index]?.settle(decision))
}

/** Those that were not part of the failed batch get their own try, unless there was no batch. */
function failTaken(items: readonly QueuedCommand[], error: unknown): void {
  const taken = items.filter(({ phase }) => phase === 'writing')
  for (const item of taken.length > 0 ? taken : items) item.fail(error)
}

/** The records as they now stand in the log. */
function sequence({ records, matchSeqNum }: AppendBatch, timestamp: number): LogRecord[] {
  return records.map((record, index) => ({ ...record, seqNum: matchSeqNum + index, timestamp }))
}
