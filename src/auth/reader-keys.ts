/**
 * Reader keys: what makes the URL of a private stream one that can't be guessed, so that a shared
 * cache may store what is behind it. They open nothing at a gateway.
 */
import { createHmac, timingSafeEqual } from 'node:crypto'
import { deriveKey } from './derived-key.ts'

export type ReaderKeysOptions = {
  /** Shared by all gateways: the first one makes keys, all of them match. */
  readonly secrets: readonly string[]
  /** Another number voids all keys of before: what caches hold under them can't be reached. */
  readonly epoch: number
}

export class ReaderKeys {
  readonly #keys: readonly Buffer[]
  readonly #epoch: number

  constructor({ secrets, epoch }: ReaderKeysOptions) {
    this.#keys = secrets.map((secret) => deriveKey(secret, 'durable-streams reader key v1'))
    this.#epoch = epoch
  }

  /**
   * The reader key of a stream; undefined without secrets.
   *
   * @param incarnation a stream that is deleted and made anew has another one
   */
  keyOf(name: string, incarnation: string): string | undefined {
    const [key] = this.#keys
    return key && this.#make(key, name, incarnation)
  }

  /** Whether a key that a client has sent is one of this stream. */
  matches(given: string, name: string, incarnation: string): boolean {
    const bytes = Buffer.from(given)
    return this.#keys.some((key) => {
      const expected = Buffer.from(this.#make(key, name, incarnation))
      return bytes.length === expected.length && timingSafeEqual(bytes, expected)
    })
  }

  #make(key: Buffer, name: string, incarnation: string): string {
    // JSON says where each of them ends.
    const text = JSON.stringify([name, incarnation, this.#epoch])
    return `rk_${createHmac('sha256', key).update(text).digest('base64url')}`
  }
}
