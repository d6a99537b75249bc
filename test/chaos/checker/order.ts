/**
 * The one order of a stream's messages, out of everything that anybody has read. PURE.
 *
 * Each read says which message follows which, and which messages stand before and after an
 * offset. As long as all agree, these links are chains, one for each incarnation; where a reader
 * had a gap, a duplicate or another order, some message gets two neighbours on one side.
 */
import { short } from '../history.ts'
import type { Offset, Operation, Seen, Violation } from '../history.ts'
import { isBirth } from '../payload.ts'
import type { MessageId } from '../payload.ts'

export type Place = { readonly chain: number; readonly index: number }

/** A value and who said so first. */
type Said<T> = { readonly value: T; readonly by: Operation }

export class Order {
  readonly violations: Violation[] = []
  /** Messages in their order. One that begins with a birth is an incarnation. */
  readonly chains: MessageId[][] = []
  readonly #stream: string
  readonly #next = new Map<MessageId, Said<MessageId>>()
  readonly #previous = new Map<MessageId, Said<MessageId>>()
  readonly #before = new Map<Offset, Said<MessageId>>()
  readonly #after = new Map<Offset, Said<MessageId>>()
  readonly #places = new Map<MessageId, Place>()
  readonly #read = new Set<MessageId>()

  constructor(stream: string, operations: readonly Operation[]) {
    this.#stream = stream
    for (const operation of operations) this.#learn(operation)
    for (const [offset, before] of this.#before) {
      const after = this.#after.get(offset)
      if (after !== undefined) this.#link(before.value, after.value, after.by)
    }
    this.#chain()
  }

  place(message: MessageId): Place | undefined {
    return this.#places.get(message)
  }

  /** Whether a reader has got it: a writer that was told its offset is no proof. */
  wasRead(message: MessageId): boolean {
    return this.#read.has(message)
  }

  /** The message that ends at an offset, if anybody has seen it. */
  messageBefore(offset: Offset): MessageId | undefined {
    return this.#before.get(offset)?.value
  }

  /** The message that follows another, and who has seen it. */
  following(message: MessageId): Said<MessageId> | undefined {
    return this.#next.get(message)
  }

  #learn(operation: Operation): void {
    const { kind, outcome } = operation
    if (outcome.kind !== 'ok' || !('next' in outcome)) return
    if (kind === 'append' || kind === 'create') {
      // What a duplicate is told is the tail, wherever its own data is.
      const isOwn = kind === 'create' ? outcome.status === 201 : operation.count > 0
      if (!isOwn || outcome.duplicate) return
      const count = kind === 'create' ? 1 : operation.count
      this.#say(this.#before, outcome.next, `${operation.append}:${count - 1}/${count}`, operation)
      return
    }
    if (kind === 'read') this.#learnRead(operation, operation.from, outcome)
  }

  #learnRead(operation: Operation, from: Offset, { messages, next, upToDate }: Seen): void {
    for (const message of messages) this.#read.add(message)
    const [first] = messages
    const last = messages.at(-1)
    if (first === undefined || last === undefined) {
      if (from !== '-1' && from !== 'now' && from !== next) {
        const text = `nothing between ${short(from)} and ${short(next)}: an offset was skipped`
        this.#violate('gap', text, [operation])
      }
      if (from === '-1' && upToDate) {
        this.#violate('gap', 'all of the stream is nothing', [operation])
      }
      return
    }
    if (from !== '-1' && from !== 'now') this.#say(this.#after, from, first, operation)
    if (from === '-1' && !isBirth(first)) {
      this.#violate('gap', `a read from the beginning begins with ${first}`, [operation])
    }
    this.#say(this.#before, next, last, operation)
    for (let i = 1; i < messages.length; i += 1) {
      this.#link(messages[i - 1] ?? '', messages[i] ?? '', operation)
    }
  }

  #say(map: Map<Offset, Said<MessageId>>, offset: Offset, value: MessageId, by: Operation): void {
    const known = map.get(offset)
    if (known === undefined) map.set(offset, { value, by })
    else if (known.value !== value) {
      const side = map === this.#before ? 'before' : 'after'
      const text = `${side} ${short(offset)} stands both ${known.value} and ${value}`
      this.#violate('offset', text, [known.by, by])
    }
  }

  #link(from: MessageId, to: MessageId, by: Operation): void {
    const next = this.#next.get(from)
    const previous = this.#previous.get(to)
    if (next?.value === to && previous?.value === from) return
    if (isBirth(to)) {
      this.#violate('order', `${to} begins an incarnation, and follows ${from}`, [by])
    } else if (next !== undefined) {
      this.#violate('order', `${from} is followed by ${next.value} and by ${to}`, [next.by, by])
    } else if (previous !== undefined) {
      const text = `${to} follows ${previous.value} and follows ${from}`
      this.#violate('order', text, [previous.by, by])
    } else {
      this.#next.set(from, { value: to, by })
      this.#previous.set(to, { value: from, by })
    }
  }

  #chain(): void {
    const all = new Set([
      ...this.#next.keys(),
      ...this.#previous.keys(),
      ...[...this.#before.values(), ...this.#after.values()].map(({ value }) => value),
    ])
    for (const head of all) {
      if (this.#previous.has(head)) continue
      const chain: MessageId[] = []
      let message: MessageId | undefined = head
      while (message !== undefined) {
        this.#places.set(message, { chain: this.chains.length, index: chain.length })
        chain.push(message)
        message = this.#next.get(message)?.value
      }
      this.chains.push(chain)
    }
  }

  #violate(rule: string, text: string, operations: readonly Operation[]): void {
    this.violations.push({ rule, stream: this.#stream, text, operations })
  }
}
