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
      if (bytes > this.#left) throw new OverloadedError('too many bytes wait for the log')
      this.#left -= bytes
    })
  }
}

export class Share {
  readonly #take: (bytes: number) => void
  #bytes = 0
  #isOpen = true

  constructor(take: (bytes: number) => void) {
    this.#take = take
  }

  /**
   * Makes it so large, unless it is already.
   *
   * @throws OverloadedError there is not as much left; the share stays as it is
   */
  growTo(bytes: number): void {
    if (!this.#isOpen || bytes <= this.#bytes) return
    this.#take(bytes - this.#bytes)
    this.#bytes = bytes
  }

  /** Gives all of it back, once. */
  close(): void {
    if (!this.#isOpen) return
    this.#isOpen = false
    this.#take(-this.#bytes)
  }
}
