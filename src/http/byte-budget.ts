/** A bound on the bytes that all requests together hold in memory. Who comes too late is refused. */
import { OverloadedError } from '../errors.ts'

export class ByteBudget {
  #left: number

  constructor(bytes: number) {
    this.#left = bytes
  }

  /** An empty share, which is to be grown before the bytes are there. */
  open(): Share {
    return new Share((bytes) => {
      if (bytes > this.#left) return new OverloadedError('too many bytes wait for the log')
      this.#left -= bytes
      return undefined
    })
  }
}

export class Share {
  readonly #take: (bytes: number) => OverloadedError | undefined
  #bytes = 0
  #isOpen = true

  constructor(take: (bytes: number) => OverloadedError | undefined) {
    this.#take = take
  }

  /** Makes it so large, unless it is already. Where there is not as much left it stays as it is. */
  growTo(bytes: number): OverloadedError | undefined {
    if (!this.#isOpen || bytes <= this.#bytes) return undefined
    const refusal = this.#take(bytes - this.#bytes)
    if (refusal === undefined) this.#bytes = bytes
    return refusal
  }

  /** Gives all of it back, once. */
  close(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#take(-this.#bytes)
  }
}
