/** Answers to long-polls as bytes, prepared once for all who wait at one position. */
import type { LongPollResult } from '../long-poll.ts'
import { renderLongPoll } from '../render.ts'
import type { Asked, Headers, Rendered } from '../render.ts'
import type { ResponseHeads, Whole } from './response.ts'

export type PollAnswer = Whole & Pick<Rendered, 'status' | 'cache'>

/** `common`: what every answer to the request carries. */
export type PollAsked = Asked & { readonly common: Headers }

type Prepared = {
  readonly result: LongPollResult
  readonly asked: PollAsked
  readonly answer: PollAnswer
}

export class PollAnswers {
  readonly #heads: ResponseHeads
  #second = NaN
  /** The latest of this second, by what they have in common with all answers to their requests. */
  readonly #latest = new Map<Headers, Prepared>()

  constructor(heads: ResponseHeads) {
    this.#heads = heads
  }

  /** The answer to what was asked; `isLast` on its connection. */
  of(result: LongPollResult, asked: PollAsked, isLast: boolean): PollAnswer {
    const { common, now } = asked
    const second = Math.floor(now / 1000)
    if (second !== this.#second) this.#latest.clear()
    this.#second = second
    const latest = this.#latest.get(common)
    const isKnown =
      latest !== undefined && sameResult(latest.result, result) && sameAsked(latest.asked, asked)
    if (isKnown && !isLast) return latest.answer
    const rendered = renderLongPoll(result, asked)
    const { status, cache } = rendered
    const answer = { ...this.#heads.whole(rendered, common, isLast), status, cache }
    // What may be cached of a stream that ends is not the same for a second; a body that stands
    // by itself is shared anyway.
    const isShared = !isLast && result.stream.endsAt === undefined && answer.body === undefined
    if (isShared) this.#latest.set(common, { result, asked, answer })
    return answer
  }
}

function sameResult(one: LongPollResult, other: LongPollResult): boolean {
  return (
    one.body === other.body &&
    one.from === other.from &&
    one.next === other.next &&
    one.cursor === other.cursor &&
    one.upToDate === other.upToDate &&
    one.closed === other.closed &&
    one.stream === other.stream
  )
}

/** Whether two requests of the same second differ in nothing that shows in their answers. */
function sameAsked(one: Asked, other: Asked): boolean {
  return (
    one.audience === other.audience &&
    one.ifNoneMatch === other.ifNoneMatch &&
    one.read.offset.kind === other.read.offset.kind &&
    (one.read.cursor === undefined) === (other.read.cursor === undefined)
  )
}
