/** Answers to long-polls as bytes, prepared once for all who wait at one position. */
import type { LongPollResult } from '../long-poll.ts'
import { renderLongPoll } from '../render.ts'
import type { LiveGet } from './live-get.ts'
import type { ResponseHeads, Whole } from './response.ts'

export type PollAnswer = Whole & { readonly status: number }

type Prepared = {
  readonly result: LongPollResult
  readonly get: LiveGet
  readonly second: number
  readonly answer: PollAnswer
}

export class PollAnswers {
  readonly #heads: ResponseHeads
  #latest: Prepared | undefined

  constructor(heads: ResponseHeads) {
    this.#heads = heads
  }

  /** The answer at a time, in ms since 1970; `isLast` on its connection. */
  of(result: LongPollResult, get: LiveGet, now: number, isLast: boolean): PollAnswer {
    const second = Math.floor(now / 1000)
    const latest = this.#latest
    const isKnown =
      latest?.second === second && sameResult(latest.result, result) && sameAsked(latest.get, get)
    if (isKnown && !isLast) return latest.answer
    const { read, ifNoneMatch } = get
    const rendered = renderLongPoll(result, { read, ifNoneMatch, now })
    const answer = { ...this.#heads.whole(rendered, isLast), status: rendered.status }
    // What may be cached of a stream that ends is not the same for a second; a body that stands
    // by itself is shared anyway.
    const isShared = !isLast && result.stream.endsAt === undefined && answer.body === undefined
    if (isShared) this.#latest = { result, get, second, answer }
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

/** Whether two requests differ in nothing that shows in their answers. */
function sameAsked(one: LiveGet, other: LiveGet): boolean {
  if (one === other) return true
  return (
    one.ifNoneMatch === other.ifNoneMatch &&
    one.read.offset.kind === other.read.offset.kind &&
    (one.read.cursor === undefined) === (other.read.cursor === undefined)
  )
}
