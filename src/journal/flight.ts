/**
 * The batches of one log that are on their way to it, each counting on those before it. They are
 * settled in order: once one is not in the log, those behind it can't be either, as they were sent
 * behind it in the same session, and get there only if all before them did.
 */
import { breathe } from '../clock.ts'
import type { Clock } from '../clock.ts'
import type { AppendAck, AppendConflict, DurableLog } from '../log/log.ts'
import type { Scopes } from '../tracing/tracing.ts'
import type { QueuedCommand } from './command-queue.ts'
import type { Decision } from './command.ts'
import type { MarkedBatch } from './draft.ts'
import { waitBeforeRetry } from './retry.ts'
import { Sender } from './sender.ts'
import { appendSettled } from './settle.ts'
import type { Settled } from './settle.ts'

/** A batch, and the commands that it answers once it is durable. */
export type Load<Life> = {
  readonly batch: MarkedBatch
  /** The operation of the group that it is a part of. */
  readonly group?: string | undefined
  /** All batches of a group have its command; only the last one decides it. */
  readonly items: readonly QueuedCommand<Life>[]
  readonly decisions: readonly Decision<unknown>[]
  /** Commands that can only be judged once it is durable. */
  readonly blocked: readonly QueuedCommand<Life>[]
}

/** Why a batch is not in the log. */
export type Loss =
  | { readonly kind: 'conflict'; readonly conflict: AppendConflict }
  | { readonly kind: 'missing' }
  /** The log was not reached, or what became of the batch is not known. */
  | { readonly kind: 'failed'; readonly error: unknown }

export type FlightOptions<Life> = {
  readonly log: DurableLog
  readonly stream: string
  readonly clock: Clock
  /** As a journal has it. */
  readonly scopes?: Scopes | undefined
  /** The first of those in flight is durable; it took so many ms by itself. Never rejects. */
  readonly onApplied: (load: Load<Life>, timestamp: number | undefined, ms: number) => Promise<void>
  /** The first is not in the log, and so neither are the others. Never rejects. */
  readonly onLost: (loads: readonly Load<Life>[], loss: Loss) => Promise<void>
}

/** Most batches in flight, of up to 1 MiB each. */
const MAX_IN_FLIGHT = 8

type Slot<Life> = { readonly load: Load<Life>; sent?: Sent }
type Sent = { readonly at: number; readonly attempt: Promise<AppendAck> }

export class Flight<Life> {
  readonly #options: FlightOptions<Life>
  readonly #sender: Sender
  /** Those that were sent come first. */
  readonly #slots: Slot<Life>[] = []
  #sent = 0
  /** Where further ones come from: nothing else may be sent before it is exhausted. */
  #source: Iterator<Load<Life>, void, void> | undefined
  /** Whether the latest was sent without a session. */
  #isAlone = false
  #settledAt = -Infinity
  #isSettling = false
  #watchers: (() => void)[] = []

  constructor(options: FlightOptions<Life>) {
    this.#options = options
    this.#sender = new Sender(options.log, options.stream, options.clock)
  }

  /** Whether all that was sent is settled, and what followed from it is done. */
  get isEmpty(): boolean {
    return !this.#isSettling && this.#source === undefined
  }

  get #hasRoom(): boolean {
    const { length } = this.#slots
    return length === 0 || (length < MAX_IN_FLIGHT && this.#canFollow)
  }

