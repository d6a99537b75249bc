/**
 * How much one caller may do: requests, appends, creations and bytes in a second, and live reads at
 * the same time, for each subject, project and address. Of this process alone.
 */
import type { Clock } from '../clock.ts'
import { RateLimitedError } from '../errors.ts'
import type { LimitStanding, Standing } from '../errors.ts'
import { Allowances } from './buckets.ts'
import type { Allowance, Cost, Rates } from './buckets.ts'

/** Whom a request is counted for. What is undefined, nobody is limited by. */
export type Principal = {
  /** Who it is within the project. */
  readonly subject?: string | undefined
  readonly project?: string | undefined
  /** As {@link clientAddressReader} gives it. */
  readonly address?: string | undefined
}

const KINDS = ['subject', 'project', 'address'] as const
export type Kind = (typeof KINDS)[number]

/** What one caller may have in a second; of `connections`, at the same time. */
export type Quotas = Rates & { readonly connections?: number | undefined }

export type LimitsOptions = {
  readonly clock: Clock
  /** A kind without quotas is not limited. */
  readonly quotas: { readonly [Name in Kind]?: Quotas | undefined }
}

type InRates = { readonly kind: Kind; readonly allowances: Allowances }
type InConnections = {
  readonly kind: Kind
  readonly max: number
  /** Exact, and only of those that have any: never more than there are connections. */
  readonly counts: Map<string, number>
}

/** What is left of a caller's limits, before and after a request. */
type Judged = { readonly limits: InRates; readonly allowance: Allowance }

const nothing = (): void => undefined

export class Limits {
  readonly #clock: Clock
  /** In rates; and in connections. Empty, or nearly so, where little is limited. */
  readonly #inRates: readonly InRates[]
  readonly #inConnections: readonly InConnections[]

  constructor({ clock, quotas }: LimitsOptions) {
    this.#clock = clock
    this.#inRates = KINDS.flatMap((kind) => {
      const { connections: _, ...rates } = quotas[kind] ?? {}
      return isEmpty(rates) ? [] : [{ kind, allowances: new Allowances(rates) }]
    })
    this.#inConnections = KINDS.flatMap((kind) => {
      const max = quotas[kind]?.connections
      return max === undefined ? [] : [{ kind, max, counts: new Map<string, number>() }]
    })
  }

  /** Whether anything depends on who asks: without, a {@link Principal} need not be made up. */
  limits(kind: Kind): boolean {
    return [...this.#inRates, ...this.#inConnections].some((limits) => limits.kind === kind)
  }

  /**
   * Takes one request, and by method an append or a creation, with its body. All limits are judged
   * before anything is taken: a refused request costs nothing.
   *
   * @returns what is left; undefined when nothing limits it
   * @throws RateLimitedError
   */
  take(principal: Principal, cost: Cost): Standing | undefined {
    if (this.#inRates.length === 0) return undefined
    const judged = this.#allowancesOf(principal)
    if (judged.length === 0) return undefined
    const waitMs = judged.reduce((ms, { allowance }) => Math.max(ms, allowance.waitMs(cost)), 0)
    if (waitMs > 0) throw new RateLimitedError(standingOf(judged, cost), waitMs)
    for (const { allowance } of judged) allowance.take(cost)
    return standingOf(judged, cost)
  }

  /**
   * Takes bytes of a body whose length was not known, as they come. Never refuses: a body that was
   * begun is not broken off for its caller's limits, and goes into debt.
   */
  receive(principal: Principal, bytes: number): void {
    if (this.#inRates.length === 0) return
    for (const { allowance } of this.#allowancesOf(principal)) allowance.take({ bytes })
  }

  /**
   * Counts a live read until the returned function is called, once or more.
   *
   * @throws RateLimitedError there are as many as may be; when one will end, nobody knows
   */
  enter(principal: Principal): () => void {
    if (this.#inConnections.length === 0) return nothing
    const counted = this.#inConnections.flatMap((limits) => {
      const caller = callerOf(limits.kind, principal)
      return caller === undefined ? [] : [{ limits, caller }]
    })
    const full = counted.filter(({ limits, caller }) => countOf(limits, caller) >= limits.max)
    if (full.length > 0) throw new RateLimitedError(full.map(({ limits }) => fullyTaken(limits)))
    for (const { limits, caller } of counted) count(limits, caller, 1)
    let isIn = true
    return () => {
      if (isIn) for (const { limits, caller } of counted) count(limits, caller, -1)
      isIn = false
    }
  }

  #allowancesOf(principal: Principal): Judged[] {
    const now = this.#clock.elapsed()
    const found: Judged[] = []
    for (const limits of this.#inRates) {
      const caller = callerOf(limits.kind, principal)
      if (caller !== undefined) found.push({ limits, allowance: limits.allowances.of(caller, now) })
    }
    return found
  }
}

/** A subject is one within its project: elsewhere it is another, or somebody else's word. */
function callerOf(kind: Kind, { subject, project, address }: Principal): string | undefined {
  if (kind === 'project') return project
  if (kind === 'address') return address
  if (subject === undefined) return undefined
  // With the length before it, no project can be taken for another with a part of the subject.
  return project === undefined ? `-${subject}` : `${project.length}:${project}${subject}`
}

function isEmpty(rates: Rates): boolean {
  return Object.values(rates).every((perSecond) => perSecond === undefined)
}

function countOf({ counts }: InConnections, caller: string): number {
  return counts.get(caller) ?? 0
}

function count(limits: InConnections, caller: string, change: 1 | -1): void {
  const after = countOf(limits, caller) + change
  if (after === 0) limits.counts.delete(caller)
  else limits.counts.set(caller, after)
}

/** The limits that a cost was judged by. */
function standingOf(judged: readonly Judged[], cost: Cost): Standing {
  return judged.flatMap(({ limits: { kind, allowances }, allowance }) =>
    allowances.rates
      .filter(([unit]) => cost[unit] !== undefined)
      .map(([unit, quota]): LimitStanding => {
        const [left, waitMs] = [allowance.leftOf(unit), allowance.waitMsOf(unit)]
        return { policy: `${kind}-${unit}`, quota, counts: unit, left, waitMs }
      }),
  )
}

function fullyTaken({ kind, max }: InConnections): LimitStanding {
  return { policy: `${kind}-connections`, quota: max, counts: 'connections', left: 0 }
}
