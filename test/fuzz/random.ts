/** Chance that can be repeated: fast enough to make some ten thousand requests in a second. */

/** A choice and how often it is made, relative to the others beside it. */
export type Weighted<T> = readonly (readonly [weight: number, value: T])[]

export class Random {
  #state: number

  /** The same seed and stream give the same sequence; neighbours have nothing in common. */
  constructor(seed: number, stream = 0) {
    this.#state = mix(mix(seed | 0) ^ Math.imul(stream + 1, 0x9e3779b1))
  }

  /** 32 bits, by mulberry32. */
  bits(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    return mix(this.#state)
  }

  /** In [0, 1). */
  fraction(): number {
    return this.bits() / 0x1_0000_0000
  }

  /** A whole number from 0 and below `end`. */
  below(end: number): number {
    return Math.floor(this.fraction() * end)
  }

  between(first: number, last: number): number {
    return first + this.below(last - first + 1)
  }

  chance(probability: number): boolean {
    return this.fraction() < probability
  }

  pick<T>(values: readonly [T, ...T[]] | readonly T[]): T {
    return values[this.below(values.length)]!
  }

  weighted<T>(choices: Weighted<T>): T {
    let at = this.fraction() * totalOf(choices)
    for (const [weight, value] of choices) {
      at -= weight
      if (at < 0) return value
    }
    return choices[0]![1]
  }

  /** As many characters of an alphabet. */
  text(length: number, alphabet: string): string {
    let text = ''
    for (let at = 0; at < length; at += 1) text += alphabet.charAt(this.below(alphabet.length))
    return text
  }

  /** Any bytes, as latin1. */
  bytes(length: number): string {
    let text = ''
    for (let at = 0; at < length; at += 1) text += String.fromCharCode(this.bits() & 0xff)
    return text
  }
}

const totals = new WeakMap<object, number>()

function totalOf(choices: Weighted<unknown>): number {
  const known = totals.get(choices)
  if (known !== undefined) return known
  const total = choices.reduce((sum, [weight]) => sum + weight, 0)
  totals.set(choices, total)
  return total
}

function mix(state: number): number {
  let bits = Math.imul(state ^ (state >>> 15), state | 1)
  bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61)
  return (bits ^ (bits >>> 14)) >>> 0
}
