/** Answers to long-polls as bytes, prepared once for all who wait at one position. */
import type { LongPollResult } from '../long-poll.ts'
import { renderLongPoll } from '../render.ts'
import type { Asked } from '../render.ts'
import type { ResponseHeads, Whole } from './response.ts'

export type PollAnswer = Whole & { readonly status: number }

type Prepared = {
  readonly result: LongPollResult
  readonly asked: Asked
  readonly answer: PollAnswer
}

export class PollAnswers {
  readonly #heads: ResponseHeads
  #latest: Prepared | undefined

  constructor(heads: ResponseHeads) {
    this.#heads = heads
  }

  /** The answer to what was asked; `isLast` on its connection. */
  of(result: LongPollResult, asked: Asked, isLast: boolean): PollAnswer {
    const latest = this.#latest
    const isKnown =
      latest !== undefined && sameResult(latest.result, result) && sameAsked(latest.asked, asked)
    if (isKnown && !isLast) return latest.answer
    const rendered = renderLongPoll(result, asked)
    const answer = { ...this.#heads.whole(rendered, isLast), status: rendered.status }
    // What may be cached of a stream that ends is not the same for a second; a body that stands
    // by itself is shared anyway.
    const isShared = !isLast && result.stream.endsAt === undefined && answer.body === undefined
    if (isShared) this.#latest = { result, asked, answer }
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

/** Whether two requests differ in nothing that shows in their answers, which say the second. */
function sameAsked(one: Asked, other: Asked): boolean {
  return (
    Math.floor(one.now / 1000) === Math.floor(other.now / 1000) &&
    one.audience === other.audience &&
    one.ifNoneMatch === other.ifNoneMatch &&
    one.read.offset.kind === other.read.offset.kind &&
    (one.read.cursor === undefined) === (other.read.cursor === undefined)
  )
}
