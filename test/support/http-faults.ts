/** Answers an S2 would give on a bad day, for the proxy to give in its place. */
import type { S2CallKind } from './s2-proxy.ts'

export type HttpFault = {
  readonly status: number
  /** S2's word for it, such as `rate_limited`. `unavailable` by default. */
  readonly code?: string
  /** Which calls get it; all of them by default. */
  readonly kinds?: readonly S2CallKind[]
  /** How many get it; by default all, until the next call of `answer`. */
  readonly times?: number
  /** Unary calls only: the call has its effect, and this answer. */
  readonly isApplied?: boolean
}

export class HttpFaults {
  #fault: HttpFault | undefined
  #left = 0

  set(fault: HttpFault | undefined): void {
    this.#fault = fault
    this.#left = fault?.times ?? Infinity
  }

  /** The fault that is this call's, which uses it up. */
  take(kind: S2CallKind): HttpFault | undefined {
    const { kinds = [kind] } = this.#fault ?? {}
    if (this.#left === 0 || !kinds.includes(kind)) return undefined
    this.#left -= 1
    return this.#fault
  }
}

/** The body of an S2 error. */
export function bodyOf({ status, code = 'unavailable' }: HttpFault): string {
  return JSON.stringify({ code, message: `a fault of status ${status}` })
}
