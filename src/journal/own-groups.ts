/** The groups of one log that this gateway has begun, and how patient it is with those of others. */
import type { Clock } from '../clock.ts'
import type { Command } from './command.ts'
import { Lease } from './lease.ts'
import type { Sightings } from './lease.ts'
import type { Lock } from './lock.ts'
import { waitBeforeRetry } from './retry.ts'

/** Longer than an append that has to be tried again, shorter than a command may wait. */
const LOCK_LEASE_MS = 5000
/** How often to try to end a lost group of our own. */
const RELEASE_ATTEMPTS = 10
/** Each attempt at a group that others write into is as much in the log for nothing. */
const ATTEMPTS = 4

export type OwnGroupsOptions = {
  readonly clock: Clock
  /** The gateway. */
  readonly owner: string
  /** How long a group of another gateway is waited for that does not get on, in ms. */
  readonly leaseMs?: number | undefined
  /** Of the gateway; its own when left out. */
  readonly sightings?: Sightings | undefined
  /** Whether others may have the log open. */
  readonly isShared: boolean
}

export class OwnGroups {
  readonly #options: OwnGroupsOptions
  readonly #lease: Lease
  /** How often the group of a command was begun in vain. */
  readonly #interruptions = new WeakMap<object, number>()
  /** Those that have not ended, by their operations. */
  readonly #open = new Set<string>()

  constructor(options: OwnGroupsOptions) {
    const { clock, leaseMs = LOCK_LEASE_MS, sightings } = options
    this.#options = options
    this.#lease = new Lease(clock, leaseMs, sightings)
  }

  begun(group: string): void {
    this.#open.add(group)
  }

  ended(group: string): void {
    this.#open.delete(group)
  }

  /** A batch was read in the log, or its record. */
  saw(operation: string): void {
    this.#lease.saw(operation)
  }

  /** Counts that others came into the group of a command; whether it may be tried again. */
  mayBeginAgain(command: object): boolean {
    const count = (this.#interruptions.get(command) ?? 0) + 1
    this.#interruptions.set(command, count)
    return count < ATTEMPTS
  }

  /**
   * How much longer to wait for an open group, in ms, while nothing of ours is in flight: one of
   * our own is then one that was given up. And where nobody else can write, one of another gateway
   * is of a process that is gone.
   */
  patienceMs(lock: Lock): number {
    const { owner, isShared } = this.#options
    const isOver = this.#open.has(lock.id) || (!isShared && lock.owner !== owner)
    return isOver ? 0 : this.#lease.left(lock)
  }

  /**
   * Ends what is in the log of a lost group: nobody is to wait for it. `execute` runs a command that
   * wants to write as long as the group is open.
   */
  async release<Life>(
    group: string,
    execute: (command: Command<Life, undefined>) => Promise<undefined>,
  ): Promise<void> {
    const { clock } = this.#options
    for (let attempt = 0; attempt < RELEASE_ATTEMPTS; attempt += 1) {
      try {
        await execute(releaseCommand(group))
        this.ended(group)
        return
      } catch {
        // Others end it too, after its lease.
        await waitBeforeRetry(clock, attempt)
      }
    }
  }
}

/** Has the group ended before it is answered; writes nothing itself. */
function releaseCommand<Life>(group: string): Command<Life, undefined> {
  return ({ lock }) => {
    const answer = undefined
    return lock?.id === group ? { kind: 'write', records: [], answer } : { kind: 'answer', answer }
  }
}
