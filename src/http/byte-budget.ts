/** A bound on the bytes that all requests together hold in memory. Who comes too late is refused. */
import { OverloadedError } from '../errors.ts'

export class ByteBudget {
  readonly #bytes: number
  #left: number

  constructor(bytes: number) {
    this.#bytes = bytes
    this.#left = bytes
  }

  /** What is held of it. */
  get taken(): number {
    return this.#bytes - this.#left
  }

  /** An empty share, which is to be grown before the bytes are there. */
  open(): Share {
    return new Share(this)
  }

  /** Takes as many bytes, or gives back when negative; false when there is not as much left. */
  take(bytes: number): boolean {
    if (bytes > this.#left) return false
    this.#left -= bytes
    return true
  }
}

export class Share {
  readonly #budget: ByteBudget
  #bytes = 0
  #isOpen = true

  constructor(budget: ByteBudget) {
    this.#budget = budget
  }

  /** Makes it so large, unless it is already. Where there is not as much left it stays as it is. */
  growTo(bytes: number): OverloadedError | undefined {
    if (!this.#isOpen || bytes <= this.#bytes) return undefined
    if (!this.#budget.take(bytes - this.#bytes)) {
      return new OverloadedError('too many bytes wait for the log')
    }
    this.#bytes = bytes
    return undefined
  }

  /** Gives all of it back, once. */
  close(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#budget.take(-this.#bytes)
  }
}