  /** Whether a batch may be sent behind those in flight. */
  get #canFollow(): boolean {
    return !this.#isAlone && this.#sender.isOpen
  }

  /** Sends batches behind those in flight. `more`: others will follow while they are. */
  send(loads: readonly Load<Life>[], { more }: { readonly more: boolean }): void {
    for (const load of loads) this.#slots.push({ load })
    this.#fill(more)
    if (!this.#isSettling) void this.#settleAll()
  }

  /**
   * Sends batches that are made one by one: each as soon as there is room for it in flight, and
   * after everybody else has had a turn. Once one of them is lost no further one is made.
   */
  sendAll(source: Iterator<Load<Life>, void, void>): void {
    this.#source = source
    void this.#make(source)
  }

  async #make(source: Iterator<Load<Life>, void, void>): Promise<void> {
    for (;;) {
      await breathe(this.#options.clock)
      while (this.#source === source && !this.#hasRoom) await this.#change()
      if (this.#source !== source) return
      const { done, value } = source.next()
      if (done === true) break
      this.send([value], { more: true })
    }
    this.#source = undefined
    this.#notify()
  }

  /**
   * Resolves when a batch may be sent: when nothing is in flight, or behind what is, if that is
   * possible and what the caller wants.
   */
  async room({ behind }: { readonly behind: boolean }): Promise<void> {
    const mayFollow = (): boolean =>
      behind && this.#source === undefined && this.#slots.length > 0 && this.#hasRoom
    while (!this.isEmpty && !mayFollow()) await this.#change()
  }

  /** Resolves when {@link isEmpty}. */
  async drained(): Promise<void> {
    while (!this.isEmpty) await this.#change()
  }

  #change(): Promise<void> {
    return new Promise((resolve) => {
      this.#watchers.push(resolve)
    })
  }

  #notify(): void {
    const watchers = this.#watchers
    this.#watchers = []
    for (const notify of watchers) notify()
  }

  /** Sends what waits for its turn, as far as it may be sent before the others are durable. */
  #fill(more = false): void {
    for (const slot of this.#slots.slice(this.#sent, MAX_IN_FLIGHT)) {
      if (this.#sent > 0 && !this.#canFollow) return
      const { batch } = slot.load
      const isAlone = this.#slots.length === 1 && !more
      this.#isAlone = isAlone
      const attempt = this.#within(slot.load, () =>
        isAlone ? this.#sender.sendAlone(batch) : this.#sender.sendInSession(batch),
      )
      // It is awaited when its turn comes, which may be after it has failed.
      attempt.catch(() => undefined)
      slot.sent = { at: this.#options.clock.now(), attempt }
      this.#sent += 1
    }
  }

  async #settleAll(): Promise<void> {
    this.#isSettling = true
    for (let first = this.#slots[0]; first !== undefined; first = this.#slots[0]) {
      await this.#settle(first)
      this.#fill()
      this.#isSettling = this.#slots.length > 0
      this.#notify()
    }
  }

  async #settle({ load, sent }: Slot<Life>): Promise<void> {
    const { clock, onApplied, onLost } = this.#options
    const settled = await this.#outcome(load, sent)
    if (settled.kind === 'applied') {
      this.#slots.shift()
      this.#sent -= 1
      const now = clock.now()
      const begun = Math.max(sent?.at ?? now, this.#settledAt)
      this.#settledAt = now
      await onApplied(load, settled.timestamp, now - begun)
      return
    }
    const lost = this.#slots.splice(0)
    this.#sent = 0
    this.#source?.return?.()
    this.#source = undefined
    this.#sender.close()
    const loads = lost.map((slot) => slot.load)
    await onLost(loads, settled)
  }

  /** Does what is done for all whose commands are in a batch. */
  #within<Result>({ items }: Load<Life>, run: () => Result): Result {
    const { scopes } = this.#options
    if (scopes === undefined) return run()
    return scopes.within(
      items.map(({ scope }) => scope),
      run,
    )
  }

  async #outcome(load: Load<Life>, sent: Sent | undefined): Promise<Settled | Loss> {
    const { log, stream, clock } = this.#options
    try {
      const options = {
        operation: load.batch.operation,
        attempt: sent?.attempt,
        backoff: (attempt: number) => waitBeforeRetry(clock, attempt),
        isWanted: () => this.#slots.some(isWanted),
      }
      return await this.#within(load, () => appendSettled(log, stream, load.batch, options))
    } catch (error) {
      return { kind: 'failed', error }
    }
  }
}

function isWanted({ load: { items, blocked } }: Slot<never>): boolean {
  return [...items, ...blocked].some(({ phase }) => phase !== 'answered')
}
